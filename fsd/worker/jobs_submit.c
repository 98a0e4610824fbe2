/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* From a request to a queued job: plan, confirm, make durable. */
#include <assert.h>
#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fsd/core/json.h"
#include "fsd/core/log.h"
#include "fsd/worker/auth.h"
#include "fsd/worker/jobs.h"
#include "fsd/worker/state.h"
#include "fsd/worker/step.h"
#include "snap/base/clock.h"

#define QUEUE_MAX 10000	/* jobs that may wait */
#define QUEUE_EACH 5000 /* of one user who is no admin */

/* "uid:1000(anna)"; -1 is fsd itself. */
static void name_actor(uid_t uid, char out[CAT_ACTOR_SIZE])
{
	struct passwd pw, *found = NULL;
	char text[1024];

	if (uid == (uid_t)-1) {
		strcpy(out, JOB_ACTOR_FSD);
		return;
	}
	if (getpwuid_r(uid, &pw, text, sizeof(text), &found) == 0 && found)
		snprintf(out, CAT_ACTOR_SIZE, "uid:%u(%.32s)", uid, found->pw_name);
	else
		snprintf(out, CAT_ACTOR_SIZE, "uid:%u", uid);
}

/* ---- undo: a job that runs the request its predecessor's kind answers ---- */

static int undo_refused(const struct cat_job *done, const struct op_kind *kind, const char *text,
	struct err *err)
{
	if (strcmp(done->state, "done") != 0)
		return err_set(err, EBUSY, "not_done", text,
			"only a job that is done can be undone");
	if (done->undone_by) {
		char by[JOB_ID_SIZE];

		return err_set(err, EEXIST, "already_undone", text, "job %s has undone it",
			job_id_format(done->undone_by, by));
	}
	if (!kind || !kind->undo) {
		err_set(err, EOPNOTSUPP, "not_undoable", text, "a %s cannot be undone", done->kind);
		if (kind && kind->why_not)
			err_hint(err, "%s", kind->why_not);
		return -EOPNOTSUPP;
	}
	return 0;
}

static int undo_request(struct fsd *f, struct request *r, int64_t *undoes, struct err *err)
{
	const char *text = request_str(r, F_JOB);
	const struct op_kind *kind;
	struct request inner;
	struct cat_job done;
	json_t *intent;
	int ret;

	if (job_id_parse(text, undoes) < 0)
		return err_set(err, EINVAL, "bad_request", text, "this is not a job's id");
	ret = catalog_job_get(f->catalog, *undoes, &done, err);
	if (ret < 0)
		return ret == -ENOENT
			? err_set(err, ENOENT, "not_found", text, "there is no such job")
			: ret;
	intent = json_loads(done.intent ? done.intent : "{}", 0, NULL);
	kind = jobs_kind(f, &done);
	ret = undo_refused(&done, kind, text, err);
	if (ret == 0)
		ret = kind->undo(f, &done, intent, &inner, err);
	json_decref(intent);
	cat_job_release(&done);
	if (ret < 0)
		return ret;
	inner.actor = r->actor;
	/* Undoing a deletion's undo is a deletion: it takes the role that one takes. */
	ret = auth_check(fsd_config(f), &inner, err);
	if (ret < 0) {
		/* What was asked to be undone, not what that names: ids that nobody typed. */
		snprintf(err->object, sizeof(err->object), "%s", text);
		request_release(&inner);
		return ret;
	}
	/* note, key, dry_run, confirm and what else the other kind takes move over */
	for (enum field k = F_NONE; k < F_COUNT; k++) {
		if (op_takes(inner.op, k) && request_has(r, k) && !request_has(&inner, k)) {
			inner.values[k] = r->values[k];
			r->values[k] = (struct request_value){0};
		}
	}
	request_release(r);
	*r = inner;
	return 0;
}

/* ---- plan ---- */

static json_t *plan_view(const struct job *job)
{
	return json_pack("{s:{s:s,s:o,s:O,s:s?,s:I,s:I,s:o,s:o,s:o}}", "plan", "kind",
		op_specs[job->shown].name, "site",
		*job->site_name ? json_string(job->site_name) : json_null(), "steps", job->plan,
		"method", job->method, "entries", (json_int_t)job->planned.entries, "bytes",
		(json_int_t)job->planned.logical, "measured_at", json_time(job->planned.measured),
		"warnings",
		job->warnings ? json_incref(job->warnings) : json_array(), "confirm",
		*job->confirm ? json_string(job->confirm) : json_null());
}

static json_t *wrap(json_t *job)
{
	return json_pack("{s:o}", "job", job);
}

/* Names that an unfinished job is about to make are taken. */
static int check_names(struct fsd *f, const struct job *job, struct err *err)
{
	for (unsigned i = 0; i < job->n_locks; i++) {
		const char *name = job->locks[i].key + strlen("name:");
		char holder[JOB_ID_SIZE];

		if (strncmp(job->locks[i].key, "name:", 5) != 0 ||
			!jobs_holds(f, "name", name, true, holder))
			continue;
		err_set(err, EEXIST, "name_taken", name, "job %s is making it", holder);
		err_hint(err, "fsctl job show %s", holder);
		return -EEXIST;
	}
	return 0;
}

/* What one job takes away or puts in place would be in the middle of what another copies. */
static int check_dirs(struct fsd *f, const struct job *job, struct err *err)
{
	for (unsigned i = 0; i < job->n_locks; i++) {
		const char *dir = job->locks[i].key + strlen(JOB_LOCK_DIR);
		char holder[JOB_ID_SIZE];
		struct job_lock other;

		if (strncmp(job->locks[i].key, JOB_LOCK_DIR, strlen(JOB_LOCK_DIR)) != 0 ||
			!jobs_holds_nested(f, &job->locks[i], &other, holder))
			continue;
		err_set(err, EBUSY, "busy", dir, "job %s, which has not ended, names %s", holder,
			other.key + strlen(JOB_LOCK_DIR));
		err_hint(err, "fsctl job wait %s, then ask again", holder);
		return -EBUSY;
	}
	return 0;
}

/* Whether it ends here: a plan is asked for, or a question has to be answered first. */
static bool ends_here(const struct job *job)
{
	return request_bool(&job->request, F_DRY_RUN) ||
	       (*job->confirm && !request_bool(&job->request, F_CONFIRM));
}

/* What an answer that makes no job says. */
static int answer(const struct job *job, json_t **view, struct err *err)
{
	if (request_bool(&job->request, F_DRY_RUN)) {
		*view = plan_view(job);
		return *view ? 0 : err_sys(err, ENOMEM, "plan", NULL);
	}
	err_set(err, EINVAL, "confirmation_needed", job->site_name, "%s", job->confirm);
	err_hint(err, "say --yes, or look first with --dry-run");
	return -EINVAL;
}

int jobs_survey(struct fsd *f, struct job *job, json_t **view, struct err *err)
{
	int r = job->kind->survey(f, job, err);

	if (r < 0)
		job_name_tree(job, err);
	return r == 0 ? answer(job, view, err) : r;
}

/* ---- intent ---- */

static int put_intent(struct fsd *f, struct job *job, struct err *err)
{
	struct cat_event event = {.kind = "job.queued", .time = job->created, .job = job->id};
	unsigned long before = catalog_commits(f->catalog);
	struct cat_job row;
	int r;

	if (job_row(job, JOB_QUEUED, &row) < 0)
		return err_sys(err, ENOMEM, "plan", NULL);
	strcpy(event.site, job->site_id);
	r = catalog_begin(f->catalog, err);
	if (r == 0)
		r = catalog_job_put(f->catalog, &row, err);
	if (r == 0)
		r = fsd_event(f, &event, err);
	step("intent.put");
	if (r == 0)
		r = catalog_commit(f->catalog, err);
	else
		catalog_rollback(f->catalog);
	step("intent.committed");
	cat_job_release(&row);
	job->commits = catalog_commits(f->catalog) - before;
	return r;
}

/* The same key again: the same job, if it is the same request. */
static int find_by_key(struct fsd *f, struct request *r, const char *actor, int64_t *out,
	json_t **view, struct err *err)
{
	const char *key = request_str(r, F_KEY);
	struct cat_job row;
	char *args;
	int ret;

	if (!key || request_bool(r, F_DRY_RUN))
		return -ENOENT;
	ret = catalog_job_by_key(f->catalog, actor, key, &row, err);
	if (ret < 0)
		return ret;
	args = request_to_json(r);
	if (!args) {
		ret = err_sys(err, ENOMEM, "compare", NULL);
	} else if (strcmp(row.kind, op_specs[r->op].name) != 0 || strcmp(args, row.args) != 0) {
		ret = err_set(err, EEXIST, "key_reused", key,
			"this idempotency key belongs to another request");
	} else {
		*out = row.id;
		*view = wrap(jobs_view(f, &row));
	}
	free(args);
	cat_job_release(&row);
	return ret;
}

/* One user's jobs must not keep everybody else's out. */
static int admit(struct fsd *f, const struct job *job, struct err *err)
{
	const struct actor *a = &job->request.actor;
	bool limited = a->uid != (uid_t)-1 && auth_role(fsd_config(f), a) != ROLE_ADMIN;
	unsigned own = limited ? jobs_queued(f, job->actor) : 0, all = jobs_queued(f, NULL);

	if (own < QUEUE_EACH && all < QUEUE_MAX)
		return 0;
	if (own < QUEUE_EACH)
		err_set(err, EAGAIN, "too_many", NULL, "%u jobs are queued already", all);
	else
		err_set(err, EAGAIN, "too_many", job->actor, "this user has %u jobs queued already",
			own);
	err_hint(err, "fsctl job list --state queued; wait until some have ended, or cancel them");
	return -EAGAIN;
}

static int put(struct fsd *f, struct job *job, struct err *err)
{
	int r = admit(f, job, err);

	if (r < 0)
		return r;
	job->created = clock_real();
	job->id = id_next(f->jobs.last_id);
	job_id_format(job->id, job->text);
	if (job->warnings)
		job_intend(job, "warnings", json_copy(job->warnings));
	return put_intent(f, job, err);
}

/* write_lock is held. Takes `job`. */
static int accept_job(struct fsd *f, struct job *job, int64_t *out, json_t **view,
	struct job **survey, struct err *err)
{
	int r = job->kind->plan(f, job, err);
	bool end;

	*out = 0;
	if (r == 0)
		r = check_names(f, job, err);
	if (r == 0)
		r = check_dirs(f, job, err);
	end = r < 0 || ends_here(job);
	if (r == 0 && end && job->kind->survey) {
		*survey = job;
		return JOBS_SURVEY;
	}
	if (r == 0)
		r = end ? answer(job, view, err) : put(f, job, err);
	if (r < 0 || end) {
		job_free(&job);
		return r;
	}
	f->jobs.last_id = job->id;
	*out = job->id;
	*view = wrap(job_view(job, JOB_QUEUED));
	jobs_enqueue(f, job);
	return 0;
}

static int submit(struct fsd *f, struct request *r, const char *actor, int64_t *out, json_t **view,
	struct job **survey, struct err *err)
{
	bool discard = request_bool(r, F_DISCARD);
	enum op shown = r->op;
	char *asked = NULL;
	int64_t undoes = 0;
	struct job *job;
	int ret;

	ret = find_by_key(f, r, actor, out, view, err);
	if (ret != -ENOENT)
		return ret;
	if (r->op == OP_UNDO) {
		asked = request_to_json(r);
		ret = undo_request(f, r, &undoes, err);
		if (ret < 0) {
			free(asked);
			return ret;
		}
	}
	job = f->jobs.kinds[r->op] ? job_new(r->op) : NULL;
	if (!job) {
		free(asked);
		return err_set(err, ENOSYS, "not_implemented", op_specs[r->op].name,
			"this fsd does not know how");
	}
	request_release(&job->request);
	job->request = *r;
	request_init(r, shown);
	job->kind = f->jobs.kinds[job->request.op];
	job->shown = shown;
	job->undoes = undoes;
	job->asked = asked;
	if (discard)
		job_intend(job, "discard_since", json_true());
	strcpy(job->actor, actor);
	return accept_job(f, job, out, view, survey, err);
}

int jobs_submit(struct fsd *f, struct request *r, int64_t *out, json_t **view,
	struct job **survey, struct err *err)
{
	const struct op_kind *kind = f->jobs.kinds[r->op];
	char actor[CAT_ACTOR_SIZE];
	int ret;

	name_actor(r->actor.uid, actor); /* may ask a directory service: before the lock */
	if (kind && kind->touch)
		kind->touch(f, r);
	pthread_mutex_lock(&f->write_lock);
	ret = submit(f, r, actor, out, view, survey, err);
	pthread_mutex_unlock(&f->write_lock);
	if (ret < 0 && (ret == -ENOSPC || ret == -EROFS) &&
	    strcmp(err->code, "below_min_free") != 0)
		log_err(LOG_ERR, "cannot write the catalog", err, "actor", actor, NULL);
	return ret;
}

int jobs_submit_internal(struct fsd *f, struct request *r, int64_t *id, struct err *err)
{
	struct job *survey = NULL;
	json_t *view = NULL;
	int ret;

	r->actor.uid = (uid_t)-1;
	ret = jobs_submit(f, r, id, &view, &survey, err);
	assert(ret <= 0); /* fsd asks itself no questions */
	json_decref(view);
	return ret;
}
