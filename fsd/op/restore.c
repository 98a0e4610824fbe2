/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Restore of a whole snapshot: a new generation from it, published. What was live is retired and
 * kept, so undo publishes it again. Chosen paths are changed in place: restore_paths.c.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "fsd/op/compare.h"
#include "fsd/op/generation.h"
#include "fsd/op/ops.h"
#include "fsd/op/publish.h"
#include "fsd/op/restore_paths.h"
#include "snap/base/clock.h"
#include "snap/base/err.h"
#include "snap/base/fd.h"

static int plan_whole(struct fsd *f, struct job *job, const struct cat_site *site,
	const struct resolved *source, struct err *err)
{
	char when[TIME_TEXT_SIZE];
	int r = generation_plan(f, job, site, source->pool, err);

	if (r < 0)
		return r;
	op_expect_copy(f, job, source->pool, &source->site, source->kind != SOURCE_SNAPSHOT);
	job_step(job, "copy %s to %s:%" PRId64 " by method %s", source->text, site->name,
		job_int(job, "generation"), job->method);
	job_step(job, "publish %s:%" PRId64 "; %s:%" PRId64 " is retired and kept", site->name,
		job_int(job, "generation"), site->name, site->live);
	time_format(source->kind == SOURCE_SNAPSHOT ? source->snapshot.created : clock_real(),
		when);
	snprintf(job->confirm, sizeof(job->confirm),
		"Restore all of %.100s from %.150s? Files written since %.30s go back too; undo "
		"brings them forward again.",
		site->name, source->text, when);
	if (job->undoes)
		job->confirm[0] = '\0';
	return 0;
}

/* Into another site, or the one it is of: whichever is gone, it is there to be cloned. */
static int plan_target(struct fsd *f, struct job *job, const struct resolved *source,
	struct cat_site *site, struct err *err)
{
	const char *into = request_str(&job->request, F_SITE);
	char instead[sizeof(source->text) + NAME_SIZE + 64];
	int r;

	snprintf(instead, sizeof(instead), "fsctl clone %s %s makes a new site of it", source->text,
		into ? into : "NEW");
	r = into ? 0 : resolve_require_site(source, instead, err);
	if (r < 0)
		return r;
	r = op_plan_site(f, job, into ? into : source->site.id, true, site, err);
	if (r == -ENOENT && strcmp(err->code, "not_found") == 0 && into &&
		name_check(into, NULL) == 0)
		err_hint(err, "%s", instead);
	return r;
}

static int plan(struct fsd *f, struct job *job, struct err *err)
{
	const char *into = request_str(&job->request, F_SITE);
	const char *text = request_str(&job->request, F_SOURCE);
	struct resolved source;
	struct cat_site site;
	int r = op_plan_parts(job, err);

	if (r == 0)
		r = resolve_source(f, f->catalog, text, &source, err);
	if (r == 0 && source.kind == SOURCE_LIVE && !into) {
		err_set(err, EINVAL, "bad_source", text, "this names the live site itself");
		err_hint(err, "name a snapshot: %s@latest", text);
		r = -EINVAL;
	}
	if (r == 0)
		r = plan_target(f, job, &source, &site, err);
	if (r == 0)
		r = op_plan_source(f, job, text, &source, err);
	if (r < 0)
		return r;
	if (request_has(&job->request, F_PATHS))
		return restore_paths_plan(f, job, &source, err);
	return plan_whole(f, job, &site, &source, err);
}

struct count {
	uint64_t changed, added;
};

static int count_change(enum snap_change change, const char *path, const char *from, void *arg)
{
	struct count *c = arg;

	(void)path;
	(void)from;
	c->changed += change == SNAP_CONTENT || change == SNAP_RENAMED || change == SNAP_REMOVED;
	c->added += change == SNAP_ADDED;
	return 0;
}

/* What was changed and added since the source was made: the answer to "sure?" depends on it. */
static int survey_trees(struct fsd *f, struct job *job, int scratch, struct count *count,
	struct err *err)
{
	_cleanup_fd_ int site = op_open_site(f, job, err);
	_cleanup_compare_side_ struct compare_side from = COMPARE_SIDE_INIT, to = COMPARE_SIDE_INIT;
	_cleanup_fd_ int source = -1;
	struct pool_root *pool;
	int64_t number, live;
	int r;

	if (site < 0)
		return site;
	source = op_open_source(f, job, &pool, &number, err);
	if (source < 0 || pool != job->pool || layout_live(site, &live) < 0)
		return source < 0 ? source : 0;
	r = compare_open(pool, source, number, &from);
	if (r == 0)
		r = compare_open(pool, site, live, &to);
	if (r < 0)
		return err_sys(err, -r, "open", job_str(job, "source"));
	r = compare_trees(job, &from, &to, scratch, count_change, count, err);
	if (r == 0 && !job->undoes && count->changed + count->added)
		snprintf(job->confirm, sizeof(job->confirm),
			"Restore all of %.100s from %.150s? %" PRIu64 " changed and %" PRIu64
			" new files and directories go back too; undo brings them forward again.",
			job->site_name, job_str(job, "source"), count->changed, count->added);
	return r;
}

static bool in_place(const struct job *job)
{
	return request_has(&job->request, F_PATHS);
}

static int survey(struct fsd *f, struct job *job, struct err *err)
{
	struct snap_ctx own = {0}; /* what is swept is swept when the look was canceled, too */
	struct count count = {0};
	char name[48] = "survey-";
	_cleanup_fd_ int scratch = -1;
	int r;

	if (in_place(job))
		return restore_paths_survey(f, job, err);
	id_new(name + strlen(name));
	if (mkdirat(job->pool->staging, name, 0700) < 0)
		return err_sys(err, errno, "stage", job->site_name);
	scratch = fd_open_dir(job->pool->staging, name);
	r = scratch < 0 ? err_sys(err, -scratch, "stage", job->site_name)
			: survey_trees(f, job, scratch, &count, err);
	if (r == 0 && count.changed + count.added)
		job_warn(job, "%" PRIu64 " changed and %" PRIu64
			" new files and directories go back", count.changed, count.added);
	layout_remove(job->pool, job->pool->staging, name, &own, NULL);
	return r;
}

static int run(struct fsd *f, struct job *job, struct err *err)
{
	_cleanup_fd_ int site = op_open_site(f, job, err);
	int r;

	if (site < 0)
		return site;
	if (in_place(job))
		return restore_paths_run(f, job, site, err);
	r = generation_build(f, job, site, err);
	return r == 0 ? publish_generation(job, site, job_int(job, "generation"), err) : r;
}

static int committed(struct fsd *f, struct job *job, struct err *err)
{
	_cleanup_fd_ int site = op_open_site(f, job, err);

	if (site < 0)
		return site;
	return in_place(job) ? restore_paths_committed(job, site)
			     : publish_committed(job, site, job_int(job, "generation"));
}

static int revert(struct fsd *f, struct job *job, struct err *err)
{
	_cleanup_fd_ int site = op_open_site(f, job, err);
	int r;

	if (site < 0)
		return site;
	if (in_place(job))
		return restore_paths_revert(job, site, err);
	r = publish_revert(job, site, err);
	return r == 0 ? generation_discard(job, site, err) : r;
}

static int finish(struct fsd *f, struct job *job, struct err *err)
{
	_cleanup_fd_ int site = op_open_site(f, job, err);

	if (site < 0)
		return site;
	return in_place(job) ? restore_paths_finish(job, site, err)
			     : publish_finish(f, job, site, job_int(job, "generation"), err);
}

static int record(struct fsd *f, struct job *job, struct err *err)
{
	return in_place(job) ? restore_paths_record(f, job, err)
			     : publish_record(f, job, err);
}

static int undo(struct fsd *f, const struct cat_job *done, json_t *intent, struct request *request,
	struct err *err)
{
	return json_object_get(intent, "paths") ? restore_paths_undo(f, done, intent, request, err)
						: publish_undo(f, done, intent, request, err);
}

const struct op_kind op_restore = {
	.op = OP_RESTORE,
	.priority = PRIO_RESTORE,
	.plan = plan,
	.survey = survey,
	.run = run,
	.committed = committed,
	.revert = revert,
	.finish = finish,
	.record = record,
	.undo = undo,
	.beyond_undo = publish_beyond_undo,
};
