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

/*
 * What comes over waits in the work directory `.fsd-JOB` of `to` under a number, and by an exchange
 * what it replaces gets that name: it is kept, since somebody may hold it. WORK_PLAN there lists
 * them, each before it is exchanged: {"made", "items": [{"path", "name", "staged": the inode that
 * waits, "ino", "size", "mtime": of what was judged}]}, and "done" once all is over (worker/kept.h).
 */
#define ITEMS_MAX 2000 /* the plan is written anew for each */

struct merge {
	struct late *late;
	int work; /* -1: not needed yet */
	json_t *plan, *items; /* the latter borrowed from it */
	uint64_t told;
};

static void merge_release(struct merge *m)
{
	fd_close(&m->work);
	json_decref(m->plan);
}
#define _cleanup_merge_ __attribute__((cleanup(merge_release)))

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

/* The name of what comes next. */
static void next_name(const struct merge *m, char out[16])
{
	snprintf(out, 16, "%zu", json_array_size(m->items));
}

/* A copy of the old one's entry as work/NAME. */
static int stage(struct merge *m, const char *path, const char *name, struct err *err)
{
	const struct snap_copy_opts opts = {
		.reflink = m->late->reflink,
		.durable = true,
		.source_is_live = true,
	};
	struct snap_copy_result copied = {0};
	const char *leaf;
	_cleanup_fd_ int parent = work_open_parent(m->late->from, path, &leaf);
	int r;

	if (parent < 0)
		return err_sys(err, -parent, "open", path);
	r = snap_remove(m->work, name, m->late->ctx, err);
	if (r == 0)
		r = snap_copy_entry(parent, leaf, m->work, name, &opts, m->late->ctx, &copied, err);
	snap_copy_result_release(&copied);
	return r;
}

/* ---- put in place ---- */

static bool is_judged(const struct stat *st, const json_t *item)
{
	return (json_int_t)st->st_ino == json_integer_value(json_object_get(item, "ino")) &&
	       st->st_size == json_integer_value(json_object_get(item, "size")) &&
	       clock_of(&st->st_mtim) == json_integer_value(json_object_get(item, "mtime"));
}

static json_t *item_new(const char *path, const char *name, const struct stat *staged,
	const struct stat *judged)
{
	return json_pack("{s:o,s:s,s:I,s:I,s:I,s:I}", "path", json_text(path), "name", name, "staged",
		(json_int_t)staged->st_ino, "ino", (json_int_t)judged->st_ino, "size",
		(json_int_t)judged->st_size, "mtime", (json_int_t)clock_of(&judged->st_mtim));
}

static int store_plan(struct merge *m, struct err *err)
{
	return meta_store(m->work, WORK_PLAN, m->plan, err);
}

/* What came out of the tree goes back, unless it is what was judged. 0 or -errno; -EBUSY: back. */
static int check_put(int work, const char *name, int parent, const char *leaf, const json_t *item)
{
	struct stat st;

	if (fstatat(work, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && is_judged(&st, item))
		return 0;
	if (renameat2(work, name, parent, leaf, RENAME_EXCHANGE) < 0)
		return -errno;
	return -EBUSY;
}

static int replace(struct merge *m, int parent, const char *leaf, const char *path, const char *name,
	const struct stat *judged, struct err *err)
{
	struct stat staged;
	json_t *item;
	bool out;
	int r;

	if (fstatat(m->work, name, &staged, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	item = item_new(path, name, &staged, judged);
	json_array_append_new(m->items, item);
	r = store_plan(m, err);
	if (r == 0 && renameat2(m->work, name, parent, leaf, RENAME_EXCHANGE) < 0)
		r = -errno;
	step("late.exchanged");
	out = r == 0;
	if (out)
		r = check_put(m->work, name, parent, leaf, item);
	if (!out || r == -EBUSY)
		json_array_remove(m->items, json_array_size(m->items) - 1);
	return r;
}

static int put(struct merge *m, const char *path, const struct stat *judged, struct err *err)
{
	char name[16];
	const char *leaf;
	_cleanup_fd_ int parent = work_open_parent(m->late->to, path, &leaf);
	int r;

	if (parent < 0)
		return parent;
	next_name(m, name);
	r = stage(m, path, name, err);
	if (r < 0)
		return r;
	step("late.staged");
	if (judged)
		r = replace(m, parent, leaf, path, name, judged, err);
	else if (renameat2(m->work, name, parent, leaf, RENAME_NOREPLACE) < 0)
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
	/* Of what is beneath one that became something else, nobody could say whose it is. */
	if (r == 0 && S_ISDIR(now.st_mode)) {
		leave(m, c->path, "it is a directory in the copy");
		return;
	}
	if (r == 0 && json_array_size(m->items) >= ITEMS_MAX) {
		leave(m, c->path, "too many were written after they were copied");
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

/* ---- the work directory ---- */

static int sync_work(struct merge *m, struct err *err)
{
	int r = fd_sync(m->work);

	if (r == 0)
		r = fd_sync(m->late->to); /* before what tells of it is forgotten */
	return r < 0 ? err_sys(err, -r, "fsync", m->late->job->text) : 0;
}

static int drop_work(struct merge *m, struct err *err)
{
	struct late *l = m->late;
	char name[32];
	int r;

	work_name(l, name);
	r = snap_remove_held(l->to, name, m->work, l->ctx, err);
	step("late.swept");
	if (r == 0 && (r = fd_sync(l->to)) < 0)
		err_sys(err, -r, "fsync", name);
	return r;
}

static int keep_work(struct merge *m, struct err *err)
{
	int r;

	json_object_set_new(m->plan, "done", json_integer(clock_real()));
	r = store_plan(m, err);
	return r == 0 ? sync_work(m, err) : r;
}

static int end(struct merge *m, struct err *err)
{
	return json_array_size(m->items) ? keep_work(m, err) : drop_work(m, err);
}

/* A visitor's write that an exchange took out, and a crash kept from being seen, goes back. 1: the
 * item stands; 0: what is in the work directory was never in place, or is not any more; -errno. */
static int mend_item(struct merge *m, const json_t *item)
{
	_cleanup_free_ char *path = NULL;
	_cleanup_fd_ int parent = -1;
	json_int_t staged = json_integer_value(json_object_get(item, "staged"));
	const char *name = json_string_value(json_object_get(item, "name")), *leaf;
	struct stat st;
	int r;

	if (!name || json_text_decode(json_string_value(json_object_get(item, "path")), &path) < 0)
		return -EBADMSG;
	if (fstatat(m->work, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : -errno;
	if ((json_int_t)st.st_ino == staged) /* not exchanged, or back again */
		return 0;
	parent = work_open_parent(m->late->to, path, &leaf);
	if (parent < 0 || fstatat(parent, leaf, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
		(json_int_t)st.st_ino != staged)
		return 1; /* something newer still has taken the place */
	r = check_put(m->work, name, parent, leaf, item);
	if (r == -EBUSY)
		return fd_sync(parent);
	return r < 0 ? r : 1;
}

/* Go on with the work directory that a crash left. */
static int resume(struct merge *m, const char *name, struct err *err)
{
	size_t n;
	int r;

	m->work = work_open(m->late->to, name);
	if (m->work == -ENOENT)
		return 0;
	if (m->work < 0)
		return err_sys(err, -m->work, "open the work directory", name);
	r = meta_load(m->work, WORK_PLAN, name, &m->plan, err);
	if (r == -ENOENT) {
		err_clear(err);
		return 0;
	}
	if (r < 0)
		return r;
	m->items = json_object_get(m->plan, "items");
	n = json_array_size(m->items);
	r = n ? mend_item(m, json_array_get(m->items, n - 1)) : 1;
	if (r == 0)
		json_array_remove(m->items, n - 1);
	return r < 0 ? err_sys(err, -r, "put back", name) : 0;
}

static int begin(struct merge *m, const char *name, struct err *err)
{
	if (m->work < 0)
		m->work = work_make(m->late->to, name, err);
	if (m->work < 0)
		return m->work;
	if (!m->plan)
		m->plan = json_pack("{s:i,s:s,s:s,s:I,s:[]}", "format", META_FORMAT, "job",
			m->late->job->text, "site", m->late->job->site_id, "made",
			(json_int_t)late_now(), "items");
	m->items = json_object_get(m->plan, "items");
	return m->items ? 0 : err_sys(err, ENOMEM, "merge", name);
}

static void merge_each(struct merge *m, const struct changes *changes)
{
	const struct change *last = NULL;

	for (size_t i = 0; i < changes->n; i++) {
		const struct change *c = &changes->items[i];
		uint64_t before = m->late->merged + m->told;

		if (last && strcmp(c->path, last->path) != 0 && path_is_below(c->path, last->path))
			continue;
		merge_one(m, c);
		last = m->late->merged + m->told > before && handled_whole(c) ? c : last;
	}
	if (m->told > WARNINGS_MAX)
		job_warn(m->late->job, "%" PRIu64 " more paths in %s were not brought over",
			m->told - WARNINGS_MAX, m->late->old_name);
}

static int merge_all(struct merge *m, const struct changes *changes, const char *name, struct err *err)
{
	int r;

	if (m->work < 0 && !changes->n)
		return 0;
	r = begin(m, name, err);
	if (r < 0)
		return r;
	merge_each(m, changes);
	return end(m, err);
}

int late_merge(struct late *l, struct err *err)
{
	const struct snap_diff_opts opts = {.ignore_dir_mtime = true, .trusted_until = {0, l->since}};
	_cleanup_merge_ struct merge m = {.late = l, .work = -1};
	struct changes changes = {0};
	char name[32];
	int r;

	work_name(l, name);
	r = resume(&m, name, err);
	if (r == 0)
		r = snap_diff(l->to, l->from, &opts, l->ctx, collect, &changes, err);
	if (r == -E2BIG)
		r = err_set(err, E2BIG, "too_large", l->old_name,
			"more than %d paths differ from the copy", CHANGES_MAX);
	if (r == 0)
		r = merge_all(&m, &changes, name, err);
	for (size_t i = 0; i < changes.n; i++)
		free(changes.items[i].path);
	free(changes.items);
	return r;
}
