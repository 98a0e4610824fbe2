/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One job: what it is made of, running it, what follows from how it ended. */
#include "fsd/worker/jobs.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "fsd/core/json.h"
#include "fsd/core/log.h"
#include "fsd/worker/layout.h"
#include "fsd/worker/room.h"
#include "fsd/worker/scan.h"
#include "fsd/worker/state.h"
#include "fsd/worker/step.h"
#include "snap/base/clock.h"
#include "snap/base/fd.h"
#include "snap/lease.h"

const char *job_state_name(enum job_state s)
{
	static const char *const names[] = {"queued", "running", "done", "failed", "canceled"};

	return names[s];
}

struct job *job_new(enum op op)
{
	struct job *job = calloc(1, sizeof(*job));

	if (!job)
		return NULL;
	job->intent = json_object();
	job->plan = json_array();
	job->result = json_object();
	job->shown = op;
	request_init(&job->request, op);
	if (!job->intent || !job->plan || !job->result)
		job_free(&job);
	return job;
}

void job_free(struct job **jobp)
{
	struct job *job = *jobp;

	*jobp = NULL;
	if (!job)
		return;
	request_release(&job->request);
	json_decref(job->intent);
	json_decref(job->plan);
	json_decref(job->warnings);
	json_decref(job->unsettled);
	json_decref(job->result);
	free(job->asked);
	free(job);
}

static __attribute__((format(printf, 1, 0))) json_t *prose(const char *fmt, va_list ap)
{
	char text[1024];

	vsnprintf(text, sizeof(text), fmt, ap);
	return json_prose(text);
}

void job_step(struct job *job, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	json_array_append_new(job->plan, prose(fmt, ap));
	va_end(ap);
}

void job_warn(struct job *job, const char *fmt, ...)
{
	json_t *warning, *said;
	va_list ap;
	size_t i;

	va_start(ap, fmt);
	warning = prose(fmt, ap);
	va_end(ap);
	if (!job->warnings)
		job->warnings = json_array();
	json_array_foreach(job->warnings, i, said) {
		if (json_equal(said, warning)) {
			json_decref(warning);
			return;
		}
	}
	json_array_append_new(job->warnings, warning);
}

void job_fault(struct job *job, const char *list, const char *path, const char *reason)
{
	json_t *faults = json_object_get(job->result, list);

	if (!faults) {
		faults = json_array();
		json_object_set_new(job->result, list, faults);
	}
	if (json_array_append_new(faults, json_pack("{s:o,s:o}", "path", json_text(path), "reason",
					 json_prose(reason))) < 0)
		job->unsaid = true;
}

void job_lock(struct job *job, const char *type, const char *name, bool exclusive)
{
	struct job_lock *l = &job->locks[job->n_locks++];

	assert(job->n_locks <= JOB_LOCKS_MAX);
	snprintf(l->key, sizeof(l->key), "%s:%s", type, name);
	l->exclusive = exclusive;
}

void job_intend(struct job *job, const char *key, json_t *value)
{
	int r = json_object_set_new(job->intent, key, value);

	assert(r == 0);
}

void job_intend_str(struct job *job, const char *key, const char *value)
{
	job_intend(job, key, json_string_nocheck(value));
}

void job_intend_int(struct job *job, const char *key, int64_t value)
{
	job_intend(job, key, json_integer(value));
}

const char *job_str(const struct job *job, const char *key)
{
	const char *s = json_str_at(job->intent, key);

	return s ? s : "";
}

int64_t job_int(const struct job *job, const char *key)
{
	return json_int_at(job->intent, key);
}

int job_sweep(struct job *job, struct err *err)
{
	struct snap_ctx ctx = {0};

	if (!job->pool || !job->pool->handle)
		return 0;
	return layout_remove(job->pool, job->pool->staging, job->text, &ctx, err);
}

/* ---- what recovery is to know ---- */

int job_store(struct fsd *f, struct job *job, struct err *err)
{
	struct cat_job row;
	int r = job_row(job, JOB_QUEUED, &row);

	if (r < 0)
		return err_sys(err, -r, "note", job->text);
	pthread_mutex_lock(&f->write_lock);
	r = catalog_begin(f->catalog, err);
	if (r == 0) {
		r = catalog_job_put(f->catalog, &row, err);
		if (r == 0)
			r = catalog_commit(f->catalog, err);
		if (r < 0)
			catalog_rollback(f->catalog);
	}
	pthread_mutex_unlock(&f->write_lock);
	cat_job_release(&row);
	return r;
}

static void intend(struct fsd *f, struct job *job, const char *key, json_t *value)
{
	pthread_mutex_lock(&f->jobs.lock); /* jobs may be listed meanwhile */
	if (value)
		job_intend(job, key, value);
	else
		json_object_del(job->intent, key);
	pthread_mutex_unlock(&f->jobs.lock);
}

int job_note(struct fsd *f, struct job *job, const char *key, json_t *value, struct err *err)
{
	json_t *noted = json_incref(json_object_get(job->intent, key));
	int r;

	intend(f, job, key, value);
	r = job_store(f, job, err);
	if (r < 0)
		intend(f, job, key, noted);
	else
		json_decref(noted);
	job->commits++;
	step("intent.noted");
	return r;
}

/* ---- running it ---- */

/* What of the pool explains a failed call in it? */
static void explain(struct fsd *f, const struct job *job, struct err *err)
{
	struct err why = ERR_INIT;

	if (!job->pool || *err->hint)
		return;
	if (err->num == ENOSPC)
		room_explain(f, job, err);
	else if ((err->num == EROFS || err->num == EIO) && pool_root_writable(job->pool, &why) < 0)
		err_hint(err, "pool %s: %.150s; %.180s", why.object, why.reason, why.hint);
	else if (strcmp(err->code, "not_a_tree") == 0)
		err_hint(err, LAYOUT_FOREIGN_HINT);
	else if (strcmp(err->code, "foreign_owner") == 0)
		err_hint(err, "nothing was changed; %s makes a copy that is of fsd's own user, and "
			"leaves the original; an fsd of root keeps owners",
			job->kind->op == OP_SITE_IMPORT
				? "fsctl site import without --move or --link"
				: "fsctl restore --to");
}

void job_name_tree(const struct job *job, struct err *err)
{
	const char *source = job_str(job, "source"), *dir = request_str(&job->request, F_DIR);
	const char *tree = *source ? source
		: job->kind->op == OP_SITE_IMPORT && dir ? dir : job->site_name;
	char path[ERR_OBJECT_SIZE];
	size_t len = strlen(err->object), skip = len > 250 ? len - 250 : 0;

	if (!err->in_tree || !*tree)
		return;
	strcpy(path, err->object + skip);
	if (strcmp(path, ".") == 0)
		snprintf(err->object, sizeof(err->object), "%.250s", tree);
	else
		snprintf(err->object, sizeof(err->object), "%.250s: %s%.251s", tree,
			skip ? "..." : "", path);
	err->in_tree = false;
}

/* A path in the staging directory tells nobody what it is about. */
static void name_stage(const struct job *job, struct err *err)
{
	char stage[sizeof("/.fsd/staging/") + JOB_ID_SIZE], reason[ERR_TEXT_SIZE];
	int len = snprintf(stage, sizeof(stage), "/.fsd/staging/%s", job->text);
	const char *at = strstr(err->object, stage);

	if (!at || !*job->site_name)
		return;
	at += len;
	snprintf(reason, sizeof(reason), "%.200s%s%.180s", at + (*at == '/'), *at ? ": " : "",
		err->reason);
	strcpy(err->reason, reason);
	strcpy(err->object, job->site_name);
}

/* -1: there is no such list. */
static int faults(const struct job *job)
{
	const json_t *failed = json_object_get(job->result, "failed");

	return failed ? (int)json_array_size(failed) : -1;
}

/* The next try lists again what failed. What it has warned of stays: it may have been done by this
 * one, and a warning is said once. */
static void unlist(struct job *job, int failed)
{
	json_t *list = json_object_get(job->result, "failed");

	if (failed < 0)
		json_object_del(job->result, "failed");
	else
		while ((int)json_array_size(list) > failed)
			json_array_remove(list, json_array_size(list) - 1);
}

int job_finish(struct fsd *f, struct job *job, struct err *err)
{
	int told = faults(job), r = job->kind->finish ? job->kind->finish(f, job, err) : 0;

	if (r == 0 && job->unsaid)
		r = err_sys(err, ENOMEM, "say what failed", job->site_name);
	job->unsaid = false;
	if (r < 0)
		unlist(job, told);
	return r;
}

static int run(struct fsd *f, struct job *job)
{
	struct err *err = &job->err;
	struct room_watch watch;
	int r = job->pool ? pool_root_verify(job->pool, err) : 0;

	room_watch(&watch, f, job);
	job->ctx.lease_wait = lease_break_time() + NSEC_PER_SEC;
	if (r == 0)
		r = job->kind->run(f, job, err);
	job->ctx.admit = NULL;
	step("job.ran");
	if (r == 0)
		r = job_finish(f, job, err);
	if (r < 0 && !err->num) /* a look that was canceled on its way, most of all */
		err_sys(err, -r, op_specs[job->shown].name, job->site_name);
	if (r < 0) {
		job_name_tree(job, err);
		name_stage(job, err);
		explain(f, job, err);
	}
	return r;
}

static int put_outcome(struct fsd *f, struct job *job, struct err *err)
{
	struct cat_event event = {.time = job->finished, .job = job->id};
	struct cat_job row;
	int r = job_row(job, job->outcome, &row);

	if (r < 0)
		return err_sys(err, -r, "record", job->text);
	r = catalog_job_put(f->catalog, &row, err);
	cat_job_release(&row);
	if (r == 0 && job->undoes && job->outcome == JOB_DONE &&
		catalog_job_get(f->catalog, job->undoes, &row, err) == 0) {
		row.undone_by = job->id;
		r = catalog_job_put(f->catalog, &row, err);
		cat_job_release(&row);
	}
	snprintf(event.kind, sizeof(event.kind), "job.%s", job_state_name(job->outcome));
	strcpy(event.site, job->site_id);
	return r < 0 ? r : fsd_event(f, &event, err);
}

/* The pool has it, but what it has cannot be read back: the outcome stands, and status says what
 * is wrong. A catalog that fails is another matter: that is tried again. */
static int record(struct fsd *f, struct job *job, struct err *err)
{
	struct err e = ERR_INIT;
	int r = job->kind->record(f, job, &e);

	if (r == 0 || strncmp(e.code, "catalog", 7) == 0 || r == -ENOSPC) {
		if (r < 0)
			*err = e;
		return r;
	}
	job_warn(job, "done, but it cannot be read back: %s: %s", e.object, e.reason);
	scan_unreadable(f, job->pool, &e);
	return 0;
}

static int conclude_once(struct fsd *f, struct job *job, struct err *err)
{
	unsigned long before = catalog_commits(f->catalog);
	int told = faults(job), r = catalog_begin(f->catalog, err);

	if (r == 0 && job->outcome == JOB_DONE && job->kind->record)
		r = record(f, job, err);
	job->commits += 1 + catalog_commits(f->catalog) - before;
	if (r == 0)
		r = put_outcome(f, job, err);
	if (r == 0) {
		step("outcome.put");
		r = catalog_commit(f->catalog, err);
	}
	if (r < 0)
		catalog_rollback(f->catalog);
	if (r < 0)
		unlist(job, told);
	step("outcome.committed");
	return r;
}

int job_conclude(struct fsd *f, struct job *job, struct err *err)
{
	int r;

	pthread_mutex_lock(&f->write_lock);
	r = conclude_once(f, job, err);
	pthread_mutex_unlock(&f->write_lock);
	return r;
}

/* The outcome must not be lost to a catalog that is locked or full for a while. */
static int conclude(struct fsd *f, struct job *job, struct err *err)
{
	int r;

	while ((r = job_conclude(f, job, err)) < 0 && !atomic_load(&f->stopping)) {
		log_err(LOG_ERR, "cannot record a job's outcome; trying again", err, "job",
			job->text, NULL);
		err_clear(err);
		nanosleep(&(struct timespec){.tv_sec = 1}, NULL);
	}
	return r;
}

static void log_end(const struct job *job)
{
	char ms[32];

	snprintf(ms, sizeof(ms), "%.1f",
		job->started ? (double)(job->finished - job->started) / (double)NSEC_PER_MSEC : 0);
	if (job->outcome == JOB_DONE)
		log_msg(LOG_INFO, "job done", "job", job->text, "kind", op_specs[job->shown].name,
			"site", job->site_name, "actor", job->actor, "ms", ms, NULL);
	else
		log_err(job->outcome == JOB_CANCELED ? LOG_INFO : LOG_WARNING, "job failed",
			&job->err, "job", job->text, "kind", op_specs[job->shown].name, "site",
			job->site_name, "actor", job->actor, "ms", ms, NULL);
}

int job_end(struct fsd *f, struct job *job, struct err *err)
{
	int r;

	job->finished = clock_real();
	r = conclude(f, job, err);
	if (r == 0)
		log_end(job);
	return r;
}

int job_execute(struct fsd *f, struct job *job)
{
	unsigned long syncs = fd_sync_count();
	bool started = job->look_again || !snap_canceled(&job->ctx);
	struct err err = ERR_INIT;
	int r = 0;

	if (!started) {
		err_set(&job->err, ECANCELED, "canceled", NULL, "canceled before it started");
		/* Others may be at work on what it would have touched: nothing to clean up. */
		if (!job->was_canceled)
			return 0;
		job->outcome = JOB_CANCELED;
	} else if (!job->look_again && run(f, job) == 0) {
		job->outcome = JOB_DONE;
	} else {
		r = job_settle(f, job, &err);
		if (r < 0 && !job->look_again)
			job_unsettled(f, job, &err);
		if (r < 0 || job->outcome == JOB_QUEUED)
			return r;
	}
	job->syncs += fd_sync_count() - syncs;
	job_end(f, job, &err);
	return 0;
}
