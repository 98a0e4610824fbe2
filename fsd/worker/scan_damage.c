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
static int read_document(int dir, bool generation, struct err *e)
{
	struct cat_generation g = {0};
	struct cat_snapshot s = {0};
	json_t *doc;
	int r = meta_load(dir, META_WRAPPER, META_WRAPPER, &doc, e);

	if (r < 0)
		return r;
	r = generation ? meta_generation(doc, META_WRAPPER, &g, e)
		       : meta_snapshot(doc, META_WRAPPER, &s, e);
	json_decref(doc);
	return r;
}

/* `path`: of its directory, beneath the pool's. True: *why says that its document is damaged. */
static bool bad_document(const struct pool_root *r, int dir, const char *name, const char *path,
	int64_t generation, struct err *why)
{
	struct err e = ERR_INIT;
	char where[64] = "", of[64] = "";

	if (read_document(dir, generation != 0, &e) == 0)
		return false;
	if (generation) {
		snprintf(where, sizeof(where), "gen/%" PRId64 ": ", generation);
		snprintf(of, sizeof(of), "/gen/%" PRId64, generation);
	}
	err_set(why, EBADMSG, "unreadable", name, "%s%.200s", where, e.reason);
	if (strcmp(e.code, "newer_format") == 0)
		err_hint(why, "%s", e.hint);
	else
		err_hint(why, "mend or put back " META_WRAPPER " of %.100s/%.200s%s",
			r->config->path, path, of);
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

/* What nothing can be told of, since it has no directory or serves nothing, scan_differences()
 * tells. */
static bool bad_site(const struct pool_root *r, const struct cat_site *s, struct err *why)
{
	_cleanup_fd_ int dir = layout_open_site(r, s->name);
	_cleanup_fd_ int wrapper = -1;
	char path[CAT_NAME_SIZE + 16];
	struct err e = ERR_INIT;
	int64_t live = 0;
	const char *tree;

	if (dir >= 0)
		wrapper = layout_open_live(dir, s->name, &live, NULL);
	if (wrapper < 0)
		return false;
	snprintf(path, sizeof(path), "sites/%s", s->name);
	tree = bad_tree(r, wrapper, &e);
	if (!tree)
		return bad_document(r, wrapper, s->name, path, live, why);
	if (strcmp(tree, LAYOUT_FOREIGN) == 0) {
		err_set(why, ENOENT, "no_tree", s->name, LAYOUT_FOREIGN);
		err_hint(why, LAYOUT_FOREIGN_HINT);
		return true;
	}
	err_set(why, ENOENT, "no_tree", s->name, "the live generation has no complete tree");
	err_hint(why, "restore a snapshot of it: fsctl snapshot list %.100s", s->name);
	return true;
}

static void look_at_site(struct damage *d, const char *id)
{
	struct err why = ERR_INIT;
	struct cat_site s;

	if (catalog_site_get(d->c, id, &s, NULL) < 0 || s.deleted ||
		!bad_site(d->job->pool, &s, &why))
		return;
	/* A job may have taken it away meanwhile: the catalog is told of that before it ends. */
	if (!scan_at_work(d->f, "site", s.name, id) &&
		catalog_site_get(d->c, id, &s, NULL) == 0 && !s.deleted &&
		strcmp(s.name, why.object) == 0)
		tell(d, &why);
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
		return bad_document(r, dir, name, path, 0, why) ||
		       bad_document(r, wrapper, name, path, s->generation, why);
	err_set(why, ENOENT, "no_tree", name, "gen/%" PRId64 ": %s", s->generation, tree);
	hint_lost(d, s, path, why);
	return true;
}

static void look_at_snapshot(struct damage *d, const char *id)
{
	char name[CAT_ID_SIZE + CAT_NAME_SIZE];
	struct err why = ERR_INIT;
	struct cat_snapshot s;

	if (catalog_snapshot_get_id(d->c, id, &s, NULL) < 0)
		return;
	snprintf(name, sizeof(name), "%s/%s", s.site, s.name);
	if (bad_snapshot(d, &s, name, &why) && !scan_at_work(d->f, "snapshot", name, id) &&
		catalog_snapshot_get_id(d->c, id, &s, NULL) == 0)
		tell(d, &why);
}

static int look_at_all(struct damage *d, void (*look)(struct damage *d, const char *id))
{
	json_t *id;
	size_t i;

	json_array_foreach(d->ids, i, id) {
		step("scan.look");
		if (snap_canceled(&d->job->ctx))
			return -ECANCELED;
		look(d, json_string_value(id));
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
	if (r == 0)
		r = look_at_all(&d, look_at_site);
	if (r == 0)
		r = catalog_snapshots(c, &all, note_snapshot, &d, err);
	if (r == 0)
		r = look_at_all(&d, look_at_snapshot);
	if (r == 0) { /* else what was found before stays */
		tell_more(&d);
		problems_end(&f->problems, scope);
	}
	json_decref(d.ids);
	return r;
}

void scan_again(struct fsd *f, const struct pool_root *r, const char *was,
	const struct cat_site *now)
{
	char scan[SCAN_SCOPE_SIZE], damage[SCAN_SCOPE_SIZE];
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
	if (bad_site(r, now, &why))
		problems_add(&f->problems, false, damage, &why);
}
