/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The queue and its threads: which job may run. */
#include "fsd/worker/jobs.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "fsd/worker/state.h"
#include "snap/base/clock.h"

#define LOOK_AGAIN (2 * NSEC_PER_SEC)

int jobs_init(struct jobs *j, const struct op_kind *const *kinds)
{
	*j = (struct jobs){.kinds = kinds, .tail = &j->head};
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

	if (job->unseen)
		return false;
	return !p || snap_canceled(&job->ctx) ||
	       (atomic_load(&p->online) && p->busy < atomic_load(&p->jobs));
}

/* The job, or what it has to wait for, which is as urgent as the job is; NULL: that runs already,
 * or finds no room. */
static struct job *first_step(const struct jobs *j, struct job *job)
{
	struct job *o;

	if (!has_room(job)) /* first: thousands may wait for the same pool */
		return NULL;
	/* A canceled one will do nothing, so nothing stands in its way. */
	while (!snap_canceled(&job->ctx) && (o = in_the_way(j, job))) {
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
		/* One that only waits to be looked at takes nobody's place. */
		if (job->pool && job->state == JOB_RUNNING && !job->look_again)
			job->pool->busy++;
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

/* ---- the threads ---- */

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

void jobs_retire(struct fsd *f, struct job *job)
{
	pthread_mutex_lock(&f->jobs.lock);
	unlink_job(&f->jobs, job);
	f->jobs.running--;
	f->jobs.unsettled -= job->look_again != 0;
	pthread_cond_broadcast(&f->jobs.wake);
	pthread_mutex_unlock(&f->jobs.lock);
	tell(f, job);
}

static void take(struct jobs *j, struct job *job)
{
	job->state = JOB_RUNNING;
	j->queued--;
	j->running++;
}

static void claim(struct jobs *j, struct job *job)
{
	if (job->look_again) {
		job->look_again = INT64_MAX; /* nobody else's, and not new */
		return;
	}
	take(j, job);
	job->started = clock_real();
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

void jobs_look_later(struct fsd *f, struct job *job)
{
	pthread_mutex_lock(&f->jobs.lock);
	look_again_later(&f->jobs, job);
	pthread_cond_signal(&f->jobs.wake);
	pthread_mutex_unlock(&f->jobs.lock);
}

/* jobs.lock is held. */
static struct job *first_unseen(const struct jobs *j, const struct pool_root *pool)
{
	struct job *job = j->head;

	while (job && !(job->unseen && job->pool == pool))
		job = job->next;
	return job;
}

struct job *jobs_next_unseen(struct fsd *f, const struct pool_root *pool)
{
	struct job *job;

	pthread_mutex_lock(&f->jobs.lock);
	while ((job = first_unseen(&f->jobs, pool)) && job->state != JOB_QUEUED)
		pthread_cond_wait(&f->jobs.wake, &f->jobs.lock); /* for jobs_cancel() */
	if (job) {
		take(&f->jobs, job);
		job->unseen = false;
		job->started = job->created;
	}
	pthread_mutex_unlock(&f->jobs.lock);
	return job;
}

void jobs_put_back(struct fsd *f, struct job *job)
{
	pthread_mutex_lock(&f->jobs.lock);
	job->state = JOB_QUEUED;
	f->jobs.running--;
	f->jobs.queued++;
	pthread_cond_broadcast(&f->jobs.wake);
	pthread_mutex_unlock(&f->jobs.lock);
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
		r = job_execute(f, job);
		if (r == 0)
			jobs_retire(f, job);
		pthread_mutex_lock(&j->lock);
		if (r < 0)
			look_again_later(j, job);
	}
	pthread_mutex_unlock(&j->lock);
	return NULL;
}

/* Durable before it is acknowledged: it must not run after a restart. */
static int end_waiting(struct fsd *f, struct job *job, struct err *err)
{
	int r;

	err_set(&job->err, ECANCELED, "canceled", NULL, "canceled before it started");
	job->outcome = JOB_CANCELED;
	r = job_end(f, job, err);
	if (r < 0)
		job->outcome = JOB_QUEUED; /* the next start finds it waiting */
	jobs_retire(f, job);
	return r;
}

void jobs_let_sources_go(struct job *job)
{
	unsigned n = 0;

	for (unsigned i = 0; i < job->n_locks; i++) {
		if (job->locks[i].exclusive)
			job->locks[n++] = job->locks[i];
	}
	job->n_locks = n;
}

/* Its pool is away, so nobody can see whether it has begun, or is even past its commit point: that
 * is settled once the pool is online. Until then it keeps what it was to change, and its name. */
static int cancel_unseen(struct fsd *f, struct job *job, struct err *err)
{
	bool before = job->was_canceled;
	int r;

	job->was_canceled = true;
	r = job_store(f, job, err);
	pthread_mutex_lock(&f->jobs.lock);
	if (r == 0)
		jobs_let_sources_go(job);
	else
		job->was_canceled = before;
	pthread_mutex_unlock(&f->jobs.lock);
	jobs_put_back(f, job);
	return r;
}

int jobs_cancel(struct fsd *f, int64_t id, struct err *err)
{
	bool waited = false, unseen = false;
	char text[JOB_ID_SIZE];
	struct job *job;

	pthread_mutex_lock(&f->jobs.lock);
	job = find(&f->jobs, id);
	if (job) {
		waited = job->state == JOB_QUEUED;
		unseen = job->unseen;
	}
	if (job && !unseen) {
		job->was_canceled = true;
		job->given_up = job->look_again != 0;
		atomic_store(&job->ctx.cancel, true);
	}
	if (waited) {
		take(&f->jobs, job); /* and its locks, until that is recorded */
	} else if (job && job->look_again && job->look_again != INT64_MAX) {
		job->look_again = 1;
		pthread_cond_broadcast(&f->jobs.wake);
	}
	pthread_mutex_unlock(&f->jobs.lock);
	if (!job)
		return err_set(err, EALREADY, "job_ended", job_id_format(id, text),
			"the job has already ended");
	if (!waited)
		return 0;
	return unseen ? cancel_unseen(f, job, err) : end_waiting(f, job, err);
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
