/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fsd/worker/room.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "backends/catalog/catalog.h"
#include "fsd/worker/jobs.h"
#include "fsd/worker/pools.h"
#include "fsd/worker/resolve.h"
#include "fsd/worker/state.h"
#include "snap/base/err.h"
#include "snap/base/fd.h"

/* In the intent, since a job that runs after a restart is not planned again. */
#define WATCHED "min_free"

/* The first few that are found. */
struct named {
	struct catalog *catalog;
	const struct job *job; /* what it is made from is not to be deleted */
	const char *pool;
	const char *done; /* a site whose own were listed before */
	unsigned n;
	char text[128];
	size_t len;
};

/* 1: there is no room for more. */
__attribute__((format(printf, 2, 3)))
static int add(struct named *l, const char *fmt, ...)
{
	char item[sizeof(l->text)];
	va_list args;
	int n;

	va_start(args, fmt);
	vsnprintf(item, sizeof(item), fmt, args);
	va_end(args);
	n = snprintf(l->text + l->len, sizeof(l->text) - l->len, "%s%s", l->len ? ", " : "", item);
	if (l->len + (size_t)n >= sizeof(l->text)) {
		l->text[l->len] = '\0';
		return 1;
	}
	l->len += (size_t)n;
	return ++l->n == 3;
}

/* By name: the snapshot, else the generation `number`, of this site. */
static bool is_source(const struct job *job, const char *site, const char *snapshot, int64_t number)
{
	const char *from = job_str(job, "source_snapshot");

	if (strcmp(job_str(job, "source_site"), site) != 0 || strcmp(from, snapshot) != 0)
		return false;
	return *from || job_int(job, "source_generation") == number;
}

static int is_held(const struct cat_hold *h, void *arg)
{
	(void)h;
	(void)arg;
	return 1;
}

static int add_oldest(const struct cat_snapshot *s, void *arg)
{
	struct named *l = arg;
	char word[CAT_NAME_SIZE];

	if (strcmp(s->pool, l->pool) != 0 || is_source(l->job, s->site, s->name, 0) ||
	    catalog_holds(l->catalog, s->id, is_held, NULL, NULL) != 0)
		return 0;
	resolve_word(l->catalog, s, word);
	return add(l, "%.60s@%.60s", word, s->name);
}

/* None is measured, but each was a copy of its site, as a rule. */
static int add_retired(const struct cat_generation *g, void *arg)
{
	struct named *l = arg;
	struct cat_site site;
	char size[40] = "";

	if (!g->retired || strcmp(g->site, l->done) == 0 ||
		is_source(l->job, g->site, "", g->number) ||
		catalog_site_get(l->catalog, g->site, &site, NULL) < 0 ||
		site.live == g->number)
		return 0;
	if (site.usage.measured)
		snprintf(size, sizeof(size), " (its site has %" PRId64 " MiB)",
			site.usage.logical >> 20);
	return add(l, "%.60s:%" PRId64 "%s", site.name, g->number, size);
}

static int is_any(const struct cat_site *s, void *arg)
{
	(void)s;
	(void)arg;
	return 1;
}

static void list_oldest(const struct job *job, struct named *l)
{
	struct cat_snapshot_filter own = {.site = job->site_id}, all = {0};

	if (*job->site_id)
		catalog_snapshots(l->catalog, &own, add_oldest, l, NULL);
	if (!l->n)
		catalog_snapshots(l->catalog, &all, add_oldest, l, NULL);
}

/* Where trees share storage the snapshots have most of what a retired generation has. */
static void list_retired(const struct job *job, struct named *l)
{
	const struct pool_root *p = job->pool;

	l->done = "";
	if (!p->handle || p->driver->caps(p->handle) & POOL_SHARES)
		return;
	if (*job->site_id && catalog_generations(l->catalog, job->site_id, add_retired, l, NULL))
		return;
	l->done = job->site_id;
	catalog_retired(l->catalog, l->pool, add_retired, l, NULL);
}

/* What to delete: write_lock is held. */
static void advise(struct fsd *f, const struct job *job, const char *where, struct err *err)
{
	const char *pool = job->pool->config->name;
	struct named oldest = {.catalog = f->catalog, .job = job, .pool = pool}, retired = oldest;
	struct cat_site_filter gone = {.pool = pool, .deleted = true};
	const char *kept = catalog_sites(f->catalog, &gone, is_any, NULL, NULL) == 1
		? "; deleted sites keep their room for undo_keep: fsctl site list --deleted"
		: "";
	char first[sizeof(retired.text) + 64] = "";

	list_oldest(job, &oldest);
	list_retired(job, &retired);
	if (retired.len)
		snprintf(first, sizeof(first),
			"retired generations, %s: fsctl generation delete%s", retired.text,
			oldest.len ? ", or " : "");
	if (oldest.len)
		err_hint(err,
			"%sdelete %sold snapshots, the oldest are %s: fsctl snapshot delete%s",
			where, first, oldest.text, kept);
	else if (retired.len)
		err_hint(err, "%sdelete %s%s", where, first, kept);
	else
		err_hint(err, "%sdelete sites or snapshots that are not needed%s%s", where,
			*where ? "" : ", or lower min_free", kept);
}

int room_plan(struct fsd *f, struct job *job, struct err *err)
{
	int r = pool_root_admit(job->pool, fsd_config(f), err);

	if (r == -ENOSPC)
		advise(f, job, "", err);
	job_intend(job, WATCHED, json_true());
	return r;
}

void room_warn(struct fsd *f, struct job *job)
{
	uint64_t copied = (uint64_t)job->planned.logical, above = 0;
	struct pool_space s;

	/* An undo is not held to min_free. */
	if (!request_bool(&job->request, F_DRY_RUN) || job->undoes ||
		pool_root_space(job->pool, fsd_config(f), &s) < 0)
		return;
	if (s.free > s.min_free)
		above = s.free - s.min_free;
	if (copied > above)
		job_warn(job, "about %.1f MiB are to be copied, and %.1f MiB are above what "
			"min_free keeps", (double)copied / (1 << 20), (double)above / (1 << 20));
}

void room_explain(struct fsd *f, const struct job *job, struct err *err)
{
	const char *pool = job->pool->config->name;
	struct pool_space s;
	bool inodes = pool_root_space(job->pool, fsd_config(f), &s) == 0 && s.inodes &&
		      !s.inodes_free && s.free;
	char where[CAT_NAME_SIZE + 80];

	snprintf(where, sizeof(where), inodes ? "no inodes are left in pool %s: "
		: "make room where it was written; in pool %s: ", pool);
	pthread_mutex_lock(&f->write_lock);
	advise(f, job, where, err);
	pthread_mutex_unlock(&f->write_lock);
}

/*
 * What was written may be missing in what statfs() says until it is on the disk: btrfs and network
 * file systems allocate then, and may keep as much in memory as there is. `written` counts what all
 * jobs wrote into the pool, `settled` is what it was at the last flush. Only where what came since
 * could fill the pool down to min_free it is flushed: that waits for the pool's other writers.
 */
static void settle(struct room_watch *w, const struct config *config)
{
	struct pool_root *pool = w->job->pool;
	uint64_t own = atomic_load(&w->job->ctx.bytes_written), more = own - w->counted;
	uint64_t written = atomic_fetch_add(&pool->written, more) + more;
	uint64_t settled = atomic_load(&pool->settled);
	struct pool_space s;

	w->counted = own;
	if (written <= settled || pool_root_space(pool, config, &s) < 0 || s.free < s.min_free)
		return;
	if (s.free - s.min_free < written - settled && fd_sync_fs(pool->fd) == 0)
		atomic_store(&pool->settled, written);
}

static int admit(void *arg, struct err *err)
{
	struct room_watch *w = arg;
	const struct config *config = fsd_config(w->f);
	struct pool_root *pool = w->job->pool;
	char now[ERR_TEXT_SIZE];
	int r;

	settle(w, config);
	r = pool_root_admit(pool, config, err);
	if (r != -ENOSPC || !err)
		return r;
	/* What it made goes, and whoever looks then finds more free than this says. */
	strcpy(now, err->reason);
	err_set(err, ENOSPC, "below_min_free", pool->config->name,
		"the copy would leave less than min_free keeps: with what it made so far, %.300s",
		now);
	pthread_mutex_lock(&w->f->write_lock);
	advise(w->f, w->job, "", err);
	pthread_mutex_unlock(&w->f->write_lock);
	return r;
}

void room_watch(struct room_watch *w, struct fsd *f, struct job *job)
{
	*w = (struct room_watch){.f = f, .job = job};
	if (json_object_get(job->intent, WATCHED)) {
		job->ctx.admit = admit;
		job->ctx.admit_arg = w;
	}
}
