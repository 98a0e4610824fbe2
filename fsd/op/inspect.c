/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Jobs that read trees and change nothing: diff, check. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "fsd/core/json.h"
#include "fsd/op/common.h"
#include "fsd/op/compare.h"
#include "fsd/op/ops.h"
#include "fsd/op/wanted.h"
#include "fsd/worker/meta.h"
#include "fsd/worker/present.h"
#include "snap/base/clock.h"
#include "snap/base/err.h"
#include "snap/base/fd.h"
#include "snap/copy.h"

/* Of a diff: what can be read in pages for a while, and what its record keeps. */
#define ITEMS_MAX 100000
#define ITEMS_RECORDED 100
#define BYTES_RECORDED 65536 /* then it keeps no more */

/* ---- diff ---- */

/* One side of a diff: noted when planned, opened by id when run. */
static void note_side(struct job *job, const char *key, const struct resolved *s)
{
	job_intend(job, key,
		json_pack("{s:s,s:s,s:I,s:s}", "site", s->site.id, "snapshot", s->snapshot.name,
			"generation", (json_int_t)(s->kind == SOURCE_LIVE ? 0 : s->generation),
			"text", s->text));
	if (s->kind == SOURCE_SNAPSHOT)
		job_lock(job, "snapshot", s->snapshot.id, false);
	else
		job_lock(job, "site", s->site.id, false);
}

static int open_side(struct fsd *f, struct job *job, const char *key, struct compare_side *out,
	struct err *err)
{
	json_t *side = json_object_get(job->intent, key);
	const char *text = json_str_at(side, "text");
	int64_t number = json_int_at(side, "generation");
	struct pool_root *pool;
	_cleanup_fd_ int dir = op_open_noted(f, json_str_at(side, "site"),
		json_str_at(side, "snapshot"), text, &pool, &number, err);
	int r;

	if (dir < 0)
		return dir;
	r = op_require_tree(dir, number, text, err);
	if (r == 0 && (r = compare_open(pool, dir, number, out)) < 0)
		r = err_sys(err, -r, "open", text);
	return r;
}

static int require_live(const struct resolved *a, struct err *err)
{
	char instead[sizeof(a->text) + 64];

	snprintf(instead, sizeof(instead), "say what to compare it with: fsctl diff %s B", a->text);
	return resolve_require_site(a, instead, err);
}

static int plan_diff(struct fsd *f, struct job *job, struct err *err)
{
	const char *text_b = request_str(&job->request, F_B);
	struct resolved a, b;
	size_t n_paths;
	int r = resolve_source(f, f->catalog, request_str(&job->request, F_A), &a, err);

	if (r == 0 && !text_b)
		r = require_live(&a, err);
	if (r == 0)
		r = resolve_source(f, f->catalog, text_b ? text_b : a.site.id, &b, err);
	if (r < 0)
		return r;
	if (!text_b && a.kind == SOURCE_LIVE)
		return err_set(err, EINVAL, "bad_source", a.text,
			"this is the live site; say what to compare it with");
	/* A path that neither has is a mistyped one: no differences would say that all is well. */
	request_list(&job->request, F_PATHS, &n_paths);
	if (n_paths && (r = wanted_plan_either(job, &a, &b, err)) < 0)
		return r;
	job->pool = a.pool;
	strcpy(job->site_id, a.site.id);
	strcpy(job->site_name, a.site.name);
	note_side(job, "a", &a);
	note_side(job, "b", &b);
	job_step(job, "compare %s with %s", a.text, b.text);
	return 0;
}

struct changes {
	struct job *job;
	struct spool *spool;
	json_t *recorded;
	size_t bytes; /* of what is recorded */
	json_int_t n, counts[128];
	struct path_list paths; /* only these and what is below them */
	bool full;		/* the rest is only counted */
};

static bool wanted(const struct changes *c, const char *path)
{
	for (size_t i = 0; i < c->paths.n; i++) {
		if (path_is_below(path, c->paths.items[i]))
			return true;
	}
	return !c->paths.n;
}

/* Takes `item`. */
static int list_change(struct changes *c, json_t *item)
{
	_cleanup_free_ char *line = item ? json_dumps(item, JSON_COMPACT) : NULL;
	int r = line ? spool_add(c->spool, line) : -ENOMEM;

	if (r == 0 && c->n < ITEMS_RECORDED && c->bytes < BYTES_RECORDED) {
		c->bytes += strlen(line);
		if (json_array_append(c->recorded, item) < 0)
			r = -ENOMEM;
	}
	json_decref(item);
	return r;
}

static int add_change(enum snap_change change, const char *path, const char *from, void *arg)
{
	struct changes *c = arg;
	char text[2] = {(char)change, '\0'};
	int r = 0;

	if (!wanted(c, path) && !(from && wanted(c, from)))
		return 0;
	c->counts[(unsigned)change & 127]++;
	if (!c->full)
		r = list_change(c, json_pack("{s:s,s:o,s:o}", "change", text, "path",
					   json_text(*path ? path : "."), "from",
					   from ? json_text(from) : json_null()));
	c->n++;
	c->full |= r == -EFBIG || c->n == ITEMS_MAX;
	return r == -EFBIG ? 0 : r;
}

/* Into the result the first ones; all of them where they can be read for a while. */
static int put_changes(struct changes *c)
{
	static const char kinds[] = "+-MmR";
	json_t *counts = json_object(), *result = c->job->result;
	bool truncated = (json_int_t)json_array_size(c->recorded) < c->n;

	for (const char *k = kinds; *k; k++) {
		char key[2] = {*k, '\0'};

		json_object_set_new(counts, key, json_integer(c->counts[(unsigned)*k & 127]));
	}
	json_object_set(result, "items", c->recorded);
	json_object_set_new(result, "counts", counts);
	json_object_set_new(result, "truncated", json_boolean(truncated));
	return truncated ? spools_keep(c->job->id, c->spool) : 0;
}

static int diff_sides(struct job *job, const struct compare_side *a, const struct compare_side *b,
	struct changes *c, struct err *err)
{
	_cleanup_fd_ int scratch = a->pool == b->pool ? layout_stage(a->pool, job->id) : -1;

	if (a->pool == b->pool && scratch < 0 && scratch != -EROFS && scratch != -ENOSPC)
		return err_sys(err, -scratch, "stage", job->site_name); /* walking needs no room */
	return compare_trees(job, a, b, scratch, add_change, c, err);
}

static void cannot_write(int r, const char *catalog, struct err *err)
{
	err_sys(err, -r, "write what differs beside the catalog", catalog);
	if (r == -ENOSPC)
		err_hint(err, "free some space there: df %.300s", catalog);
}

static int run_diff(struct fsd *f, struct job *job, struct err *err)
{
	_cleanup_compare_side_ struct compare_side a = COMPARE_SIDE_INIT, b = COMPARE_SIDE_INIT;
	struct changes c = {.job = job, .recorded = json_array(),
		.spool = spool_new(&f->spools, fsd_config(f)->catalog)};
	int r = c.spool ? open_side(f, job, "a", &a, err) : -ENOMEM;

	if (r == 0)
		r = open_side(f, job, "b", &b, err);
	if (r == 0)
		r = wanted_load(job, &c.paths, err);
	if (r == 0)
		r = diff_sides(job, &a, &b, &c, err);
	if (r == 0)
		r = job_sweep(job, err);
	if (r == 0)
		r = put_changes(&c);
	if (r < 0 && !err->num)
		cannot_write(r, fsd_config(f)->catalog, err);
	json_decref(c.recorded);
	spool_free(&c.spool);
	path_list_release(&c.paths);
	return r;
}

const struct op_kind op_diff = {
	.op = OP_DIFF,
	.priority = PRIO_CHECK, /* a viewer may ask, and holds up nobody who may do more */
	.plan = plan_diff,
	.run = run_diff,
	.why_not = "a diff changes nothing",
};

/* ---- check ---- */

static int plan_check(struct fsd *f, struct job *job, struct err *err)
{
	struct resolved s;
	int r = op_plan_source(f, job, request_str(&job->request, F_SOURCE), &s, err);

	if (r < 0)
		return r;
	job->pool = s.pool;
	strcpy(job->site_id, s.site.id);
	strcpy(job->site_name, s.site.name);
	job_step(job, "check %s", s.text);
	return 0;
}

static void wrong(struct job *job, const char *path, const char *reason)
{
	job_fault(job, "problems", path, reason);
}

/* No copy can be made of a tree in which another file system begins. */
static void check_nested(struct job *job, int wrapper)
{
	_cleanup_fd_ int tree = fd_open_dir(wrapper, LAYOUT_TREE);
	struct err e = ERR_INIT;
	uint64_t entries = 0;

	if (tree >= 0 && snap_survey(tree, &job->ctx, &entries, NULL, &e) < 0)
		wrong(job, e.object, e.reason);
	atomic_store(&job->ctx.entries_total, entries);
}

/* The documents of one generation, its tree, and every entry readable. */
static void check_generation(struct job *job, struct pool_root *pool, int dir, int64_t number,
	bool snapshot)
{
	_cleanup_fd_ int wrapper = layout_open_generation(dir, number);
	struct tree_at tree = {wrapper, LAYOUT_TREE};
	struct cat_generation g = {0};
	struct snap_usage usage;
	struct err e = ERR_INIT;
	char path[64];
	json_t *doc;
	bool ro;
	int r;

	snprintf(path, sizeof(path), "gen/%" PRId64, number);
	if (wrapper < 0) {
		wrong(job, path, "missing");
		return;
	}
	r = meta_load(wrapper, META_WRAPPER, path, &doc, &e);
	if (r == 0) {
		r = meta_generation(doc, path, &g, &e);
		json_decref(doc);
	}
	if (r < 0)
		wrong(job, path, e.reason);
	r = pool->driver->tree_check(pool->handle, tree, &ro, &e);
	if (r <= 0)
		wrong(job, path, r < 0 ? e.reason : layout_foreign_tree(pool, wrapper)
			? LAYOUT_FOREIGN : "no complete tree");
	else if (snapshot && !ro && pool->driver->caps(pool->handle) & POOL_READ_ONLY)
		wrong(job, path, "a snapshot's tree is writable");
	if (r <= 0)
		return;
	check_nested(job, wrapper);
	if (pool->driver->tree_usage(pool->handle, tree, &job->ctx, &usage, &e) < 0)
		wrong(job, e.object[0] ? e.object : path, e.reason);
}

static void check_site_document(struct job *job, int dir)
{
	struct cat_site s = {0};
	struct err e = ERR_INIT;
	json_t *doc;
	int r = meta_load(dir, META_SITE, META_SITE, &doc, &e);

	if (r == 0) {
		r = meta_site(doc, META_SITE, &s, &e);
		json_decref(doc);
	}
	if (r < 0)
		wrong(job, ".", e.reason);
}

static int run_check(struct fsd *f, struct job *job, struct err *err)
{
	bool snapshot = *job_str(job, "source_snapshot");
	json_t *problems = json_array(), *doc;
	struct cat_snapshot s = {0};
	struct err e = ERR_INIT;
	struct pool_root *pool;
	int64_t number;
	_cleanup_fd_ int dir = op_find_source(f, job, &pool, &number, err);

	json_object_set_new(job->result, "problems", problems);
	if (dir < 0)
		return dir;
	check_site_document(job, dir);
	check_generation(job, pool, dir, number, snapshot);
	if (snapshot && meta_load(dir, META_WRAPPER, META_WRAPPER, &doc, &e) < 0) {
		wrong(job, META_WRAPPER, e.reason);
	} else if (snapshot) {
		if (meta_snapshot(doc, META_WRAPPER, &s, &e) < 0)
			wrong(job, META_WRAPPER, e.reason);
		json_decref(doc);
	}
	json_object_set_new(job->result, "ok", json_boolean(json_array_size(problems) == 0));
	return snap_canceled(&job->ctx) ? err_sys(err, ECANCELED, "check", job->site_name) : 0;
}

const struct op_kind op_check = {
	.op = OP_CHECK,
	.priority = PRIO_CHECK,
	.plan = plan_check,
	.run = run_check,
	.why_not = "a check changes nothing",
};
