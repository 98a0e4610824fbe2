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
	*out = job;
	return 0;
}

/* ---- what it came to ---- */

static void interrupted(struct job *job)
{
	job->started = job->created;
	job->recovered = true;
	err_set(&job->err, EINTR, "interrupted", job->site_name,
		"fsd was stopped in the middle of this job; nothing of it is left");
	err_hint(&job->err, "ask for it again");
}

/* Takes the job. */
static int conclude(struct fsd *f, struct job *job, struct err *err)
{
	int r;

	log_msg(LOG_NOTICE, "job recovered", "job", job->text, "kind", op_specs[job->shown].name,
		"state", job_state_name(job->outcome), NULL);
	job->finished = clock_real();
	r = job_conclude(f, job, err);
	job_free(&job);
	return r;
}

static int recover(struct fsd *f, struct pool_root *pool, const struct cat_job *row,
	struct err *err)
{
	struct job *job = NULL;
	bool staged;
	int r;

	if (jobs_unfinished(f, row->id))
		return 0;
	r = job_of(f, pool, row, &job, err);
	if (r < 0)
		return r;
	if (jobs_in_the_way(f, job)) {
		/* So it cannot have begun. What it asks for may hold already, but will not
		 * when it is its turn. */
		jobs_enqueue(f, job);
		return 0;
	}
	staged = job->pool && fd_exists(job->pool->staging, job->text) != 0;
	interrupted(job);
	r = job_settle(f, job, err);
	if (r == 0 && pool)
		layout_sweep_documents(pool, job->site_name, job->site_id);
	if (r < 0) {
		job_unsettled(f, job, err);
		job->look_again = 1;
	} else if (job->outcome == JOB_FAILED && !staged) {
		log_msg(LOG_NOTICE, "job goes on", "job", job->text, "kind", row->kind, NULL);
		job->outcome = JOB_QUEUED;
		job->recovered = false;
		job->err = ERR_INIT;
	} else {
		return conclude(f, job, err);
	}
	jobs_enqueue(f, job);
	return 0;
}

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

/* ---- all of a pool ---- */

struct unfinished {
	const char *pool;
	int64_t *ids;
	unsigned n, size;
};

static int collect(const struct cat_job *row, void *arg)
{
	struct unfinished *u = arg;

	if (strcmp(row->pool, u->pool) != 0)
		return 0;
	if (u->n == u->size) {
		int64_t *more;

		u->size = u->size ? 2 * u->size : 64;
		more = realloc(u->ids, u->size * sizeof(*u->ids));
		if (!more)
			return -ENOMEM;
		u->ids = more;
	}
	u->ids[u->n++] = row->id;
	return 0;
}

int jobs_recover(struct fsd *f, struct pool_root *pool, struct err *err)
{
	struct cat_job_filter filter = {.state = "unfinished", .oldest_first = true};
	struct unfinished u = {.pool = pool ? pool->config->name : ""};
	int r;

	pthread_mutex_lock(&f->write_lock);
	r = catalog_jobs(f->catalog, &filter, collect, &u, err);
	pthread_mutex_unlock(&f->write_lock);
	for (unsigned i = 0; i < u.n && r == 0; i++) {
		struct cat_job row;
		struct err one = ERR_INIT;

		pthread_mutex_lock(&f->write_lock);
		r = catalog_job_get(f->catalog, u.ids[i], &row, err);
		pthread_mutex_unlock(&f->write_lock);
		if (r < 0)
			break;
		/* One job that cannot be settled must not keep the others from serving. */
		if (recover(f, pool, &row, &one) < 0)
			not_recovered(f, &row, &one);
		cat_job_release(&row);
	}
	free(u.ids);
	return r;
}
