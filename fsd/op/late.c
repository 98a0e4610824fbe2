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

#include "fsd/core/json.h"
#include "fsd/op/path_list.h"
#include "fsd/worker/jobs.h"
#include "fsd/worker/meta.h"
#include "fsd/worker/step.h"
#include "fsd/worker/work.h"
#include "snap/base/clock.h"
#include "snap/base/err.h"
#include "snap/base/fd.h"
#include "snap/copy.h"
#include "snap/diff.h"
#include "snap/remove.h"
#include "snap/settle.h"
#include "snap/skip.h"

#define CHANGES_MAX 100000 /* more than that is not "late" */
#define WARNINGS_MAX 50

int64_t late_now(void)
{
	int64_t now = clock_real();

	while (settle_now() <= now)
		nanosleep(&(struct timespec){.tv_nsec = NSEC_PER_MSEC}, NULL);
	return now;
}

static int64_t clock_of(const struct timespec *t)
{
	return t->tv_sec * NSEC_PER_SEC + t->tv_nsec;
}

static int64_t ctime_of(const struct stat *st)
{
	return clock_of(&st->st_ctim);
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

struct merge {
	struct late *late;
	int work;      /* `.fsd-JOB` in `to` */
	uint64_t told; /* paths */
};

static void tell(struct merge *m, const char *path, const char *why)
{
	if (m->told++ < WARNINGS_MAX)
		job_warn(m->late->job, "%s in %s: %s", path, m->late->old_name, why);
}

static void leave(struct merge *m, const char *path, const char *why)
{
	m->late->left++;
	tell(m, path, why);
}

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

/* ---- put in place ---- */

/*
 * Of an exchange that is about to happen: {"path", "staged", "ino", "size", "mtime"}, the last
 * three of what was judged, so that whoever comes after a crash knows whose what lies in the work
 * directory is.
 */
#define NOTE "late.json"

static bool is_judged(const struct stat *st, const json_t *note)
{
	return (json_int_t)st->st_ino == json_integer_value(json_object_get(note, "ino")) &&
	       st->st_size == json_integer_value(json_object_get(note, "size")) &&
	       clock_of(&st->st_mtim) == json_integer_value(json_object_get(note, "mtime"));
}

static json_t *note_new(const char *path, const struct stat *staged, const struct stat *judged)
{
	return json_pack("{s:o,s:I,s:I,s:I,s:I}", "path", json_text(path), "staged",
		(json_int_t)staged->st_ino, "ino", (json_int_t)judged->st_ino, "size",
		(json_int_t)judged->st_size, "mtime", (json_int_t)clock_of(&judged->st_mtim));
}

/* What came out of the tree goes back, unless it is what was judged. 0 or -errno; -EBUSY: back. */
static int check_put(int work, int parent, const char *name, const json_t *note)
{
	struct stat st;

	if (fstatat(work, "late", &st, AT_SYMLINK_NOFOLLOW) == 0 && is_judged(&st, note))
		return 0;
	if (renameat2(work, "late", parent, name, RENAME_EXCHANGE) < 0)
		return -errno;
	return -EBUSY;
}

static int replace(struct merge *m, int parent, const char *name, const char *path,
	const struct stat *judged, struct err *err)
{
	struct stat staged;
	json_t *note;
	int r;

	if (fstatat(m->work, "late", &staged, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	note = note_new(path, &staged, judged);
	r = meta_store(m->work, NOTE, note, err);
	if (r == 0)
		r = renameat2(m->work, "late", parent, name, RENAME_EXCHANGE) < 0 ? -errno : 0;
	step("late.exchanged");
	if (r == 0)
		r = check_put(m->work, parent, name, note);
	json_decref(note);
	return r;
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
		r = replace(m, parent, name, path, judged, err);
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
			tell(m, c->path, "removed after it was copied; the copy stays");
		return;
	}
	if (look(l->from, c->path, &old) < 0 || ctime_of(&old) <= l->since)
		return; /* as it was copied: the other side changed it */
	/* When a directory's came to differ is not to be told: each entry that comes changes its ctime. */
	if (c->what == SNAP_METADATA && S_ISDIR(old.st_mode)) {
		leave(m, c->path, "the directory's owner, mode or attributes are not those of the copy");
		return;
	}
	r = look(l->to, c->path, &now);
	if (c->what != SNAP_ADDED && r == 0 && ctime_of(&now) > l->until) {
		leave(m, c->path, "written after it was copied, and so was the copy");
		return;
	}
	r = put(m, c->path, r == 0 ? &now : NULL, &err);
	if (r < 0)
		leave(m, c->path, err.num ? err.reason : strerror(-r));
	else
		l->merged++;
}

/* What was handled as a whole takes what is below it along. */
static bool handled_whole(const struct change *c)
{
	return c->what != SNAP_METADATA && strcmp(c->path, ".") != 0;
}

static void work_name(const struct late *l, char out[32])
{
	snprintf(out, 32, SNAP_WORK_PREFIX "%s", l->job->text);
}

static int drop_work(struct late *l, int work, struct err *err)
{
	char name[32];
	int r;

	work_name(l, name);
	r = snap_remove_held(l->to, name, work, l->ctx, err);
	step("late.swept");
	if (r == 0 && (r = fd_sync(l->to)) < 0) /* before what tells of it is forgotten */
		err_sys(err, -r, "fsync", name);
	return r;
}

/* A visitor's write that an exchange took out, and a crash kept from being seen, goes back. */
static int mend_exchange(struct late *l, int work, const json_t *note)
{
	_cleanup_free_ char *path = NULL;
	_cleanup_fd_ int parent = -1;
	json_int_t staged = json_integer_value(json_object_get(note, "staged"));
	const char *name;
	struct stat st;

	if (fstatat(work, "late", &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : -errno;
	if ((json_int_t)st.st_ino == staged) /* not exchanged, or back again */
		return 0;
	if (json_text_decode(json_string_value(json_object_get(note, "path")), &path) < 0)
		return -EBADMSG;
	parent = work_open_parent(l->to, path, &name);
	if (parent < 0 || fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
		(json_int_t)st.st_ino != staged)
		return 0; /* something newer still has taken the place */
	return check_put(work, parent, name, note) == -EBUSY ? fd_sync(parent) : 0;
}

/* A work directory that a crash left goes, but for what is a visitor's. */
static int mend(struct late *l, struct err *err)
{
	_cleanup_fd_ int work = -1;
	json_t *note;
	char name[32];
	int r;

	work_name(l, name);
	work = work_open(l->to, name);
	if (work < 0)
		return work == -ENOENT ? 0 : err_sys(err, -work, "open the work directory", name);
	r = meta_load(work, NOTE, name, &note, err);
	if (r == 0) {
		r = mend_exchange(l, work, note);
		json_decref(note);
		if (r < 0)
			return err_sys(err, -r, "put back", name);
	} else if (r == -ENOENT) {
		err_clear(err);
	} else {
		return r;
	}
	return drop_work(l, work, err);
}

static int merge_all(struct late *l, const struct changes *changes, struct err *err)
{
	struct merge m = {.late = l};
	const struct change *last = NULL;
	char name[32];
	int r;

	work_name(l, name);
	m.work = work_make(l->to, name, err);
	if (m.work < 0)
		return m.work;
	for (size_t i = 0; i < changes->n; i++) {
		const struct change *c = &changes->items[i];
		uint64_t before = l->merged + m.told;

		if (last && strcmp(c->path, last->path) != 0 && path_is_below(c->path, last->path))
			continue;
		merge_one(&m, c);
		last = l->merged + m.told > before && handled_whole(c) ? c : last;
	}
	if (m.told > WARNINGS_MAX)
		job_warn(l->job, "%" PRIu64 " more paths in %s were not brought over",
			m.told - WARNINGS_MAX, l->old_name);
	r = drop_work(l, m.work, err);
	fd_close(&m.work);
	return r;
}

int late_merge(struct late *l, struct err *err)
{
	const struct snap_diff_opts opts = {.ignore_dir_mtime = true};
	struct changes changes = {0};
	int r = mend(l, err);

	if (r == 0)
		r = snap_diff(l->to, l->from, &opts, l->ctx, collect, &changes, err);
	if (r == -E2BIG)
		r = err_set(err, E2BIG, "too_large", l->old_name,
			"more than %d paths differ from the copy", CHANGES_MAX);
	if (r == 0 && changes.n)
		r = merge_all(l, &changes, err);
	for (size_t i = 0; i < changes.n; i++)
		free(changes.items[i].path);
	free(changes.items);
	return r;
}
