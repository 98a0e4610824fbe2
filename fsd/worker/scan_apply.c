/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The catalog follows the pool: the second half of scan.h. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "fsd/core/json.h"
#include "fsd/worker/layout.h"
#include "fsd/worker/reflect.h"
#include "fsd/worker/scan.h"
#include "fsd/worker/step.h"
#include "snap/base/clock.h"
#include "snap/base/err.h"

/* ---- names in the pool, oldest first ---- */

struct aged {
	char *name;
	int64_t birth;
};

struct ages {
	int dirfd;
	struct aged *items;
	size_t n, size;
};

static int note_age(const char *name, void *arg)
{
	struct ages *a = arg;
	struct statx st = {0};

	if (a->n == a->size) {
		size_t size = a->size ? 2 * a->size : 64;
		struct aged *more = reallocarray(a->items, size, sizeof(*more));

		if (!more)
			return -ENOMEM;
		a->items = more;
		a->size = size;
	}
	statx(a->dirfd, name, AT_SYMLINK_NOFOLLOW, STATX_BTIME, &st);
	a->items[a->n] = (struct aged){strdup(name),
		st.stx_btime.tv_sec * NSEC_PER_SEC + st.stx_btime.tv_nsec};
	return a->items[a->n++].name ? 0 : -ENOMEM;
}

static int by_age(const void *a, const void *b)
{
	const struct aged *x = a, *y = b;

	return x->birth != y->birth ? (x->birth > y->birth) - (x->birth < y->birth)
				    : strcmp(x->name, y->name);
}

/* Where two have one id and no catalog says which is the site, the copy is the younger one. */
static int oldest_first(int dirfd, layout_name_fn *fn, void *arg)
{
	struct ages a = {.dirfd = dirfd};
	int r = layout_each_name(dirfd, note_age, &a);

	if (a.n)
		qsort(a.items, a.n, sizeof(a.items[0]), by_age);
	for (size_t i = 0; i < a.n; i++) {
		if (r == 0)
			r = fn(a.items[i].name, arg);
		free(a.items[i].name);
	}
	free(a.items);
	return r;
}

/* ---- in batches ---- */

#define BATCH (20 * NSEC_PER_MSEC) /* others may have to wait for as long */

struct apply {
	struct fsd *f;
	struct job *job;
	json_t *names; /* of the catalog, to be looked at as well: they may be gone */
	bool quiet;    /* what fails is told later */
	struct err *err;
	bool locked;
	int64_t since; /* monotonic: write_lock is held, and a transaction open */
};

static int enter(struct apply *a)
{
	if (a->locked)
		return 0;
	pthread_mutex_lock(&a->f->write_lock);
	a->locked = true;
	a->since = clock_mono();
	return catalog_begin(a->f->catalog, a->err);
}

static int leave(struct apply *a, int r)
{
	if (r == 0)
		r = catalog_commit(a->f->catalog, a->err);
	if (r < 0)
		catalog_rollback(a->f->catalog);
	pthread_mutex_unlock(&a->f->write_lock);
	a->locked = false;
	step("scan.batch");
	/* A mutex is not fair: who waits for it needs a moment to come to it. */
	nanosleep(&(struct timespec){.tv_nsec = NSEC_PER_MSEC}, NULL);
	return r;
}

/* One object that cannot be read must not stop the rest; a failing catalog must. */
static int judge(struct apply *a, const char *name, int r, const struct err *err)
{
	char reason[2 * ERR_TEXT_SIZE + 2];

	atomic_fetch_add(&a->job->ctx.entries_done, 1);
	if (r >= 0)
		return snap_canceled(&a->job->ctx) ? -ECANCELED : 0;
	if (strncmp(err->code, "catalog", 7) == 0 || r == -ENOSPC) {
		*a->err = *err;
		return r;
	}
	snprintf(reason, sizeof(reason), "%s%s%s", err->reason, *err->hint ? ": " : "", err->hint);
	if (!a->quiet)
		job_fault(a->job, "failed", name, reason);
	return 0;
}

static int apply_site(struct apply *a, const char *name)
{
	struct err err = ERR_INIT;
	struct cat_site known;
	bool is_known = catalog_site_get(a->f->catalog, name, &known, NULL) == 0;
	int r;

	if (scan_at_work(a->f, "site", name, is_known ? known.id : NULL))
		return 0;
	r = reflect_site(a->f, a->job->pool, name, NULL, &err);
	if (r == 0)
		r = reflect_import(a->job->pool, name, &err);
	return judge(a, name, r, &err);
}

static int apply_deleted(struct apply *a, const char *name)
{
	struct err err = ERR_INIT;

	if (scan_at_work(a->f, "deleted", name, name))
		return 0;
	return judge(a, name, reflect_deleted(a->f, a->job->pool, name, 0, &err), &err);
}

static int apply_snapshot(struct apply *a, const char *path)
{
	struct err err = ERR_INIT;
	struct cat_snapshot known;
	char site[CAT_ID_SIZE];
	const char *slash = strchr(path, '/');
	bool is_known;

	snprintf(site, sizeof(site), "%.*s", (int)(slash - path), path);
	is_known = catalog_snapshot_get(a->f->catalog, site, slash + 1, &known, NULL) == 0;
	if (scan_at_work(a->f, "snapshot", path, is_known ? known.id : NULL))
		return 0;
	return judge(a, path, reflect_snapshot(a->f, a->job->pool, site, slash + 1, NULL, &err),
		&err);
}

static int apply(struct apply *a, int (*one)(struct apply *a, const char *name), const char *name)
{
	int r = enter(a);

	if (r == 0)
		r = one(a, name);
	return r < 0 || clock_mono() >= a->since + BATCH ? leave(a, r) : 0;
}

static int each_site(const char *name, void *arg)
{
	return apply(arg, apply_site, name);
}

static int each_deleted(const char *id, void *arg)
{
	return apply(arg, apply_deleted, id);
}

static int each_snapshot(const char *path, void *arg)
{
	return apply(arg, apply_snapshot, path);
}

static void gone(const char *kind, enum scan_change change, const char *name,
	const struct err *why, void *arg)
{
	struct apply *a = arg;

	(void)why;
	if (change == SCAN_GONE || change == SCAN_OTHER)
		json_array_append_new(a->names, json_pack("[s,s]", kind, name));
}

/* What fails here and is in the pool fails again with the others, and is told then. */
static int apply_gone(struct apply *a)
{
	json_t *pair;
	size_t i;
	int r = 0;

	a->quiet = true;
	json_array_foreach(a->names, i, pair) {
		const char *kind = json_string_value(json_array_get(pair, 0));
		const char *name = json_string_value(json_array_get(pair, 1));

		if (r == 0)
			r = (strcmp(kind, "site") == 0	    ? each_site
				: strcmp(kind, "deleted") == 0 ? each_deleted
							       : each_snapshot)(name, a);
	}
	a->quiet = false;
	return r;
}

int scan_apply(struct fsd *f, struct catalog *c, struct job *job, struct err *err)
{
	struct apply a = {.f = f, .job = job, .names = json_array(), .err = err};
	struct pool_root *r = job->pool;
	int ret = scan_differences(f, c, r, gone, &a, err);

	/* The gone ones first: their names may stand in the way of new ones. */
	if (ret == 0)
		ret = apply_gone(&a);
	if (ret == 0)
		ret = layout_each_name(r->deleted, each_deleted, &a);
	if (ret == 0)
		ret = oldest_first(r->sites, each_site, &a);
	if (ret == 0)
		ret = layout_each_snapshot(r, each_snapshot, &a);
	if (a.locked)
		ret = leave(&a, ret);
	json_decref(a.names);
	if (ret < 0 && !err->num)
		err_sys(err, -ret, "scan", r->config->path);
	return ret;
}
