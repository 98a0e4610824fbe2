/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fsd/worker/retired.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fsd/core/log.h"
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

struct look {
	struct fsd *f;
	struct pool_root *pool;
	struct cat_snapshot snapshot;
	char name[2 * NAME_SIZE]; /* SITE@NAME, as it is called today */
	struct paths late;
};

static void log_late(const struct look *l)
{
	const struct cat_snapshot *s = &l->snapshot;
	struct err e = ERR_INIT;

	err_set(&e, EBUSY, "late_writes", l->name,
		"%" PRIu64 " paths were written in it after it was retired, first: %s",
		l->late.total, l->late.items[0].path);
	err_hint(&e, "fsctl restore %.300s PATH... brings them over", l->name);
	log_err(LOG_WARNING, "a retired generation was still in use", &e, "site", s->site, NULL);
}

static int tell(const struct look *l, struct err *err)
{
	const struct cat_snapshot *s = &l->snapshot;
	struct cat_event e = {
		.kind = "generation.late_writes", .time = clock_real(), .job = s->job};
	json_t *data = present_late(&l->late);
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
static bool is_due(const struct look *l)
{
	const char *id = l->snapshot.id;
	char holder[JOB_ID_SIZE];
	struct cat_snapshot now;

	return catalog_snapshot_get_id(l->f->catalog, id, &now, NULL) == 0 && now.look &&
	       !jobs_holds(l->f, "snapshot", id, false, holder);
}

/* Told first: killed in between, fsd tells it twice, which is better than never. */
static int conclude(const struct look *l, int dir, struct err *err)
{
	const struct cat_snapshot *s = &l->snapshot;
	int r = l->late.total ? tell(l, err) : 0;

	step("retired.told");
	if (r == 0)
		r = meta_change(dir, META_WRAPPER, s->name, "look", NULL, err);
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

/* The walk, without any lock: who deletes the snapshot meanwhile is not held up. */
static int look_at(struct look *l, struct snap_ctx *ctx, struct err *err)
{
	const struct cat_snapshot *s = &l->snapshot;
	_cleanup_fd_ int dir = layout_open_snapshot(l->pool, s->site, s->name);
	_cleanup_fd_ int tree = dir < 0 ? dir : layout_open_tree(dir, s->generation);
	int r = tree < 0 ? err_sys(err, -tree, "open", s->name) : 0;

	step("retired.look");
	if (r == 0)
		r = snap_changed(tree, s->look, ctx, &l->late, err);
	if (snap_canceled(ctx) || pool_root_verify(l->pool, NULL) < 0)
		return 0;
	pthread_mutex_lock(&l->f->write_lock);
	if (!is_due(l))
		r = 0;
	else if (r == 0)
		r = conclude(l, dir, err);
	pthread_mutex_unlock(&l->f->write_lock);
	return r;
}

static bool find(struct look *l, const char *id)
{
	struct cat_snapshot *s = &l->snapshot;
	char word[CAT_NAME_SIZE];
	bool due;

	pthread_mutex_lock(&l->f->write_lock);
	due = catalog_snapshot_get_id(l->f->catalog, id, s, NULL) == 0 && is_due(l);
	if (due) {
		resolve_word(l->f->catalog, s, word);
		snprintf(l->name, sizeof(l->name), "%s@%s", word, s->name);
	}
	pthread_mutex_unlock(&l->f->write_lock);
	return due;
}

static int look_one(
	struct fsd *f, struct pool_root *r, const char *id, const char *scope, struct snap_ctx *ctx)
{
	struct look l = {.f = f, .pool = r, .late = PATHS_INIT};
	struct err err = ERR_INIT;
	int ret = find(&l, id) ? look_at(&l, ctx, &err) : 0;

	if (ret < 0)
		report(&l, scope, &err);
	paths_release(&l.late);
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
