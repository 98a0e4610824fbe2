/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a job that failed, or that a stop cut short, came to: the pool is asked on which side of its
 * commit point it is. Where that cannot be seen nothing is touched, since either answer could cost
 * data: the job keeps its locks and its place in the queue, and is looked at again.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "fsd/core/log.h"
#include "fsd/worker/housekeeping.h"
#include "fsd/worker/jobs.h"
#include "fsd/worker/layout.h"
#include "fsd/worker/state.h"
#include "fsd/worker/step.h"
#include "snap/base/err.h"
#include "snap/base/fd.h"

/* Deleted by a job before this one, or taken away by other hands: it never had a site to change. */
static bool site_gone(const struct err *e)
{
	return e->num && (strcmp(e->code, "site_deleted") == 0 ||
				 strcmp(e->code, "site_missing") == 0 ||
				 strcmp(e->code, "other_id") == 0);
}

static int told(struct err *err, struct err *e, int r, struct job *job)
{
	if (!e->num)
		err_sys(e, -r, "look at the pool", job->site_name);
	if (err)
		*err = *e;
	return r;
}

/* A name that can be seen may still be lost in a power cut: whoever made it was told that its fsync
 * failed, or never came to it. One flush of the whole file system, which is rare enough here. */
static int make_durable(struct job *job, struct err *err)
{
	int r = job->pool ? fd_sync_fs(job->pool->fd) : 0;

	return r < 0 ? err_sys(err, -r, "syncfs", job->pool->config->path) : 1;
}

static int committed(struct fsd *f, struct job *job, struct err *err)
{
	struct err e = ERR_INIT;
	int r = job->kind->committed ? job->kind->committed(f, job, &e) : 0;

	if (r < 0)
		return site_gone(&e) ? 0 : told(err, &e, r, job);
	return r == 1 ? make_durable(job, err) : 0;
}

static int revert(struct fsd *f, struct job *job, struct err *err)
{
	struct err e = ERR_INIT;
	int r = job->kind->revert ? job->kind->revert(f, job, &e) : 0;

	return r >= 0 || site_gone(&e) ? 0 : told(err, &e, r, job);
}

const char *job_scope(int64_t id, char out[JOB_SCOPE_SIZE])
{
	char text[JOB_ID_SIZE];

	snprintf(out, JOB_SCOPE_SIZE, "job:%s", job_id_format(id, text));
	return out;
}

void job_unsettled(struct fsd *f, const struct job *job, const struct err *why)
{
	struct err e = ERR_INIT;
	char scope[JOB_SCOPE_SIZE];

	err_set(&e, why->num, "job_unsettled", job->text,
		"the job cannot be brought to an end (%.100s%s%.150s); until then what it holds "
		"stays locked", why->object, *why->object ? ": " : "", why->reason);
	err_hint(&e, "%s", *why->hint ? why->hint : "mend what the reason names; fsd looks again "
		"every few seconds, and at its start");
	log_err(LOG_ERR, "a job cannot be settled", &e, "job", job->text, "kind",
		op_specs[job->shown].name, "site", job->site_name, NULL);
	problems_add(&f->problems, true, job_scope(job->id, scope), &e);
}

static int take_back(struct fsd *f, struct job *job, struct err *err)
{
	bool canceled = job->err.num == ECANCELED || job->given_up;

	job->outcome = !canceled ? JOB_FAILED : job->was_canceled ? JOB_CANCELED : JOB_QUEUED;
	if (canceled) /* wherever in its work that was */
		err_set(&job->err, ECANCELED, "canceled", NULL, "canceled before its end");
	return revert(f, job, err);
}

static int go_on(struct fsd *f, struct job *job, struct err *err)
{
	job->outcome = JOB_DONE;
	return job_finish(f, job, err);
}

/* A half-made tree may take minutes to delete: housekeeping does that, nobody waits for it. */
static int drop_stage(struct fsd *f, struct job *job, struct err *err)
{
	struct pool_root *p = job->pool;

	if (job->outcome == JOB_DONE || !p || !p->handle)
		return job_sweep(job, err);
	if (layout_discard(p, job->id, p->staging, job->text) < 0)
		return job_sweep(job, err); /* most often there is nothing */
	housekeeping_wake(f);
	return 0;
}

int job_settle(struct fsd *f, struct job *job, struct err *err)
{
	struct err e = ERR_INIT;
	char scope[JOB_SCOPE_SIZE];
	int r = committed(f, job, err);

	step("job.judged");
	if (r >= 0)
		r = r ? go_on(f, job, err) : take_back(f, job, err);
	if (r < 0)
		return r;
	if (drop_stage(f, job, &e) < 0)
		log_err(LOG_WARNING, "cannot clean up behind a job; the next start will", &e, "job",
			job->text, NULL);
	if (job->outcome == JOB_DONE)
		job->err = ERR_INIT;
	problems_clear(&f->problems, job_scope(job->id, scope));
	return 0;
}
