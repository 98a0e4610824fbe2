/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fsd/worker/retired.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fsd/core/json.h"
#include "fsd/core/log.h"
#include "fsd/worker/kept.h"
#include "fsd/worker/layout.h"
#include "fsd/worker/meta.h"
#include "fsd/worker/present.h"
#include "fsd/worker/reflect.h"
#include "fsd/worker/resolve.h"
#include "fsd/worker/state.h"
#include "fsd/worker/step.h"
#include "snap/base/clock.h"
#include "snap/base/err.h"
#include "snap/base/fd.h"
#include "snap/changed.h"
#include "snap/settle.h"

struct look {
	struct fsd *f;
	struct pool_root *pool;
	struct cat_snapshot snapshot;
	char name[2 * NAME_SIZE]; /* SITE@NAME, as it is called today */
	int dir, tree;
	int64_t at; /* when the walk began */
	struct paths late;
	bool replaced; /* what a change in place replaced was written to: told already */
};

#define LOOK_INIT(fsd, root) {.f = (fsd), .pool = (root), .dir = -1, .tree = -1, .late = PATHS_INIT}

static void log_late(const struct look *l)
{
	const struct cat_snapshot *s = &l->snapshot;
	struct cat_site site;
	struct err e = ERR_INIT;

	err_set(&e, EBUSY, "late_writes", l->name,
		"%" PRIu64 " paths were written in it after it was retired, first: %s",
		l->late.total, l->late.items[0].path);
	if (catalog_site_get(l->f->catalog, s->site, &site, NULL) == 0 && !site.deleted)
		err_hint(&e, "fsctl restore %.300s PATH... brings them over", l->name);
	else
		err_hint(&e, "fsctl clone %.300s NAME makes a site of it, fsctl restore %.300s "
			"--to DIR a directory", l->name, l->name);
	log_err(LOG_WARNING, "a retired generation was still in use", &e, "site", s->site, NULL);
}

static int tell(const struct look *l, struct err *err)
{
	const struct cat_snapshot *s = &l->snapshot;
	struct cat_event e = {
		.kind = "generation.late_writes", .time = clock_real(), .job = s->job};
	json_t *data = present_paths(&l->late);
	_cleanup_free_ char *text = NULL;

	json_object_set_new(data, "generation", json_integer(s->generation));
	json_object_set_new(data, "snapshot", json_string(s->name));
	text = json_dumps(data, JSON_COMPACT);
	json_decref(data);
	e.data = text;
	strcpy(e.site, s->site);
	log_late(l);
	return fsd_event(l->f, &e, err);
}

/* Is it still to be looked at, and no job about to change or delete it? write_lock is held. */
static bool is_due(struct look *l)
{
	char id[CAT_ID_SIZE], holder[JOB_ID_SIZE];

	snprintf(id, sizeof(id), "%s", l->snapshot.id);
	return catalog_snapshot_get_id(l->f->catalog, id, &l->snapshot, NULL) == 0 &&
	       l->snapshot.look && !jobs_holds(l->f, "snapshot", id, false, holder);
}

/*
 * Told first: killed in between, fsd tells it twice, which is better than never. Whoever is told
 * has undo_keep from then on; and "looked" last, since what is older than that is not told again.
 * write_lock is held.
 */
static int conclude(const struct look *l, struct err *err)
{
	const struct cat_snapshot *s = &l->snapshot;
	int64_t until = clock_real() + fsd_config(l->f)->undo_keep;
	int r = l->late.total ? tell(l, err) : 0;

	step("retired.told");
	if (r == 0 && (l->late.total || l->replaced) && s->expires && s->expires < until)
		r = meta_change(l->dir, META_WRAPPER, s->name, "expires", json_integer(until), err);
	if (r == 0)
		r = meta_change(l->dir, META_WRAPPER, s->name, "looked", json_integer(l->at), err);
	if (r == 0 && s->look)
		r = meta_change(l->dir, META_WRAPPER, s->name, "look", NULL, err);
	return r == 0 ? reflect_snapshot(l->f, l->pool, s->site, s->name, NULL, err) : r;
}

static void report(const struct look *l, const char *scope, const struct err *err)
{
	const struct cat_snapshot *s = &l->snapshot;
	struct err e = ERR_INIT;

	err_set(&e, err->num, "not_looked_at", l->name,
		"what was written in it after it was retired cannot be found (%.150s: %.200s)",
		err->object, err->reason);
	err_hint(&e, "look into %.200s/.fsd/snapshots/%s/%.100s", l->pool->config->path, s->site,
		s->name);
	problems_add(&l->f->problems, false, scope, &e);
}

static int open_tree(struct look *l, struct err *err)
{
	const struct cat_snapshot *s = &l->snapshot;

	l->dir = layout_open_snapshot(l->pool, s->site, s->name);
	l->tree = l->dir < 0 ? l->dir : layout_open_tree(l->dir, s->generation);
	return l->tree < 0 ? err_sys(err, -l->tree, "open", s->name) : 0;
}

/* Without any lock: who deletes the snapshot meanwhile is not held up. */
static int walk(struct look *l, int64_t since, struct snap_ctx *ctx, struct err *err)
{
	l->at = settle_now();
	step("retired.look");
	return snap_changed(l->tree, since, ctx, &l->late, err);
}

static int look_at_replaced(struct look *l, int64_t since, struct snap_ctx *ctx, struct err *err)
{
	int r = kept_tell_replaced(l->f, l->snapshot.site, l->tree, since, ctx, err);

	l->replaced = r == 1;
	return r < 0 ? r : 0;
}

static int look_at(struct look *l, struct snap_ctx *ctx, struct err *err)
{
	int r = open_tree(l, err);

	if (r == 0)
		r = walk(l, l->snapshot.look, ctx, err);
	if (r == 0)
		r = look_at_replaced(l, 0, ctx, err);
	if (snap_canceled(ctx) || pool_root_verify(l->pool, NULL) < 0)
		return 0;
	pthread_mutex_lock(&l->f->write_lock);
	if (!is_due(l))
		r = 0;
	else if (r == 0)
		r = conclude(l, err);
	pthread_mutex_unlock(&l->f->write_lock);
	return r;
}

/* write_lock is held. */
static int load(struct look *l, const char *id, struct err *err)
{
	struct cat_snapshot *s = &l->snapshot;
	char word[CAT_NAME_SIZE];
	int r = catalog_snapshot_get_id(l->f->catalog, id, s, err);

	if (r < 0)
		return r;
	resolve_word(l->f->catalog, s, word);
	snprintf(l->name, sizeof(l->name), "%s@%s", word, s->name);
	return 0;
}

static void release(struct look *l)
{
	fd_close(&l->tree);
	fd_close(&l->dir);
	paths_release(&l->late);
}

static bool find(struct look *l, const char *id)
{
	bool due;

	pthread_mutex_lock(&l->f->write_lock);
	due = load(l, id, NULL) == 0 && is_due(l);
	pthread_mutex_unlock(&l->f->write_lock);
	return due;
}

static int look_one(
	struct fsd *f, struct pool_root *r, const char *id, const char *scope, struct snap_ctx *ctx)
{
	struct look l = LOOK_INIT(f, r);
	struct err err = ERR_INIT;
	int ret = find(&l, id) ? look_at(&l, ctx, &err) : 0;

	if (ret < 0)
		report(&l, scope, &err);
	release(&l);
	return ret;
}

struct due {
	const char *pool;
	json_t *ids;
};

static int note_due(const struct cat_snapshot *s, void *arg)
{
	const struct due *due = arg;

	return strcmp(s->pool, due->pool) == 0 ? json_array_append_new(due->ids, json_string(s->id))
					       : 0;
}

int retired_look(struct fsd *f, struct pool_root *r, struct snap_ctx *ctx)
{
	struct cat_snapshot_filter filter = {.to_look_at = true};
	struct due due = {r->config->name, json_array()};
	char scope[64];
	json_t *id;
	size_t i;
	int ret;

	/* A job that has woken this is about to commit what it did. */
	pthread_mutex_lock(&f->write_lock);
	ret = catalog_snapshots(f->catalog, &filter, note_due, &due, NULL);
	pthread_mutex_unlock(&f->write_lock);
	snprintf(scope, sizeof(scope), "retired:%.50s", r->config->name);
	problems_begin(&f->problems, scope);
	json_array_foreach(due.ids, i, id)
	{
		int one =
			snap_canceled(ctx) ? 0 : look_one(f, r, json_string_value(id), scope, ctx);

		if (one < 0)
			ret = one;
	}
	if (!snap_canceled(ctx))
		problems_end(&f->problems, scope);
	json_decref(due.ids);
	return ret;
}

/* ---- before it is deleted ---- */

/* Since when; 0: it never was a generation that somebody could hold. */
static int64_t looked(const struct look *l)
{
	json_t *doc;
	int64_t at;

	if (meta_load(l->dir, META_WRAPPER, l->snapshot.name, &doc, NULL) < 0)
		return 0;
	at = json_int_at(doc, "looked");
	json_decref(doc);
	return at;
}

static int keep(struct look *l, struct err *err)
{
	int r;

	pthread_mutex_lock(&l->f->write_lock);
	r = conclude(l, err);
	pthread_mutex_unlock(&l->f->write_lock);
	if (r < 0)
		return r;
	if (!l->late.total)
		return err_set(err, EBUSY, "late_writes", l->name,
			"what a restore of paths had replaced in it was written to since it was "
			"looked at (event replaced.late_writes); it is kept for another undo_keep");
	return err_set(err, EBUSY, "late_writes", l->name,
		"%" PRIu64 " paths were written in it since it was looked at, first: %s; it is "
		"kept for another undo_keep", l->late.total, l->late.items[0].path);
}

int retired_look_again(struct fsd *f, struct pool_root *r, const char *id, struct snap_ctx *ctx,
	struct err *err)
{
	struct look l = LOOK_INIT(f, r);
	int64_t since = 0;
	int ret;

	pthread_mutex_lock(&f->write_lock);
	ret = load(&l, id, err);
	pthread_mutex_unlock(&f->write_lock);
	if (ret == 0 && open_tree(&l, NULL) == 0) /* what is damaged has nothing to lose */
		since = looked(&l);
	if (since)
		ret = walk(&l, since, ctx, err);
	if (ret == 0 && since)
		ret = look_at_replaced(&l, since, ctx, err);
	if (ret == 0 && (l.late.total || l.replaced))
		ret = keep(&l, err);
	release(&l);
	return ret;
}
