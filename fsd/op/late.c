/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fsd/op/late_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "fsd/core/json.h"
#include "fsd/op/path_list.h"
#include "fsd/worker/jobs.h"
#include "fsd/worker/meta.h"
#include "fsd/worker/step.h"
#include "fsd/worker/work.h"
#include "snap/base/err.h"
#include "snap/base/fd.h"
#include "snap/diff.h"
#include "snap/settle.h"
#include "snap/skip.h"

#define CHANGES_MAX 100000 /* more than that is not "late" */
#define ITEMS_MAX 2000	   /* the plan is written anew for each */

int64_t late_now(void)
{
	int64_t now = clock_real();

	while (settle_now() <= now)
		nanosleep(&(struct timespec){.tv_nsec = NSEC_PER_MSEC}, NULL);
	return now;
}

int late_look(int root, const char *path, struct stat *st)
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

/* ---- what differs ---- */

struct change {
	enum snap_change what; /* seen from `to`: '+' is missing there */
	char *path;
	uint64_t inode; /* of the old one, where that has several names; else 0 */
	bool done;
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
	c->items[c->n] = (struct change){what, strdup(path), 0, false};
	return c->items[c->n++].path ? 0 : -ENOMEM;
}

/* ---- judge ---- */

/* Is it to come over? *now is what it then replaces, of which st_ino 0: nothing. */
static bool judge(struct merge *m, const struct change *c, size_t more, struct stat *now)
{
	struct late *l = m->late;
	struct stat old;
	int r;

	if (c->what == SNAP_REMOVED) {
		if (late_look(l->to, c->path, now) == 0 && !merge_is_written(m, now))
			merge_tell(m, c->path, "removed after it was copied; the copy stays");
		return false;
	}
	if (late_look(l->from, c->path, &old) < 0 || late_ctime(&old) <= l->since)
		return false; /* as it was copied: the other side changed it */
	/* When a directory's came to differ cannot be told: each new entry changes its ctime. */
	if (c->what == SNAP_METADATA && S_ISDIR(old.st_mode)) {
		merge_leave(m, c->path, "the directory's owner, mode or attributes are not those "
			"of the copy");
		return false;
	}
	r = late_look(l->to, c->path, now);
	if (r < 0)
		*now = (struct stat){0};
	if (r == 0 && merge_is_written(m, now)) {
		merge_leave(m, c->path, BOTH_WRITTEN);
		return false;
	}
	/* Of what is beneath one that became something else, nobody could say whose it is. */
	if (r == 0 && S_ISDIR(now->st_mode)) {
		merge_leave(m, c->path, "it is a directory in the copy");
		return false;
	}
	if (r == 0 && json_array_size(m->items) + more >= ITEMS_MAX) {
		merge_leave(m, c->path, "too many were written after they were copied");
		return false;
	}
	return true;
}

static void add_judged(struct merge *m, struct change *c, json_t *group)
{
	struct stat now;

	c->done = true;
	if (judge(m, c, json_array_size(group), &now))
		json_array_append_new(group, merge_item(m, c->path, &now));
}

static bool has_folder(int root, const char *path)
{
	const char *leaf;
	_cleanup_fd_ int parent = work_open_parent(root, path, &leaf);

	return parent >= 0;
}

/* One difference, with the other names of its inode: whose is it, and what follows? */
static int merge_one(struct merge *m, struct change *c, const struct change *end)
{
	json_t *group = json_array();
	int r = 0;

	add_judged(m, c, group);
	for (struct change *o = c + 1; c->inode && json_array_size(group) && o < end; o++) {
		if (o->inode == c->inode && has_folder(m->late->to, o->path))
			add_judged(m, o, group);
	}
	if (json_array_size(group))
		r = merge_bring(m, c->path, group);
	json_decref(group);
	return r;
}

/* What was handled as a whole takes what is below it along. */
static bool handled_whole(const struct change *c)
{
	return c->what != SNAP_METADATA && strcmp(c->path, ".") != 0;
}

static void find_links(const struct late *l, const struct changes *changes)
{
	for (size_t i = 0; i < changes->n; i++) {
		struct change *c = &changes->items[i];
		struct stat st;

		if (late_look(l->from, c->path, &st) == 0 && !S_ISDIR(st.st_mode) &&
			st.st_nlink > 1)
			c->inode = st.st_ino;
	}
}

static int merge_each(struct merge *m, const struct changes *changes)
{
	const struct change *last = NULL;
	int r = 0;

	find_links(m->late, changes);
	for (size_t i = 0; i < changes->n && r == 0; i++) {
		struct change *c = &changes->items[i];
		uint64_t before = m->late->merged + m->told;

		if (c->done ||
			(last && strcmp(c->path, last->path) != 0 &&
				path_is_below(c->path, last->path)))
			continue;
		r = merge_one(m, c, changes->items + changes->n);
		last = m->late->merged + m->told > before && handled_whole(c) ? c : last;
	}
	if (m->told > WARNINGS_MAX)
		job_warn(m->late->job, "%" PRIu64 " more paths in %s were not brought over",
			m->told - WARNINGS_MAX, m->late->old_name);
	return r;
}

/* ---- the work directory ---- */

static void work_name(const struct late *l, char out[32])
{
	snprintf(out, 32, SNAP_WORK_PREFIX "%s", l->job->text);
}

static int sync_to(struct merge *m, struct err *err)
{
	int r = fd_sync(m->late->to); /* before what tells of it is forgotten */

	return r < 0 ? err_sys(err, -r, "fsync", m->late->job->text) : 0;
}

static int drop_work(struct merge *m, struct err *err)
{
	char name[32];
	int r;

	work_name(m->late, name);
	r = work_remove(m->late->to, name, m->work, m->late->ctx, err);
	step("late.swept");
	return r == 0 ? sync_to(m, err) : r;
}

static int keep_work(struct merge *m, struct err *err)
{
	int r;

	json_object_set_new(m->plan, "done", json_integer(clock_real()));
	r = merge_store_plan(m, err);
	return r == 0 ? sync_to(m, err) : r;
}

static int end(struct merge *m, struct err *err)
{
	return json_array_size(m->items) ? keep_work(m, err) : drop_work(m, err);
}

/* ---- the whole ---- */

static void merge_release(struct merge *m)
{
	fd_close(&m->work);
	json_decref(m->plan);
}
#define _cleanup_merge_ __attribute__((cleanup(merge_release)))

/* Go on with the work directory that a crash left. */
static int resume(struct merge *m, const char *name, struct err *err)
{
	int r;

	m->work = work_open(m->late->to, name);
	if (m->work == -ENOENT)
		return 0;
	if (m->work < 0)
		return err_sys(err, -m->work, "open the work directory", name);
	r = meta_load(m->work, WORK_PLAN, name, &m->plan, err);
	if (r < 0 && r != -ENOENT)
		return r;
	err_clear(err);
	m->items = json_object_get(m->plan, "items");
	r = merge_mend(m);
	return r < 0 ? err_sys(err, -r, "put back", name) : 0;
}

/* The work directory, marked as one, which a crash may have come before. */
static int begin(struct merge *m, const char *name, struct err *err)
{
	fd_close(&m->work);
	m->work = work_make(m->late->to, name, err);
	if (m->work < 0)
		return m->work;
	if (!m->plan) {
		json_int_t now = late_now();

		m->plan = json_pack("{s:i,s:s,s:s,s:I,s:I,s:[]}", "format", META_FORMAT, "job",
			m->late->job->text, "site", m->late->job->site_id, "made", now, "since",
			now, "items");
	}
	m->items = json_object_get(m->plan, "items");
	return m->items ? 0 : err_sys(err, ENOMEM, "merge", name);
}

static int merge_all(struct merge *m, const struct changes *changes, const char *name,
	struct err *err)
{
	int r;

	if (m->work < 0 && !changes->n)
		return 0;
	r = begin(m, name, err);
	if (r < 0)
		return r;
	r = merge_each(m, changes);
	return r < 0 ? err_sys(err, -r, "merge", name) : end(m, err);
}

int late_merge(struct late *l, struct err *err)
{
	const struct snap_diff_opts opts = {
		.ignore_dir_mtime = true, .trusted_until = {0, l->since}};
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
