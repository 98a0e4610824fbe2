/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fsd/worker/scan.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "fsd/core/json.h"
#include "fsd/core/log.h"
#include "fsd/worker/layout.h"
#include "fsd/worker/meta.h"
#include "fsd/worker/reflect.h"
#include "snap/base/clock.h"
#include "snap/base/err.h"
#include "snap/base/fd.h"

struct compare {
	json_t *known; /* object: name -> id, of the catalog */
	struct fsd *f;
	struct catalog *c;
	struct pool_root *r;
	const char *kind;
	scan_fn *fn;
	void *arg;
};

bool scan_at_work(struct fsd *f, const char *kind, const char *name, const char *id)
{
	char key[ID_SIZE + NAME_MAX + 1];
	char *slash;

	if (id && jobs_at_work_on(f, strcmp(kind, "snapshot") == 0 ? "snapshot" : "site", id))
		return true;
	/* A snapshot that is made is held by SITE-ID@SNAP. */
	snprintf(key, sizeof(key), "%s", name);
	slash = strchr(key, '/');
	if (slash)
		*slash = '@';
	return jobs_at_work_on(f, "name", key);
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
	if (strcmp(e->code, "newer_format") == 0)
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
	const char *id = json_str_at(doc, "id");

	return id && (scan_at_work(c->f, c->kind, name, id) || is_recorded(c, name, id));
}

/* A site that the catalog knows: what is wrong with it all the same. */
static void known_site(struct compare *c, const char *name, json_t *doc, int dir)
{
	const char *id = json_str_at(doc, "id");
	struct err why = ERR_INIT;

	if (scan_at_work(c->f, "site", name, id))
		return;
	if (reflect_live(c->f, dir, id, name, &why) < 0)
		c->fn(c->kind, SCAN_BROKEN, name, &why, c->arg);
	if (json_object_get(doc, "import") && reflect_import(c->r, name, &why) < 0)
		c->fn(c->kind, SCAN_HALF, name, &why, c->arg);
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
	else if (known && is_kind(c, "site"))
		known_site(c, name, doc, dir);
	json_decref(doc);
}

/* Of what is known, sites alone can be others by the same name. */
static int in_pool(const char *name, void *arg)
{
	struct compare *c = arg;
	json_t *known = json_object_get(c->known, name);

	if (is_kind(c, "site") && layout_has_site(c->r, name) == 0)
		return 0;
	if (!known || is_kind(c, "site"))
		compare_one(c, name, known);
	json_object_del(c->known, name);
	return 0;
}

/* Is it in the catalog, and not in the pool, even now? Both go together under write_lock. */
static bool still_known(const struct compare *c, const char *name, const char *id)
{
	bool known;

	pthread_mutex_lock(&c->f->write_lock);
	known = is_recorded(c, name, id) &&
		(is_kind(c, "site") ? layout_has_site(c->r, name)
				    : fd_exists(is_kind(c, "snapshot") ? c->r->snapshots
								       : c->r->deleted, name)) == 0;
	pthread_mutex_unlock(&c->f->write_lock);
	return known;
}

static void rest(struct compare *c)
{
	const char *name;
	json_t *v;

	json_object_foreach(c->known, name, v) {
		const char *id = json_string_value(v);

		if (!scan_at_work(c->f, c->kind, name, id) && still_known(c, name, id))
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
	if (ret == 0 && (ret = layout_each_snapshot(r, in_pool, &cmp)) < 0)
		ret = err_sys(err, -ret, "list snapshots", r->config->path);
	if (ret == 0)
		rest(&cmp);
	json_decref(cmp.known);
	return ret;
}

/* As many as somebody reads; `fsctl pool check` lists them all. */
#define REPORT_MOST 10

struct report {
	struct fsd *f;
	const char *pool, *path, *scope;
	scan_fn *fn; /* to be told, too, or NULL */
	void *arg;
	unsigned n; /* that pool scan mends */
};

static void report_one(const char *kind, enum scan_change change, const char *name,
	const struct err *why, void *arg)
{
	struct report *rep = arg;
	struct err e = ERR_INIT;

	if (rep->fn)
		rep->fn(kind, change, name, why, rep->arg);
	if (change == SCAN_BROKEN)
		return; /* told by reflect_live() */
	if (why) {
		problems_add(&rep->f->problems, false, rep->scope, why);
		return;
	}
	if (change != SCAN_UNFINISHED && rep->n++ >= REPORT_MOST)
		return;
	if (strcmp(kind, "deleted") == 0)
		kind = "deleted site";
	if (change == SCAN_ADDED)
		err_set(&e, 1, "not_in_catalog", name, "a %s of pool %s is not in the catalog",
			kind, rep->pool);
	else if (change == SCAN_GONE)
		err_set(&e, 1, "not_in_pool", name, "a %s of the catalog is not in pool %s", kind,
			rep->pool);
	else if (change == SCAN_UNFINISHED)
		err_set(&e, 1, "snapshot_unfinished", name,
			"a %s of pool %s is without its generation", kind, rep->pool);
	else
		err_set(&e, 1, "other_id", name, "the %s in pool %s is not the catalog's", kind,
			rep->pool);
	if (change == SCAN_UNFINISHED)
		err_hint(&e, "if fsctl generation list shows that the site still has it: rm -r "
			"%s/.fsd/snapshots/%s", rep->path, name);
	else
		err_hint(&e, "fsctl pool scan %s brings the catalog in line with the pool",
			rep->pool);
	problems_add(&rep->f->problems, false, rep->scope, &e);
}

static void report_more(const struct report *rep)
{
	struct err e = ERR_INIT;

	if (rep->n <= REPORT_MOST)
		return;
	err_set(&e, 1, "more_differences", rep->pool,
		"%u more of its sites and snapshots differ from the catalog", rep->n - REPORT_MOST);
	err_hint(&e, "fsctl pool check %s lists all; fsctl pool scan %s brings the catalog in line "
		"with the pool", rep->pool, rep->pool);
	problems_add(&rep->f->problems, false, rep->scope, &e);
}

void scan_scope(const char *look, const struct pool_root *r, char out[SCAN_SCOPE_SIZE])
{
	snprintf(out, SCAN_SCOPE_SIZE, "%s:%.50s", look, r->config->name);
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

int scan_report(struct fsd *f, struct catalog *c, struct pool_root *r, scan_fn *fn, void *arg,
	struct err *err)
{
	char scope[SCAN_SCOPE_SIZE];
	struct report rep = {f, r->config->name, r->config->path, scope, fn, arg, 0};
	struct err e = ERR_INIT;
	int ret;

	scan_scope("scan", r, scope);
	problems_begin(&f->problems, scope);
	ret = scan_differences(f, c, r, report_one, &rep, &e);
	if (ret < 0)
		not_compared(&rep, &e);
	report_more(&rep);
	problems_end(&f->problems, scope);
	if (ret < 0 && err)
		*err = e;
	return ret;
}

void scan_unreadable(struct fsd *f, const struct pool_root *r, const struct err *why)
{
	struct err e = *why;
	char scope[SCAN_SCOPE_SIZE];

	scan_scope("scan", r, scope);
	if (!*e.hint)
		err_hint(&e, "mend what the reason names, then fsctl pool scan %.60s",
			r->config->name);
	problems_add(&f->problems, true, scope, &e);
}
