/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Generations: create (built in staging, one rename into gen/), delete, retire. */
#include "fsd/op/generation.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "fsd/core/json.h"
#include "fsd/op/ops.h"
#include "fsd/op/told.h"
#include "fsd/worker/housekeeping.h"
#include "fsd/worker/meta.h"
#include "fsd/worker/present.h"
#include "fsd/worker/reflect.h"
#include "fsd/worker/room.h"
#include "snap/base/clock.h"
#include "snap/base/err.h"
#include "snap/base/fd.h"

static const char *number_name(int64_t number, char out[LAYOUT_NUMBER_SIZE])
{
	snprintf(out, LAYOUT_NUMBER_SIZE, "%" PRId64, number);
	return out;
}

const char *generation_key(const char *site_id, int64_t number, char out[GENERATION_KEY_SIZE])
{
	snprintf(out, GENERATION_KEY_SIZE, "%s:%" PRId64, site_id, number);
	return out;
}

/* ---- building one ---- */

int generation_plan(struct fsd *f, struct job *job, const struct cat_site *site,
	const struct pool_root *from, struct err *err)
{
	bool free_of_charge = job->request.op == OP_RESTORE && op_constant_cost(from, job->pool);
	/* Going back on a full disk is when it is needed most. */
	int r = free_of_charge || job->undoes ? 0 : room_plan(f, job, err);

	return r == 0 ? generation_reserve(f, job, site, err) : r;
}

int generation_reserve(struct fsd *f, struct job *job, const struct cat_site *site,
	struct err *err)
{
	char key[GENERATION_KEY_SIZE], holder[JOB_ID_SIZE];
	int64_t number;
	int r = op_next_generation(f, job->pool, site, &number, err);

	if (r < 0)
		return r;
	/* A job that waits has chosen its number too. */
	while (jobs_holds(f, "generation", generation_key(site->id, number, key), true, holder))
		number++;
	job_lock(job, "generation", key, true);
	job_intend_int(job, "generation", number);
	return 0;
}

static int stage(struct fsd *f, struct job *job, int wrapper, struct err *err)
{
	struct cat_generation g = {
		.number = job_int(job, "generation"),
		.job = job->id,
	};
	int r;

	snprintf(g.origin, sizeof(g.origin), "%s", job_str(job, "source"));
	r = op_make_generation(f, job, -1, wrapper, &g, err);
	if (r == 0 && (r = fd_sync(wrapper)) < 0)
		r = err_sys(err, -r, "fsync", job->site_name);
	return r;
}

int generation_build(struct fsd *f, struct job *job, int site, struct err *err)
{
	_cleanup_fd_ int wrapper = layout_stage(job->pool, job->id);
	_cleanup_fd_ int gen = fd_open_dir(site, "gen");
	char name[LAYOUT_NUMBER_SIZE];
	int r;

	if (wrapper < 0 || gen < 0)
		return err_sys(err, wrapper < 0 ? -wrapper : -gen, "stage", job->site_name);
	r = stage(f, job, wrapper, err);
	if (r < 0)
		return r;
	r = layout_commit(job->pool, job->id, gen, number_name(job_int(job, "generation"), name));
	return r < 0 ? err_sys(err, -r, "rename into gen", job->site_name) : 0;
}

int generation_built(struct job *job, int site)
{
	_cleanup_fd_ int wrapper = layout_open_generation(site, job_int(job, "generation"));

	return op_doc_says(wrapper, META_WRAPPER, "job", job->text);
}

int generation_discard(struct job *job, int site, struct err *err)
{
	_cleanup_fd_ int gen = fd_open_dir(site, "gen");
	char name[LAYOUT_NUMBER_SIZE];
	int r = generation_built(job, site);

	if (r == 1)
		r = gen < 0 ? gen
			    : layout_discard(job->pool, job->id, gen,
				      number_name(job_int(job, "generation"), name));
	return r < 0 ? err_sys(err, -r, "discard generation", job->site_name) : 0;
}

/* ---- create ---- */

static int plan_create(struct fsd *f, struct job *job, struct err *err)
{
	const char *from = request_str(&job->request, F_FROM);
	struct resolved source;
	struct cat_site site;
	/* Nothing that is there is changed; the number is held by itself. */
	int r = op_plan_site(f, job, request_str(&job->request, F_SITE), false, &site, err);

	if (r == 0)
		r = op_plan_source(f, job, from ? from : site.id, &source, err);
	if (r == 0)
		r = generation_plan(f, job, &site, source.pool, err);
	if (r < 0)
		return r;
	op_expect_copy(f, job, source.pool, &source.site, source.kind != SOURCE_SNAPSHOT);
	job_step(job, "copy %s to %s:%" PRId64 " by method %s", source.text, site.name,
		job_int(job, "generation"), job->method);
	return 0;
}

static int run_create(struct fsd *f, struct job *job, struct err *err)
{
	_cleanup_fd_ int site = op_open_site(f, job, err);

	return site < 0 ? site : generation_build(f, job, site, err);
}

static int committed_create(struct fsd *f, struct job *job, struct err *err)
{
	_cleanup_fd_ int site = op_open_site(f, job, err);

	return site < 0 ? site : generation_built(job, site);
}

static int put_view(struct fsd *f, struct job *job, int64_t number, struct err *err)
{
	struct cat_generation g;
	struct cat_site site;
	int r = catalog_site_get(f->catalog, job->site_id, &site, err);

	if (r == 0)
		r = catalog_generation_get(f->catalog, job->site_id, number, &g, err);
	if (r == 0)
		json_object_set_new(job->result, "generation",
			present_generation(f, &site, &g));
	return r;
}

static int reflect_own_site(struct fsd *f, struct job *job, struct err *err)
{
	struct cat_site site;
	int r = catalog_site_get(f->catalog, job->site_id, &site, err);

	return r == 0 ? reflect_site(f, job->pool, site.name, NULL, err) : r;
}

static int record_create(struct fsd *f, struct job *job, struct err *err)
{
	int r = reflect_own_site(f, job, err);

	told_recall_generation(f, job, job_int(job, "generation"));
	return r == 0 ? put_view(f, job, job_int(job, "generation"), err) : r;
}

const struct op_kind op_generation_create = {
	.op = OP_GENERATION_CREATE,
	.priority = PRIO_CLONE,
	.plan = plan_create,
	.run = run_create,
	.committed = committed_create,
	.record = record_create,
	.why_not = "delete the generation instead: fsctl generation delete",
};

/* ---- delete ---- */

static int plan_gone(struct fsd *f, struct job *job, struct cat_generation *g, struct err *err)
{
	int64_t number = request_int(&job->request, F_GENERATION);
	struct cat_site site;
	int r = op_plan_site(f, job, request_str(&job->request, F_SITE), true, &site, err);

	if (r == 0)
		r = catalog_generation_get(f->catalog, site.id, number, g, err);
	if (r == -ENOENT && !err->num) {
		err_set(err, ENOENT, "not_found", site.name, "there is no generation %" PRId64,
			number);
		err_hint(err, "fsctl generation list %s", site.name);
	}
	if (r == 0 && site.live == number) {
		err_set(err, EBUSY, "is_live", site.name, "generation %" PRId64 " is live", number);
		err_hint(err, "publish another one first: fsctl publish %s:N", site.name);
		r = -EBUSY;
	}
	job_intend_int(job, "generation", number);
	return r;
}

static int plan_delete(struct fsd *f, struct job *job, struct err *err)
{
	struct cat_generation g;
	struct cat_site site;
	int r = plan_gone(f, job, &g, err);

	if (r == 0)
		r = catalog_site_get(f->catalog, job->site_id, &site, err);
	if (r < 0)
		return r;
	job_intend(job, "view", present_generation(f, &site, &g));
	job_step(job, "delete generation %" PRId64 " for good", g.number);
	snprintf(job->confirm, sizeof(job->confirm),
		"Delete %.200s:%" PRId64 " and what was written in it? This cannot be undone.",
		job->site_name, g.number);
	return 0;
}

static bool is_highest(int site, int64_t number)
{
	_cleanup_free_ int64_t *numbers = NULL;
	unsigned n = 0;

	return layout_generations(site, &numbers, &n) < 0 || !n || numbers[n - 1] <= number;
}

int generation_remember(struct job *job, int site, int64_t number, struct err *err)
{
	json_t *doc;
	int64_t last;
	int r;

	if (!is_highest(site, number)) /* nothing to write: the pool may be full */
		return 0;
	r = meta_load(site, META_SITE, job->site_name, &doc, err);
	if (r < 0)
		return r;
	last = json_int_at(doc, "last_generation");
	json_decref(doc);
	return last >= number ? 0
			      : meta_change(site, META_SITE, job->site_name, "last_generation",
					json_integer(number), err);
}

static int run_delete(struct fsd *f, struct job *job, struct err *err)
{
	_cleanup_fd_ int site = op_open_site(f, job, err);
	_cleanup_fd_ int gen = site < 0 ? -1 : fd_open_dir(site, "gen");
	int64_t number = job_int(job, "generation"), live = 0;
	char name[LAYOUT_NUMBER_SIZE];
	int r;

	if (site < 0)
		return site;
	if (layout_live(site, &live) == 0 && live == number)
		return err_set(err, EBUSY, "is_live", job->site_name,
			"generation %" PRId64 " is live", number);
	r = generation_remember(job, site, number, err);
	if (r < 0)
		return r;
	r = gen < 0 ? gen : layout_discard(job->pool, job->id, gen, number_name(number, name));
	return r < 0 ? err_sys(err, -r, "rename into trash", job->site_name) : 0;
}

static int committed_delete(struct fsd *f, struct job *job, struct err *err)
{
	_cleanup_fd_ int site = op_open_site(f, job, err);
	_cleanup_fd_ int wrapper = -1;

	if (site < 0)
		return site;
	wrapper = layout_open_generation(site, job_int(job, "generation"));
	return wrapper >= 0 ? 0 : wrapper == -ENOENT ? 1 : wrapper;
}

static int finish_delete(struct fsd *f, struct job *job, struct err *err)
{
	(void)job;
	(void)err;
	housekeeping_wake(f);
	return 0;
}

static int record_delete(struct fsd *f, struct job *job, struct err *err)
{
	json_object_set(job->result, "generation", json_object_get(job->intent, "view"));
	return reflect_own_site(f, job, err);
}

const struct op_kind op_generation_delete = {
	.op = OP_GENERATION_DELETE,
	.priority = PRIO_SNAPSHOT,
	.plan = plan_delete,
	.run = run_delete,
	.committed = committed_delete,
	.finish = finish_delete,
	.record = record_delete,
	.why_not = "a deleted generation is gone",
};
