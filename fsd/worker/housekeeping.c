/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fsd/worker/housekeeping.h"

#include <errno.h>
#include <inttypes.h>
#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "fsd/core/log.h"
#include "fsd/worker/expire.h"
#include "fsd/worker/layout.h"
#include "fsd/worker/removal.h"
#include "fsd/worker/scan.h"
#include "snap/base/clock.h"
#include "snap/base/err.h"
#include "snap/base/fd.h"

#define TICK_SEC 10
#define EXPIRE_EVERY (60 * NSEC_PER_SEC)
#define COMPARE_EVERY (3600 * NSEC_PER_SEC)

struct housekeeping {
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	atomic_bool stop;
	struct snap_ctx ctx;
	struct removal *removal;
	struct catalog *catalog; /* the thread's own reader */
	int64_t expired;	 /* monotonic: the last look for what has expired */
	json_t *asked;		 /* what that look asked for (expire.h) */
	int64_t next_compare;	 /* monotonic: pools and catalog */
	json_t *published;	 /* ids of sites, under the lock */
	json_t *unswept;	 /* ids of sites in which something may have been left */
};

/* ---- pools ---- */

/* Does a job without an outcome own what stands in staging under its id? Besides those that wait or
 * run there may be one that could not be recovered: what it holds may be all there is. */
static bool is_owned(struct fsd *f, const char *name)
{
	struct cat_job row;
	bool owned = true;
	int64_t job;
	int r;

	if (job_id_parse(name, &job) < 0)
		return false;
	if (jobs_unfinished(f, job))
		return true;
	pthread_mutex_lock(&f->write_lock);
	r = catalog_job_get(f->catalog, job, &row, NULL);
	pthread_mutex_unlock(&f->write_lock);
	if (r == 0) {
		owned = strcmp(row.state, "queued") == 0 || strcmp(row.state, "running") == 0;
		cat_job_release(&row);
	}
	return r == -ENOENT ? false : owned;
}

struct sweep {
	struct fsd *f;
	struct pool_root *r;
	struct err *err;
};

/* Of a job that neither waits nor runs: into the trash, since deleting it may take minutes. */
static int sweep_stage(const char *name, void *arg)
{
	const struct sweep *s = arg;
	struct snap_ctx ctx = {0};
	int64_t job;

	if (is_owned(s->f, name))
		return 0;
	if (job_id_parse(name, &job) == 0 &&
		layout_discard(s->r, job, s->r->staging, name) == 0)
		return 0;
	return layout_remove(s->r, s->r->staging, name, &ctx, s->err);
}

static int sweep_staging(struct fsd *f, struct pool_root *r, struct err *err)
{
	struct sweep s = {f, r, err};
	int ret = layout_each_name(r->staging, sweep_stage, &s);

	return ret < 0 && !err->num ? err_sys(err, -ret, "sweep", r->config->path) : ret;
}

/* Tell the event streams; the log is told anyway. */
static void pool_event(struct fsd *f, const struct pool_root *r, const char *kind)
{
	struct cat_event e = {.time = clock_real()};
	json_t *data = json_pack("{s:s}", "pool", r->config->name);
	char *text = json_dumps(data, JSON_COMPACT);

	snprintf(e.kind, sizeof(e.kind), "%s", kind);
	e.data = text;
	pthread_mutex_lock(&f->write_lock);
	fsd_event(f, &e, NULL);
	pthread_mutex_unlock(&f->write_lock);
	free(text);
	json_decref(data);
}

static int open_or_reopen(struct fsd *f, struct pool_root *r, struct err *err)
{
	if (r->fd < 0)
		return pool_root_open(r, f->catalog, &f->write_lock, err);
	if (pool_root_verify(r, err) == 0)
		return 0;
	err_clear(err);
	r->recovered = false;
	return pool_root_reopen(r, f->catalog, &f->write_lock, err);
}

static int open_and_recover(struct fsd *f, struct pool_root *r, struct err *err)
{
	int ret = open_or_reopen(f, r, err);

	if (ret < 0)
		return ret;
	jobs_recover(f, r);
	return sweep_staging(f, r, err);
}

int housekeeping_bring_online(struct fsd *f, struct pool_root *r, struct err *err)
{
	int ret = open_and_recover(f, r, err);

	if (ret < 0) {
		pool_root_refuse(r, err);
		return ret;
	}
	r->recovered = r->announced = true;
	atomic_store(&r->unswept, true);
	atomic_store(&r->online, true);
	log_msg(LOG_INFO, "pool online", "pool", r->config->name, "driver", r->driver->name, "path",
		r->config->path, NULL);
	jobs_look(f);
	return 0;
}

void housekeeping_tell_offline(struct fsd *f, struct pool_root *r)
{
	struct pool_told told;

	r->announced = false;
	pool_root_told(r, &told);
	log_err(LOG_ERR, "pool offline", &told.reason, "pool", r->config->name, NULL);
	pool_told_release(&told);
	pool_event(f, r, "pool.offline");
}

static void look_at_pools(struct fsd *f, struct housekeeping *h)
{
	for (unsigned i = 0; i < f->pools.n && !h->stop; i++) {
		struct pool_root *r = &f->pools.items[i];
		struct err err = ERR_INIT;

		if (r->past || (atomic_load(&r->online) && pool_root_verify(r, &err) == 0))
			continue;
		if (r->announced) /* a job may have noticed it first */
			housekeeping_tell_offline(f, r);
		if (r->recovered && pool_root_verify(r, &err) == 0) {
			r->announced = true;
			atomic_store(&r->online, true);
			jobs_look(f);
			log_msg(LOG_INFO, "pool is back", "pool", r->config->name, NULL);
			pool_event(f, r, "pool.online");
		} else if (!jobs_run_in(f, r) && removal_left(h->removal, r) &&
			housekeeping_bring_online(f, r, &err) == 0) {
			scan_report(f, h->catalog, r, NULL, NULL, NULL);
			pool_event(f, r, "pool.online");
		}
	}
}

/* ---- what publishes and crashes left in sites ---- */

void housekeeping_published(struct fsd *f, const char *site)
{
	struct housekeeping *h = f->housekeeping;

	if (!h)
		return;
	pthread_mutex_lock(&h->lock);
	json_object_set_new(h->published, site, json_true());
	pthread_mutex_unlock(&h->lock);
}

static int note_site(const struct cat_site *s, void *arg)
{
	return json_object_set_new(arg, s->id, json_true());
}

/* Behind the start, since opening thousands of sites takes its time. */
static void list_pool(struct housekeeping *h, struct pool_root *r)
{
	struct cat_site_filter filter = {.pool = r->config->name};
	int ret;

	if (!atomic_load(&r->online) || !atomic_exchange(&r->unswept, false))
		return;
	ret = catalog_sites(h->catalog, &filter, note_site, h->unswept, NULL);
	filter.deleted = true;
	if (ret == 0)
		ret = catalog_sites(h->catalog, &filter, note_site, h->unswept, NULL);
	if (ret < 0)
		atomic_store(&r->unswept, true);
}

static void list_unswept(struct fsd *f, struct housekeeping *h)
{
	for (unsigned i = 0; i < f->pools.n; i++)
		list_pool(h, &f->pools.items[i]);
	pthread_mutex_lock(&h->lock);
	json_object_update(h->unswept, h->published);
	json_object_clear(h->published);
	pthread_mutex_unlock(&h->lock);
}

/* How many stay, or -errno. */
static int sweep_site(struct fsd *f, struct catalog *c, const char *id, enum layout_left what)
{
	_cleanup_fd_ int dir = -1;
	struct pool_root *r;
	struct cat_site site;

	if (catalog_site_get(c, id, &site, NULL) < 0 || !(r = pools_find(&f->pools, site.pool)))
		return -ENOENT;
	if (!atomic_load(&r->online)) { /* all of them once it is back */
		atomic_store(&r->unswept, true);
		return -ENODEV;
	}
	dir = site.deleted ? fd_open_dir(r->deleted, id) : layout_open_site(r, site.name);
	return dir < 0 ? dir : layout_sweep_site(dir, what);
}

/* Without the lock first: most have nothing. */
static bool is_swept(struct fsd *f, struct housekeeping *h, const char *id)
{
	int left = sweep_site(f, h->catalog, id, LEFT_OLD);
	char holder[JOB_ID_SIZE];

	if (left <= 0)
		return true;
	pthread_mutex_lock(&f->write_lock);
	if (!jobs_holds(f, "site", id, true, holder))
		left = sweep_site(f, f->catalog, id, LEFT_UNFINISHED);
	pthread_mutex_unlock(&f->write_lock);
	return left <= 0;
}

static void sweep_sites(struct fsd *f, struct housekeeping *h)
{
	const char *id;
	json_t *v;
	void *next;

	list_unswept(f, h);
	json_object_foreach_safe(h->unswept, next, id, v) {
		if (h->stop)
			return;
		if (is_swept(f, h, id))
			json_object_del(h->unswept, id);
	}
}

/* ---- the thread ---- */

static void wait_for_work(struct housekeeping *h)
{
	struct timespec until;
	bool soon;

	clock_gettime(CLOCK_MONOTONIC, &until);
	pthread_mutex_lock(&h->lock);
	soon = json_object_size(h->unswept) || json_object_size(h->published);
	until.tv_sec += soon ? 2 : TICK_SEC;
	while (!h->stop) {
		if (pthread_cond_clockwait(&h->wake, &h->lock, CLOCK_MONOTONIC, &until) ==
			ETIMEDOUT)
			break;
	}
	pthread_mutex_unlock(&h->lock);
}

static void compare(struct fsd *f, struct housekeeping *h)
{
	for (unsigned i = 0; i < f->pools.n && !h->stop; i++) {
		if (atomic_load(&f->pools.items[i].online))
			scan_report(f, h->catalog, &f->pools.items[i], NULL, NULL, NULL);
	}
}

static void *housekeeping_thread(void *arg)
{
	struct fsd *f = arg;
	struct housekeeping *h = f->housekeeping;

	while (!h->stop) {
		look_at_pools(f, h);
		sweep_sites(f, h);
		if (clock_mono() >= h->next_compare) {
			compare(f, h);
			h->next_compare = clock_mono() + COMPARE_EVERY;
		}
		if (clock_mono() >= h->expired + EXPIRE_EVERY) {
			expire_look(f, h->catalog, clock_real(), h->asked, &h->ctx);
			h->expired = clock_mono();
		}
		malloc_trim(0); /* what a large job took is not kept for the next one */
		wait_for_work(h);
	}
	return NULL;
}

void housekeeping_wake(struct fsd *f)
{
	struct housekeeping *h = f->housekeeping;

	if (h)
		removal_wake(h->removal);
}

static void housekeeping_free(struct housekeeping *h)
{
	if (!h)
		return;
	removal_stop(&h->removal);
	catalog_close(&h->catalog);
	json_decref(h->asked);
	json_decref(h->published);
	json_decref(h->unswept);
	free(h);
}

int housekeeping_start(struct fsd *f, struct err *err)
{
	struct housekeeping *h = calloc(1, sizeof(*h));
	int r;

	if (!h || !(h->asked = json_object()) || !(h->published = json_object()) ||
		!(h->unswept = json_object())) {
		housekeeping_free(h);
		return err_sys(err, ENOMEM, "start", NULL);
	}
	pthread_mutex_init(&h->lock, NULL);
	pthread_cond_init(&h->wake, NULL);
	r = catalog_open(fsd_config(f)->catalog, CATALOG_READ_ONLY, &h->catalog, err);
	if (r == 0)
		r = removal_start(f, &h->removal, err);
	if (r == 0) {
		f->housekeeping = h;
		r = -pthread_create(&h->thread, NULL, housekeeping_thread, f);
	}
	if (r < 0) {
		f->housekeeping = NULL;
		housekeeping_free(h);
	}
	return r;
}

void housekeeping_cancel(struct fsd *f)
{
	struct housekeeping *h = f->housekeeping;

	if (!h)
		return;
	pthread_mutex_lock(&h->lock);
	h->stop = true;
	atomic_store(&h->ctx.cancel, true);
	pthread_cond_signal(&h->wake);
	pthread_mutex_unlock(&h->lock);
	removal_cancel(h->removal);
}

void housekeeping_stop(struct fsd *f)
{
	struct housekeeping *h = f->housekeeping;

	if (!h)
		return;
	housekeeping_cancel(f);
	pthread_join(h->thread, NULL);
	f->housekeeping = NULL;
	housekeeping_free(h);
}
