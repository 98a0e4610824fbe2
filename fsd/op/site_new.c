/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A new site, empty or with the content of a source: `site create` and `clone`. The whole site
 * directory is built in staging; the rename to sites/NAME is the commit point.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "fsd/op/common.h"
#include "fsd/op/ops.h"
#include "fsd/op/told.h"
#include "fsd/worker/meta.h"
#include "fsd/worker/room.h"
#include "snap/base/clock.h"
#include "snap/base/err.h"
#include "snap/base/fd.h"

static int choose_pool(struct fsd *f, struct job *job, const struct resolved *source,
	struct err *err)
{
	const char *name = request_str(&job->request, F_POOL);

	if (name)
		return pools_require(&f->pools, name, &job->pool, err);
	if (source) {
		job->pool = source->pool;
		return 0;
	}
	return pools_default(&f->pools, &job->pool, err);
}

static int check_method(struct job *job, struct err *err)
{
	const char *wanted = request_str(&job->request, F_METHOD);
	enum pool_method ignored;

	if (!wanted || strcmp(wanted, job->method) == 0)
		return 0;
	if (pool_method_parse(wanted, &ignored) < 0)
		return err_set(err, EINVAL, "bad_request", wanted, "there is no such method");
	err_set(err, EOPNOTSUPP, "method_unavailable", wanted,
		"pool %s makes this copy by method %s only", job->pool->config->name, job->method);
	err_hint(err, "leave --method away; fsctl pool show %s says what its file system can do",
		job->pool->config->name);
	return -EOPNOTSUPP;
}

static int check_if_exists(struct job *job, struct err *err)
{
	const char *what = request_str(&job->request, F_IF_EXISTS);

	if (!what || strcmp(what, "fail") == 0)
		return 0;
	return err_set(err, EOPNOTSUPP, "not_implemented", what,
		"only \"fail\" is known for a clone that exists");
}

static int plan_source(struct fsd *f, struct job *job, const char *text, struct err *err)
{
	struct resolved source;
	int r = op_plan_source(f, job, text, &source, err);

	if (r == 0)
		r = choose_pool(f, job, &source, err);
	if (r < 0)
		return r;
	op_expect_copy(f, job, source.pool, &source.site, source.kind != SOURCE_SNAPSHOT);
	job_step(job, "copy %s into pool %s by method %s", source.text, job->pool->config->name,
		job->method);
	return check_method(job, err);
}

static int plan(struct fsd *f, struct job *job, struct err *err)
{
	const char *name = request_str(&job->request, F_NAME);
	const char *from = request_str(&job->request,
		job->request.op == OP_CLONE ? F_SOURCE : F_FROM);
	char id[ID_SIZE];
	int64_t expires;
	int r;

	r = op_plan_expires(request_str(&job->request, F_EXPIRES), &expires, err);
	if (r == 0)
		r = check_if_exists(job, err);
	if (r == 0)
		r = from ? plan_source(f, job, from, err) : choose_pool(f, job, NULL, err);
	if (r == 0)
		r = op_plan_name(f, job, name, err);
	if (r == 0)
		r = room_plan(f, job, err);
	if (r < 0)
		return r;
	id_new(id);
	strcpy(job->site_id, id);
	strcpy(job->site_name, name);
	job_lock(job, "site", id, true);
	job_intend_str(job, "site", id);
	job_intend_str(job, "name", name);
	job_intend_int(job, "created", clock_real());
	job_intend_int(job, "expires", expires);
	job_step(job, "publish it as %s/sites/%s/live", job->pool->config->path, name);
	return 0;
}

static int make_empty(struct job *job, int stage, int wrapper, const struct cat_generation *g,
	struct err *err)
{
	struct tree_at tree = {wrapper, LAYOUT_TREE};
	struct pool_root *p = job->pool;
	json_t *doc = meta_generation_new(g);
	int r = meta_store(wrapper, META_WRAPPER, job->site_name, doc, err);

	json_decref(doc);
	if (r == 0)
		r = p->driver->tree_create(p->handle, tree, err);
	if (r == 0 && (r = layout_stage_live(stage, g->number)) < 0)
		r = err_sys(err, -r, "link live", job->site_name);
	return r;
}

static int make_tree(struct fsd *f, struct job *job, int stage, int wrapper, struct err *err)
{
	struct cat_generation g = {
		.number = 1,
		.created = job_int(job, "created"),
		.job = job->id,
		.method = "copy",
		.consistency = "atomic",
	};

	snprintf(g.origin, sizeof(g.origin), "%s", job_str(job, "source"));
	return *job_str(job, "source_site") ? op_make_generation(f, job, stage, wrapper, &g, err)
					    : make_empty(job, stage, wrapper, &g, err);
}

static int store_site(struct job *job, int stage, struct err *err)
{
	struct cat_site site = {
		.created = job_int(job, "created"),
		.expires = job_int(job, "expires"),
	};
	json_t *labels = json_object(), *doc;
	int r;

	strcpy(site.id, job->site_id);
	doc = meta_site_new(&site, labels);
	r = meta_store(stage, META_SITE, job->site_name, doc, err);
	json_decref(doc);
	json_decref(labels);
	return r;
}

static int build(struct fsd *f, struct job *job, int stage, struct err *err)
{
	_cleanup_fd_ int wrapper = layout_stage_generation(stage, 1);
	int r;

	if (wrapper < 0)
		return err_sys(err, -wrapper, "stage", job->site_name);
	r = store_site(job, stage, err);
	if (r == 0)
		r = make_tree(f, job, stage, wrapper, err);
	if (r == 0 && (r = layout_stage_sync(stage, 1)) < 0)
		r = err_sys(err, -r, "stage", job->site_name);
	return r;
}

static int run(struct fsd *f, struct job *job, struct err *err)
{
	_cleanup_fd_ int stage = layout_stage(job->pool, job->id);
	int r;

	if (stage < 0)
		return err_sys(err, -stage, "stage", job->site_name);
	r = build(f, job, stage, err);
	if (r < 0)
		return r;
	r = layout_commit(job->pool, job->id, job->pool->sites, job->site_name);
	return r < 0 ? err_sys(err, -r, "rename into sites", job->site_name) : 0;
}

static int committed(struct fsd *f, struct job *job, struct err *err)
{
	_cleanup_fd_ int dir = layout_open_site(job->pool, job->site_name);

	(void)f;
	(void)err;
	return op_doc_says(dir, META_SITE, "id", job->site_id);
}

static int record(struct fsd *f, struct job *job, struct err *err)
{
	int r = op_record_site(f, job, job->site_name, NULL, err);

	if (*job_str(job, "source_site")) /* an empty one is made by no method */
		told_recall_generation(f, job, 1);
	return r;
}

const struct op_kind op_site_create = {
	.op = OP_SITE_CREATE,
	.priority = PRIO_CLONE,
	.plan = plan,
	.run = run,
	.committed = committed,
	.record = record,
	.why_not = "delete the site instead: fsctl site delete",
};

const struct op_kind op_clone = {
	.op = OP_CLONE,
	.priority = PRIO_CLONE,
	.plan = plan,
	.run = run,
	.committed = committed,
	.record = record,
	.why_not = "delete the clone instead: fsctl site delete",
};
