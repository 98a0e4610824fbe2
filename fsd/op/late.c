/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fsd/op/late.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "fsd/worker/jobs.h"
#include "fsd/worker/step.h"
#include "fsd/worker/work.h"
#include "snap/base/clock.h"
#include "snap/base/err.h"
#include "snap/base/fd.h"
#include "snap/copy.h"
#include "snap/diff.h"
#include "snap/remove.h"
#include "snap/settle.h"

#define CHANGES_MAX 100000 /* more than that is not "late" */
#define WARNINGS_MAX 50

int64_t late_now(void)
{
	int64_t now = clock_real();

	while (settle_now() <= now)
		nanosleep(&(struct timespec){.tv_nsec = NSEC_PER_MSEC}, NULL);
	return now;
}

static int64_t ctime_of(const struct stat *st)
{
	return st->st_ctim.tv_sec * NSEC_PER_SEC + st->st_ctim.tv_nsec;
}

/* ---- one path beneath a held directory ---- */

/* 0 or -errno. */
static int look(int root, const char *path, struct stat *st)
{
	_cleanup_fd_ int parent = -1;
	const char *name;

	if (strcmp(path, ".") == 0)
		return fstat(root, st) < 0 ? -errno : 0;
	parent = work_open_parent(root, path, &name);
	if (parent < 0)
		return parent;
	return fstatat(parent, name, st, AT_SYMLINK_NOFOLLOW) < 0 ? -errno : 0;
}

/* ---- verify ---- */

static int verify_one(enum snap_change change, const char *path, const char *from, void *arg)
{
	struct late *l = arg;
	struct stat st;
	int r = look(l->from, path, &st);

	(void)from;
	if (change == SNAP_ADDED) /* in the copy only: removed from the old one since */
		return 0;
	if (r == 0 && change == SNAP_REMOVED && S_ISSOCK(st.st_mode)) /* never copied, and reported */
		return 0;
	return r == 0 && ctime_of(&st) <= l->since ? -EBADE : 0;
}

struct verify {
	struct late *late;
	char path[ERR_OBJECT_SIZE];
};

static int verify_fn(enum snap_change change, const char *path, const char *from, void *arg)
{
	struct verify *v = arg;
	int r = verify_one(change, path, from, v->late);

	if (r < 0)
		snprintf(v->path, sizeof(v->path), "%s", path);
	return r;
}

int late_verify(struct late *l, struct err *err)
{
	const struct snap_diff_opts opts = {.full = true, .ignore_dir_mtime = true};
	struct verify v = {.late = l};
	int r;

	/* As much as was done up to here is to be read once more. */
	atomic_fetch_add(&l->ctx->entries_total, atomic_load(&l->ctx->entries_done));
	atomic_fetch_add(&l->ctx->bytes_total, atomic_load(&l->ctx->bytes_done));
	r = snap_diff(l->from, l->to, &opts, l->ctx, verify_fn, &v, err);

	if (r != -EBADE)
		return r;
	return err_set(err, EIO, "verify_failed", v.path,
		"the copy differs from what was copied; nothing was changed");
}

/* ---- merge ---- */

struct change {
	enum snap_change what; /* seen from `to`: '+' is missing there */
	char *path;
};

struct changes {
	struct change *items;
	size_t n, size;
};

static int collect(enum snap_change what, const char *path, const char *from, void *arg)
{
	struct changes *c = arg;

	(void)from;
	if (c->n == CHANGES_MAX)
		return -E2BIG;
	if (c->n == c->size) {
		size_t size = c->size ? 2 * c->size : 64;
		void *more = reallocarray(c->items, size, sizeof(*c->items));

		if (!more)
			return -ENOMEM;
		c->items = more;
		c->size = size;
	}
	c->items[c->n] = (struct change){what, strdup(path)};
	return c->items[c->n++].path ? 0 : -ENOMEM;
}

static void leave(struct late *l, const char *path, const char *why)
{
	if (l->left++ < WARNINGS_MAX)
		job_warn(l->job, "%s in %s: %s", path, l->old_name, why);
}

struct merge {
	struct late *late;
	int work; /* `.fsd-JOB` in `to` */
};

/* A copy of the old one's entry as work/"late". */
static int stage(struct merge *m, const char *path, struct err *err)
{
	const struct snap_copy_opts opts = {
		.reflink = m->late->reflink,
		.durable = true,
		.source_is_live = true,
	};
	struct snap_copy_result copied = {0};
	const char *name;
	_cleanup_fd_ int parent = work_open_parent(m->late->from, path, &name);
	int r;

	if (parent < 0)
		return err_sys(err, -parent, "open", path);
	r = snap_remove(m->work, "late", m->late->ctx, err);
	if (r == 0)
		r = snap_copy_entry(parent, name, m->work, "late", &opts, m->late->ctx,
			&copied, err);
	snap_copy_result_release(&copied);
	return r;
}

/* Exchange with what is there, if it still is what was judged. */
static int replace(struct merge *m, int parent, const char *name, const struct stat *judged)
{
	struct stat st;

	if (renameat2(m->work, "late", parent, name, RENAME_EXCHANGE) < 0)
		return -errno;
	if (fstatat(m->work, "late", &st, AT_SYMLINK_NOFOLLOW) == 0 &&
		st.st_ino == judged->st_ino && st.st_size == judged->st_size &&
		st.st_mtim.tv_sec == judged->st_mtim.tv_sec &&
		st.st_mtim.tv_nsec == judged->st_mtim.tv_nsec)
		return 0;
	if (renameat2(m->work, "late", parent, name, RENAME_EXCHANGE) < 0)
		return -errno;
	return -EBUSY;
}

static int put(struct merge *m, const char *path, const struct stat *judged, struct err *err)
{
	const char *name;
	_cleanup_fd_ int parent = work_open_parent(m->late->to, path, &name);
	int r;

	if (parent < 0)
		return parent;
	r = stage(m, path, err);
	if (r < 0)
		return r;
	step("late.staged");
	if (judged)
		r = replace(m, parent, name, judged);
	else if (renameat2(m->work, "late", parent, name, RENAME_NOREPLACE) < 0)
		r = -errno;
	step("late.put");
	if (r == 0)
		r = fd_sync(parent);
	return r;
}

/* One difference: whose is it, and what follows? */
static void merge_one(struct merge *m, const struct change *c)
{
	struct late *l = m->late;
	struct err err = ERR_INIT;
	struct stat old, now;
	int r;

	if (c->what == SNAP_REMOVED) {
		if (look(l->to, c->path, &now) == 0 && ctime_of(&now) <= l->until)
			leave(l, c->path, "removed after it was copied; the copy stays");
		return;
	}
	if (look(l->from, c->path, &old) < 0 || ctime_of(&old) <= l->since)
		return; /* as it was copied: the other side changed it */
	r = look(l->to, c->path, &now);
	if (c->what != SNAP_ADDED && r == 0 && ctime_of(&now) > l->until) {
		leave(l, c->path, "written after it was copied, and so was the copy");
		return;
	}
	if (c->what == SNAP_METADATA && S_ISDIR(old.st_mode)) {
		leave(l, c->path, "the directory's metadata changed after it was copied");
		return;
	}
	r = put(m, c->path, r == 0 ? &now : NULL, &err);
	if (r < 0)
		leave(l, c->path, err.num ? err.reason : strerror(-r));
	else
		l->merged++;
}

static bool below(const char *path, const char *top)
{
	size_t len = strlen(top);

	return strncmp(path, top, len) == 0 && path[len] == '/';
}

/* What was handled as a whole takes what is below it along. */
static bool handled_whole(const struct change *c)
{
	return c->what != SNAP_METADATA && strcmp(c->path, ".") != 0;
}

static int merge_all(struct late *l, const struct changes *changes, struct err *err)
{
	struct merge m = {.late = l};
	const struct change *last = NULL;
	char name[32];
	int r;

	snprintf(name, sizeof(name), WORK_PREFIX "%s", l->job->text);
	m.work = work_make(l->to, name);
	if (m.work < 0)
		return err_sys(err, -m.work, "make a work directory", name);
	for (size_t i = 0; i < changes->n; i++) {
		const struct change *c = &changes->items[i];
		uint64_t before = l->merged + l->left;

		if (last && below(c->path, last->path))
			continue;
		merge_one(&m, c);
		last = l->merged + l->left > before && handled_whole(c) ? c : last;
	}
	r = snap_remove_held(l->to, name, m.work, l->ctx, err);
	fd_close(&m.work);
	step("late.swept");
	if (r == 0 && (r = fd_sync(l->to)) < 0) /* before what tells of it is forgotten */
		err_sys(err, -r, "fsync", name);
	return r;
}

int late_merge(struct late *l, struct err *err)
{
	const struct snap_diff_opts opts = {.ignore_dir_mtime = true};
	struct changes changes = {0};
	int r = snap_diff(l->to, l->from, &opts, l->ctx, collect, &changes, err);

	if (r == -E2BIG)
		r = err_set(err, E2BIG, "too_large", l->old_name,
			"more than %d paths differ from the copy", CHANGES_MAX);
	if (r == 0 && changes.n)
		r = merge_all(l, &changes, err);
	if (l->left > WARNINGS_MAX)
		job_warn(l->job, "%" PRIu64 " more paths in %s were not brought over",
			l->left - WARNINGS_MAX, l->old_name);
	for (size_t i = 0; i < changes.n; i++)
		free(changes.items[i].path);
	free(changes.items);
	return r;
}
