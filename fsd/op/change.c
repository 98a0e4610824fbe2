/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fsd/op/change.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fsd/core/json.h"
#include "fsd/op/late.h"
#include "fsd/op/told.h"
#include "fsd/worker/meta.h"
#include "fsd/worker/step.h"
#include "fsd/worker/work.h"
#include "snap/base/clock.h"
#include "snap/base/err.h"
#include "snap/base/fd.h"
#include "snap/flush.h"
#include "snap/settle.h"
#include "snap/skip.h"
#include "snap/walk.h"

#define TO_COME 100 /* bytes of a ctime and of a reason, for each item */

const char *change_name(const char *job, char out[CHANGE_NAME_SIZE])
{
	snprintf(out, CHANGE_NAME_SIZE, SNAP_WORK_PREFIX "%s", job);
	return out;
}

static int store(const struct job *job, int work, json_t *plan, struct err *err)
{
	int r = meta_store(work, WORK_PLAN, job->site_name, plan, err);

	if (r == 0 && (r = fd_sync(work)) < 0)
		r = err_sys(err, -r, "fsync", job->site_name);
	return r;
}

/* For who has it mapped: since when do its times tell of all that is written? */
static int64_t flush_replaced(struct job *job, int tree, json_t *items)
{
	int64_t since = settle_now();
	json_t *item;
	size_t i;

	json_array_foreach(items, i, item) {
		_cleanup_free_ char *path = NULL;
		int64_t one;

		if (json_text_decode(json_str_at(item, "path"), &path) < 0)
			continue;
		one = snap_flush(tree, path, &job->ctx);
		since = one < since ? one : since;
	}
	return since;
}

int change_commit(struct job *job, int tree, int work, int64_t generation, json_t *items,
	struct err *err)
{
	int64_t since = flush_replaced(job, tree, items);
	json_t *plan = json_pack("{s:i,s:s,s:s,s:I,s:s*,s:s*,s:I,s:I,s:o}", "format", META_FORMAT,
		"job", job->text, "site", job->site_id, "generation", (json_int_t)generation,
		"method", job->method, "consistency", job->consistency, "made",
		(json_int_t)late_now(), "since", (json_int_t)since, "items", items);
	int r = plan ? 0 : err_sys(err, ENOMEM, "plan", NULL);

	if (r == 0 && json_dumpb(plan, NULL, 0, JSON_INDENT(1)) +
			      TO_COME * (json_array_size(items) + 1) > META_SIZE_MAX)
		r = err_set(err, E2BIG, "too_large", job->site_name,
			"these are too many paths for one change");
	if (r == 0)
		r = store(job, work, plan, err);
	step("change.committed");
	json_decref(plan);
	return r;
}

int change_committed(const struct job *job, int work)
{
	return op_doc_says(work, WORK_PLAN, "job", job->text);
}

/* ---- one item ---- */

struct item {
	json_t *json;
	char *path; /* malloc'd */
	const char *name;
	uint64_t in;
};

static int read_item(json_t *json, struct item *it)
{
	const char *path = json_str_at(json, "path");

	*it = (struct item){.json = json,
		.name = json_str_at(json, "name"),
		.in = (uint64_t)json_int_at(json, "in")};
	if (!path || !it->name || strchr(it->name, '/'))
		return -EBADMSG;
	return json_text_decode(path, &it->path);
}

static void release_item(struct item *it)
{
	free(it->path);
	it->path = NULL;
}
#define _cleanup_item_ __attribute__((cleanup(release_item)))

/* What work/NAME is; st_ino 0 when there is nothing. */
static int held(int work, const char *name, struct stat *st)
{
	if (fstatat(work, name, st, AT_SYMLINK_NOFOLLOW) == 0)
		return 0;
	*st = (struct stat){0};
	return errno == ENOENT ? 0 : -errno;
}

json_t *change_item(int work, json_t *path, const char *name, json_t *wanted)
{
	struct stat st;
	json_t *item;

	if (!name || held(work, name, &st) < 0) {
		json_decref(path);
		json_decref(wanted);
		return NULL;
	}
	item = json_pack("{s:o,s:s,s:I,s:I,s:I}", "path", path, "name", name, "in",
		(json_int_t)st.st_ino, "size", (json_int_t)st.st_size, "mtime",
		(json_int_t)clock_of(&st.st_mtim));
	if (wanted)
		json_object_set_new(item, "wanted", wanted);
	return item;
}

static void set_mtime(int dir, const struct stat *st)
{
	const struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, st->st_mtim};

	futimens(dir, times);
}

/* XFS gives directories that an exchange moves to another parent a new mtime: "..", which is kept
 * in them, changes (kernel 6.18). They get theirs back. */
static int exchange(int work, const char *name, int parent, const char *leaf)
{
	_cleanup_fd_ int in = fd_open_dir(work, name), out = -1;
	struct stat in_st, out_st;

	if (fstatat(work, name, &in_st, AT_SYMLINK_NOFOLLOW) < 0 ||
		fstatat(parent, leaf, &out_st, AT_SYMLINK_NOFOLLOW) < 0 ||
		renameat2(work, name, parent, leaf, RENAME_EXCHANGE) < 0)
		return -errno;
	out = fd_open_dir(work, name);
	if (in >= 0)
		set_mtime(in, &in_st);
	if (out >= 0)
		set_mtime(out, &out_st);
	return 0;
}

static int put_in(int work, const char *name, int parent, const char *leaf)
{
	/* The tree is in use: the target may come and go between the two calls. */
	for (int tries = 0; tries < 1000; tries++) {
		int r;

		if (renameat2(work, name, parent, leaf, RENAME_NOREPLACE) == 0)
			return 0;
		r = errno == EEXIST ? exchange(work, name, parent, leaf) : -errno;
		if (r != -ENOENT)
			return r;
	}
	return -EBUSY;
}

static int take_out(int parent, const char *leaf, int work, const char *name)
{
	if (renameat2(parent, leaf, work, name, RENAME_NOREPLACE) == 0 || errno == ENOENT)
		return 0;
	return -errno;
}

/* What the entry looks like in its place, before anybody can have touched it: undo compares. */
static void note_ctime(const struct item *it, int parent, const char *leaf)
{
	struct stat st;
	bool as_it_was = fstatat(parent, leaf, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
		st.st_ino == it->in && st.st_size == json_int_at(it->json, "size") &&
		clock_of(&st.st_mtim) == json_int_at(it->json, "mtime");

	json_object_set_new(it->json, "ctime",
		json_integer(as_it_was ? clock_of(&st.st_ctim) : -1));
}

/* 1: something was renamed, *parent is where; 0: it was done already. */
static int place(int tree, int work, const struct item *it, int *parent)
{
	const char *leaf;
	struct stat st;
	bool waits;
	int r = held(work, it->name, &st);

	if (r < 0)
		return r;
	waits = it->in ? st.st_ino == it->in : st.st_ino == 0;
	*parent = work_open_parent(tree, it->path, &leaf);
	if (*parent < 0)
		return *parent == -ENOENT && !(it->in && waits) ? 0 : *parent;
	if (waits)
		r = it->in ? put_in(work, it->name, *parent, leaf)
			   : take_out(*parent, leaf, work, it->name);
	if (r == 0)
		work_note_taken(work, it->json);
	if (r == 0 && it->in)
		note_ctime(it, *parent, leaf);
	step("change.placed");
	return r < 0 ? r : waits;
}

static void failed(json_t *item, int num)
{
	char text[128];

	json_object_set_new(item, "failed", json_string(strerror_r(num, text, sizeof(text))));
}

/* Where a flush is one call for all, that; elsewhere each directory that received a name. */
static bool flushes_whole(const struct job *job)
{
	return job->pool->driver->caps(job->pool->handle) & POOL_CONSTANT_COST;
}

/* -errno of an fsync: the entries are in place, and it is to be tried again. */
static int place_all(struct job *job, int tree, int work, json_t *items)
{
	json_t *json;
	int ret = 0;
	size_t i;

	json_array_foreach(items, i, json) {
		_cleanup_item_ struct item it = {0};
		_cleanup_fd_ int parent = -1;
		int r = read_item(json, &it);

		if (r == 0)
			r = place(tree, work, &it, &parent);
		if (r < 0)
			failed(json, -r);
		if (r == 1 && !flushes_whole(job) && (r = fd_sync(parent)) < 0)
			ret = r;
	}
	return ret;
}

/* ---- all of them ---- */

static int sync_all(struct job *job, int tree, int work, struct err *err)
{
	struct snap_ctx ctx = {0}; /* not to be canceled any more */
	int r;

	if (flushes_whole(job))
		return job->pool->driver->sync_dir(job->pool->handle, tree, &ctx, err);
	r = fd_sync(work);
	return r < 0 ? err_sys(err, -r, "fsync", job->site_name) : 0;
}

static const char *change_of(int work, json_t *json)
{
	struct stat st;

	held(work, json_str_at(json, "name"), &st);
	if (!json_int_at(json, "in"))
		return "-";
	return st.st_ino ? "M" : "+";
}

static int tell(json_t *paths, json_t *bad, json_t *path, const char *change, json_t *reason)
{
	if (reason)
		return json_array_append_new(bad,
			json_pack("{s:O,s:O}", "path", path, "reason", reason));
	return json_array_append_new(paths, json_pack("{s:O,s:s}", "path", path, "change", change));
}

static void fill_result(struct job *job, int work, json_t *plan)
{
	json_t *paths = json_array(), *bad = json_array(), *json, *path;
	size_t i, k;

	json_array_foreach(json_object_get(plan, "items"), i, json) {
		json_t *wanted = json_object_get(json, "wanted");
		json_t *reason = json_object_get(json, "failed");
		const char *change = change_of(work, json);

		json_array_foreach(wanted, k, path)
			job->unsaid |= tell(paths, bad, path, change, reason) < 0;
		if (!wanted)
			job->unsaid |= tell(paths, bad, json_object_get(json, "path"), change,
					       reason) < 0;
	}
	json_object_set(job->result, "generation", json_object_get(plan, "generation"));
	json_object_set_new(job->result, "paths", paths);
	if (json_array_size(bad))
		json_object_set(job->result, "failed", bad);
	json_decref(bad);
}

int change_apply(struct job *job, int tree, int work, struct err *err)
{
	json_t *plan, *items;
	int r = meta_load(work, WORK_PLAN, job->site_name, &plan, err);

	if (r < 0)
		return r;
	told_recall_made(job, json_str_at(plan, "method"), json_str_at(plan, "consistency"));
	items = json_object_get(plan, "items");
	if (!json_object_get(plan, "done")) {
		r = place_all(job, tree, work, items);
		r = r < 0 ? err_sys(err, -r, "fsync", job->site_name)
			  : sync_all(job, tree, work, err);
		step("change.synced");
		json_object_set_new(plan, "done", json_integer(clock_real()));
		if (r == 0)
			r = store(job, work, plan, err);
	}
	fill_result(job, work, plan);
	json_decref(plan);
	return r;
}

/* ---- the other way round ---- */

json_t *change_reverse(int work, json_t *plan)
{
	json_t *out = json_array(), *json;
	size_t i;

	json_array_foreach(json_object_get(plan, "items"), i, json) {
		json_t *back;

		if (json_object_get(json, "failed"))
			continue;
		back = change_item(work, json_incref(json_object_get(json, "path")),
			json_str_at(json, "name"), json_incref(json_object_get(json, "wanted")));
		if (!back) {
			json_decref(out);
			return NULL;
		}
		json_array_insert_new(out, 0, back);
	}
	return out;
}

/* ---- changed since? ---- */

struct since {
	int64_t made;
	uint64_t changed;
};

static int count_batch(struct walk *w, struct io_item *items, size_t n)
{
	struct since *s = w->arg;

	for (size_t i = 0; i < n; i++) {
		const struct timespec *t = &items[i].st.ctime;

		/* The entry itself got a new ctime when it was renamed: it is judged apart. */
		if (w->trail.depth > 1 && clock_of(t) > s->made)
			s->changed++;
	}
	return 0;
}

static int count_nested(struct walk *w, const char *name, const struct io_stat *st)
{
	(void)name;
	(void)st;
	((struct since *)w->arg)->changed++;
	return 0;
}

static int count_item(int tree, const struct item *it, struct since *s, struct snap_ctx *ctx,
	struct err *err)
{
	static const struct walk_ops ops = {.stat = true, .batch = count_batch,
		.nested = count_nested};
	const char *leaf;
	_cleanup_fd_ int parent = work_open_parent(tree, it->path, &leaf);
	struct stat st;
	int r = parent < 0 ? parent
			   : fstatat(parent, leaf, &st, AT_SYMLINK_NOFOLLOW) < 0 ? -errno : 0;

	if (!it->in) {
		s->changed += r == 0;
		return 0;
	}
	if (r < 0 || st.st_ino != it->in) {
		s->changed++;
		return 0;
	}
	s->changed += clock_of(&st.st_ctim) != json_int_at(it->json, "ctime");
	return ctx && S_ISDIR(st.st_mode) ? walk_tree(parent, leaf, &ops, ctx, s, err) : 0;
}

int change_since(int tree, json_t *plan, struct snap_ctx *ctx, uint64_t *changed, struct err *err)
{
	struct since s = {.made = json_int_at(plan, "made")};
	json_t *json;
	size_t i;
	int r = 0;

	json_array_foreach(json_object_get(plan, "items"), i, json) {
		_cleanup_item_ struct item it = {0};

		if (json_object_get(json, "failed"))
			continue;
		r = read_item(json, &it);
		if (r == 0)
			r = count_item(tree, &it, &s, ctx, err);
		if (r < 0)
			break;
	}
	*changed = s.changed;
	return r;
}
