/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Directories that import has put aside. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fsd/core/json.h"
#include "fsd/worker/kept.h"
#include "fsd/worker/kept_priv.h"
#include "fsd/worker/meta.h"
#include "fsd/worker/state.h"
#include "fsd/worker/step.h"
#include "fsd/worker/work.h"
#include "snap/base/clock.h"
#include "snap/base/err.h"
#include "snap/base/fd.h"
#include "snap/remove.h"
#include "snap/skip.h"

struct parked {
	char *path;
	uint64_t ino, parent; /* inodes: its own, its directory's */
	int64_t since; /* what is newer by its ctime is not in the site */
	json_t *note;
	struct paths late;
};

static void parked_release(struct parked *p)
{
	paths_release(&p->late);
	json_decref(p->note);
	free(p->path);
}

static int parked_load(const struct kept_pass *s, int site, struct parked *p)
{
	json_t *doc, *value;
	const char *text;
	int r = meta_load(site, META_SITE, s->site, &doc, NULL);

	if (r < 0)
		return r;
	value = json_object_get(doc, "parked");
	text = json_str_at(value, "path");
	p->ino = (uint64_t)json_int_at(value, "ino");
	p->parent = (uint64_t)json_int_at(value, "parent");
	p->since = json_int_at(value, "since");
	p->note = json_incref(value);
	r = text ? json_text_decode(text, &p->path) : -ENOENT;
	json_decref(doc);
	return r < 0 ? r : *p->path == '/' ? 0 : -ENOENT;
}

/* By name and inode: another one of this name is not ours. The fd or -errno. */
static int open_parked(const struct parked *p, int parent, const char *name)
{
	struct stat st;
	int dir = parent < 0 ? parent : fd_open_dir(parent, name);

	if (dir < 0)
		return dir;
	if (strstr(name, SNAP_WORK_PREFIX) && fstat(dir, &st) == 0 && st.st_ino == p->ino)
		return dir;
	close(dir);
	return -ENOENT;
}

static bool is_inode(int fd, uint64_t ino)
{
	struct stat st;

	return fd >= 0 && fstat(fd, &st) == 0 && st.st_ino == ino;
}

/* It cannot be looked at or removed, as err says: tried again until undo_keep is over twice. */
static int give_up_parked(const struct kept_pass *s, const struct parked *p, struct err *err)
{
	if (snap_canceled(s->ctx) || p->since >= s->before - fsd_config(s->f)->undo_keep)
		return -err->num;
	err_hint(err, "it is yours to remove");
	kept_cannot(s, "a directory that import put aside is given up", err);
	err_clear(err);
	return 0;
}

/*
 * It is not where it was put. If the directory that had it is still there, it is gone; else the
 * disk of both may not be mounted.
 */
static int lost_parked(const struct kept_pass *s, const struct parked *p, int parent,
	struct err *err)
{
	int r;

	if (is_inode(parent, p->parent))
		return fd_sync(parent);
	err_set(err, ENOENT, "not_found", p->path,
		"it is not where import put it, nor is its folder");
	r = give_up_parked(s, p, err);
	err_clear(err); /* nothing that somebody would have to do */
	return r;
}

/* Removing changes the ctimes of what is still there, which is no late write for the next look. */
static int note_removal(const struct kept_pass *s, int site, const struct parked *p,
	struct err *err)
{
	char holder[JOB_ID_SIZE];
	int r = -EBUSY;

	json_object_set_new(p->note, "removing", json_true());
	pthread_mutex_lock(&s->f->write_lock);
	if (!jobs_holds(s->f, "site", s->site, true, holder))
		r = meta_change(site, META_SITE, s->site, "parked", json_incref(p->note), err);
	pthread_mutex_unlock(&s->f->write_lock);
	step("kept.removing");
	return r;
}

/* 0: all of it may go, or there are late writes; -errno. */
static int look_at_parked(const struct kept_pass *s, int site, int dir, struct parked *p,
	struct err *err)
{
	bool begun = json_true_at(p->note, "removing");
	int r = begun ? snap_written(dir, p->since + 1, s->ctx, &p->late, err)
		      : snap_changed(dir, p->since + 1, s->ctx, &p->late, err);

	step("kept.looked");
	return r == 0 && !p->late.total && !begun ? note_removal(s, site, p, err) : r;
}

static bool is_absent(int r)
{
	return r == -ENOENT || r == -ENOTDIR || r == -ELOOP || r == -EXDEV;
}

/* It is about what lies in the directory, or the directory. */
static void name_parked(const struct parked *p, struct err *err)
{
	char object[ERR_OBJECT_SIZE];

	if (!err->in_tree)
		return;
	snprintf(object, sizeof(object), "%.250s/%.250s", p->path, err->object);
	strcpy(err->object, object);
	err->in_tree = false;
}

/* With late writes it stays. 0: it is to be forgotten; -errno: not now, and err says why if there
 * is more to it than a job that holds the site. */
static int remove_parked(const struct kept_pass *s, int site, struct parked *p, struct err *err)
{
	_cleanup_fd_ int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	const char *name = NULL;
	_cleanup_fd_ int parent =
		root < 0 ? -errno : work_open_parent(root, p->path + 1, &name);
	_cleanup_fd_ int dir = open_parked(p, parent, name);
	int r;

	if (is_absent(dir))
		return lost_parked(s, p, parent, err);
	r = dir < 0 ? err_sys(err, -dir, "open", p->path) : look_at_parked(s, site, dir, p, err);
	if (r == 0 && !p->late.total) {
		r = snap_remove_held(parent, name, dir, s->ctx, err);
		/* Or it may come back when nobody knows of it. */
		if (r == 0 && (r = fd_sync(parent)) < 0)
			err_sys(err, -r, "fsync", p->path);
		step("kept.removed");
	}
	name_parked(p, err);
	return err->num ? give_up_parked(s, p, err) : r;
}

/* site.json is a job's to change, unless none holds the site. */
static void forget_parked(const struct kept_pass *s, int site, const struct parked *p)
{
	const struct kept_told told = {
		.kind = "import.late_writes",
		.site = s->site,
		.directory = p->path,
		.late = &p->late,
		.reason = "after import had put it aside",
		.hint = "take over what you need, end whoever still writes there, and remove it",
	};
	char holder[JOB_ID_SIZE];

	pthread_mutex_lock(&s->f->write_lock);
	if (!jobs_holds(s->f, "site", s->site, true, holder) &&
		(!p->late.total || kept_tell(s->f, &told) == 0))
		meta_change(site, META_SITE, s->site, "parked", NULL, NULL);
	pthread_mutex_unlock(&s->f->write_lock);
}

void kept_sweep_parked(const struct kept_pass *s, int site, struct err *err)
{
	struct parked p = {.late = PATHS_INIT};

	if (parked_load(s, site, &p) == 0 && p.since < s->before &&
		remove_parked(s, site, &p, err) == 0)
		forget_parked(s, site, &p);
	parked_release(&p);
}

int kept_parked(struct fsd *f, struct pool_root *r, const char *id, struct snap_ctx *ctx,
	struct err *err)
{
	struct kept_pass s = {.f = f, .r = r, .ctx = ctx, .site = id,
		.before = clock_real() - fsd_config(f)->undo_keep};
	_cleanup_fd_ int site = fd_open_dir(r->deleted, id);
	struct parked p = {.late = PATHS_INIT};
	bool left;

	if (site < 0)
		return 0;
	kept_sweep_parked(&s, site, err);
	if (err->num) {
		err_hint(err, "import put it aside for deleted site %s, which is kept as long; "
			"make it removable, or move it away", id);
		return -err->num;
	}
	left = parked_load(&s, site, &p) == 0;
	parked_release(&p);
	return left;
}
