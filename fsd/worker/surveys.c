/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fsd/worker/surveys.h"

#include <errno.h>
#include <stdlib.h>

#include "fsd/core/log.h"
#include "fsd/worker/auth.h"
#include "fsd/worker/reply.h"
#include "fsd/worker/step.h"
#include "snap/base/err.h"

#define SURVEYS 8      /* at once: each reads trees */
#define SURVEYS_EACH 3 /* of one user who is no admin */

struct survey {
	struct surveys *all;
	struct job *job; /* NULL: none is at work here */
	uint64_t id;	 /* of the request */
	pthread_t thread;
	bool joinable;
};

struct surveys {
	struct fsd *f;
	/* For all of items; what `job` points to is its thread's, but for the ctx. */
	pthread_mutex_t lock;
	struct survey items[SURVEYS];
};

/* A place without a job has a thread that blocks on nothing any more. */
static void *survey_thread(void *arg)
{
	struct survey *y = arg;
	struct surveys *s = y->all;
	struct err err = ERR_INIT;
	json_t *view = NULL;
	struct job *job;

	step("survey");
	if (jobs_survey(s->f, y->job, &view, &err) < 0)
		reply_problem(s->f, y->id, &err);
	else
		reply_json(s->f, y->id, 200, view);
	pthread_mutex_lock(&s->lock);
	job = y->job;
	y->job = NULL;
	pthread_mutex_unlock(&s->lock);
	job_free(&job);
	return NULL;
}

/* A place for one more: a few for each user, all of them for admins. */
static struct survey *find_place(struct surveys *s, const struct actor *a, struct err *err)
{
	bool admin = auth_role(fsd_config(s->f), a) == ROLE_ADMIN;
	struct survey *place = NULL;
	unsigned own = 0;

	for (unsigned i = 0; i < SURVEYS; i++) {
		if (!s->items[i].job)
			place = &s->items[i];
		else
			own += s->items[i].job->request.actor.uid == a->uid;
	}
	if (place && (admin || own < SURVEYS_EACH))
		return place;
	err_set(err, EAGAIN, "too_many", NULL, "%u looks into trees are at work already",
		place ? own : SURVEYS);
	err_hint(err, "try again when one has ended; with --yes none is needed");
	return NULL;
}

static int begin(struct surveys *s, uint64_t id, struct job *job, struct err *err)
{
	struct survey *y = find_place(s, &job->request.actor, err);
	int r;

	if (!y)
		return -EAGAIN;
	if (y->joinable)
		pthread_join(y->thread, NULL);
	*y = (struct survey){.all = s, .job = job, .id = id};
	r = pthread_create(&y->thread, NULL, survey_thread, y);
	y->joinable = r == 0;
	if (r) {
		y->job = NULL;
		return err_sys(err, r, "start a thread", NULL);
	}
	return 0;
}

void surveys_start(struct surveys *s, uint64_t id, struct job *job)
{
	struct err err = ERR_INIT;
	int r;

	pthread_mutex_lock(&s->lock);
	r = begin(s, id, job, &err);
	pthread_mutex_unlock(&s->lock);
	if (r < 0) {
		job_free(&job);
		reply_problem(s->f, id, &err);
	}
}

static void cancel(struct surveys *s, bool all, uint64_t id)
{
	pthread_mutex_lock(&s->lock);
	for (unsigned i = 0; i < SURVEYS; i++) {
		struct survey *y = &s->items[i];

		if (!y->job || (!all && y->id != id))
			continue;
		atomic_store(&y->job->ctx.cancel, true);
		log_msg(LOG_DEBUG, "survey canceled", "site", y->job->site_name, NULL);
	}
	pthread_mutex_unlock(&s->lock);
}

void surveys_abandon(struct surveys *s, uint64_t id)
{
	cancel(s, false, id);
}

int surveys_new(struct fsd *f, struct surveys **out)
{
	struct surveys *s = calloc(1, sizeof(*s));

	if (!s)
		return -ENOMEM;
	s->f = f;
	pthread_mutex_init(&s->lock, NULL);
	*out = s;
	return 0;
}

void surveys_free(struct surveys **sp)
{
	struct surveys *s = *sp;

	*sp = NULL;
	if (!s)
		return;
	cancel(s, true, 0);
	for (unsigned i = 0; i < SURVEYS; i++) {
		if (s->items[i].joinable)
			pthread_join(s->items[i].thread, NULL);
	}
	pthread_mutex_destroy(&s->lock);
	free(s);
}
