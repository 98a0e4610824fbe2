/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a change in place has replaced (work.h). */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

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
#include "snap/settle.h"
#include "snap/skip.h"

#define INODE_KEY_SIZE 24

/* A work directory (work.h). */
struct kept_work {
	const char *name;
	int dir;
	json_t *plan; /* NULL: none, or not to be read */
	int64_t since; /* ns: what is newer was written late */
	json_t *taken; /* by inode, ns: the ctime since the last of its names was taken out */
	struct paths late;
};

/* Since when is it kept? A change that was never finished: when it was last touched. */
static int64_t kept_since(const struct kept_work *w)
{
	int64_t done = json_int_at(w->plan, "done"), looked = json_int_at(w->plan, "looked");
	struct stat st;

	if (done)
		return looked > done ? looked : done;
	return fstat(w->dir, &st) == 0 ? st.st_mtim.tv_sec * NSEC_PER_SEC : 0;
}

static int64_t untold_since(const struct kept_work *w)
{
	int64_t looked = json_int_at(w->plan, "looked");

	return looked ? looked : json_int_at(w->plan, "since");
}

static int add_late(struct kept_work *w, const char *path, const struct paths *below)
{
	_cleanup_free_ char *whole = NULL;
	int r = 0;

	for (size_t i = 0; i < below->n && r == 0; i++) {
		free(whole);
		if (asprintf(&whole, "%s/%s", path, below->items[i].path) < 0) {
			whole = NULL;
			return -ENOMEM;
		}
		r = paths_add(&w->late, whole, "written");
	}
	w->late.total += below->total - below->n;
	return r;
}

static const char *inode_key(const struct stat *st, char out[INODE_KEY_SIZE])
{
	snprintf(out, INODE_KEY_SIZE, "%ju", (uintmax_t)st->st_ino);
	return out;
}

/*
 * An item's entry. The rename that brought it here changed its ctime, and so did those of its other
 * names, and no other's: a later one is a write, also where somebody has set the mtime back. Where
 * a crash kept that time from being noted, it is the one that was found after it, and for what was
 * written before that the mtime has to do.
 */
static bool entry_is_late(const struct kept_work *w, const json_t *item, const struct stat *st)
{
	char key[INODE_KEY_SIZE];
	int64_t taken = json_int_at(w->taken, inode_key(st, key));

	return clock_of(&st->st_mtim) > w->since ||
	       (json_int_at(item, "taken") &&
		       clock_of(&st->st_ctim) > (taken > w->since ? taken : w->since));
}

static json_t *last_taken(const struct kept_work *w)
{
	json_t *last = json_object(), *item;
	char key[INODE_KEY_SIZE];
	struct stat st;
	size_t i;

	json_array_foreach(json_object_get(w->plan, "items"), i, item) {
		const char *name = json_str_at(item, "name");
		int64_t taken = json_int_at(item, "taken");

		if (!name || fstatat(w->dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
			continue;
		if (taken > json_int_at(last, inode_key(&st, key)))
			json_object_set_new(last, key, json_integer(taken));
	}
	return last;
}

static int look_at_entry(struct kept_work *w, const json_t *item, const char *name,
	const char *path, struct snap_ctx *ctx, struct err *err)
{
	_cleanup_fd_ int dir = -1;
	struct paths below = PATHS_INIT;
	struct stat st;
	int r = 0;

	if (fstatat(w->dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : err_sys(err, errno, "stat", path);
	if (entry_is_late(w, item, &st))
		r = paths_add(&w->late, path, "written");
	if (r == 0 && S_ISDIR(st.st_mode)) {
		dir = fd_open_dir(w->dir, name);
		r = dir < 0 ? err_sys(err, -dir, "open", path)
			    : snap_changed(dir, w->since + 1, ctx, &below, err);
		if (r == 0)
			r = add_late(w, path, &below);
		paths_release(&below);
	}
	return r == -ENOMEM ? err_sys(err, ENOMEM, "look", path) : r;
}

static int look_at_work(struct kept_work *w, struct snap_ctx *ctx, struct err *err)
{
	json_t *item;
	size_t i;
	int r = 0;

	json_decref(w->taken);
	w->taken = last_taken(w);
	json_array_foreach(json_object_get(w->plan, "items"), i, item) {
		const char *name = json_str_at(item, "name");
		char *path = NULL;

		if (r < 0 || !name || strchr(name, '/') ||
			json_text_decode(json_str_at(item, "path"),
				&path) < 0)
			continue;
		r = look_at_entry(w, item, name, path, ctx, err);
		free(path);
	}
	return r;
}

static void work_release(struct kept_work *w)
{
	paths_release(&w->late);
	json_decref(w->plan);
	json_decref(w->taken);
}

/* write_lock is held. */
static int tell_work(struct fsd *f, const char *site, const struct kept_work *w)
{
	char directory[PATH_MAX];
	const struct kept_told told = {
		.kind = "replaced.late_writes",
		.site = site,
		.directory = directory,
		.late = &w->late,
		.reason = "after something else had taken its place in the live tree",
		.hint = "take over what you need, and end whoever still writes there",
	};
	int r = fd_path(w->dir, NULL, directory, sizeof(directory));

	return r == 0 ? kept_tell(f, &told) : r;
}

/* Told first: a crash in between tells it twice. Then its time begins anew. */
static void keep_work(const struct kept_pass *s, struct kept_work *w, int64_t looked)
{
	char holder[JOB_ID_SIZE];
	struct err err = ERR_INIT;

	json_object_set_new(w->plan, "looked", json_integer(looked));
	pthread_mutex_lock(&s->f->write_lock);
	if (!jobs_holds(s->f, "site", s->site, true, holder) && tell_work(s->f, s->site, w) == 0)
		meta_store(w->dir, WORK_PLAN, s->site, w->plan, &err);
	pthread_mutex_unlock(&s->f->write_lock);
	kept_cannot(s, "cannot keep what was replaced", &err);
}

/*
 * Out of the reach of an undo: it is planned under write_lock, so one that comes later does not
 * find the directory, and one that came before holds the site. 1: taken.
 */
static int take_out(const struct kept_pass *s, int tree, const char *name, char out[NAME_MAX + 1])
{
	char holder[JOB_ID_SIZE];
	int r = 0;

	if (snprintf(out, NAME_MAX + 1, SNAP_WORK_GONE "%s", name + strlen(SNAP_WORK_PREFIX)) >
	    NAME_MAX)
		return -ENAMETOOLONG;
	pthread_mutex_lock(&s->f->write_lock);
	if (!jobs_holds(s->f, "site", s->site, true, holder))
		r = renameat2(tree, name, tree, out, RENAME_NOREPLACE) < 0 ? -errno : 1;
	pthread_mutex_unlock(&s->f->write_lock);
	return r;
}

/* 1: it may go; 0: it is kept, or cannot be looked at. */
static int judge_work(const struct kept_pass *s, struct kept_work *w, struct err *err)
{
	int64_t looked = settle_now();

	w->since = untold_since(w);
	if (look_at_work(w, s->ctx, err) < 0)
		return 0;
	if (w->late.total)
		keep_work(s, w, looked);
	return !w->late.total;
}

static bool is_gone(const struct kept_work *w)
{
	return strncmp(w->name, SNAP_WORK_GONE, strlen(SNAP_WORK_GONE)) == 0;
}

static void sweep_marked(const struct kept_pass *s, int tree, struct kept_work *w)
{
	char gone[NAME_MAX + 1];
	struct err err = ERR_INIT;

	if (is_gone(w))
		strcpy(gone, w->name);
	else if (judge_work(s, w, &err) != 1 || take_out(s, tree, w->name, gone) != 1)
		goto out;
	step("kept.looked");
	work_remove(tree, gone, w->dir, s->ctx, &err);
out:
	kept_cannot(s, "cannot remove what was kept for undo", &err);
}

static void sweep_work(const struct kept_pass *s, int tree, const char *name)
{
	_cleanup_fd_ int dir = work_open(tree, name);
	struct kept_work w = {.name = name, .dir = dir, .late = PATHS_INIT};

	if (dir < 0)
		return;
	if (meta_load(dir, WORK_PLAN, WORK_PLAN, &w.plan, NULL) < 0)
		w.plan = NULL;
	if (is_gone(&w) || kept_since(&w) < s->before)
		sweep_marked(s, tree, &w);
	work_release(&w);
}

void kept_sweep_tree(const struct kept_pass *s, int tree)
{
	json_t *names = work_list(tree), *name;
	size_t i;

	json_array_foreach(names, i, name) {
		if (!snap_canceled(s->ctx))
			sweep_work(s, tree, json_string_value(name));
	}
	json_decref(names);
}

/* ---- in a tree that is swept no more ---- */

struct replaced {
	struct fsd *f;
	const char *site;
	int64_t since;
	struct snap_ctx *ctx;
};

/* 1: something was written to it, and told; 0; -errno. */
static int tell_replaced(const struct replaced *p, int tree, const char *name, struct err *err)
{
	_cleanup_fd_ int dir = work_open(tree, name);
	struct kept_work w = {.name = name, .dir = dir, .late = PATHS_INIT};
	int r = dir < 0 ? err_sys(err, -dir, "open", name)
			: meta_load(dir, WORK_PLAN, name, &w.plan, err);

	if (r == -ENOENT) { /* it was just being made, or removed */
		err_clear(err);
		return 0;
	}
	if (r < 0)
		return r;
	w.since = untold_since(&w);
	if (w.since < p->since)
		w.since = p->since;
	r = look_at_work(&w, p->ctx, err);
	if (r == 0 && w.late.total) {
		pthread_mutex_lock(&p->f->write_lock);
		r = tell_work(p->f, p->site, &w);
		pthread_mutex_unlock(&p->f->write_lock);
		r = r < 0 ? err_sys(err, -r, "tell of late writes", name) : 1;
	}
	work_release(&w);
	return r;
}

int kept_tell_replaced(struct fsd *f, const char *site, int tree, int64_t since,
	struct snap_ctx *ctx, struct err *err)
{
	const struct replaced p = {f, site, since, ctx};
	json_t *names = work_list(tree), *name;
	int r = names ? 0 : err_sys(err, EIO, "list", site), told = 0;
	size_t i;

	json_array_foreach(names, i, name) {
		if (r >= 0)
			r = tell_replaced(&p, tree, json_string_value(name), err);
		told |= r == 1;
	}
	json_decref(names);
	return r < 0 ? r : told;
}
