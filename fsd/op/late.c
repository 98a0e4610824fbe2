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
#include "fsd/worker/layout.h"
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
	if (r == 0 && change == SNAP_REMOVED && S_ISSOCK(st.st_mode))
		return 0; /* never copied, and reported */
	return r == 0 && ctime_of(&st) <= l->since ? -EBADE : 0;
}

struct verify {
	struct late *late;
	enum snap_change what;
	char path[ERR_OBJECT_SIZE];
};

static int verify_fn(enum snap_change change, const char *path, const char *from, void *arg)
{
	struct verify *v = arg;
	int r = verify_one(change, path, from, v->late);

	if (r < 0) {
		v->what = change;
		snprintf(v->path, sizeof(v->path), "%s", path);
	}
	return r;
}

int late_verify(struct late *l, struct err *err)
{
	const struct snap_diff_opts opts = {.full = true, .ignore_dir_mtime = true};
	struct verify v = {.late = l};
	int r = snap_diff(l->from, l->to, &opts, l->ctx, verify_fn, &v, err);

	if (r != -EBADE)
		return r;
	err_set(err, EIO, "verify_failed", v.path,
		"the copy differs from what was copied: %s; nothing was changed",
		v.what == SNAP_REMOVED	  ? "it is missing"
		: v.what == SNAP_METADATA ? "owner, mode, time, extended attributes or hard links"
					  : "its content");
	err_in_tree(err);
	if (v.what == SNAP_METADATA)
		err_hint(err, "where the copy lies they cannot all be kept: fsctl site import "
			"without --move, or fsctl restore --to, leaves the original and tells what "
			"the copy lacks");
	else
		err_hint(err, "try again; if it differs again, look for errors of the disk and the "
			"memory (dmesg)");
	return -EIO;
}

/* ---- merge ---- */

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

/*
 * What comes over waits in the work directory `.fsd-JOB` of `to` under a number, and by an exchange
 * what it replaces gets that name: it is kept, since somebody may hold it. WORK_PLAN there lists
 * them, each before it is exchanged: {"made", "since", "items": [{"path", "name", "staged": the
 * inode that waits, "ino", "size", "mtime": of what was judged ("ino" 0: nothing was there)}]}, and
 * "done" once all is over (worker/kept.h).
 *
 * Names of one inode come together: an exchange changes the ctime that tells whose the others are,
 * so all are judged before the first. They are listed at once, with links of one copy.
 */
#define ITEMS_MAX 2000 /* the plan is written anew for each */
#define BOTH_WRITTEN "written after it was copied, and so was the copy"

struct merge {
	struct late *late;
	int work; /* -1: not needed yet */
	json_t *plan, *items; /* the latter borrowed from it */
	unsigned next;	      /* number in the work directory */
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

/* ---- items ---- */

static const char *name_of(const json_t *item)
{
	return json_str_at(item, "name");
}

static json_t *item_new(struct merge *m, const char *path, const struct stat *judged)
{
	char name[16];

	snprintf(name, sizeof(name), "%u", m->next++);
	return json_pack("{s:o,s:s,s:I,s:I,s:I}", "path", json_text(path), "name", name, "ino",
		(json_int_t)judged->st_ino, "size", (json_int_t)judged->st_size, "mtime",
		(json_int_t)clock_of(&judged->st_mtim));
}

static bool is_judged(const struct stat *st, const json_t *item)
{
	return (int64_t)st->st_ino == json_int_at(item, "ino") &&
	       st->st_size == json_int_at(item, "size") &&
	       clock_of(&st->st_mtim) == json_int_at(item, "mtime");
}

enum holds {
	HOLDS_NOTHING, /* it was put where nothing was */
	HOLDS_STAGED,  /* it waits, or is back */
	HOLDS_OLD,     /* what it replaced */
};

static int holds(const struct merge *m, const json_t *item)
{
	struct stat st;

	if (fstatat(m->work, name_of(item), &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? HOLDS_NOTHING : -errno;
	return (int64_t)st.st_ino == json_int_at(item, "staged") ? HOLDS_STAGED : HOLDS_OLD;
}

static int store_plan(struct merge *m, struct err *err)
{
	const char *site = m->late->job->site_name;
	int r = meta_store(m->work, WORK_PLAN, site, m->plan, err);

	if (r == 0 && (r = fd_sync(m->work)) < 0)
		r = err_sys(err, -r, "fsync", site);
	return r;
}

/* Of those from `first` on only what keeps something stays listed; what waits still goes. */
static void prune(struct merge *m, size_t first)
{
	for (size_t i = json_array_size(m->items); i-- > first;) {
		json_t *item = json_array_get(m->items, i);
		int r = holds(m, item);

		if (r == HOLDS_STAGED)
			snap_remove(m->work, name_of(item), m->late->ctx, NULL);
		if (r == HOLDS_STAGED || r == HOLDS_NOTHING)
			json_array_remove(m->items, i);
	}
}

/* ---- stage ---- */

/* A copy of the old one's entry as work/NAME. */
static int stage_copy(struct merge *m, const char *path, const char *name, struct err *err)
{
	const struct snap_copy_opts opts = {
		.reflink = m->late->reflink,
		.durable = true,
		.source_is_live = true,
		.keep_owners = true,
	};
	struct snap_copy_result copied = {0};
	const char *leaf;
	_cleanup_fd_ int parent = work_open_parent(m->late->from, path, &leaf);
	int r;

	if (parent < 0)
		return err_sys(err, -parent, "open", path);
	r = snap_copy_entry(parent, leaf, m->work, name, &opts, m->late->ctx, &copied, err);
	snap_copy_result_release(&copied);
	return r;
}

static int stage(struct merge *m, const char *path, json_t *group, struct err *err)
{
	const char *first = name_of(json_array_get(group, 0));
	struct stat st;
	json_t *item;
	size_t i;
	int r = 0;

	json_array_foreach(group, i, item) {
		if (i == 0)
			r = stage_copy(m, path, first, err);
		else if (r == 0 && linkat(m->work, first, m->work, name_of(item), 0) < 0)
			r = -errno;
	}
	if (r == 0 && fstatat(m->work, first, &st, AT_SYMLINK_NOFOLLOW) < 0)
		r = -errno;
	json_array_foreach(group, i, item) {
		if (r == 0)
			json_object_set_new(item, "staged", json_integer((json_int_t)st.st_ino));
	}
	step("late.staged");
	return r;
}

/* ---- put in place ---- */

/* What came out of the tree goes back, unless it is what was judged. 0 or -errno; -EBUSY: back. */
static int check_put(const struct merge *m, int parent, const char *leaf, const json_t *item)
{
	struct stat st;

	if (fstatat(m->work, name_of(item), &st, AT_SYMLINK_NOFOLLOW) == 0 && is_judged(&st, item))
		return 0;
	if (renameat2(m->work, name_of(item), parent, leaf, RENAME_EXCHANGE) < 0)
		return -errno;
	return -EBUSY;
}

/* Written to since it was judged? That moves its ctime, whatever becomes of size and mtime; but so
 * does the exchange of another name of it. */
static bool is_written(const struct merge *m, int parent, const char *leaf)
{
	struct stat st;
	json_t *item;
	size_t i;

	if (fstatat(parent, leaf, &st, AT_SYMLINK_NOFOLLOW) < 0 || ctime_of(&st) <= m->late->until)
		return false;
	json_array_foreach(m->items, i, item) {
		if (json_int_at(item, "ino") == (int64_t)st.st_ino &&
			json_int_at(item, "taken") == ctime_of(&st))
			return false;
	}
	return true;
}

static int put(const struct merge *m, const char *path, json_t *item)
{
	const char *leaf;
	_cleanup_fd_ int parent = work_open_parent(m->late->to, path, &leaf);
	bool replaces = json_int_at(item, "ino");
	int r = 0;

	if (parent < 0)
		return parent;
	if (replaces && is_written(m, parent, leaf))
		return -EBUSY;
	step("late.looked");
	if (renameat2(m->work, name_of(item), parent, leaf,
		    replaces ? RENAME_EXCHANGE : RENAME_NOREPLACE) < 0)
		r = -errno;
	step("late.exchanged");
	if (r == 0 && replaces)
		r = check_put(m, parent, leaf, item);
	if (r == 0 && replaces)
		work_note_taken(m->work, item);
	step("late.put");
	return r == 0 ? fd_sync(parent) : r;
}

static int put_item(struct merge *m, json_t *item, int r, const struct err *err)
{
	_cleanup_free_ char *path = NULL;
	int decoded = json_text_decode(json_str_at(item, "path"), &path);

	if (decoded < 0)
		return decoded;
	if (r == 0)
		r = put(m, path, item);
	if (r < 0)
		leave(m, path, err->num ? err->reason : r == -EBUSY ? BOTH_WRITTEN : strerror(-r));
	else
		m->late->merged++;
	return 0;
}

/* A copy of the old one's `path` for each item. Where a single one is put and replaces nothing,
 * nothing has to be known of it after a crash. */
static int bring(struct merge *m, const char *path, json_t *group)
{
	struct err err = ERR_INIT;
	size_t first = json_array_size(m->items), i;
	int r = stage(m, path, group, &err), ret = 0;
	json_t *item;

	json_array_extend(m->items, group);
	if (r == 0 && (json_array_size(group) > 1 || json_int_at(json_array_get(group, 0), "ino")))
		r = store_plan(m, &err);
	json_array_foreach(group, i, item) {
		if (ret == 0)
			ret = put_item(m, item, r, &err);
	}
	prune(m, first);
	return ret;
}

/* ---- judge ---- */

/* Is it to come over? *now is what it then replaces, of which st_ino 0: nothing. */
static bool judge(struct merge *m, const struct change *c, size_t more, struct stat *now)
{
	struct late *l = m->late;
	struct stat old;
	int r;

	if (c->what == SNAP_REMOVED) {
		if (look(l->to, c->path, now) == 0 && ctime_of(now) <= l->until)
			tell(m, c->path, "removed after it was copied; the copy stays");
		return false;
	}
	if (look(l->from, c->path, &old) < 0 || ctime_of(&old) <= l->since)
		return false; /* as it was copied: the other side changed it */
	/* When a directory's came to differ cannot be told: each new entry changes its ctime. */
	if (c->what == SNAP_METADATA && S_ISDIR(old.st_mode)) {
		leave(m, c->path, "the directory's owner, mode or attributes are not those "
			"of the copy");
		return false;
	}
	r = look(l->to, c->path, now);
	if (r < 0)
		*now = (struct stat){0};
	if (r == 0 && ctime_of(now) > l->until) {
		leave(m, c->path, BOTH_WRITTEN);
		return false;
	}
	/* Of what is beneath one that became something else, nobody could say whose it is. */
	if (r == 0 && S_ISDIR(now->st_mode)) {
		leave(m, c->path, "it is a directory in the copy");
		return false;
	}
	if (r == 0 && json_array_size(m->items) + more >= ITEMS_MAX) {
		leave(m, c->path, "too many were written after they were copied");
		return false;
	}
	return true;
}

static void add_judged(struct merge *m, struct change *c, json_t *group)
{
	struct stat now;

	c->done = true;
	if (judge(m, c, json_array_size(group), &now))
		json_array_append_new(group, item_new(m, c->path, &now));
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
		r = bring(m, c->path, group);
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

		if (look(l->from, c->path, &st) == 0 && !S_ISDIR(st.st_mode) && st.st_nlink > 1)
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
	r = store_plan(m, err);
	return r == 0 ? sync_to(m, err) : r;
}

static int end(struct merge *m, struct err *err)
{
	return json_array_size(m->items) ? keep_work(m, err) : drop_work(m, err);
}

/* ---- after a crash ---- */

/* A visitor's write that an exchange took out, and a crash kept from being seen, goes back. What
 * its name in the work directory holds then (enum holds), or -errno. */
static int mend_item(struct merge *m, const json_t *item, const char *path)
{
	const char *leaf;
	_cleanup_fd_ int parent = -1;
	struct stat st;
	int r = holds(m, item);

	if (r != HOLDS_OLD)
		return r;
	parent = work_open_parent(m->late->to, path, &leaf);
	if (parent < 0 || fstatat(parent, leaf, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
		(int64_t)st.st_ino != json_int_at(item, "staged"))
		return HOLDS_OLD; /* something newer still has taken the place */
	r = check_put(m, parent, leaf, item);
	if (r == -EBUSY)
		r = fd_sync(parent);
	else if (r == 0)
		return HOLDS_OLD;
	return r < 0 ? r : HOLDS_STAGED;
}

/* The names of one inode, from `first` on: when one is in place, so are all. */
static int mend(struct merge *m, size_t first, bool put_rest)
{
	bool begun = false;

	for (size_t i = first; i < json_array_size(m->items); i++) {
		json_t *item = json_array_get(m->items, i);
		_cleanup_free_ char *path = NULL;
		int r = json_text_decode(json_str_at(item, "path"), &path);

		if (r == 0 && !name_of(item))
			r = -EBADMSG;
		if (r == 0)
			r = mend_item(m, item, path);
		if (r < 0)
			return r;
		if (r == HOLDS_OLD && !json_int_at(item, "taken"))
			work_note_taken(m->work, item);
		begun |= r != HOLDS_STAGED;
		if (put_rest && r == HOLDS_STAGED)
			put(m, path, item); /* what cannot be is told as a difference */
	}
	if (begun && !put_rest)
		return mend(m, first, true);
	prune(m, first);
	return 0;
}

static size_t last_group(const json_t *items)
{
	size_t n = json_array_size(items), first = n;

	while (first && json_int_at(json_array_get(items, first - 1), "staged") ==
				json_int_at(json_array_get(items, n - 1), "staged"))
		first--;
	return first;
}

/* What no item names was just being staged. */
static int sweep_name(const char *name, void *arg)
{
	struct merge *m = arg;
	json_t *item;
	size_t i;

	if (strcmp(name, WORK_PLAN) == 0)
		return 0;
	json_array_foreach(m->items, i, item) {
		if (name_of(item) && strcmp(name_of(item), name) == 0)
			return 0;
	}
	return snap_remove(m->work, name, m->late->ctx, NULL);
}

static unsigned next_name(const json_t *items)
{
	unsigned next = 0;
	json_t *item;
	size_t i;

	json_array_foreach(items, i, item) {
		unsigned long n = name_of(item) ? strtoul(name_of(item), NULL, 10) : 0;

		next = n >= next ? (unsigned)n + 1 : next;
	}
	return next;
}

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
	m->next = next_name(m->items);
	r = layout_each_name(m->work, sweep_name, m);
	if (r == 0 && m->items)
		r = mend(m, last_group(m->items), false);
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
