/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fsd/worker/room.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "backends/catalog/catalog.h"
#include "fsd/worker/jobs.h"
#include "fsd/worker/pools.h"
#include "fsd/worker/resolve.h"
#include "fsd/worker/state.h"
#include "snap/base/fd.h"

/* In the intent, since a job that runs after a restart is not planned again. */
#define WATCHED "min_free"

struct oldest {
	struct catalog *catalog;
	const char *pool;
	unsigned n;
	char text[160];
	size_t len;
};

static int is_held(const struct cat_hold *h, void *arg)
{
	(void)h;
	(void)arg;
	return 1;
}

static int add_oldest(const struct cat_snapshot *s, void *arg)
{
	struct oldest *o = arg;
	char word[CAT_NAME_SIZE];
	int n;

	if (strcmp(s->pool, o->pool) != 0 ||
	    catalog_holds(o->catalog, s->id, is_held, NULL, NULL) != 0)
		return 0;
	resolve_word(o->catalog, s, word);
	n = snprintf(o->text + o->len, sizeof(o->text) - o->len, "%s%.60s@%.60s",
		o->len ? ", " : "", word, s->name);
	if (o->len + (size_t)n >= sizeof(o->text)) {
		o->text[o->len] = '\0';
		return 1;
	}
	o->len += (size_t)n;
	return ++o->n == 3;
}

static int is_any(const struct cat_site *s, void *arg)
{
	(void)s;
	(void)arg;
	return 1;
}

/* What to delete: write_lock is held. */
static void advise(struct fsd *f, const struct job *job, const char *where, struct err *err)
{
	struct cat_snapshot_filter own = {.site = job->site_id}, all = {0};
	struct oldest oldest = {.catalog = f->catalog, .pool = job->pool->config->name};
	struct cat_site_filter gone = {.pool = oldest.pool, .deleted = true};
	const char *kept = catalog_sites(f->catalog, &gone, is_any, NULL, NULL) == 1
		? "; deleted sites keep their room for undo_keep: fsctl site list --deleted"
		: "";

	if (*job->site_id)
		catalog_snapshots(f->catalog, &own, add_oldest, &oldest, NULL);
	if (!oldest.n)
		catalog_snapshots(f->catalog, &all, add_oldest, &oldest, NULL);
	if (oldest.len)
		err_hint(err, "%sdelete old snapshots, the oldest are %s: fsctl snapshot delete%s",
			where, oldest.text, kept);
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
	int r;

	settle(w, config);
	r = pool_root_admit(w->job->pool, config, err);
	if (r == -ENOSPC) {
		pthread_mutex_lock(&w->f->write_lock);
		advise(w->f, w->job, "", err);
		pthread_mutex_unlock(&w->f->write_lock);
	}
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
