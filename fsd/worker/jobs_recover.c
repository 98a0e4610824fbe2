/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Jobs without an outcome, when their pool comes online: what did they come to? */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fsd/core/json.h"
#include "fsd/core/log.h"
#include "fsd/worker/jobs.h"
#include "fsd/worker/layout.h"
#include "fsd/worker/state.h"
#include "snap/base/clock.h"
#include "snap/base/fd.h"

/* ---- a job from its record ---- */

static void restore_locks(struct job *job)
{
	json_t *locks = json_object_get(job->intent, "_locks"), *pair;
	size_t i;

	json_array_foreach(locks, i, pair) {
		const char *text = json_string_value(json_array_get(pair, 0));
		_cleanup_free_ char *key = NULL;

		if (!text || json_text_decode(text, &key) < 0 || job->n_locks == JOB_LOCKS_MAX ||
			strlen(key) >= sizeof(job->locks[0].key))
			continue;
		strcpy(job->locks[job->n_locks].key, key);
		job->locks[job->n_locks++].exclusive = json_is_true(json_array_get(pair, 1));
	}
	json_object_del(job->intent, "_locks");
}

static int unknown_kind(const struct cat_job *row, struct err *err)
{
	err_set(err, ENOSYS, "not_implemented", row->kind,
		"this fsd does not know this kind of job");
	err_hint(err, "start the fsd that accepted it, and let it end or cancel it there");
	return -ENOSYS;
}

static int restore_request(struct fsd *f, struct job *job, const struct cat_job *row,
	struct err *err)
{
	json_t *inner = json_object_get(job->intent, "_kind");
	const char *kind = inner ? json_string_value(inner) : row->kind;
	enum op op = kind ? op_by_kind(kind) : OP_NONE;
	char *args;
	int r;

	if (op == OP_NONE || !f->jobs.kinds[op])
		return unknown_kind(row, err);
	args = inner ? json_dumps(json_object_get(job->intent, "_args"), JSON_COMPACT)
		     : strdup(row->args ? row->args : "{}");
	if (!args)
		return err_sys(err, ENOMEM, "recover", NULL);
	request_release(&job->request);
	r = request_from_json(op, args, &job->request, err);
	free(args);
	if (inner) {
		job_id_parse(json_str_at(job->intent, "_undoes"), &job->undoes);
		json_object_del(job->intent, "_kind");
		json_object_del(job->intent, "_args");
		json_object_del(job->intent, "_undoes");
	}
	if (job->undoes && row->args && !(job->asked = strdup(row->args)))
		return err_sys(err, ENOMEM, "recover", NULL);
	job->kind = f->jobs.kinds[op];
	job->shown = op_by_kind(row->kind);
	return r;
}

static int job_of(struct fsd *f, struct pool_root *pool, const struct cat_job *row,
	struct job **out, struct err *err)
{
	struct job *job = job_new(op_by_kind(row->kind));
	int r;

	if (!job)
		return err_sys(err, ENOMEM, "recover", NULL);
	json_decref(job->intent);
	job->intent = json_loads(row->intent ? row->intent : "{}", 0, NULL);
	if (!job->intent)
		job->intent = json_object();
	job->warnings = json_copy(json_object_get(job->intent, "warnings"));
	job->id = row->id;
	job_id_format(row->id, job->text);
	job->created = row->created;
	job->pool = pool;
	strcpy(job->actor, row->actor);
	strcpy(job->site_id, row->site);
	strcpy(job->site_name, row->site_name);
	r = restore_request(f, job, row, err);
	if (r == 0 && *row->note)
		request_set_str(&job->request, F_NOTE, row->note);
	if (r == 0 && *row->key)
		request_set_str(&job->request, F_KEY, row->key);
	if (r < 0) {
		job_free(&job);
		return r;
	}
	restore_locks(job);
	job->was_canceled = json_true_at(job->intent, "_canceled");
	json_object_del(job->intent, "_canceled");
	if (job->was_canceled)
		jobs_let_sources_go(job);
	*out = job;
	return 0;
}

/* ---- into the queue ---- */

/* It stays unfinished in the catalog; what it holds in staging is not swept. */
static void not_recovered(struct fsd *f, const struct cat_job *row, const struct err *why)
{
	struct err e = ERR_INIT;
	char scope[JOB_SCOPE_SIZE], id[JOB_ID_SIZE];

	job_id_format(row->id, id);
	err_set(&e, why->num, "job_not_recovered", id,
		"%.40s of %.60s was cut short and is neither finished nor undone: %.200s",
		row->kind, *row->site_name ? row->site_name : row->pool, why->reason);
	if (*why->hint)
		err_hint(&e, "%s", why->hint);
	else
		err_hint(&e, "fsctl job show %s; mend what the reason names and restart fsd, which "
			"tries again at its start", id);
	log_err(LOG_ERR, "a job could not be recovered", &e, "kind", row->kind, NULL);
	problems_add(&f->problems, true, job_scope(row->id, scope), &e);
}

static int load(struct fsd *f, const struct cat_job *row, struct err *err)
{
	struct pool_root *pool = pools_find(&f->pools, row->pool);
	struct job *job = NULL;
	int r = *row->pool && !pool ? pools_require(&f->pools, row->pool, &pool, err) : 0;

	if (r == 0)
		r = job_of(f, pool, row, &job, err);
	if (r < 0)
		return r;
	job->unseen = true;
	jobs_enqueue(f, job);
	return 0;
}

/* One job that cannot be settled must not keep the others from serving. */
static int load_each(const struct cat_job *row, void *arg)
{
	struct err err = ERR_INIT;

	if (load(arg, row, &err) < 0)
		not_recovered(arg, row, &err);
	return 0;
}

int jobs_load(struct fsd *f, struct err *err)
{
	struct cat_job_filter filter = {.state = "unfinished", .oldest_first = true};

	return catalog_jobs(f->catalog, &filter, load_each, f, err);
}

/* ---- what one came to ---- */

static int settle(struct fsd *f, struct job *job, struct err *err)
{
	int r;

	job->recovered = true;
	r = job_settle(f, job, err);
	if (r == 0 && job->pool)
		layout_sweep_documents(job->pool, job->site_name, job->site_id);
	if (r < 0)
		job_unsettled(f, job, err);
	return r;
}

static int conclude(struct fsd *f, struct job *job)
{
	struct err err = ERR_INIT;
	struct cat_job row;
	int r;

	log_msg(LOG_NOTICE, "job recovered", "job", job->text, "kind", op_specs[job->shown].name,
		"state", job_state_name(job->outcome), NULL);
	job->finished = clock_real();
	r = job_conclude(f, job, &err);
	if (r < 0 && job_row(job, JOB_QUEUED, &row) == 0) {
		not_recovered(f, &row, &err);
		cat_job_release(&row);
	}
	return r;
}

static void end(struct fsd *f, struct job *job)
{
	if (conclude(f, job) < 0)
		job->outcome = JOB_QUEUED; /* nobody is told */
	jobs_retire(f, job);
}

static void end_not_begun(struct fsd *f, struct job *job)
{
	err_set(&job->err, ECANCELED, "canceled", NULL, "canceled before it started");
	job->started = 0;
	end(f, job);
}

/* An earlier one is in the way, so it cannot have begun. What it asks for may hold already, but
 * will not when it is its turn. */
static void wait_for_others(struct fsd *f, struct job *job)
{
	if (!job->was_canceled) {
		jobs_put_back(f, job);
		return;
	}
	job->outcome = JOB_CANCELED;
	end_not_begun(f, job);
}

static void look(struct fsd *f, struct job *job)
{
	struct err err = ERR_INIT;
	bool staged;

	if (jobs_in_the_way(f, job)) {
		wait_for_others(f, job);
		return;
	}
	staged = job->pool && fd_exists(job->pool->staging, job->text) != 0;
	if (job->was_canceled) {
		err_set(&job->err, ECANCELED, "canceled", NULL, "canceled before its end");
	} else {
		err_set(&job->err, EINTR, "interrupted", job->site_name,
			"fsd was stopped in the middle of this job; nothing of it is left");
		err_hint(&job->err, "ask for it again");
	}
	if (settle(f, job, &err) < 0) {
		jobs_look_later(f, job);
		return;
	}
	if (job->outcome == JOB_FAILED && !staged) {
		log_msg(LOG_NOTICE, "job goes on", "job", job->text, "kind",
			op_specs[job->shown].name, NULL);
		job->outcome = JOB_QUEUED;
		job->recovered = false;
		job->err = ERR_INIT;
		jobs_put_back(f, job);
		return;
	}
	if (job->outcome == JOB_CANCELED && !staged)
		end_not_begun(f, job);
	else
		end(f, job);
}

void jobs_recover(struct fsd *f, struct pool_root *pool)
{
	struct job *job;

	while ((job = jobs_next_unseen(f, pool)))
		look(f, job);
}
