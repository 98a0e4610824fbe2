/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fsd/worker/scan.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "fsd/core/json.h"
#include "fsd/core/log.h"
#include "fsd/worker/layout.h"
#include "fsd/worker/meta.h"
#include "fsd/worker/reflect.h"
#include "fsd/worker/step.h"
#include "snap/base/clock.h"
#include "snap/base/err.h"
#include "snap/base/fd.h"

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

struct snapshots {
	struct pool_root *r;
	layout_name_fn *fn; /* given SITE-ID/SNAP */
	void *arg;
	const char *site;
};

static int one_snapshot(const char *name, void *arg)
{
	struct snapshots *e = arg;
	char path[CAT_ID_SIZE + CAT_NAME_SIZE + 64];

	snprintf(path, sizeof(path), "%s/%s", e->site, name);
	return e->fn(path, e->arg);
}

static int snapshots_of_site(const char *site, void *arg)
{
	struct snapshots *e = arg;
	_cleanup_fd_ int dir = fd_open_dir(e->r->snapshots, site);

	if (dir < 0)
		return 0;
	e->site = site;
	return layout_each_name(dir, one_snapshot, e);
}

static int each_pool_snapshot(struct pool_root *r, layout_name_fn *fn, void *arg)
{
	struct snapshots e = {r, fn, arg, NULL};

	return layout_each_name(r->snapshots, snapshots_of_site, &e);
}

/* ---- differences ---- */

struct compare {
	json_t *known; /* object: name -> id, of the catalog */
	struct fsd *f;
	struct catalog *c;
	struct pool_root *r;
	const char *kind;
	scan_fn *fn;
	void *arg;
};

/* What a job is changing it records itself: until then the two differ, and that is all right. */
static bool at_work_on(struct fsd *f, const char *kind, const char *id)
{
	return jobs_at_work_on(f, strcmp(kind, "snapshot") == 0 ? "snapshot" : "site", id);
}

static int note_site(const struct cat_site *s, void *arg)
{
	return json_object_set_new(((struct compare *)arg)->known, s->name, json_string(s->id));
}

static int note_deleted(const struct cat_site *s, void *arg)
{
	return json_object_set_new(((struct compare *)arg)->known, s->id, json_string(s->id));
}

static int note_snapshot(const struct cat_snapshot *s, void *arg)
{
	struct compare *c = arg;
	char path[CAT_ID_SIZE + CAT_NAME_SIZE];

	if (strcmp(s->pool, c->r->config->name) != 0)
		return 0;
	snprintf(path, sizeof(path), "%s/%s", s->site, s->name);
	return json_object_set_new(c->known, path, json_string(s->id));
}

static bool is_kind(const struct compare *c, const char *kind)
{
	return strcmp(c->kind, kind) == 0;
}

static int unreadable(const struct compare *c, const char *name, const char *file,
	const struct err *e, struct err *why)
{
	const char *folder = is_kind(c, "site")      ? "sites"
			     : is_kind(c, "deleted") ? ".fsd/deleted"
						     : ".fsd/snapshots";

	err_set(why, e->num, "unreadable", name, "a %s of pool %.60s cannot be read: %.200s",
		c->kind, c->r->config->name, e->reason);
	if (*e->hint)
		err_hint(why, "%s", e->hint);
	else
		err_hint(why, "mend or put back %s of %.150s/%s/%.100s, or move it out of the "
			"pool; then fsctl pool scan %.50s", file, c->r->config->path, folder, name,
			c->r->config->name);
	return -e->num;
}

/* Its document. -errno, with *why for whoever has to mend it; -ENOENT: it has gone meanwhile. */
static int load(const struct compare *c, const char *name, int *dir, json_t **doc, struct err *why)
{
	bool snapshot = is_kind(c, "snapshot");
	int root = snapshot ? c->r->snapshots : is_kind(c, "site") ? c->r->sites : c->r->deleted;
	const char *file = snapshot ? META_WRAPPER : META_SITE;
	struct err e = ERR_INIT;

	*dir = fd_open_beneath(root, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
	if (*dir == -ENOENT)
		return -ENOENT;
	if (*dir < 0)
		err_sys(&e, -*dir, "open", name);
	else if (meta_load(*dir, file, name, doc, &e) == 0)
		return 0;
	unreadable(c, name, file, &e, why);
	return -EBADMSG;
}

static void unknown_snapshot(struct compare *c, const char *name, int dir)
{
	int64_t job;

	if (!reflect_is_shell(dir, &job))
		c->fn(c->kind, SCAN_ADDED, name, NULL, c->arg);
	else if (!jobs_unfinished(c->f, job))
		c->fn(c->kind, SCAN_UNFINISHED, name, NULL, c->arg);
}

/* A site or deleted site, or a copy of another one. */
static void unknown_site(struct compare *c, const char *name, int dir)
{
	struct err why = ERR_INIT;
	const char *used = is_kind(c, "site") ? name : NULL;
	bool twin = reflect_twin(c->f, c->c, c->r, dir, used, &why) == 1;

	c->fn(c->kind, twin ? SCAN_TWIN : SCAN_ADDED, name, twin ? &why : NULL, c->arg);
}

/* Is it in the catalog as it is in the pool, by now? */
static bool is_recorded(const struct compare *c, const char *name, const char *id)
{
	const char *pool = c->r->config->name;
	struct cat_snapshot snapshot;
	struct cat_site site;

	if (is_kind(c, "snapshot"))
		return catalog_snapshot_get_id(c->c, id, &snapshot, NULL) == 0 &&
		       strcmp(snapshot.pool, pool) == 0 &&
		       strcmp(snapshot.name, strchr(name, '/') + 1) == 0;
	if (catalog_site_get(c->c, id, &site, NULL) < 0 || strcmp(site.pool, pool) != 0)
		return false;
	return is_kind(c, "deleted") ? site.deleted != 0
				     : !site.deleted && strcmp(site.name, name) == 0;
}

/* The lists were made one after the other, while jobs went on. */
static bool is_passing(const struct compare *c, const char *name, json_t *doc)
{
	const char *id = json_string_value(json_object_get(doc, "id"));
	char key[CAT_ID_SIZE + CAT_NAME_SIZE];
	char *slash;

	if (!id)
		return false;
	if (at_work_on(c->f, c->kind, id) || is_recorded(c, name, id))
		return true;
	if (!is_kind(c, "snapshot"))
		return false;
	snprintf(key, sizeof(key), "%s", name); /* one that is made is held by SITE-ID@SNAP */
	slash = strchr(key, '/');
	*slash = '@';
	return jobs_at_work_on(c->f, "name", key);
}

static bool is_broken(const struct compare *c, const char *name, const char *id, int dir,
	struct err *why)
{
	return is_kind(c, "site") && !at_work_on(c->f, "site", id) &&
	       reflect_live(c->f, dir, id, name, why) < 0;
}

static void compare_one(struct compare *c, const char *name, json_t *known)
{
	struct err why = ERR_INIT;
	_cleanup_fd_ int dir = -1;
	json_t *doc;
	int r = load(c, name, &dir, &doc, &why);

	if (r == -ENOENT)
		return;
	if (r < 0) {
		c->fn(c->kind, known ? SCAN_OTHER : SCAN_ADDED, name, &why, c->arg);
		return;
	}
	if (!known && !is_passing(c, name, doc))
		(is_kind(c, "snapshot") ? unknown_snapshot : unknown_site)(c, name, dir);
	else if (known && !json_equal(json_object_get(doc, "id"), known))
		c->fn(c->kind, SCAN_OTHER, name, NULL, c->arg);
	else if (known && is_broken(c, name, json_string_value(known), dir, &why))
		c->fn(c->kind, SCAN_BROKEN, name, &why, c->arg);
	json_decref(doc);
}

/* Of what is known, sites alone can be others by the same name. */
static int in_pool(const char *name, void *arg)
{
	struct compare *c = arg;
	json_t *known = json_object_get(c->known, name);

	if (!known || is_kind(c, "site"))
		compare_one(c, name, known);
	json_object_del(c->known, name);
	return 0;
}

/* Is it in the catalog, and not in the pool, even now? */
static bool still_known(const struct compare *c, const char *name, const char *id)
{
	int root = is_kind(c, "snapshot") ? c->r->snapshots
		   : is_kind(c, "site")	  ? c->r->sites
					  : c->r->deleted;

	return is_recorded(c, name, id) && fd_exists(root, name) == 0;
}

static void rest(struct compare *c)
{
	const char *name;
	json_t *v;

	json_object_foreach(c->known, name, v) {
		const char *id = json_string_value(v);

		if (!at_work_on(c->f, c->kind, id) && still_known(c, name, id))
			c->fn(c->kind, SCAN_GONE, name, NULL, c->arg);
	}
	json_object_clear(c->known);
}

int scan_differences(struct fsd *f, struct catalog *c, struct pool_root *r, scan_fn *fn, void *arg,
	struct err *err)
{
	struct compare cmp = {json_object(), f, c, r, "site", fn, arg};
	struct cat_site_filter sites = {.pool = r->config->name};
	struct cat_snapshot_filter all = {0};
	int ret = catalog_sites(c, &sites, note_site, &cmp, err);

	if (ret == 0 && (ret = layout_each_name(r->sites, in_pool, &cmp)) < 0)
		ret = err_sys(err, -ret, "list sites", r->config->path);
	if (ret == 0) {
		rest(&cmp);
		cmp.kind = "deleted";
		sites.deleted = true;
		ret = catalog_sites(c, &sites, note_deleted, &cmp, err);
	}
	if (ret == 0 && (ret = layout_each_name(r->deleted, in_pool, &cmp)) < 0)
		ret = err_sys(err, -ret, "list deleted sites", r->config->path);
	if (ret == 0) {
		rest(&cmp);
		cmp.kind = "snapshot";
		ret = catalog_snapshots(c, &all, note_snapshot, &cmp, err);
	}
	if (ret == 0 && (ret = each_pool_snapshot(r, in_pool, &cmp)) < 0)
		ret = err_sys(err, -ret, "list snapshots", r->config->path);
	if (ret == 0)
		rest(&cmp);
	json_decref(cmp.known);
	return ret;
}

struct report {
	struct fsd *f;
	const char *pool, *path, *scope;
};

static void report_one(const char *kind, enum scan_change change, const char *name,
	const struct err *why, void *arg)
{
	const struct report *rep = arg;
	struct err e = ERR_INIT;

	if (change == SCAN_BROKEN)
		return; /* told by reflect_live() */
	if (why) {
		problems_add(&rep->f->problems, false, rep->scope, why);
		return;
	}
	if (strcmp(kind, "deleted") == 0)
		kind = "deleted site";
	if (change == SCAN_ADDED)
		err_set(&e, 1, "not_in_catalog", name, "a %s of pool %s is not in the catalog", kind,
			rep->pool);
	else if (change == SCAN_GONE)
		err_set(&e, 1, "not_in_pool", name, "a %s of the catalog is not in pool %s", kind,
			rep->pool);
	else if (change == SCAN_UNFINISHED)
		err_set(&e, 1, "snapshot_unfinished", name, "a %s of pool %s is without its generation",
			kind, rep->pool);
	else
		err_set(&e, 1, "other_id", name, "the %s in pool %s is not the catalog's", kind,
			rep->pool);
	if (change == SCAN_UNFINISHED)
		err_hint(&e, "if fsctl generation list shows that the site still has it: rm -r "
			"%s/.fsd/snapshots/%s", rep->path, name);
	else
		err_hint(&e, "fsctl pool scan %s brings the catalog in line with the pool", rep->pool);
	problems_add(&rep->f->problems, false, rep->scope, &e);
}

static void scope_of(const struct pool_root *r, char out[64])
{
	snprintf(out, 64, "scan:%.50s", r->config->name);
}

static void not_compared(const struct report *rep, const struct err *why)
{
	struct err e = ERR_INIT;

	err_set(&e, why->num, "not_compared", rep->pool,
		"the pool could not be compared with the catalog (%.200s): whether they agree is "
		"not known", why->reason);
	if (*why->hint)
		err_hint(&e, "%s", why->hint);
	else
		err_hint(&e, "mend what the reason names, then fsctl pool scan %.60s", rep->pool);
	log_err(LOG_WARNING, "cannot compare a pool with the catalog", &e, NULL);
	problems_add(&rep->f->problems, false, rep->scope, &e);
}

void scan_report(struct fsd *f, struct catalog *c, struct pool_root *r)
{
	char scope[64];
	struct report rep = {f, r->config->name, r->config->path, scope};
	struct err err = ERR_INIT;

	scope_of(r, scope);
	problems_begin(&f->problems, scope);
	if (scan_differences(f, c, r, report_one, &rep, &err) < 0)
		not_compared(&rep, &err);
	problems_end(&f->problems, scope);
}

void scan_unreadable(struct fsd *f, const struct pool_root *r, const struct err *why)
{
	struct err e = *why;
	char scope[64];

	scope_of(r, scope);
	if (!*e.hint)
		err_hint(&e, "mend what the reason names, then fsctl pool scan %.60s",
			r->config->name);
	problems_add(&f->problems, true, scope, &e);
}

/* ---- apply ---- */

#define BATCH (20 * NSEC_PER_MSEC) /* others may have to wait for as long */

struct apply {
	struct fsd *f;
	struct pool_root *r;
	struct snap_ctx *ctx;
	json_t *bad;
	json_t *names; /* of the catalog, to be looked at as well: they may be gone */
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

	atomic_fetch_add(&a->ctx->entries_done, 1);
	if (r >= 0)
		return snap_canceled(a->ctx) ? -ECANCELED : 0;
	if (strncmp(err->code, "catalog", 7) == 0 || r == -ENOSPC) {
		*a->err = *err;
		return r;
	}
	snprintf(reason, sizeof(reason), "%s%s%s", err->reason, *err->hint ? ": " : "", err->hint);
	json_array_append_new(a->bad,
		json_pack("{s:o,s:o}", "path", json_text(name), "reason", json_prose(reason)));
	return 0;
}

static int apply_site(struct apply *a, const char *name)
{
	struct err err = ERR_INIT;
	struct cat_site known;

	if (catalog_site_get(a->f->catalog, name, &known, NULL) == 0 &&
		at_work_on(a->f, "site", known.id))
		return 0;
	return judge(a, name, reflect_site(a->f, a->r, name, NULL, &err), &err);
}

static int apply_deleted(struct apply *a, const char *name)
{
	struct err err = ERR_INIT;

	if (at_work_on(a->f, "site", name))
		return 0;
	return judge(a, name, reflect_deleted(a->f, a->r, name, 0, &err), &err);
}

static int apply_snapshot(struct apply *a, const char *path)
{
	struct err err = ERR_INIT;
	struct cat_snapshot known;
	char site[CAT_ID_SIZE];
	const char *slash = strchr(path, '/');

	if ((size_t)(slash - path) >= sizeof(site))
		return 0;
	memcpy(site, path, slash - path);
	site[slash - path] = '\0';
	if (catalog_snapshot_get(a->f->catalog, site, slash + 1, &known, NULL) == 0 &&
		at_work_on(a->f, "snapshot", known.id))
		return 0;
	return judge(a, path, reflect_snapshot(a->f, a->r, site, slash + 1, NULL, &err), &err);
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
	json_t *pair, *bad = a->bad;
	size_t i;
	int r = 0;

	a->bad = json_array();
	json_array_foreach(a->names, i, pair) {
		const char *kind = json_string_value(json_array_get(pair, 0));
		const char *name = json_string_value(json_array_get(pair, 1));

		if (r == 0)
			r = (strcmp(kind, "site") == 0	    ? each_site
				: strcmp(kind, "deleted") == 0 ? each_deleted
							       : each_snapshot)(name, a);
	}
	json_decref(a->bad);
	a->bad = bad;
	return r;
}

int scan_apply(struct fsd *f, struct catalog *c, struct pool_root *r, struct snap_ctx *ctx,
	json_t *bad, struct err *err)
{
	struct apply a = {f, r, ctx, bad, json_array(), err, false, 0};
	int ret = scan_differences(f, c, r, gone, &a, err);

	/* The gone ones first: their names may stand in the way of new ones. */
	if (ret == 0)
		ret = apply_gone(&a);
	if (ret == 0)
		ret = layout_each_name(r->deleted, each_deleted, &a);
	if (ret == 0)
		ret = oldest_first(r->sites, each_site, &a);
	if (ret == 0)
		ret = each_pool_snapshot(r, each_snapshot, &a);
	if (a.locked)
		ret = leave(&a, ret);
	json_decref(a.names);
	if (ret < 0 && !err->num)
		err_sys(err, -ret, "scan", r->config->path);
	return ret;
}
