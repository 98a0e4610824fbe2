/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fsd/worker/housekeeping.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "fsd/core/log.h"
#include "fsd/worker/layout.h"
#include "fsd/worker/scan.h"
#include "fsd/worker/work.h"
#include "snap/base/clock.h"
#include "snap/base/err.h"
#include "snap/base/fd.h"

#define TICK_SEC 10
#define EXPIRE_EVERY (60 * NSEC_PER_SEC)
#define WORK_EVERY (3600 * NSEC_PER_SEC)
#define LINKS_KEPT 4096

struct kept_link {
	struct pool_root *r;
	char site[NAME_SIZE];
	int64_t when; /* monotonic */
};

struct housekeeping {
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	atomic_bool stop;
	bool woken;
	struct snap_ctx ctx;
	struct catalog *catalog; /* the thread's own reader */
	int64_t expired;	 /* monotonic: the last look for what has expired */
	int64_t next_work;	 /* monotonic: and for what was kept for undo */
	struct kept_link *links;
	unsigned n_links;
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

/* Directories of jobs that neither wait nor run; a queued job has none yet. */
static int sweep_folder(struct fsd *f, struct pool_root *r, int dirfd, struct snap_ctx *ctx,
	struct err *err)
{
	int fd = fd_reopen_dir(dirfd), ret = 0;
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;

	if (!d) {
		fd_close(&fd);
		return err_sys(err, ENOMEM, "sweep", r->config->path);
	}
	while (ret == 0 && (e = readdir(d))) {
		if (e->d_name[0] == '.' || (dirfd == r->staging && is_owned(f, e->d_name)))
			continue;
		ret = layout_remove(r, dirfd, e->d_name, ctx, err);
	}
	closedir(d);
	return ret;
}

static void sweep_trash(struct fsd *f, struct pool_root *r, struct snap_ctx *ctx)
{
	struct err err = ERR_INIT;

	if (sweep_folder(f, r, r->trash, ctx, &err) < 0 && !snap_canceled(ctx))
		log_err(LOG_WARNING, "cannot empty a pool's trash", &err, "pool", r->config->name,
			NULL);
}

static int note_name(const struct cat_site *s, void *arg)
{
	return json_array_append_new(arg, json_string(s->name));
}

/* The links that publishing keeps for a moment: their moment is over. */
static int sweep_links(struct fsd *f, struct pool_root *r, struct err *err)
{
	struct cat_site_filter filter = {.pool = r->config->name};
	json_t *names = json_array(), *name;
	size_t i;
	int ret;

	pthread_mutex_lock(&f->write_lock);
	ret = catalog_sites(f->catalog, &filter, note_name, names, err);
	pthread_mutex_unlock(&f->write_lock);
	json_array_foreach(names, i, name) {
		_cleanup_fd_ int dir = layout_open_site(r, json_string_value(name));

		if (dir >= 0)
			layout_sweep_links(dir, true);
	}
	json_decref(names);
	return ret;
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
	struct snap_ctx ctx = {0};
	int ret = open_or_reopen(f, r, err);

	if (ret == 0)
		ret = jobs_recover(f, r, err);
	if (ret == 0)
		ret = sweep_folder(f, r, r->staging, &ctx, err);
	return ret == 0 ? sweep_links(f, r, err) : ret;
}

int housekeeping_bring_online(struct fsd *f, struct pool_root *r, struct err *err)
{
	int ret = open_and_recover(f, r, err);

	if (ret < 0) {
		pool_root_refuse(r, err);
		return ret;
	}
	r->recovered = true;
	atomic_store(&r->online, true);
	log_msg(LOG_INFO, "pool online", "pool", r->config->name, "driver", r->driver->name, "path",
		r->config->path, NULL);
	jobs_look(f);
	return 0;
}

static void look_at_pools(struct fsd *f, struct housekeeping *h)
{
	for (unsigned i = 0; i < f->pools.n && !h->stop; i++) {
		struct pool_root *r = &f->pools.items[i];
		struct err err = ERR_INIT;

		if (atomic_load(&r->online)) {
			if (pool_root_verify(r, &err) < 0) {
				log_err(LOG_ERR, "pool went offline", &err, "pool", r->config->name,
					NULL);
				pool_event(f, r, "pool.offline");
			} else {
				sweep_trash(f, r, &h->ctx);
			}
		} else if (r->recovered && pool_root_verify(r, &err) == 0) {
			atomic_store(&r->online, true);
			jobs_look(f);
			log_msg(LOG_INFO, "pool is back", "pool", r->config->name, NULL);
			pool_event(f, r, "pool.online");
		} else if (!jobs_run_in(f, r) && housekeeping_bring_online(f, r, &err) == 0) {
			scan_report(f, h->catalog, r);
			pool_event(f, r, "pool.online");
		}
	}
}

/* ---- kept links ---- */

void housekeeping_published(struct fsd *f, struct pool_root *r, const char *site)
{
	struct housekeeping *h = f->housekeeping;

	if (!h)
		return;
	pthread_mutex_lock(&h->lock);
	/* One entry a site is enough; a full list is swept at the next start. */
	for (unsigned i = 0; i < h->n_links; i++) {
		if (h->links[i].r == r && strcmp(h->links[i].site, site) == 0)
			goto out;
	}
	if (h->n_links < LINKS_KEPT) {
		h->links[h->n_links].r = r;
		h->links[h->n_links].when = clock_mono();
		snprintf(h->links[h->n_links++].site, NAME_SIZE, "%s", site);
	}
out:
	pthread_mutex_unlock(&h->lock);
}

/* Take the oldest that is due. */
static bool take_link(struct housekeeping *h, struct kept_link *out)
{
	bool due;

	pthread_mutex_lock(&h->lock);
	due = h->n_links && h->links[0].when < clock_mono() - 3 * NSEC_PER_SEC;
	if (due) {
		*out = h->links[0];
		memmove(h->links, h->links + 1, --h->n_links * sizeof(*h->links));
	}
	pthread_mutex_unlock(&h->lock);
	return due;
}

static void sweep_kept_links(struct housekeeping *h)
{
	struct kept_link link;

	while (take_link(h, &link)) {
		_cleanup_fd_ int dir = layout_open_site(link.r, link.site);

		if (dir >= 0)
			layout_sweep_links(dir, false);
	}
}

/* ---- what time does ---- */

struct due {
	struct fsd *f;
	int64_t now;
	json_t *requests; /* [[op, site or source, generation]] */
};

static void add_due(struct due *d, enum op op, const char *text, int64_t number)
{
	json_array_append_new(d->requests,
		json_pack("[i,s,I]", (int)op, text, (json_int_t)number));
}

static int site_due(const struct cat_site *s, void *arg)
{
	struct due *d = arg;

	if (!s->protect)
		add_due(d, OP_SITE_DELETE, s->id, 0);
	return 0;
}

static int snapshot_due(const struct cat_snapshot *s, void *arg)
{
	struct due *d = arg;
	char source[2 * NAME_SIZE];

	snprintf(source, sizeof(source), "%s@%s", s->site, s->name);
	add_due(d, OP_SNAPSHOT_DELETE, source, 0);
	return 0;
}

/* The retired generations of one site: while they are few they are kept, the newest always. */
struct generation_due {
	struct due *due;
	char site[ID_SIZE];
	struct retired {
		int64_t number, when, by;
	} items[256];
	unsigned n;
};

static int newest_first(const void *a, const void *b)
{
	const struct retired *x = a, *y = b;

	if (x->when != y->when)
		return x->when < y->when ? 1 : -1;
	/* One tick of the clock saw both: jobs count upwards. */
	return (x->by < y->by) - (x->by > y->by);
}

static void flush_generations(struct generation_due *g)
{
	const struct config *c = fsd_config(g->due->f);
	unsigned keep = c->keep_generations ? c->keep_generations : 1;

	if (g->n)
		qsort(g->items, g->n, sizeof(g->items[0]), newest_first);
	for (unsigned i = keep; i < g->n; i++) {
		if (g->items[i].when + c->grace <= g->due->now)
			add_due(g->due, OP_GENERATION_RETIRE, g->site, g->items[i].number);
	}
	g->n = 0;
}

static int generation_seen(const struct cat_generation *row, void *arg)
{
	struct generation_due *g = arg;

	if (strcmp(g->site, row->site) != 0) {
		flush_generations(g);
		strcpy(g->site, row->site);
	}
	if (g->n < sizeof(g->items) / sizeof(g->items[0]))
		g->items[g->n++] = (struct retired){row->number, row->retired, row->retired_by};
	return 0;
}

static void submit_due(struct fsd *f, struct housekeeping *h, const json_t *list)
{
	json_t *item;
	size_t i;

	json_array_foreach(list, i, item) {
		enum op op = (enum op)json_integer_value(json_array_get(item, 0));
		const char *text = json_string_value(json_array_get(item, 1));
		int64_t number = json_integer_value(json_array_get(item, 2));
		struct err err = ERR_INIT;
		struct request r;

		if (h->stop)
			return;
		request_init(&r, op);
		request_set_str(&r, op == OP_SNAPSHOT_DELETE ? F_SOURCE : F_SITE, text);
		if (number)
			request_set_int(&r, F_GENERATION, number);
		request_set_int(&r, F_CONFIRM, 1);
		request_set_str(&r, F_NOTE, "expired");
		if (jobs_submit_internal(f, &r, &err) < 0)
			log_err(LOG_DEBUG, "not expired yet", &err, NULL);
		request_release(&r);
	}
}

/* Is its time over, by the catalog and the configuration as they are now? */
static bool may_purge(struct fsd *f, const char *id, struct err *err)
{
	char holder[JOB_ID_SIZE];
	struct cat_site s;

	return catalog_site_get(f->catalog, id, &s, err) == 0 && s.deleted &&
	       s.deleted < clock_real() - fsd_config(f)->undo_keep &&
	       !jobs_holds(f, "site", id, true, holder);
}

/*
 * A deleted site beyond undo_keep: into the trash for good. An undelete is planned under write_lock
 * and holds the site until it has run: one that came before is seen here, one that comes later does
 * not find the site.
 */
static void purge_deleted(struct fsd *f, struct pool_root *r, const char *id)
{
	struct err err = ERR_INIT;
	int ret;

	pthread_mutex_lock(&f->write_lock);
	if (may_purge(f, id, &err) && pool_root_verify(r, &err) == 0) {
		ret = layout_move(r->deleted, id, r->trash, id);
		if (ret == 0 || ret == -ENOENT)
			catalog_site_delete(f->catalog, id, &err);
		else
			err_sys(&err, -ret, "rename into trash", id);
	}
	pthread_mutex_unlock(&f->write_lock);
	if (err.num && err.num != ENOENT)
		log_err(LOG_WARNING, "cannot remove a deleted site", &err, "pool", r->config->name,
			NULL);
}

struct purge {
	struct fsd *f;
	json_t *ids;
	int64_t before;
};

static int deleted_due(const struct cat_site *s, void *arg)
{
	struct purge *p = arg;

	if (s->deleted && s->deleted < p->before)
		json_object_set_new(p->ids, s->id, json_string(s->pool));
	return 0;
}

static void purge(struct fsd *f, struct housekeeping *h, int64_t now)
{
	struct purge p = {f, json_object(), now - fsd_config(f)->undo_keep};
	struct cat_site_filter filter = {.deleted = true};
	const char *id;
	json_t *pool;

	catalog_sites(h->catalog, &filter, deleted_due, &p, NULL);
	json_object_foreach(p.ids, id, pool) {
		struct pool_root *r = pools_find(&f->pools, json_string_value(pool));

		if (r && atomic_load(&r->online))
			purge_deleted(f, r, id);
	}
	json_decref(p.ids);
}

static void expire(struct fsd *f, struct housekeeping *h)
{
	struct due due = {f, clock_real(), json_array()};
	struct generation_due generations = {.due = &due};
	struct cat_site_filter sites = {.expired_by = due.now};
	struct cat_snapshot_filter snapshots = {.expired_by = due.now};
	struct err err = ERR_INIT;

	catalog_sites(h->catalog, &sites, site_due, &due, &err);
	catalog_snapshots(h->catalog, &snapshots, snapshot_due, &due, &err);
	catalog_retired(h->catalog, generation_seen, &generations, &err);
	flush_generations(&generations);
	submit_due(f, h, due.requests);
	json_decref(due.requests);
	purge(f, h, due.now);
	pthread_mutex_lock(&f->write_lock);
	catalog_expire(f->catalog, due.now - fsd_config(f)->job_keep, &err);
	pthread_mutex_unlock(&f->write_lock);
	if (err.num)
		log_err(LOG_WARNING, "cannot look for what has expired", &err, NULL);
}

/* ---- the thread ---- */

static void sweep_kept(struct fsd *f, struct housekeeping *h)
{
	for (unsigned i = 0; i < f->pools.n && !snap_canceled(&h->ctx); i++) {
		if (atomic_load(&f->pools.items[i].online))
			work_sweep(f, h->catalog, &f->pools.items[i], &h->ctx);
	}
}

static void wait_for_work(struct housekeeping *h)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += h->n_links ? 2 : TICK_SEC;
	pthread_mutex_lock(&h->lock);
	while (!h->stop && !h->woken) {
		if (pthread_cond_timedwait(&h->wake, &h->lock, &until) == ETIMEDOUT)
			break;
	}
	h->woken = false;
	pthread_mutex_unlock(&h->lock);
}

static void first_look(struct fsd *f, struct housekeeping *h)
{
	for (unsigned i = 0; i < f->pools.n; i++) {
		if (atomic_load(&f->pools.items[i].online))
			scan_report(f, h->catalog, &f->pools.items[i]);
	}
}

static void *housekeeping_thread(void *arg)
{
	struct fsd *f = arg;
	struct housekeeping *h = f->housekeeping;

	first_look(f, h);
	while (!h->stop) {
		look_at_pools(f, h);
		sweep_kept_links(h);
		if (clock_mono() >= h->expired + EXPIRE_EVERY) {
			expire(f, h);
			h->expired = clock_mono();
		}
		if (clock_mono() >= h->next_work) {
			sweep_kept(f, h);
			h->next_work = clock_mono() + WORK_EVERY;
		}
		wait_for_work(h);
	}
	return NULL;
}

void housekeeping_wake(struct fsd *f)
{
	struct housekeeping *h = f->housekeeping;

	if (!h)
		return;
	pthread_mutex_lock(&h->lock);
	h->woken = true;
	pthread_cond_signal(&h->wake);
	pthread_mutex_unlock(&h->lock);
}

int housekeeping_start(struct fsd *f, struct err *err)
{
	struct housekeeping *h = calloc(1, sizeof(*h));
	int r;

	if (h)
		h->links = calloc(LINKS_KEPT, sizeof(*h->links));
	if (!h || !h->links) {
		free(h);
		return err_sys(err, ENOMEM, "start", NULL);
	}
	pthread_mutex_init(&h->lock, NULL);
	pthread_cond_init(&h->wake, NULL);
	r = catalog_open(fsd_config(f)->catalog, CATALOG_READ_ONLY, &h->catalog, err);
	if (r == 0) {
		f->housekeeping = h;
		r = -pthread_create(&h->thread, NULL, housekeeping_thread, f);
	}
	if (r < 0) {
		f->housekeeping = NULL;
		catalog_close(&h->catalog);
		free(h->links);
		free(h);
	}
	return r;
}

void housekeeping_stop(struct fsd *f)
{
	struct housekeeping *h = f->housekeeping;

	if (!h)
		return;
	pthread_mutex_lock(&h->lock);
	h->stop = true;
	atomic_store(&h->ctx.cancel, true);
	pthread_cond_signal(&h->wake);
	pthread_mutex_unlock(&h->lock);
	pthread_join(h->thread, NULL);
	f->housekeeping = NULL;
	catalog_close(&h->catalog);
	free(h->links);
	free(h);
}
