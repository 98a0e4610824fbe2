/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fsd/worker/removal.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "fsd/core/log.h"
#include "fsd/worker/kept.h"
#include "fsd/worker/layout.h"
#include "fsd/worker/reflect.h"
#include "fsd/worker/retired.h"
#include "fsd/worker/state.h"
#include "snap/base/clock.h"
#include "snap/base/err.h"

#define TICK_SEC 10
#define PURGE_EVERY (60 * NSEC_PER_SEC)
#define LOOK_AGAIN (60 * NSEC_PER_SEC) /* where one could not be looked at */
#define KEPT_EVERY (3600 * NSEC_PER_SEC)

struct removal {
	struct fsd *f;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	atomic_bool stop;
	bool woken;
	const struct pool_root *at; /* where it is at work */
	struct snap_ctx ctx;	    /* canceled to leave that, and to stop */
	struct catalog *catalog;    /* the thread's own reader */
	int64_t next_look, next_purge, next_kept; /* monotonic */
};

#define SCOPE_SIZE 64

static void scope_of(const char *what, const struct pool_root *r, char out[SCOPE_SIZE])
{
	snprintf(out, SCOPE_SIZE, "%s:%.50s", what, r->config->name);
}

/* ---- deleted sites ---- */

/*
 * A deleted site beyond undo_keep: into the trash for good. An undelete is planned under write_lock
 * and holds the site until it has run: one that came before is seen here, one that comes later does
 * not find the site.
 */
static void purge_site(struct fsd *f, struct pool_root *r, const char *id)
{
	struct err err = ERR_INIT;
	int ret;

	pthread_mutex_lock(&f->write_lock);
	if (kept_may_purge(f, id, &err) && pool_root_verify(r, &err) == 0) {
		ret = layout_move(r->deleted, id, r->trash, id);
		if (ret == 0 || ret == -ENOENT)
			reflect_deleted(f, r, id, 0, &err);
		else
			err_sys(&err, -ret, "rename into trash", id);
	}
	pthread_mutex_unlock(&f->write_lock);
	if (err.num && err.num != ENOENT)
		log_err(LOG_WARNING, "cannot remove a deleted site", &err, "pool", r->config->name,
			NULL);
}

struct due {
	json_t *ids;
	int64_t before;
};

static int site_due(const struct cat_site *s, void *arg)
{
	struct due *due = arg;

	if (s->deleted && s->deleted < due->before)
		json_array_append_new(due->ids, json_string(s->id));
	return 0;
}

static void purge(struct removal *rm, struct pool_root *r)
{
	struct due due = {json_array(), clock_real() - fsd_config(rm->f)->undo_keep};
	struct cat_site_filter filter = {.pool = r->config->name, .deleted = true};
	char scope[SCOPE_SIZE];
	json_t *id;
	size_t i;

	catalog_sites(rm->catalog, &filter, site_due, &due, NULL);
	scope_of("ejected", r, scope);
	problems_begin(&rm->f->problems, scope);
	json_array_foreach(due.ids, i, id) {
		const char *site = json_string_value(id);
		struct err err = ERR_INIT;
		int kept = kept_parked(rm->f, r, site, &rm->ctx, &err);

		if (kept == 0)
			kept = kept_ejected(rm->f, r, site, &rm->ctx, &err);
		if (snap_canceled(&rm->ctx))
			break;
		if (kept < 0)
			problems_add(&rm->f->problems, false, scope, &err);
		else if (!kept)
			purge_site(rm->f, r, site);
	}
	if (!snap_canceled(&rm->ctx))
		problems_end(&rm->f->problems, scope);
	json_decref(due.ids);
}

/* ---- the trash ---- */

struct sweep {
	struct removal *rm;
	struct pool_root *r;
	char scope[SCOPE_SIZE];
};

/* Somebody has to do something; until then it is tried again and again, and said once. */
static void not_removed(const struct sweep *s, const char *name, const struct err *why)
{
	char path[ERR_OBJECT_SIZE];
	struct err e = ERR_INIT;

	snprintf(path, sizeof(path), "%.200s/.fsd/trash/%.250s", s->r->config->path, name);
	err_set(&e, why->num, "not_removed", path, "it cannot be removed: %.150s%s%s", why->object,
		*why->object ? ": " : "", why->reason);
	if (*why->hint)
		err_hint(&e, "%s; fsd tries again every 10 s", why->hint);
	else
		err_hint(&e, "mend what the reason names, or remove it by hand; fsd tries again "
			"every 10 s");
	if (problems_add(&s->rm->f->problems, false, s->scope, &e))
		log_err(LOG_WARNING, "cannot empty a pool's trash", &e, "pool", s->r->config->name,
			NULL);
}

/* One that stays must not keep the others. Where the pool went away it is not about this one. */
static int empty_one(const char *name, void *arg)
{
	const struct sweep *s = arg;
	struct snap_ctx *ctx = &s->rm->ctx;
	struct err err = ERR_INIT;

	if (layout_remove(s->r, s->r->trash, name, ctx, &err) < 0) {
		if (snap_canceled(ctx) || pool_root_verify(s->r, NULL) < 0)
			return -ECANCELED;
		not_removed(s, name, &err);
	}
	return snap_canceled(ctx) ? -ECANCELED : 0;
}

static void empty_trash(struct removal *rm, struct pool_root *r)
{
	struct sweep s = {.rm = rm, .r = r};
	struct err err = ERR_INIT;
	int ret;

	scope_of("trash", r, s.scope);
	problems_begin(&rm->f->problems, s.scope);
	ret = layout_each_name(r->trash, empty_one, &s);
	if (ret == -ECANCELED)
		return;
	if (ret < 0) {
		err_sys(&err, -ret, "list", NULL);
		not_removed(&s, "", &err);
	}
	problems_end(&rm->f->problems, s.scope);
}

/* ---- the thread ---- */

static bool enter(struct removal *rm, const struct pool_root *r)
{
	bool may;

	pthread_mutex_lock(&rm->lock);
	may = !rm->stop && atomic_load(&r->online);
	if (may) {
		rm->at = r;
		atomic_store(&rm->ctx.cancel, false);
	}
	pthread_mutex_unlock(&rm->lock);
	return may;
}

static void leave(struct removal *rm)
{
	pthread_mutex_lock(&rm->lock);
	rm->at = NULL;
	pthread_mutex_unlock(&rm->lock);
}

bool removal_left(struct removal *rm, const struct pool_root *r)
{
	bool left;

	pthread_mutex_lock(&rm->lock);
	left = rm->at != r;
	if (!left)
		atomic_store(&rm->ctx.cancel, true);
	pthread_mutex_unlock(&rm->lock);
	return left;
}

static void look(struct removal *rm)
{
	struct pools *pools = &rm->f->pools;
	bool look_due = clock_mono() >= rm->next_look;
	bool purge_due = clock_mono() >= rm->next_purge, kept_due = clock_mono() >= rm->next_kept;

	for (unsigned i = 0; i < pools->n; i++) {
		struct pool_root *r = &pools->items[i];

		if (!enter(rm, r))
			continue;
		if (look_due && retired_look(rm->f, r, &rm->ctx) < 0)
			rm->next_look = clock_mono() + LOOK_AGAIN;
		if (purge_due)
			purge(rm, r);
		empty_trash(rm, r);
		if (kept_due)
			kept_sweep(rm->f, rm->catalog, r, &rm->ctx);
		leave(rm);
	}
	if (purge_due)
		rm->next_purge = clock_mono() + PURGE_EVERY;
	if (kept_due)
		rm->next_kept = clock_mono() + KEPT_EVERY;
}

static void wait_for_work(struct removal *rm)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += TICK_SEC;
	pthread_mutex_lock(&rm->lock);
	while (!rm->stop && !rm->woken) {
		if (pthread_cond_clockwait(&rm->wake, &rm->lock, CLOCK_MONOTONIC, &until) ==
			ETIMEDOUT)
			break;
	}
	rm->woken = false;
	pthread_mutex_unlock(&rm->lock);
}

static void *removal_thread(void *arg)
{
	struct removal *rm = arg;

	while (!rm->stop) {
		look(rm);
		wait_for_work(rm);
	}
	return NULL;
}

void removal_wake(struct removal *rm)
{
	pthread_mutex_lock(&rm->lock);
	rm->woken = true;
	pthread_cond_signal(&rm->wake);
	pthread_mutex_unlock(&rm->lock);
}

int removal_start(struct fsd *f, struct removal **out, struct err *err)
{
	struct removal *rm = calloc(1, sizeof(*rm));
	int r;

	if (!rm)
		return err_sys(err, ENOMEM, "start", NULL);
	rm->f = f;
	pthread_mutex_init(&rm->lock, NULL);
	pthread_cond_init(&rm->wake, NULL);
	r = catalog_open(fsd_config(f)->catalog, CATALOG_READ_ONLY, &rm->catalog, err);
	if (r == 0 && (r = -pthread_create(&rm->thread, NULL, removal_thread, rm)) < 0)
		err_sys(err, -r, "start", NULL);
	if (r < 0) {
		catalog_close(&rm->catalog);
		free(rm);
		return r;
	}
	*out = rm;
	return 0;
}

void removal_cancel(struct removal *rm)
{
	pthread_mutex_lock(&rm->lock);
	rm->stop = true;
	atomic_store(&rm->ctx.cancel, true);
	pthread_cond_signal(&rm->wake);
	pthread_mutex_unlock(&rm->lock);
}

void removal_stop(struct removal **rmp)
{
	struct removal *rm = *rmp;

	if (!rm)
		return;
	*rmp = NULL;
	removal_cancel(rm);
	pthread_join(rm->thread, NULL);
	catalog_close(&rm->catalog);
	free(rm);
}
