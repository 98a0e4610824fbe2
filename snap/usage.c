/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "snap/usage.h"

#include <dirent.h>
#include <errno.h>
#include <sys/stat.h>

#include "snap/base/err.h"
#include "snap/idmap.h"
#include "snap/skip.h"
#include "snap/walk.h"

struct measuring {
	struct snap_usage *out;
	bool extents;
	struct idmap linked; /* inodes with several links that were counted */
};

/* 1: count it; 0: another name of it was counted. */
static int first_name(struct measuring *m, const struct io_stat *st)
{
	if (S_ISDIR(st->mode) || st->nlink < 2)
		return 1;
	if (idmap_get(&m->linked, st->dev, st->ino))
		return 0;
	return idmap_set(&m->linked, st->dev, st->ino, 1) < 0 ? -ENOMEM : 1;
}

static void count(struct measuring *m, const struct io_stat *st)
{
	if (S_ISREG(st->mode))
		m->out->logical = snap_add(m->out->logical, st->size);
	m->out->allocated += st->allocated;
}

/* 1: its extents are to be looked at, too. */
static int count_one(struct walk *w, struct io_item *it)
{
	struct measuring *m = w->arg;
	int r;

	if (snap_skip(trail_dir(&w->trail), trail_path(&w->trail, it->name), it->type) !=
		SNAP_KEEP) {
		it->type = DT_UNKNOWN;
		return 0;
	}
	m->out->entries++;
	atomic_fetch_add(&w->ctx->entries_done, 1);
	if (guard_nested(&w->guard, &it->st))
		return 0;
	r = first_name(m, &it->st);
	if (r < 0)
		return walk_fail(w->err, r, "measure", trail_path(&w->trail, it->name));
	if (r == 0)
		return 0;
	count(m, &it->st);
	return m->extents && it->type == DT_REG && it->st.allocated;
}

static int count_extents(struct walk *w, struct io_item *it)
{
	struct measuring *m = w->arg;

	if (it->error == -EOPNOTSUPP || it->error == -ENOTTY) {
		m->extents = false;
		return 0;
	}
	if (walk_vanished(it->error))
		return 0;
	if (it->error < 0)
		return walk_fail(w->err, it->error, it->op, trail_path(&w->trail, it->name));
	/* In the metadata, which are the file system's: who else has it is not known. */
	if (it->flags & IO_INLINE)
		m->out->allocated -= it->st.allocated;
	else
		m->out->shared += it->shared < it->st.allocated ? it->shared : it->st.allocated;
	return 0;
}

static int batch(struct walk *w, struct io_item *items, size_t n)
{
	struct io_dir *dir = trail_dir(&w->trail);
	size_t wanted = 0;
	int r = 0;

	for (size_t i = 0; i < n; i++) {
		r = count_one(w, &items[i]);
		if (r < 0)
			return r;
		if (r == 1)
			wanted++;
		else if (items[i].type == DT_REG)
			items[i].type = DT_UNKNOWN; /* not for extents() */
	}
	if (!wanted || !io_drv(dir)->extents)
		return 0;
	io_drv(dir)->extents(dir, items, n);
	for (size_t i = 0; i < n; i++) {
		r = items[i].type == DT_REG ? count_extents(w, &items[i]) : 0;
		if (r < 0)
			return r;
	}
	return 0;
}

static const struct walk_ops ops = {.stat = true, .batch = batch};

int snap_usage(int dir, int with_extents, struct snap_ctx *ctx, struct snap_usage *out,
	struct err *err)
{
	struct snap_usage sum = {0};
	struct measuring m = {.out = &sum, .extents = with_extents};
	struct stat st;
	int r;

	if (fstat(dir, &st) < 0)
		return err_sys(err, errno, "stat", ".");
	sum.allocated = st.st_blocks * 512;
	r = walk_tree(dir, NULL, &ops, ctx, &m, err);
	idmap_release(&m.linked);
	if (r < 0)
		return r;
	sum.exclusive = sum.allocated > sum.shared ? sum.allocated - sum.shared : 0;
	*out = sum;
	return 0;
}
