/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fsd/worker/serve.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "fsd/core/json.h"
#include "fsd/core/log.h"
#include "fsd/worker/auth.h"
#include "fsd/worker/query.h"
#include "fsd/worker/reply.h"
#include "fsd/worker/surveys.h"
#include "snap/base/clock.h"
#include "snap/base/fd.h"

#define WAIT_MAX 60 /* seconds */
#define SUBMITTERS 2
#define OUTSIDERS 2
#define QUEUED_MAX (64u << 20) /* bytes of all requests that wait */
#define WORK_SIZE 16384	       /* what each counts for besides its body: some 4,000 of them */

struct work {
	uint64_t id;
	struct request request;
	size_t size;
	int64_t expired; /* the job of a wait that is over; 0: an ordinary request */
	bool submitted;
	struct work *next;
};

/* With threads of its own. */
struct workq {
	struct work *head, **tail;
	pthread_cond_t wake;
	pthread_t *threads;
	unsigned n_threads;
};

/*
 * Answers do not wait for jobs being planned, and neither waits for a request that names a
 * directory outside of the pools, which may lie on a server that does not answer.
 */
enum queue { QUERIES, SUBMITS, OUTSIDE, N_QUEUES };

struct serve {
	struct fsd *f;
	pthread_mutex_t lock;
	bool stop;
	struct workq queues[N_QUEUES];
	size_t queued; /* the sum of their sizes */
	struct surveys *surveys;
};

static void send_event(struct fsd *f)
{
	struct msg m = {.type = MSG_EVENT, .id = (uint64_t)atomic_load(&f->last_event)};

	pthread_mutex_lock(&f->send_lock);
	msg_send(f->msg_fd, &m);
	pthread_mutex_unlock(&f->send_lock);
}

void serve_job_end(struct fsd *f, int64_t id, json_t *view)
{
	struct waiter w;

	while (waiters_take_job(&f->waiters, id, &w))
		reply_json(f, w.request, 200,
			w.submitted ? json_pack("{s:O}", "job", view) : json_incref(view));
	send_event(f);
}

/* ---- waiting ---- */

static int64_t wait_ns(const struct request *r)
{
	int64_t s = request_int(r, F_WAIT);

	return (s < 0 ? 0 : s > WAIT_MAX ? WAIT_MAX : s) * NSEC_PER_SEC;
}

/*
 * True when the answer will come later. A job may end between the two looks: then either its end
 * has taken the waiter and answers, or we take it back and the caller does.
 */
static bool wait_for(struct fsd *f, uint64_t id, int64_t job, int64_t ns, bool submitted)
{
	struct waiter w = {id, job, clock_mono() + ns, submitted, NULL};
	uint64_t one = 1;

	if (!ns || !jobs_unfinished(f, job) || waiters_add(&f->waiters, w) < 0)
		return false;
	if (!jobs_unfinished(f, job) && waiters_take_request(&f->waiters, id))
		return false;
	fd_write_all(f->wake_fd, &one, sizeof(one));
	return true;
}

/* ---- reader threads ---- */

static void answer_expired(struct fsd *f, struct catalog *c, struct work *w)
{
	struct err err = ERR_INIT;
	struct cat_job row;
	json_t *view;

	if (catalog_job_get(c, w->expired, &row, &err) < 0) {
		reply_problem(f, w->id, &err);
		return;
	}
	view = jobs_view(f, &row);
	reply_json(f, w->id, w->submitted && !row.finished ? 202 : 200,
		w->submitted ? json_pack("{s:o}", "job", view) : view);
	cat_job_release(&row);
}

static void answer_query(struct fsd *f, struct catalog *c, struct work *w)
{
	_cleanup_buf_ struct buf out = BUF_INIT;
	struct err err = ERR_INIT;
	int64_t job;

	if (w->expired) {
		answer_expired(f, c, w);
		return;
	}
	if (w->request.op == OP_JOB && request_has(&w->request, F_WAIT) &&
		job_id_parse(request_str(&w->request, F_JOB), &job) == 0 &&
		wait_for(f, w->id, job, wait_ns(&w->request), false))
		return;
	if (query_answer(f, c, &w->request, &out, &err) < 0)
		reply_problem(f, w->id, &err);
	else
		reply_body(f, w->id, 200, &out);
}

static bool is_canceled(const struct cat_job *row)
{
	return strcmp(row->state, job_state_name(JOB_CANCELED)) == 0;
}

/* Who asks again, because the first answer was lost, has what he wants. */
static void answer_cancel(struct fsd *f, struct catalog *c, struct work *w)
{
	struct err err = ERR_INIT;
	struct cat_job row;
	int64_t id;
	int r = -ENOENT;

	if (job_id_parse(request_str(&w->request, F_JOB), &id) == 0)
		r = catalog_job_get(c, id, &row, &err);
	if (r == -ENOENT)
		err_set(&err, ENOENT, "not_found", request_str(&w->request, F_JOB),
			"there is no such job");
	if (r == 0) {
		r = is_canceled(&row) ? 0 : jobs_cancel(f, id, &err);
		cat_job_release(&row);
		if (r == 0)
			r = catalog_job_get(c, id, &row, &err);
		if (r == 0)
			reply_json(f, w->id, 202, json_pack("{s:o}", "job", jobs_view(f, &row)));
		if (r == 0)
			cat_job_release(&row);
	}
	if (r < 0)
		reply_problem(f, w->id, &err);
}

static void answer_submit(struct serve *s, struct work *w)
{
	int64_t ns = wait_ns(&w->request), job = 0;
	struct job *survey = NULL;
	struct err err = ERR_INIT;
	struct fsd *f = s->f;
	json_t *view = NULL;
	int r = jobs_submit(f, &w->request, &job, &view, &survey, &err);

	if (r < 0) {
		reply_problem(f, w->id, &err);
		return;
	}
	if (r == JOBS_SURVEY) {
		surveys_start(s->surveys, w->id, survey);
		return;
	}
	if (job)
		send_event(f);
	if (job && ns) {
		struct work over = {.id = w->id, .expired = job, .submitted = true};

		json_decref(view);
		if (wait_for(f, w->id, job, ns, true))
			return;
		pthread_mutex_lock(&f->write_lock);
		answer_expired(f, f->catalog, &over);
		pthread_mutex_unlock(&f->write_lock);
		return;
	}
	reply_json(f, w->id, job ? 202 : 200, view);
}

/* ---- queues ---- */

static void work_free(struct work *w)
{
	request_release(&w->request);
	free(w);
}

/* -EAGAIN: no room. */
static int push(struct serve *s, enum queue to, struct work *w)
{
	struct workq *q = &s->queues[to];
	bool room;

	pthread_mutex_lock(&s->lock);
	room = w->size <= QUEUED_MAX - s->queued;
	if (room) {
		s->queued += w->size;
		w->next = NULL;
		*q->tail = w;
		q->tail = &w->next;
		pthread_cond_signal(&q->wake);
	}
	pthread_mutex_unlock(&s->lock);
	return room ? 0 : -EAGAIN;
}

/* With the lock. */
static struct work *take(struct serve *s, struct workq *q, struct work **place)
{
	struct work *w = *place;

	*place = w->next;
	if (!w->next)
		q->tail = place;
	s->queued -= w->size;
	return w;
}

/* NULL: stop. */
static struct work *pop(struct serve *s, enum queue from)
{
	struct workq *q = &s->queues[from];
	struct work *w;

	pthread_mutex_lock(&s->lock);
	while (!q->head && !s->stop)
		pthread_cond_wait(&q->wake, &s->lock);
	w = s->stop ? NULL : take(s, q, &q->head);
	pthread_mutex_unlock(&s->lock);
	return w;
}

static void *reader(void *arg)
{
	struct serve *s = arg;
	struct catalog *c = NULL;
	struct err err = ERR_INIT;
	struct work *w;

	while ((w = pop(s, QUERIES))) {
		if (!c && catalog_open(fsd_config(s->f)->catalog, CATALOG_READ_ONLY, &c, &err) < 0)
			reply_problem(s->f, w->id, &err);
		else if (w->request.op == OP_JOB_CANCEL)
			answer_cancel(s->f, c, w);
		else
			answer_query(s->f, c, w);
		work_free(w);
	}
	catalog_close(&c);
	return NULL;
}

static void submit_from(struct serve *s, enum queue queue)
{
	struct work *w;

	while ((w = pop(s, queue))) {
		answer_submit(s, w);
		work_free(w);
	}
}

static void *submitter(void *arg)
{
	submit_from(arg, SUBMITS);
	return NULL;
}

static void *outsider(void *arg)
{
	submit_from(arg, OUTSIDE);
	return NULL;
}

static enum queue queue_of(const struct request *r)
{
	if (!op_is_job(r->op))
		return QUERIES;
	return request_has(r, F_DIR) ? OUTSIDE : SUBMITS;
}

static void pass_on(struct serve *s, struct msg *m)
{
	struct work *w = calloc(1, sizeof(*w));
	struct err err = ERR_INIT;

	if (!w) {
		err_sys(&err, ENOMEM, "request", NULL);
		reply_problem(s->f, m->id, &err);
		return;
	}
	w->id = m->id;
	w->size = m->body.len + WORK_SIZE;
	if (request_decode(m->body.data, m->body.len, &w->request, &err) < 0 ||
		auth_check(fsd_config(s->f), &w->request, &err) < 0) {
		reply_problem(s->f, m->id, &err);
		work_free(w);
		return;
	}
	if (push(s, queue_of(&w->request), w) < 0) {
		err_set(&err, EAGAIN, "too_many", NULL, "too many requests are waiting already");
		err_hint(&err, "try again in some seconds");
		reply_problem(s->f, m->id, &err);
		work_free(w);
	}
}

static bool changes(const struct request *r)
{
	return r->op == OP_JOB_CANCEL || (op_is_job(r->op) && !request_bool(r, F_DRY_RUN));
}

static void forget(struct serve *s, struct workq *q, uint64_t id)
{
	struct work **w = &q->head;

	while (*w && (*w)->id != id)
		w = &(*w)->next;
	if (*w && !changes(&(*w)->request))
		work_free(take(s, q, w));
}

/* What would only have told something is left undone; a change that was asked for is made all the
 * same, and only the answer goes nowhere. */
static void abandon(struct serve *s, uint64_t id)
{
	pthread_mutex_lock(&s->lock);
	for (unsigned i = 0; i < N_QUEUES; i++)
		forget(s, &s->queues[i], id);
	pthread_mutex_unlock(&s->lock);
	waiters_take_request(&s->f->waiters, id);
	surveys_abandon(s->surveys, id);
}

void serve_message(struct serve *s, struct msg *m)
{
	if (m->type == MSG_REQUEST)
		pass_on(s, m);
	else if (m->type == MSG_ABANDON)
		abandon(s, m->id);
	else
		log_msg(LOG_ERR, "the api sent a message of no known type", NULL);
}

void serve_due(struct serve *s)
{
	struct waiter due;

	while (waiters_take_due(&s->f->waiters, clock_mono(), &due)) {
		struct work *w = calloc(1, sizeof(*w));

		if (!w)
			return;
		*w = (struct work){.id = due.request, .expired = due.job,
			.submitted = due.submitted};
		push(s, QUERIES, w);
	}
}

/* ---- life ---- */

/* 0 or an errno; what was begun is for queue_stop(). */
static int queue_start(struct serve *s, enum queue queue, unsigned threads, void *(*run)(void *))
{
	struct workq *q = &s->queues[queue];
	int r = 0;

	q->threads = calloc(threads, sizeof(*q->threads));
	if (!q->threads)
		return ENOMEM;
	while (q->n_threads < threads && r == 0) {
		r = pthread_create(&q->threads[q->n_threads], NULL, run, s);
		q->n_threads += r == 0;
	}
	return r;
}

static void queue_stop(struct workq *q)
{
	for (unsigned i = 0; i < q->n_threads; i++)
		pthread_join(q->threads[i], NULL);
	free(q->threads);
	while (q->head) {
		struct work *next = q->head->next;

		work_free(q->head);
		q->head = next;
	}
	pthread_cond_destroy(&q->wake);
}

int serve_start(struct fsd *f, unsigned readers, struct serve **out, struct err *err)
{
	struct serve *s = calloc(1, sizeof(*s));
	int r = 0;

	if (!s)
		return err_sys(err, ENOMEM, "start", NULL);
	s->f = f;
	pthread_mutex_init(&s->lock, NULL);
	for (unsigned i = 0; i < N_QUEUES; i++) {
		s->queues[i].tail = &s->queues[i].head;
		pthread_cond_init(&s->queues[i].wake, NULL);
	}
	if (surveys_new(f, &s->surveys) < 0)
		r = ENOMEM;
	if (r == 0)
		r = queue_start(s, QUERIES, readers, reader);
	if (r == 0)
		r = queue_start(s, SUBMITS, SUBMITTERS, submitter);
	if (r == 0)
		r = queue_start(s, OUTSIDE, OUTSIDERS, outsider);
	if (r) {
		serve_stop(&s);
		return err_sys(err, r, "start threads", NULL);
	}
	*out = s;
	return 0;
}

void serve_stop(struct serve **sp)
{
	struct serve *s = *sp;

	*sp = NULL;
	if (!s)
		return;
	pthread_mutex_lock(&s->lock);
	s->stop = true;
	for (unsigned i = 0; i < N_QUEUES; i++)
		pthread_cond_broadcast(&s->queues[i].wake);
	pthread_mutex_unlock(&s->lock);
	for (unsigned i = 0; i < N_QUEUES; i++)
		queue_stop(&s->queues[i]);
	surveys_free(&s->surveys);
	pthread_mutex_destroy(&s->lock);
	free(s);
}
