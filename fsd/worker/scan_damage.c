/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the catalog knows, and the pool has by name alone: the third part of scan.h. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "fsd/core/json.h"
#include "fsd/worker/layout.h"
#include "fsd/worker/meta.h"
#include "fsd/worker/reflect.h"
#include "fsd/worker/resolve.h"
#include "fsd/worker/scan.h"
#include "fsd/worker/step.h"
#include "snap/base/err.h"
#include "snap/base/fd.h"

/* As many as somebody reads in status. */
#define REPORT_MOST 10

struct damage {
	struct fsd *f;
	struct catalog *c;
	struct job *job;
	scan_damage_fn *fn;
	void *arg;
	json_t *ids; /* of the catalog's sites, then of its snapshots, in this pool */
	const char *scope;
	unsigned n;
};

static int note_site(const struct cat_site *s, void *arg)
{
	return json_array_append_new(((struct damage *)arg)->ids, json_string(s->id));
}

static int note_snapshot(const struct cat_snapshot *s, void *arg)
{
	struct damage *d = arg;

	if (strcmp(s->pool, d->job->pool->config->name) != 0)
		return 0;
	return json_array_append_new(d->ids, json_string(s->id));
}

static void tell(struct damage *d, const struct err *why)
{
	if (d->fn)
		d->fn(why, d->arg);
	if (d->n++ < REPORT_MOST)
		problems_add(&d->f->problems, false, d->scope, why);
}

static void tell_more(const struct damage *d)
{
	const char *pool = d->job->pool->config->name;
	struct err e = ERR_INIT;

	if (d->n <= REPORT_MOST)
		return;
	err_set(&e, 1, "more_damaged", pool, "%u more of its sites and snapshots are damaged",
		d->n - REPORT_MOST);
	err_hint(&e, "fsctl pool check %s lists all", pool);
	problems_add(&d->f->problems, false, d->scope, &e);
}

/* Its document, as the kind it is. 0 or -errno. */
static int read_document(int dir, const char *file, bool generation, struct err *e)
{
	struct cat_generation g = {0};
	struct cat_snapshot snapshot = {0};
	struct cat_site site = {0};
	json_t *doc;
	int r = meta_load(dir, file, file, &doc, e);

	if (r < 0)
		return r;
	if (strcmp(file, META_SITE) == 0)
		r = meta_site(doc, file, &site, e);
	else
		r = generation ? meta_generation(doc, file, &g, e)
			       : meta_snapshot(doc, file, &snapshot, e);
	json_decref(doc);
	return r;
}

/* `path`: of its directory, beneath the pool's. True: *why says that its document is damaged. */
static bool bad_document(const struct pool_root *r, int dir, const char *file, const char *name,
	const char *path, int64_t generation, struct err *why)
{
	struct err e = ERR_INIT;
	char where[64] = "", of[64] = "";

	if (read_document(dir, file, generation != 0, &e) == 0)
		return false;
	if (generation) {
		snprintf(where, sizeof(where), "gen/%" PRId64 ": ", generation);
		snprintf(of, sizeof(of), "/gen/%" PRId64, generation);
	}
	err_set(why, EBADMSG, "unreadable", name, "%s%.200s", where, e.reason);
	if (strcmp(e.code, "newer_format") == 0)
		err_hint(why, "%s", e.hint);
	else
		err_hint(why, "mend or put back %s of %.100s/%.200s%s", file, r->config->path,
			path, of);
	return true;
}

/* What is wrong with a generation that is open, or could not be opened: `wrapper` is -errno. NULL:
 * its tree is whole. *e holds the text. */
static const char *bad_tree(const struct pool_root *r, int wrapper, struct err *e)
{
	const struct tree_at tree = {wrapper, LAYOUT_TREE};
	int whole = wrapper;

	if (wrapper == -ENOENT)
		return "missing";
	if (wrapper < 0)
		err_sys(e, -wrapper, "open generation", NULL);
	else
		whole = r->driver->tree_check(r->handle, tree, NULL, e);
	if (whole < 0)
		return e->reason;
	if (whole == 1)
		return NULL;
	return layout_foreign_tree(r, wrapper) ? LAYOUT_FOREIGN : "no complete tree";
}

/* ---- sites ---- */

/* `generation` 0: the site itself. *why has an object, a reason and a hint. */
typedef void site_damage_fn(const struct cat_site *s, int64_t generation, const struct err *why,
	void *arg);

/* In use or deleted. */
struct site_look {
	const struct pool_root *r;
	const struct cat_site *s;
	int dir;
	const char *name;	       /* that it is told by */
	char path[CAT_NAME_SIZE + 16]; /* beneath the pool's */
	int64_t live;		       /* that its link names, 0: none */
	site_damage_fn *fn;
	void *arg;
};

static void hint_generation(const struct site_look *l, int64_t number, struct err *why)
{
	const char *pool = l->r->config->path;

	if (l->s->deleted)
		err_hint(why, "if %.100s is to be undeleted, put back gen/%" PRId64 " of "
			"%.100s/%.200s from a backup; it goes once undo_keep is over", l->s->name,
			number, pool, l->path);
	else
		err_hint(why, "put back gen/%" PRId64 " of %.100s/%.200s from a backup; or fsctl "
			"generation delete %s", number, pool, l->path, why->object);
}

static bool bad_generation(const struct site_look *l, int64_t number, struct err *why)
{
	_cleanup_fd_ int wrapper = layout_open_generation(l->dir, number);
	bool live = number == l->live;
	char name[CAT_NAME_SIZE + LAYOUT_NUMBER_SIZE + 1];
	struct err e = ERR_INIT;
	const char *tree = bad_tree(l->r, wrapper, &e);

	snprintf(name, sizeof(name), "%s:%" PRId64, l->name, number);
	if (live)
		strcpy(name, l->name);
	if (!tree)
		return bad_document(l->r, wrapper, META_WRAPPER, name, l->path, number, why);
	if (strcmp(tree, LAYOUT_FOREIGN) == 0) {
		err_set(why, ENOENT, "no_tree", name, LAYOUT_FOREIGN);
		err_hint(why, LAYOUT_FOREIGN_HINT);
	} else if (live && !l->s->deleted) {
		err_set(why, ENOENT, "no_tree", name, "the live generation has no complete tree");
		err_hint(why, "restore a snapshot of it: fsctl snapshot list %.100s", name);
	} else {
		err_set(why, ENOENT, "no_tree", name, "gen/%" PRId64 ": %s", number, tree);
		hint_generation(l, number, why);
	}
	return true;
}

static void look_at_generation(const struct site_look *l, int64_t number)
{
	struct err why = ERR_INIT;

	if (bad_generation(l, number, &why))
		l->fn(l->s, number, &why, l->arg);
}

/* Of a site in use scan_differences() tells that `live` leads nowhere, and reads site.json. */
static void look_at_live(struct site_look *l)
{
	struct err e = ERR_INIT, why = ERR_INIT;
	_cleanup_fd_ int wrapper = layout_open_live(l->dir, l->name, &l->live, &e);

	if (wrapper >= 0)
		look_at_generation(l, l->live);
	if (!l->s->deleted)
		return;
	if (wrapper < 0) {
		err_set(&why, e.num, e.code, l->name, "%s", e.reason);
		err_hint(&why, "if %.100s is to be undeleted, publish another generation of it "
			"then, or restore a snapshot; it goes once undo_keep is over", l->s->name);
		l->fn(l->s, 0, &why, l->arg);
	}
	if (bad_document(l->r, l->dir, META_SITE, l->name, l->path, 0, &why))
		l->fn(l->s, 0, &why, l->arg);
}

static int note_number(const struct cat_generation *g, void *arg)
{
	return json_array_append_new(arg, json_integer(g->number));
}

/* Of a site that has no directory nothing is told: scan_differences() does that. `ctx` may be NULL.
 * 0, -ECANCELED or -errno of the catalog. */
static int each_damage(const struct pool_root *r, struct catalog *c, const struct cat_site *s,
	struct snap_ctx *ctx, site_damage_fn *fn, void *arg, struct err *err)
{
	_cleanup_fd_ int dir = s->deleted ? fd_open_dir(r->deleted, s->id)
					  : layout_open_site(r, s->name);
	struct site_look l = {r, s, dir, s->deleted ? s->id : s->name, .fn = fn, .arg = arg};
	json_t *numbers = json_array(), *number;
	size_t i;
	int ret = dir < 0 ? 0 : catalog_generations(c, s->id, note_number, numbers, err);

	snprintf(l.path, sizeof(l.path), "%s/%s", s->deleted ? ".fsd/deleted" : "sites", l.name);
	if (dir >= 0 && ret == 0)
		look_at_live(&l);
	json_array_foreach(numbers, i, number) {
		step("scan.generation");
		if (ret == 0 && ctx && snap_canceled(ctx))
			ret = -ECANCELED;
		if (ret == 0 && json_integer_value(number) != l.live)
			look_at_generation(&l, json_integer_value(number));
	}
	json_decref(numbers);
	return ret;
}

/* A job may have taken it away meanwhile: the catalog is told of that before it ends. */
static void tell_site(const struct cat_site *s, int64_t generation, const struct err *why,
	void *arg)
{
	struct damage *d = arg;
	struct cat_generation g;
	struct cat_site now;

	if (scan_at_work(d->f, s->deleted ? "deleted" : "site", s->deleted ? s->id : s->name,
		    s->id) ||
		catalog_site_get(d->c, s->id, &now, NULL) < 0 || !now.deleted != !s->deleted ||
		strcmp(now.name, s->name) != 0)
		return;
	if (!generation || catalog_generation_get(d->c, s->id, generation, &g, NULL) == 0)
		tell(d, why);
}

static int look_at_site(struct damage *d, const char *id, struct err *err)
{
	struct cat_site s;
	int r = catalog_site_get(d->c, id, &s, err);

	if (r < 0)
		return r == -ENOENT ? 0 : r;
	return each_damage(d->job->pool, d->c, &s, &d->job->ctx, tell_site, d, err);
}

/* ---- snapshots ---- */

static void hint_lost(const struct damage *d, const struct cat_snapshot *s, const char *path,
	struct err *why)
{
	char word[CAT_NAME_SIZE];

	resolve_word(d->c, s, word);
	err_hint(why, "put back gen/%" PRId64 " of %.100s/%.200s from a backup; or fsctl snapshot "
		"delete %.200s@%s", s->generation, d->job->pool->config->path, path, word, s->name);
}

static bool bad_snapshot(const struct damage *d, const struct cat_snapshot *s, const char *name,
	struct err *why)
{
	const struct pool_root *r = d->job->pool;
	_cleanup_fd_ int dir = layout_open_snapshot(r, s->site, s->name);
	_cleanup_fd_ int wrapper =
		dir < 0 ? dir : layout_open_generation(dir, s->generation);
	char path[CAT_ID_SIZE + CAT_NAME_SIZE + 24];
	struct err e = ERR_INIT;
	const char *tree;

	if (dir == -ENOENT)
		return false;
	snprintf(path, sizeof(path), ".fsd/snapshots/%s", name);
	tree = bad_tree(r, wrapper, &e);
	if (!tree)
		return bad_document(r, dir, META_WRAPPER, name, path, 0, why) ||
		       bad_document(r, wrapper, META_WRAPPER, name, path, s->generation, why);
	err_set(why, ENOENT, "no_tree", name, "gen/%" PRId64 ": %s", s->generation, tree);
	hint_lost(d, s, path, why);
	return true;
}

static int look_at_snapshot(struct damage *d, const char *id, struct err *err)
{
	char name[CAT_ID_SIZE + CAT_NAME_SIZE];
	struct err why = ERR_INIT;
	struct cat_snapshot s;
	int r = catalog_snapshot_get_id(d->c, id, &s, err);

	if (r < 0)
		return r == -ENOENT ? 0 : r;
	snprintf(name, sizeof(name), "%s/%s", s.site, s.name);
	if (bad_snapshot(d, &s, name, &why) && !scan_at_work(d->f, "snapshot", name, id) &&
		catalog_snapshot_get_id(d->c, id, &s, NULL) == 0)
		tell(d, &why);
	return 0;
}

static int look_at_all(struct damage *d,
	int (*look)(struct damage *d, const char *id, struct err *err), struct err *err)
{
	json_t *id;
	size_t i;

	json_array_foreach(d->ids, i, id) {
		int r;

		step("scan.look");
		r = snap_canceled(&d->job->ctx) ? -ECANCELED : look(d, json_string_value(id), err);
		if (r < 0)
			return r;
		atomic_fetch_add(&d->job->ctx.entries_done, 1);
	}
	json_array_clear(d->ids);
	return 0;
}

int scan_damage(struct fsd *f, struct catalog *c, struct job *job, scan_damage_fn *fn, void *arg,
	struct err *err)
{
	struct cat_site_filter sites = {.pool = job->pool->config->name};
	struct cat_snapshot_filter all = {0};
	char scope[SCAN_SCOPE_SIZE];
	struct damage d = {f, c, job, fn, arg, json_array(), scope, 0};
	int r = catalog_sites(c, &sites, note_site, &d, err);

	scan_scope("damage", job->pool, scope);
	problems_begin(&f->problems, scope);
	if (r == 0) {
		sites.deleted = true;
		r = catalog_sites(c, &sites, note_site, &d, err);
	}
	if (r == 0)
		r = look_at_all(&d, look_at_site, err);
	if (r == 0)
		r = catalog_snapshots(c, &all, note_snapshot, &d, err);
	if (r == 0)
		r = look_at_all(&d, look_at_snapshot, err);
	if (r == 0) { /* else what was found before stays */
		tell_more(&d);
		problems_end(&f->problems, scope);
	}
	json_decref(d.ids);
	return r;
}

static void add_again(const struct cat_site *s, int64_t generation, const struct err *why,
	void *arg)
{
	struct damage *d = arg;

	(void)s;
	(void)generation;
	problems_add(&d->f->problems, false, d->scope, why);
}

void scan_again(struct fsd *f, const struct pool_root *r, const char *was,
	const struct cat_site *now)
{
	char scan[SCAN_SCOPE_SIZE], damage[SCAN_SCOPE_SIZE];
	struct damage d = {.f = f, .scope = damage};
	struct err why = ERR_INIT;
	bool told;

	scan_scope("scan", r, scan);
	scan_scope("damage", r, damage);
	told = problems_drop(&f->problems, scan, was);
	told |= problems_drop(&f->problems, damage, was);
	if (!told || !now)
		return;
	if (reflect_import(r, now->name, &why) < 0)
		problems_add(&f->problems, false, scan, &why);
	each_damage(r, f->catalog, now, NULL, add_again, &d, NULL);
}
