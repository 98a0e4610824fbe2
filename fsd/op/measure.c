/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Jobs that count what the live tree of a site, or a snapshot, holds. */
#include <errno.h>
#include <string.h>

#include "fsd/op/common.h"
#include "fsd/op/ops.h"
#include "fsd/worker/layout.h"
#include "fsd/worker/present.h"
#include "snap/base/err.h"
#include "snap/base/fd.h"
#include "snap/usage.h"

/* Kept in the intent: recording it may take several tries. */
static int count(struct job *job, struct pool_root *pool, int wrapper, struct err *err)
{
	const struct tree_at tree = {wrapper, LAYOUT_TREE};
	struct snap_usage u = {0};
	int r = pool->driver->tree_usage(pool->handle, tree, &job->ctx, &u, err);

	if (r < 0)
		return r;
	job_intend_int(job, "entries", (int64_t)u.entries);
	job_intend_int(job, "logical", (int64_t)u.logical);
	job_intend_int(job, "shared", (int64_t)u.shared);
	job_intend_int(job, "exclusive", (int64_t)u.exclusive);
	return 0;
}

static struct cat_usage counted(const struct job *job)
{
	return (struct cat_usage){
		.measured = job->finished,
		.entries = job_int(job, "entries"),
		.logical = job_int(job, "logical"),
		.shared = job_int(job, "shared"),
		.exclusive = job_int(job, "exclusive"),
	};
}

/* ---- a site ---- */

static int plan_site(struct fsd *f, struct job *job, struct err *err)
{
	struct cat_site site;
	int r = op_plan_site(f, job, request_str(&job->request, F_SITE), false, &site, err);

	job_step(job, "walk the live tree of %s and count", job->site_name);
	return r;
}

static int run_site(struct fsd *f, struct job *job, struct err *err)
{
	int64_t live;
	_cleanup_fd_ int site = op_open_site(f, job, err);
	_cleanup_fd_ int wrapper = site < 0 ? site
					    : layout_open_live(site, job->site_name, &live, err);

	return wrapper < 0 ? wrapper : count(job, job->pool, wrapper, err);
}

static int record_site(struct fsd *f, struct job *job, struct err *err)
{
	struct cat_site s;
	int r = catalog_site_get(f->catalog, job->site_id, &s, err);

	if (r < 0)
		return r;
	s.usage = counted(job);
	r = catalog_site_put(f->catalog, &s, err);
	json_object_set_new(job->result, "site", present_site(f, f->catalog, &s));
	return r;
}

const struct op_kind op_site_measure = {
	.op = OP_SITE_MEASURE,
	.priority = PRIO_CHECK,
	.plan = plan_site,
	.run = run_site,
	.record = record_site,
	.why_not = "measuring changes nothing",
};

/* ---- a snapshot ---- */

static int plan_snapshot(struct fsd *f, struct job *job, struct err *err)
{
	const char *text = request_str(&job->request, F_SOURCE);
	struct resolved s;
	int r = resolve_source(f, f->catalog, text, &s, err);

	if (r < 0)
		return r;
	op_note_source(job, &s);
	if (s.kind != SOURCE_SNAPSHOT)
		return err_set(err, EINVAL, "bad_source", text, "only a snapshot can be measured "
			"so; of a site: fsctl site show --measure");
	job->pool = s.pool;
	strcpy(job->site_id, s.site.id);
	strcpy(job->site_name, s.site.name);
	job_intend_str(job, "snapshot", s.snapshot.id);
	job_step(job, "walk %s and count", s.text);
	return 0;
}

static int run_snapshot(struct fsd *f, struct job *job, struct err *err)
{
	struct pool_root *pool;
	int64_t number;
	_cleanup_fd_ int dir = op_open_source(f, job, &pool, &number, err);
	_cleanup_fd_ int wrapper = dir < 0 ? dir : layout_open_generation(dir, number);

	if (dir < 0)
		return dir;
	return wrapper < 0 ? err_sys(err, -wrapper, "open", job_str(job, "source"))
			   : count(job, pool, wrapper, err);
}

static int record_snapshot(struct fsd *f, struct job *job, struct err *err)
{
	struct cat_snapshot s;
	int r = catalog_snapshot_get_id(f->catalog, job_str(job, "snapshot"), &s, err);

	if (r < 0)
		return r;
	s.usage = counted(job);
	r = catalog_snapshot_put(f->catalog, &s, err);
	json_object_set_new(job->result, "snapshot", present_snapshot(f, f->catalog, &s));
	return r;
}

const struct op_kind op_snapshot_measure = {
	.op = OP_SNAPSHOT_MEASURE,
	.priority = PRIO_CHECK,
	.plan = plan_snapshot,
	.run = run_snapshot,
	.record = record_snapshot,
	.why_not = "measuring changes nothing",
};
