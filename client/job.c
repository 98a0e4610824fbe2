/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Waiting for jobs, canceling them, and what became of them. */
#include "client/internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define WAIT_MAX 60 /* seconds that fsd waits at most */
#define LOOK_MIN 5   /* ms between looks where fsd is not asked to wait: soon at first ... */
#define LOOK_MAX 200 /* ... since most jobs take no longer, then often enough for a bar */

bool fsc_job_ended(const struct fsc_value *job)
{
	const char *state = fsc_value_str(job, "state");

	return state && (strcmp(state, "done") == 0 || strcmp(state, "failed") == 0 ||
				strcmp(state, "canceled") == 0);
}

static bool is_partial(const struct fsc_value *job)
{
	const struct fsc_value *failed = fsc_value_at(job, "result.failed");

	return fsc_value_count(failed) > 0;
}

int fsc_job_outcome(const struct fsc_value *job, struct fsc_error *err)
{
	const char *state = fsc_value_str(job, "state");
	const char *id = fsc_value_str(job, "id");

	if (!fsc_job_ended(job))
		return fsc_fail(err, EINPROGRESS, FSC_EXIT_FAILED, "running", id,
			"the job has not ended");
	if (strcmp(state, "done") == 0)
		return is_partial(job);
	if (fsc_value_type(fsc_value_at(job, "error")) == FSC_OBJECT)
		return fsc_problem(fsc_json(fsc_value_at(job, "error")), 500, err);
	if (strcmp(state, "canceled") == 0)
		return fsc_fail(err, ECANCELED, FSC_EXIT_FAILED, "canceled", id,
			"the job was canceled");
	return fsc_fail(err, EIO, FSC_EXIT_FAILED, "unknown", id, "the job failed");
}

static void raise_to(uint64_t *number, const struct fsc_value *job, const char *path)
{
	int64_t n = fsc_value_int(job, path, 0);

	if (n > 0 && (uint64_t)n > *number)
		*number = (uint64_t)n;
}

/* A job that a stop of fsd interrupted begins anew: `p` stays where it was until that is passed. */
static int report(struct fsc_progress *p, const struct fsc_value *job, fsc_progress_fn *fn,
	void *arg, struct fsc_error *err)
{
	raise_to(&p->entries_done, job, "progress.entries_done");
	raise_to(&p->entries_total, job, "progress.entries_total");
	raise_to(&p->bytes_done, job, "progress.bytes_done");
	raise_to(&p->bytes_total, job, "progress.bytes_total");
	p->job = job;
	if (fn && fn(p, arg) != 0)
		return fsc_fail(err, ECANCELED, FSC_EXIT_INTERRUPTED, "interrupted", NULL,
			"interrupted");
	return 0;
}

/* Seconds to ask fsd to wait: within the deadline, and not at all where progress is reported. */
static unsigned wait_seconds(int64_t deadline, bool progress)
{
	int64_t left = deadline < 0 ? WAIT_MAX : (deadline - fsc_now_ms()) / 1000;

	return progress || left <= 0 ? 0 : (unsigned)(left < WAIT_MAX ? left : WAIT_MAX);
}

/* The answer to a look at a job: the object, or (after cancel) {"job": object}. */
static int look(struct fsc *fsc, const char *method, const char *path, unsigned wait,
	struct fsc_value **out, struct fsc_error *err)
{
	struct fsc_call call = {.method = method, .path = path, .wait = wait};
	json_t *inner;
	int r = fsc_exchange(fsc, &call, out, err);

	if (r < 0)
		return r;
	inner = json_object_get(fsc_json(*out), "job");
	if (inner) {
		json_incref(inner);
		fsc_value_free(out);
		*out = fsc_from_json(inner);
	}
	if (fsc_value_str(*out, "state"))
		return 0;
	fsc_value_free(out);
	return fsc_bad_response(err, "it is not a job");
}

static int look_at(struct fsc *fsc, const char *id, unsigned wait, struct fsc_value **out,
	struct fsc_error *err)
{
	char *path = wait ? fsc_path("/v1/jobs/%s?wait=%d", id, (int)wait) :
			    fsc_path("/v1/jobs/%s", id);
	int r = path ? look(fsc, "GET", path, wait, out, err) : fsc_no_memory(err);

	free(path);
	return r;
}

/* After a look that found the job running: go on? */
static int go_on(struct fsc *fsc, int64_t deadline, unsigned waited, int *pause,
	struct fsc_error *err)
{
	int64_t now = fsc_now_ms(), next = now + *pause;
	int r;

	if (deadline >= 0 && now >= deadline)
		return fsc_fail(err, ETIMEDOUT, FSC_EXIT_FAILED, "timeout", NULL,
			"the job has not ended in time");
	if (waited)
		return 0;
	*pause = 2 * *pause < LOOK_MAX ? 2 * *pause : LOOK_MAX;
	r = fsc_conn_pause(&fsc->conn, deadline >= 0 && deadline < next ? deadline : next);
	return r < 0 ? fsc_transport_error(fsc, r, err) : 0;
}

int fsc_job_wait(struct fsc *fsc, const char *id, fsc_progress_fn *progress, void *arg, int timeout,
	struct fsc_value **job, struct fsc_error *err)
{
	int64_t deadline = timeout < 0 ? -1 : fsc_now_ms() + timeout;
	struct fsc_progress p = {0};
	int pause = LOOK_MIN;

	for (;;) {
		unsigned wait = wait_seconds(deadline, progress != NULL);
		struct fsc_value *v = NULL;
		int r = look_at(fsc, id, wait, &v, err);

		if (r == 0 && fsc_job_ended(v)) {
			if (job)
				*job = v;
			else
				fsc_value_free(&v);
			return 0;
		}
		if (r == 0)
			r = report(&p, v, progress, arg, err);
		if (v)
			fsc_value_free(&v);
		if (r == 0)
			r = go_on(fsc, deadline, wait, &pause, err);
		if (r < 0)
			return r;
	}
}

int fsc_job_cancel(struct fsc *fsc, const char *id, struct fsc_value **job, struct fsc_error *err)
{
	char *path = fsc_path("/v1/jobs/%s/cancel", id);
	struct fsc_value *v = NULL;
	int r = path ? look(fsc, "POST", path, 0, &v, err) : fsc_no_memory(err);

	free(path);
	if (r == 0 && job)
		*job = v;
	else if (v)
		fsc_value_free(&v);
	return r;
}
