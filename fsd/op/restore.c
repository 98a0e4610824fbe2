/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Restore of a whole snapshot: a new generation from it, published. What was live is retired and
 * kept, so undo publishes it again. Chosen paths are changed in place: restore_paths.c.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "fsd/op/generation.h"
#include "fsd/op/ops.h"
#include "fsd/op/publish.h"
#include "fsd/op/restore_paths.h"
#include "snap/base/clock.h"
#include "snap/base/err.h"
#include "snap/base/fd.h"

static int refuse_options(struct job *job, struct err *err)
{
	size_t n;

	request_list(&job->request, F_ONLY, &n);
	for (size_t i = 0; i < n; i++) {
		if (strcmp(request_list(&job->request, F_ONLY, &n)[i], "code") != 0)
			return err_set(err, EINVAL, "no_such_part",
				request_list(&job->request, F_ONLY, &n)[i],
				"the site has no such part; its only part is code");
	}
	return 0;
}

static int plan_whole(struct fsd *f, struct job *job, const struct cat_site *site,
	const struct resolved *source, struct err *err)
{
	char when[TIME_TEXT_SIZE];
	int r = generation_plan(f, job, site, err);

	if (r < 0)
		return r;
	op_expect_copy(job, source->pool, source->kind != SOURCE_SNAPSHOT);
	job->plan_entries = (uint64_t)site->entries;
	job_step(job, "copy %s to %s:%" PRId64 " by method %s", source->text, site->name,
		job_int(job, "generation"), job->method);
	job_step(job, "publish %s:%" PRId64 "; %s:%" PRId64 " is retired and kept", site->name,
		job_int(job, "generation"), site->name, site->live);
	time_format(source->kind == SOURCE_SNAPSHOT ? source->snapshot.created : clock_real(), when);
	snprintf(job->confirm, sizeof(job->confirm),
		"Restore all of %.100s from %.150s? Files written since %.20s go back too; undo "
		"brings them forward again.",
		site->name, source->text, when);
	return 0;
}

static int plan(struct fsd *f, struct job *job, struct err *err)
{
	const char *into = request_str(&job->request, F_SITE);
	const char *text = request_str(&job->request, F_SOURCE);
	struct resolved source;
	struct cat_site site;
	int r = refuse_options(job, err);

	if (r == 0)
		r = resolve_source(f, f->catalog, text, &source, err);
	if (r == 0 && source.kind == SOURCE_LIVE && !into) {
		err_set(err, EINVAL, "bad_source", text, "this names the live site itself");
		err_hint(err, "name a snapshot: %s@latest", text);
		r = -EINVAL;
	}
	if (r == 0)
		r = op_plan_site(f, job, into ? into : source.site.id, true, &site, err);
	if (r == 0)
		r = op_plan_source(f, job, text, &source, err);
	if (r < 0)
		return r;
	if (request_has(&job->request, F_PATHS))
		return restore_paths_plan(f, job, &source, err);
	return plan_whole(f, job, &site, &source, err);
}

static bool in_place(const struct job *job)
{
	return request_has(&job->request, F_PATHS);
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
			     : publish_record(f, job, job_int(job, "generation"), err);
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
	.run = run,
	.committed = committed,
	.revert = revert,
	.finish = finish,
	.record = record,
	.undo = undo,
};
