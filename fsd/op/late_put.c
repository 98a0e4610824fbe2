/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fsd/op/late_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fsd/core/json.h"
#include "fsd/worker/jobs.h"
#include "fsd/worker/layout.h"
#include "fsd/worker/meta.h"
#include "fsd/worker/step.h"
#include "fsd/worker/work.h"
#include "snap/base/err.h"
#include "snap/base/fd.h"
#include "snap/copy.h"
#include "snap/remove.h"

void merge_tell(struct merge *m, const char *path, const char *why)
{
	if (m->told++ < WARNINGS_MAX)
		job_warn(m->late->job, "%s in %s: %s", path, m->late->old_name, why);
}

void merge_leave(struct merge *m, const char *path, const char *why)
{
	m->late->left++;
	merge_tell(m, path, why);
}

/* ---- items ---- */

static const char *name_of(const json_t *item)
{
	return json_str_at(item, "name");
}

json_t *merge_item(struct merge *m, const char *path, const struct stat *judged)
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
	HOLDS_STAGED,  /* it waits, or is back; a part of it without "staged" */
	HOLDS_OLD,     /* what it replaced */
};

static int holds(const struct merge *m, const json_t *item)
{
	int64_t staged;
	struct stat st;

	if (fstatat(m->work, name_of(item), &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? HOLDS_NOTHING : -errno;
	staged = json_int_at(item, "staged");
	return !staged || (int64_t)st.st_ino == staged ? HOLDS_STAGED : HOLDS_OLD;
}

int merge_store_plan(struct merge *m, struct err *err)
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

bool merge_is_written(const struct merge *m, const struct stat *st)
{
	json_t *item;
	size_t i;

	if (late_ctime(st) <= m->late->until)
		return false;
	json_array_foreach(m->items, i, item) {
		if (json_int_at(item, "ino") == (int64_t)st->st_ino &&
			json_int_at(item, "taken") == late_ctime(st))
			return false;
	}
	return true;
}

/* Since it was judged? */
static bool is_written(const struct merge *m, int parent, const char *leaf)
{
	struct stat st;

	return fstatat(parent, leaf, &st, AT_SYMLINK_NOFOLLOW) == 0 && merge_is_written(m, &st);
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
		merge_leave(m, path,
			err->num      ? err->reason
			: r == -EBUSY ? BOTH_WRITTEN
				      : strerror(-r));
	else
		m->late->merged++;
	return 0;
}

/* A copy of the old one's `path` for each item. Where a single one is put and replaces nothing,
 * nothing has to be known of it after a crash. */
int merge_bring(struct merge *m, const char *path, json_t *group)
{
	struct err err = ERR_INIT;
	size_t first = json_array_size(m->items), i;
	int r = stage(m, path, group, &err), ret = 0;
	json_t *item;

	json_array_extend(m->items, group);
	if (r == 0 && (json_array_size(group) > 1 || json_int_at(json_array_get(group, 0), "ino")))
		r = merge_store_plan(m, &err);
	json_array_foreach(group, i, item) {
		if (ret == 0)
			ret = put_item(m, item, r, &err);
	}
	prune(m, first);
	return ret;
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

int merge_mend(struct merge *m)
{
	int r;

	m->next = next_name(m->items);
	r = layout_each_name(m->work, sweep_name, m);
	return r == 0 && m->items ? mend(m, last_group(m->items), false) : r;
}
