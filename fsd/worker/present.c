/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fsd/worker/present.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "fsd/core/json.h"
#include "fsd/worker/layout.h"
#include "fsd/worker/resolve.h"
#include "snap/base/clock.h"
#include "snap/base/fd.h"

#define PATHS_SHOWN 100

static json_t *text_or_null(const char *s)
{
	return *s ? json_string_nocheck(s) : json_null();
}

/* "bytes" and "entries", null where nothing was measured. */
static void add_usage(json_t *v, const struct cat_usage *u)
{
	json_t *bytes = json_null();

	if (u->measured)
		bytes = json_pack("{s:I,s:I,s:I,s:o}", "logical", (json_int_t)u->logical, "shared",
			(json_int_t)u->shared, "exclusive", (json_int_t)u->exclusive,
			"measured_at", json_time(u->measured));
	json_object_set_new(v, "bytes", bytes);
	json_object_set_new(v, "entries", u->measured ? json_integer(u->entries) : json_null());
}

static int add_label(const char *key, const char *value, void *arg)
{
	return json_object_set_new(arg, key, json_string_nocheck(value));
}

static json_t *labels_of(struct catalog *c, const char *object)
{
	json_t *labels = json_object();

	catalog_labels(c, object, add_label, labels, NULL);
	return labels;
}

/* A path beneath a pool's, which may be of any bytes. */
static __attribute__((format(printf, 1, 2))) json_t *path_text(const char *fmt, ...)
{
	_cleanup_free_ char *path = NULL;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vasprintf(&path, fmt, ap);
	va_end(ap);
	return n < 0 ? NULL : json_text(path);
}

static const char *pool_path(struct fsd *f, const char *name)
{
	const struct pool_root *r = pools_find(&f->pools, name);

	return r ? r->config->path : "";
}

struct deletion {
	struct fsd *f;
	int64_t id;
};

static int take_deletion(const struct cat_job *row, void *arg)
{
	struct deletion *d = arg;
	const struct op_kind *kind = jobs_kind(d->f, row);

	if (!kind || (kind->op != OP_SITE_DELETE && kind->op != OP_SITE_EJECT &&
			     kind->op != OP_SITE_UNDELETE))
		return 0;
	d->id = job_undoable(row, kind) && kind->op != OP_SITE_UNDELETE ? row->id : 0;
	return 1;
}

/* Which job is to be undone to have a deleted site back? */
static json_t *deleted_by(struct fsd *f, struct catalog *c, const struct cat_site *s)
{
	struct cat_job_filter filter = {.state = "done", .site = s->id};
	struct deletion d = {.f = f};
	char id[JOB_ID_SIZE];

	if (s->deleted)
		catalog_jobs(c, &filter, take_deletion, &d, NULL);
	return d.id ? json_string(job_id_format(d.id, id)) : json_null();
}

json_t *present_site(struct fsd *f, struct catalog *c, const struct cat_site *s)
{
	struct cat_generation g = {0};
	json_t *v = json_object(), *path;
	const char *root = pool_path(f, s->pool);

	if (s->deleted)
		path = path_text("%s/.fsd/deleted/%s/live", root, s->id);
	else
		path = path_text("%s/sites/%s/live", root, s->name);
	catalog_generation_get(c, s->id, s->live, &g, NULL);
	json_object_set_new(v, "id", json_string(s->id));
	json_object_set_new(v, "name", json_string(s->name));
	json_object_set_new(v, "pool", json_string(s->pool));
	json_object_set_new(v, "live",
		json_pack("{s:I,s:o}", "generation", (json_int_t)s->live, "path", path));
	json_object_set_new(v, "parts", json_pack("[s]", "code"));
	json_object_set_new(v, "classes", json_object());
	json_object_set_new(v, "method", text_or_null(g.method));
	json_object_set_new(v, "consistency", text_or_null(g.consistency));
	json_object_set_new(v, "origin", text_or_null(g.origin));
	json_object_set_new(v, "created", json_time(s->created));
	json_object_set_new(v, "deleted", json_time(s->deleted));
	json_object_set_new(v, "kept_until",
		json_time(s->deleted ? s->deleted + fsd_config(f)->undo_keep : 0));
	json_object_set_new(v, "deleted_by", deleted_by(f, c, s));
	json_object_set_new(v, "linked", text_or_null(s->linked));
	add_usage(v, &s->usage);
	json_object_set_new(v, "protected", json_boolean(s->protect));
	json_object_set_new(v, "expires", json_time(s->expires));
	json_object_set_new(v, "labels", labels_of(c, s->id));
	return v;
}

json_t *present_generation(struct fsd *f, const struct cat_site *s,
	const struct cat_generation *g)
{
	char id[JOB_ID_SIZE];
	json_t *v = json_object();

	json_object_set_new(v, "site", json_pack("{s:s,s:s}", "id", s->id, "name", s->name));
	json_object_set_new(v, "number", json_integer(g->number));
	json_object_set_new(v, "live", json_boolean(g->number == s->live));
	json_object_set_new(v, "created", json_time(g->created));
	json_object_set_new(v, "method", text_or_null(g->method));
	json_object_set_new(v, "consistency", text_or_null(g->consistency));
	json_object_set_new(v, "origin", text_or_null(g->origin));
	json_object_set_new(v, "retired", json_time(g->retired));
	json_object_set_new(v, "retired_by",
		g->retired_by ? json_string(job_id_format(g->retired_by, id)) : json_null());
	json_object_set_new(v, "path", path_text("%s/sites/%s/gen/%" PRId64 "/" LAYOUT_TREE,
		pool_path(f, s->pool), s->name, g->number));
	return v;
}

static int add_hold(const struct cat_hold *h, void *arg)
{
	return json_array_append_new(arg, json_string_nocheck(h->tag));
}

static json_t *unsettled_of(struct catalog *c, const char *snapshot)
{
	_cleanup_free_ char *text = NULL;
	json_t *v;

	catalog_unsettled(c, snapshot, &text, NULL);
	v = text ? json_loads(text, 0, NULL) : NULL;
	return v ? v : json_null();
}

json_t *present_snapshot(struct fsd *f, struct catalog *c, const struct cat_snapshot *s)
{
	json_t *v = json_object(), *holds = json_array();
	char word[CAT_NAME_SIZE];

	resolve_word(c, s, word);
	catalog_holds(c, s->id, add_hold, holds, NULL);
	json_object_set_new(v, "id", json_string(s->id));
	json_object_set_new(v, "site",
		json_pack("{s:s,s:s}", "id", s->site, "name", word));
	json_object_set_new(v, "name", json_string(s->name));
	json_object_set_new(v, "pool", json_string(s->pool));
	json_object_set_new(v, "time", json_time(s->created));
	json_object_set_new(v, "kind", json_string(s->kind));
	json_object_set_new(v, "generation", json_integer(s->generation));
	json_object_set_new(v, "method", json_string(s->method));
	json_object_set_new(v, "consistency", json_string(s->consistency));
	json_object_set_new(v, "unsettled", unsettled_of(c, s->id));
	json_object_set_new(v, "gap", json_real((double)s->gap_ns / (double)NSEC_PER_SEC));
	json_object_set_new(v, "parts", json_pack("[s]", "code"));
	json_object_set_new(v, "labels", labels_of(c, s->id));
	json_object_set_new(v, "hold", json_boolean(json_array_size(holds) > 0));
	json_object_set_new(v, "holds", holds);
	json_object_set_new(v, "expires", json_time(s->expires));
	add_usage(v, &s->usage);
	json_object_set_new(v, "path",
		path_text("%s/.fsd/snapshots/%s/%s/gen/%" PRId64 "/" LAYOUT_TREE,
			pool_path(f, s->pool), s->site, s->name, s->generation));
	return v;
}

static json_t *capabilities(unsigned caps)
{
	static const struct {
		unsigned bit;
		const char *name;
	} names[] = {
		{POOL_CONSTANT_COST, "constant_cost"},
		{POOL_READ_ONLY, "read_only"},
		{POOL_SHARES, "shares"},
		{POOL_FREES_LATER, "frees_later"},
	};
	json_t *v = json_array();

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (caps & names[i].bit)
			json_array_append_new(v, json_string(names[i].name));
	}
	return v;
}

static json_t *report_lines(const char *report)
{
	json_t *v = json_array();

	while (report && *report) {
		size_t n = strcspn(report, "\n");

		json_array_append_new(v, json_stringn_nocheck(report, n));
		report += n + (report[n] == '\n');
	}
	return v;
}

static int count_name(const char *name, void *arg)
{
	(void)name;
	++*(uint64_t *)arg;
	return 0;
}

/* What was deleted and is not free yet: in the trash, or with the file system. Null: not known. */
static json_t *pending(const struct pool_root *r)
{
	bool later = r->driver->caps(r->handle) & POOL_FREES_LATER;
	uint64_t trash = 0, freeing = 0;

	if (layout_each_name(r->trash, count_name, &trash) < 0 ||
		(later && r->driver->pending(r->handle, &freeing, NULL) < 0))
		return json_null();
	return json_integer((json_int_t)(trash + freeing));
}

static void add_space(json_t *v, struct fsd *f, struct pool_root *r)
{
	struct pool_space s;

	if (pool_root_space(r, fsd_config(f), &s) < 0)
		return;
	json_object_set_new(v, "bytes",
		json_pack("{s:I,s:I,s:I}", "total", (json_int_t)s.total, "free",
			(json_int_t)s.free, "min_free", (json_int_t)s.min_free));
	json_object_set_new(v, "inodes",
		s.inodes ? json_pack("{s:I,s:I}", "total", (json_int_t)s.inodes, "free",
				   (json_int_t)s.inodes_free)
			 : json_null());
	json_object_set_new(v, "pending", pending(r));
}

json_t *present_pool(struct fsd *f, struct catalog *c, struct pool_root *r)
{
	bool online = atomic_load(&r->online);
	json_t *v = json_object();
	struct pool_told told;
	uint64_t sites = 0;

	pool_root_told(r, &told);
	catalog_site_count(c, r->config->name, &sites, NULL);
	json_object_set_new(v, "id", text_or_null(told.id));
	json_object_set_new(v, "name", json_string(r->config->name));
	json_object_set_new(v, "path", json_text(r->config->path));
	json_object_set_new(v, "driver", told.driver ? json_string(told.driver) : json_null());
	json_object_set_new(v, "online", json_boolean(online));
	json_object_set_new(v, "reason", online ? json_null() : json_prose(told.reason.reason));
	json_object_set_new(v, "hint", online ? json_null() : json_prose(told.reason.hint));
	json_object_set_new(v, "capabilities",
		online ? capabilities(r->driver->caps(r->handle)) : json_array());
	json_object_set_new(v, "probe", report_lines(told.report));
	json_object_set_new(v, "bytes", json_null());
	json_object_set_new(v, "inodes", json_null());
	json_object_set_new(v, "pending", json_null());
	if (online)
		add_space(v, f, r);
	json_object_set_new(v, "sites", json_integer((json_int_t)sites));
	pool_told_release(&told);
	return v;
}

/* A site that is gone has its id for a name. */
static json_t *event_site(struct catalog *c, const char *id)
{
	struct cat_site s;

	if (*id == '\0')
		return json_null();
	if (catalog_site_get(c, id, &s, NULL) < 0)
		snprintf(s.name, sizeof(s.name), "%s", id);
	return json_pack("{s:s,s:s}", "id", id, "name", s.name);
}

json_t *present_event(struct catalog *c, const struct cat_event *e)
{
	char id[JOB_ID_SIZE];
	json_t *data = e->data ? json_loads(e->data, 0, NULL) : NULL;

	return json_pack("{s:o,s:o,s:s,s:o,s:o,s:o}", "id",
		json_sprintf("%" PRId64, e->id), "time", json_time(e->time), "kind", e->kind,
		"site", event_site(c, e->site), "job",
		e->job ? json_string(job_id_format(e->job, id)) : json_null(), "data",
		data ? data : json_object());
}

json_t *present_paths(const struct paths *p)
{
	json_t *paths = json_array();

	for (size_t i = 0; i < p->n && i < PATHS_SHOWN; i++)
		json_array_append_new(paths, json_text(p->items[i].path));
	return json_pack("{s:I,s:o}", "total", (json_int_t)p->total, "paths", paths);
}
