/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fsd/worker/query.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fsd/core/json.h"
#include "fsd/worker/list.h"
#include "fsd/worker/present.h"
#include "fsd/worker/resolve.h"
#include "snap/base/buf.h"
#include "snap/base/err.h"

/* ---- lists ---- */

int query_no_cursor(struct err *err)
{
	return err_set(err, EINVAL, "bad_request", "cursor", "this is no cursor of this list");
}

static int add_site(const struct cat_site *s, void *arg)
{
	struct list *l = arg;

	return list_add(l, present_site(l->f, l->c, s), s->deleted ? s->id : s->name);
}

static int sites(struct fsd *f, struct catalog *c, const struct request *r, struct buf *out,
	struct err *err)
{
	struct cat_site_filter filter = {
		.pool = request_str(r, F_POOL),
		.label = request_str(r, F_LABEL),
		.after = request_str(r, F_CURSOR),
		.deleted = request_bool(r, F_DELETED),
	};
	struct pool_root *pool;
	struct list l;
	int ret = list_init(&l, f, c, r, out, err);

	if (ret < 0)
		return ret;
	filter.limit = l.limit + 1;
	ret = catalog_sites(c, &filter, add_site, &l, err);
	if (ret == 0 && l.n == 0 && filter.pool && !pools_find(&f->pools, filter.pool))
		ret = pools_require(&f->pools, filter.pool, &pool, err); /* for its message */
	return list_end(&l, ret);
}

/* A cursor says where in the order to go on, whether the last one seen still exists or not. */
static int add_snapshot(const struct cat_snapshot *s, void *arg)
{
	char cursor[CAT_ID_SIZE + 24];
	struct list *l = arg;

	snprintf(cursor, sizeof(cursor), "%" PRId64 ".%s", s->created, s->id);
	return list_add(l, present_snapshot(l->f, l->c, s), cursor);
}

static int snapshot_cursor(const char *cursor, struct cat_snapshot_filter *filter, struct err *err)
{
	char *end;

	if (!cursor)
		return 0;
	errno = 0;
	filter->after_time = strtoll(cursor, &end, 10);
	filter->after = end + 1;
	return errno || *end != '.' || !id_valid(end + 1) ? query_no_cursor(err) : 0;
}

static int snapshots(struct fsd *f, struct catalog *c, const struct request *r, struct buf *out,
	struct err *err)
{
	struct cat_snapshot_filter filter = {.label = request_str(r, F_LABEL)};
	const char *ref = request_str(r, F_SITE);
	struct cat_site site;
	struct list l;
	int ret = list_init(&l, f, c, r, out, err);

	if (ret == 0)
		ret = snapshot_cursor(request_str(r, F_CURSOR), &filter, err);
	if (ret < 0)
		return ret;
	filter.limit = l.limit + 1;
	if (ref) {
		ret = resolve_owner(c, ref, &site, err);
		filter.site = site.id;
	}
	if (ret == 0)
		ret = catalog_snapshots(c, &filter, add_snapshot, &l, err);
	return list_end(&l, ret);
}

static int add_generation(const struct cat_generation *g, void *arg)
{
	struct list *l = arg;

	return list_add(l, present_generation(l->f, l->site, g), "");
}

static int generations(struct fsd *f, struct catalog *c, const struct request *r, struct buf *out,
	struct err *err)
{
	struct cat_site site;
	struct list l;
	int ret = resolve_site(f, c, request_str(r, F_SITE), &site, NULL, err);

	if (ret < 0)
		return ret;
	list_begin(&l, f, c, out);
	l.site = &site;
	return list_end(&l, catalog_generations(c, site.id, add_generation, &l, err));
}

static int add_job(const struct cat_job *j, void *arg)
{
	struct list *l = arg;
	const char *state;
	char id[JOB_ID_SIZE];
	json_t *job;

	if (l->undoable && !job_undoable(j, jobs_kind(l->f, j)))
		return 0;
	job = jobs_item(l->f, j);
	state = json_str_at(job, "state");

	/* To the catalog every unfinished job is queued; which of them run is known here only. */
	if (l->state && (!state || strcmp(state, l->state) != 0)) {
		json_decref(job);
		return 0;
	}
	return list_add(l, job, job_id_format(j->id, id));
}

static int jobs(struct fsd *f, struct catalog *c, const struct request *r, struct buf *out,
	struct err *err)
{
	struct cat_job_filter filter = {
		.state = request_str(r, F_STATE),
		.site = request_str(r, F_SITE),
	};
	const char *cursor = request_str(r, F_CURSOR);
	struct cat_site site;
	struct list l;
	int ret = list_init(&l, f, c, r, out, err);

	if (ret < 0)
		return ret;
	filter.limit = l.limit + 1;
	l.undoable = request_bool(r, F_UNDOABLE);
	if (l.undoable) {
		filter.state = filter.state ? filter.state : job_state_name(JOB_DONE);
		filter.limit = 0; /* add_job() stops at a full page */
	}
	if (filter.state && (strcmp(filter.state, job_state_name(JOB_QUEUED)) == 0 ||
				    strcmp(filter.state, job_state_name(JOB_RUNNING)) == 0)) {
		l.state = filter.state;
		filter.state = "unfinished";
		filter.limit = 0; /* not many, and add_job() stops at a full page */
	}
	if (cursor && job_id_parse(cursor, &filter.before) < 0)
		ret = query_no_cursor(err);
	if (ret == 0)
		ret = catalog_jobs(c, &filter, add_job, &l, err);
	if (ret == 0 && l.n == 0 && filter.site && catalog_site_get(c, filter.site, &site, NULL))
		ret = resolve_site(f, c, filter.site, &site, NULL, err); /* for its message */
	return list_end(&l, ret);
}

static int add_event(const struct cat_event *e, void *arg)
{
	struct list *l = arg;
	char id[24];

	snprintf(id, sizeof(id), "%" PRId64, e->id);
	return list_add(l, present_event(l->c, e), id);
}

static int events(struct fsd *f, struct catalog *c, const struct request *r, int64_t job,
	struct buf *out, struct err *err)
{
	struct cat_event_filter filter = {.after = request_int(r, F_AFTER), .job = job};
	struct list l;
	int ret = list_init(&l, f, c, r, out, err);

	if (ret < 0)
		return ret;
	filter.limit = l.limit + 1;
	return list_end(&l, catalog_events(c, &filter, add_event, &l, err));
}

static int pools(struct fsd *f, struct catalog *c, struct buf *out)
{
	struct list l;
	int r = 0;

	list_begin(&l, f, c, out);
	for (unsigned i = 0; r == 0 && i < f->pools.n; i++)
		r = list_add(&l, present_pool(f, c, &f->pools.items[i]), "");
	return list_end(&l, r);
}

/* ---- single objects ---- */

static int site(struct fsd *f, struct catalog *c, const struct request *r, json_t **out,
	struct err *err)
{
	const char *ref = request_str(r, F_SITE);
	struct cat_site s;
	int ret = catalog_site_get(c, ref, &s, err);

	if (ret == -ENOENT) /* for its message */
		ret = resolve_site(f, c, ref, &s, NULL, err);
	if (ret == 0)
		*out = present_site(f, c, &s);
	return ret;
}

static int snapshot(struct fsd *f, struct catalog *c, const struct request *r, json_t **out,
	struct err *err)
{
	char text[2 * NAME_SIZE + 64];
	struct resolved s;
	int ret;

	snprintf(text, sizeof(text), "%s@%s", request_str(r, F_SITE), request_str(r, F_SNAPSHOT));
	ret = resolve_source(f, c, text, &s, err);
	if (ret == 0)
		*out = present_snapshot(f, c, &s.snapshot);
	return ret;
}

int query_find_job(struct catalog *c, const struct request *r, struct cat_job *row,
	struct err *err)
{
	const char *text = request_str(r, F_JOB);
	int64_t id;
	int ret;

	if (job_id_parse(text, &id) < 0)
		return err_set(err, EINVAL, "bad_request", text, "this is not a job's id");
	ret = catalog_job_get(c, id, row, err);
	if (ret == -ENOENT) {
		err_set(err, ENOENT, "not_found", text, "there is no such job");
		err_hint(err, "fsctl job list");
	}
	return ret;
}

static int job(struct fsd *f, struct catalog *c, const struct request *r, json_t **out,
	struct err *err)
{
	struct cat_job row;
	int ret = query_find_job(c, r, &row, err);

	if (ret < 0)
		return ret;
	*out = jobs_view(f, &row);
	cat_job_release(&row);
	return *out ? 0 : err_sys(err, ENOMEM, "job", NULL);
}

static int job_log(struct fsd *f, struct catalog *c, const struct request *r, struct buf *out,
	struct err *err)
{
	struct cat_job row;
	int64_t id;
	int ret = query_find_job(c, r, &row, err);

	if (ret < 0)
		return ret;
	id = row.id;
	cat_job_release(&row);
	return events(f, c, r, id, out, err);
}

static int pool(struct fsd *f, struct catalog *c, const struct request *r, json_t **out,
	struct err *err)
{
	struct pool_root *root = pools_find(&f->pools, request_str(r, F_POOL));

	if (!root)
		return pools_require(&f->pools, request_str(r, F_POOL), &root, err);
	*out = present_pool(f, c, root);
	return 0;
}

static int path(struct fsd *f, struct catalog *c, const struct request *r, json_t **out,
	struct err *err)
{
	struct resolved s;
	char *text;
	int ret = resolve_source(f, c, request_str(r, F_SOURCE), &s, err);

	if (ret < 0)
		return ret;
	text = resolve_path(&s);
	if (!text)
		return err_sys(err, ENOMEM, "path", NULL);
	*out = json_pack("{s:o}", "path", json_text(text));
	free(text);
	return 0;
}

static int object(struct fsd *f, struct catalog *c, const struct request *r, json_t **out,
	struct err *err)
{
	switch (r->op) {
	case OP_HEALTH:
		*out = json_pack("{s:s}", "status", "ok");
		return 0;
	case OP_STATUS:
		return query_status(f, c, out, err);
	case OP_SITE:
		return site(f, c, r, out, err);
	case OP_SNAPSHOT:
		return snapshot(f, c, r, out, err);
	case OP_JOB:
		return job(f, c, r, out, err);
	case OP_POOL:
		return pool(f, c, r, out, err);
	case OP_PATH:
		return path(f, c, r, out, err);
	default:
		return err_set(err, ENOSYS, "not_implemented", op_specs[r->op].name,
			"this is not a query");
	}
}

static int add_object(struct fsd *f, struct catalog *c, const struct request *r, struct buf *out,
	struct err *err)
{
	json_t *v = NULL;
	int ret = object(f, c, r, &v, err);

	if (ret == 0)
		json_add(out, v);
	json_decref(v);
	return ret;
}

static int answer(struct fsd *f, struct catalog *c, const struct request *r, struct buf *out,
	struct err *err)
{
	switch (r->op) {
	case OP_METRICS:
		return query_metrics(f, c, out, err);
	case OP_SITES:
		return sites(f, c, r, out, err);
	case OP_SNAPSHOTS:
		return snapshots(f, c, r, out, err);
	case OP_GENERATIONS:
		return generations(f, c, r, out, err);
	case OP_JOBS:
		return jobs(f, c, r, out, err);
	case OP_JOB_LOG:
		return job_log(f, c, r, out, err);
	case OP_JOB_CHANGES:
		return query_changes(f, c, r, out, err);
	case OP_POOLS:
		return pools(f, c, out);
	case OP_EVENTS:
		return events(f, c, r, 0, out, err);
	default:
		return add_object(f, c, r, out, err);
	}
}

int query_answer(struct fsd *f, struct catalog *c, const struct request *r, struct buf *out,
	struct err *err)
{
	int ret = answer(f, c, r, out, err);

	if (ret == 0)
		ret = buf_error(out);
	if (ret < 0 && !err->num)
		err_sys(err, -ret, op_specs[r->op].name, NULL);
	return ret;
}
