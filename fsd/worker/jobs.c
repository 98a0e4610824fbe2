/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The queue and its threads: which job may run, running it, what follows from how it ended. */
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
#include "fsd/worker/scan.h"
#include "fsd/worker/state.h"
#include "fsd/worker/step.h"
#include "snap/base/clock.h"
#include "snap/base/fd.h"

#define LOOK_AGAIN (2 * NSEC_PER_SEC)

const char *job_state_name(enum job_state s)
{
	static const char *const names[] = {"queued", "running", "done", "failed", "canceled"};

	return names[s];
}

/* ---- one job ---- */

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
	json_decref(job->result);
	free(job->asked);
	free(job);
}

static __attribute__((format(printf, 2, 0))) void add_text(json_t **list, const char *fmt,
	va_list ap)
{
	char text[1024];

	vsnprintf(text, sizeof(text), fmt, ap);
	if (!*list)
		*list = json_array();
	json_array_append_new(*list, json_prose(text));
}

void job_step(struct job *job, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	add_text(&job->plan, fmt, ap);
	va_end(ap);
}

void job_warn(struct job *job, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	add_text(&job->warnings, fmt, ap);
	va_end(ap);
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
	const char *s = json_string_value(json_object_get(job->intent, key));

	return s ? s : "";
}

int64_t job_int(const struct job *job, const char *key)
{
	return json_integer_value(json_object_get(job->intent, key));
}

int job_sweep(struct job *job, struct err *err)
{
	struct snap_ctx ctx = {0};

	if (!job->pool || !job->pool->handle)
		return 0;
	return layout_remove(job->pool, job->pool->staging, job->text, &ctx, err);
}

/* ---- the queue ---- */

int jobs_init(struct jobs *j, const struct op_kind *const *kinds)
{
	*j = (struct jobs){.kinds = kinds, .tail = &j->head};
	j->tail = &j->head;
	pthread_mutex_init(&j->lock, NULL);
	pthread_cond_init(&j->wake, NULL);
	return 0;
}

void jobs_enqueue(struct fsd *f, struct job *job)
{
	struct jobs *j = &f->jobs;

	pthread_mutex_lock(&j->lock);
	job->next = NULL;
	*j->tail = job;
	j->tail = &job->next;
	if (job->look_again) {
		job->state = JOB_RUNNING;
		j->running++;
		j->unsettled++;
	} else {
		j->queued++;
	}
	pthread_cond_signal(&j->wake);
	pthread_mutex_unlock(&j->lock);
}

static bool conflict(const struct job *a, const struct job *b)
{
	for (unsigned i = 0; i < a->n_locks; i++) {
		for (unsigned k = 0; k < b->n_locks; k++) {
			if ((a->locks[i].exclusive || b->locks[k].exclusive) &&
				strcmp(a->locks[i].key, b->locks[k].key) == 0)
				return true;
		}
	}
	return false;
}

/* What runs, or was asked for earlier, and conflicts with it. */
static struct job *in_the_way(const struct jobs *j, const struct job *job)
{
	bool earlier = true;

	if (snap_canceled(&job->ctx)) /* it will do nothing, so nothing stands in its way */
		return NULL;
	for (struct job *o = j->head; o; o = o->next) {
		if (o == job)
			earlier = false;
		else if ((earlier || o->state == JOB_RUNNING) && conflict(o, job))
			return o;
	}
	return NULL;
}

bool jobs_in_the_way(struct fsd *f, const struct job *job)
{
	bool found;

	pthread_mutex_lock(&f->jobs.lock);
	found = in_the_way(&f->jobs, job);
	pthread_mutex_unlock(&f->jobs.lock);
	return found;
}

bool jobs_run_in(struct fsd *f, const struct pool_root *pool)
{
	bool found = false;

	pthread_mutex_lock(&f->jobs.lock);
	for (const struct job *job = f->jobs.head; job && !found; job = job->next)
		found = job->pool == pool && job->state == JOB_RUNNING && !job->look_again;
	pthread_mutex_unlock(&f->jobs.lock);
	return found;
}

static bool has_room(const struct job *job)
{
	const struct pool_root *p = job->pool;

	return !p || snap_canceled(&job->ctx) ||
	       (atomic_load(&p->online) && p->busy < atomic_load(&p->jobs));
}

/* The job, or what it has to wait for, which is as urgent as the job is; NULL: that runs already, or
 * finds no room. */
static struct job *first_step(const struct jobs *j, struct job *job)
{
	struct job *o;

	if (!has_room(job)) /* first: thousands may wait for the same pool */
		return NULL;
	while ((o = in_the_way(j, job))) {
		if (o->state == JOB_RUNNING)
			return NULL;
		job = o; /* which is older */
	}
	return has_room(job) ? job : NULL;
}

static void count_busy(const struct jobs *j)
{
	for (const struct job *job = j->head; job; job = job->next) {
		if (job->pool)
			job->pool->busy = 0;
	}
	for (const struct job *job = j->head; job; job = job->next) {
		if (job->pool && job->state == JOB_RUNNING && !job->look_again)
			job->pool->busy++; /* one that only waits to be looked at takes nobody's place */
	}
}

static struct job *pick(struct jobs *j)
{
	enum job_priority urgency = PRIO_HOUSEKEEPING;
	struct job *best = NULL, *next;
	bool room = j->queued && j->running - j->unsettled < j->most;

	if (!room && !j->unsettled)
		return NULL;
	count_busy(j);
	for (struct job *job = j->head; job; job = job->next) {
		if (job->look_again && job->look_again <= clock_mono())
			return job;
		if (room && job->state == JOB_QUEUED &&
			(!best || job->kind->priority > urgency) && (next = first_step(j, job))) {
			best = next;
			urgency = job->kind->priority;
		}
	}
	return best;
}

static void unlink_job(struct jobs *j, struct job *job)
{
	struct job **p;

	for (p = &j->head; *p != job; p = &(*p)->next)
		;
	*p = job->next;
	if (!*p)
		j->tail = p;
}

static struct job *find(struct jobs *j, int64_t id)
{
	for (struct job *job = j->head; job; job = job->next) {
		if (job->id == id)
			return job;
	}
	return NULL;
}

bool jobs_unfinished(struct fsd *f, int64_t id)
{
	bool found;

	pthread_mutex_lock(&f->jobs.lock);
	found = find(&f->jobs, id);
	pthread_mutex_unlock(&f->jobs.lock);
	return found;
}

unsigned jobs_queued(struct fsd *f, const char *actor)
{
	unsigned n = 0;

	pthread_mutex_lock(&f->jobs.lock);
	if (!actor)
		n = f->jobs.queued;
	for (const struct job *job = actor ? f->jobs.head : NULL; job; job = job->next)
		n += job->state == JOB_QUEUED && strcmp(job->actor, actor) == 0;
	pthread_mutex_unlock(&f->jobs.lock);
	return n;
}

void jobs_count(struct fsd *f, unsigned *queued, unsigned *running)
{
	pthread_mutex_lock(&f->jobs.lock);
	*queued = f->jobs.queued;
	*running = f->jobs.running;
	pthread_mutex_unlock(&f->jobs.lock);
}

bool jobs_holds(struct fsd *f, const char *type, const char *name, bool any,
	char holder[JOB_ID_SIZE])
{
	struct job probe = {0};
	bool found = false;

	job_lock(&probe, type, name, any);
	pthread_mutex_lock(&f->jobs.lock);
	for (struct job *o = f->jobs.head; o && !found; o = o->next) {
		found = conflict(&probe, o);
		if (found)
			memcpy(holder, o->text, JOB_ID_SIZE);
	}
	pthread_mutex_unlock(&f->jobs.lock);
	return found;
}

static bool is_beneath(const char *path, const char *top)
{
	size_t len = strlen(top);

	return strncmp(path, top, len) == 0 && path[len] == '/';
}

static const struct job_lock *nested_in(const struct job *job, const struct job_lock *dir)
{
	for (unsigned i = 0; i < job->n_locks; i++) {
		const struct job_lock *l = &job->locks[i];

		if (strncmp(l->key, JOB_LOCK_DIR, strlen(JOB_LOCK_DIR)) == 0 &&
			(is_beneath(l->key, dir->key) || is_beneath(dir->key, l->key)))
			return l;
	}
	return NULL;
}

bool jobs_holds_nested(struct fsd *f, const struct job_lock *dir, struct job_lock *found,
	char holder[JOB_ID_SIZE])
{
	const struct job_lock *l = NULL;

	pthread_mutex_lock(&f->jobs.lock);
	for (const struct job *o = f->jobs.head; o && !l; o = o->next) {
		l = nested_in(o, dir);
		if (l) {
			*found = *l;
			memcpy(holder, o->text, JOB_ID_SIZE);
		}
	}
	pthread_mutex_unlock(&f->jobs.lock);
	return l;
}

bool jobs_at_work_on(struct fsd *f, const char *type, const char *name)
{
	struct job probe = {0};
	bool found = false;

	job_lock(&probe, type, name, false);
	pthread_mutex_lock(&f->jobs.lock);
	for (struct job *o = f->jobs.head; o && !found; o = o->next)
		found = o->state == JOB_RUNNING && conflict(&probe, o);
	pthread_mutex_unlock(&f->jobs.lock);
	return found;
}

/* ---- running ---- */

/* What of the pool explains a failed call in it? */
static void explain(const struct job *job, struct err *err)
{
	struct err why = ERR_INIT;

	if (!job->pool || *err->hint)
		return;
	if (err->num == ENOSPC)
		err_hint(err, "free some space where it was written; in pool %s: fsctl snapshot list, "
			"then fsctl snapshot delete", job->pool->config->name);
	else if ((err->num == EROFS || err->num == EIO) && pool_root_writable(job->pool, &why) < 0)
		err_hint(err, "pool %s: %.150s; %.180s", why.object, why.reason, why.hint);
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

int job_finish(struct fsd *f, struct job *job, struct err *err)
{
	int r = job->kind->finish ? job->kind->finish(f, job, err) : 0;

	if (r == 0 && job->unsaid)
		r = err_sys(err, ENOMEM, "say what failed", job->site_name);
	job->unsaid = false;
	return r;
}

static int run(struct fsd *f, struct job *job)
{
	struct err *err = &job->err;
	int r = job->pool ? pool_root_verify(job->pool, err) : 0;

	if (r == 0)
		r = job->kind->run(f, job, err);
	step("job.ran");
	if (r == 0)
		r = job_finish(f, job, err);
	if (r < 0 && !err->num) /* a look that was canceled on its way, most of all */
		err_sys(err, -r, op_specs[job->shown].name, job->site_name);
	if (r < 0) {
		job_name_tree(job, err);
		explain(job, err);
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
	int r = catalog_begin(f->catalog, err);

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

/* The outcome must not be lost to a catalog that is locked or full for a while. -errno: fsd stops,
 * and the next start finds it. */
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

/* Decide the job's end and, unless it goes back to the queue, record it. -errno: it cannot be
 * decided yet. */
static int execute(struct fsd *f, struct job *job)
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
	job->finished = clock_real();
	job->syncs += fd_sync_count() - syncs;
	conclude(f, job, &err);
	log_end(job);
	return 0;
}

/* It is in the queue no more: tell those who wait, and forget it. */
static void tell(struct fsd *f, struct job *job)
{
	json_t *view = job->outcome ? job_view(job, job->outcome) : NULL;

	if (view)
		atomic_fetch_add(&f->jobs.ended[job->outcome], 1);
	if (view && f->jobs.on_end)
		f->jobs.on_end(f, job->id, view);
	json_decref(view);
	job_free(&job);
}

static void retire(struct fsd *f, struct job *job)
{
	pthread_mutex_lock(&f->jobs.lock);
	unlink_job(&f->jobs, job);
	f->jobs.running--;
	f->jobs.unsettled -= job->look_again != 0;
	pthread_cond_broadcast(&f->jobs.wake);
	pthread_mutex_unlock(&f->jobs.lock);
	tell(f, job);
}

static void claim(struct jobs *j, struct job *job)
{
	if (job->look_again) {
		job->look_again = INT64_MAX; /* nobody else's, and not new */
		return;
	}
	job->state = JOB_RUNNING;
	job->started = clock_real();
	j->queued--;
	j->running++;
}

static void wait_for_job(struct jobs *j)
{
	struct timespec until;

	if (!j->unsettled) {
		pthread_cond_wait(&j->wake, &j->lock);
		return;
	}
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec++;
	pthread_cond_clockwait(&j->wake, &j->lock, CLOCK_MONOTONIC, &until);
}

/* jobs.lock is held. */
static void look_again_later(struct jobs *j, struct job *job)
{
	if (!job->look_again)
		j->unsettled++;
	job->look_again = clock_mono() + LOOK_AGAIN;
}

static void *job_thread(void *arg)
{
	struct fsd *f = arg;
	struct jobs *j = &f->jobs;
	int r;

	pthread_mutex_lock(&j->lock);
	while (!j->stop) {
		struct job *job = pick(j);

		if (!job) {
			wait_for_job(j);
			continue;
		}
		claim(j, job);
		pthread_mutex_unlock(&j->lock);
		r = execute(f, job);
		if (r == 0)
			retire(f, job);
		pthread_mutex_lock(&j->lock);
		if (r < 0)
			look_again_later(j, job);
	}
	pthread_mutex_unlock(&j->lock);
	return NULL;
}

int jobs_cancel(struct fsd *f, int64_t id, struct err *err)
{
	char text[JOB_ID_SIZE];
	bool waited = false;
	struct job *job;
	int r;

	pthread_mutex_lock(&f->jobs.lock);
	job = find(&f->jobs, id);
	if (job) {
		job->was_canceled = true;
		job->given_up = job->look_again != 0;
		atomic_store(&job->ctx.cancel, true);
		waited = job->state == JOB_QUEUED;
	}
	if (waited) {
		unlink_job(&f->jobs, job);
		f->jobs.queued--;
		pthread_cond_broadcast(&f->jobs.wake);
	} else if (job && job->look_again && job->look_again != INT64_MAX) {
		job->look_again = 1;
		pthread_cond_broadcast(&f->jobs.wake);
	}
	pthread_mutex_unlock(&f->jobs.lock);
	if (!job)
		return err_set(err, EALREADY, "job_ended", job_id_format(id, text),
			"the job has already ended");
	if (waited) { /* durable before it is acknowledged: it must not run after a restart */
		err_set(&job->err, ECANCELED, "canceled", NULL, "canceled before it started");
		job->outcome = JOB_CANCELED;
		job->finished = clock_real();
		r = conclude(f, job, err);
		if (r < 0) {
			job_free(&job); /* the next start finds it waiting */
			return r;
		}
		log_end(job);
		tell(f, job);
	}
	return 0;
}

void jobs_look(struct fsd *f)
{
	pthread_mutex_lock(&f->jobs.lock);
	pthread_cond_broadcast(&f->jobs.wake);
	pthread_mutex_unlock(&f->jobs.lock);
}

int jobs_grow(struct fsd *f, unsigned threads)
{
	struct jobs *j = &f->jobs;
	pthread_t *more;

	if (threads <= j->threads)
		return 0;
	more = realloc(j->thread_ids, threads * sizeof(*more));
	if (!more)
		return -ENOMEM;
	j->thread_ids = more;
	for (; j->threads < threads; j->threads++) {
		int r = pthread_create(&more[j->threads], NULL, job_thread, f);

		if (r)
			return -r;
	}
	return 0;
}

int jobs_start(struct fsd *f, unsigned most)
{
	int r = jobs_grow(f, most);

	if (r < 0)
		return r;
	pthread_mutex_lock(&f->jobs.lock);
	f->jobs.most = most;
	pthread_mutex_unlock(&f->jobs.lock);
	jobs_look(f);
	return 0;
}

void jobs_follow(struct fsd *f, const struct config *config)
{
	pthread_mutex_lock(&f->jobs.lock);
	assert(config->max_jobs <= f->jobs.threads);
	f->jobs.most = config->max_jobs;
	pools_follow(&f->pools, config);
	pthread_cond_broadcast(&f->jobs.wake);
	pthread_mutex_unlock(&f->jobs.lock);
}

void jobs_stop(struct fsd *f)
{
	struct jobs *j = &f->jobs;

	pthread_mutex_lock(&j->lock);
	j->stop = true;
	for (struct job *job = j->head; job; job = job->next)
		atomic_store(&job->ctx.cancel, true);
	pthread_cond_broadcast(&j->wake);
	pthread_mutex_unlock(&j->lock);
	for (unsigned i = 0; i < j->threads; i++)
		pthread_join(j->thread_ids[i], NULL);
	free(j->thread_ids);
	j->thread_ids = NULL;
	j->threads = 0;
}

void jobs_release(struct jobs *j)
{
	while (j->head) {
		struct job *job = j->head;

		j->head = job->next;
		job_free(&job);
	}
	j->tail = &j->head;
}
