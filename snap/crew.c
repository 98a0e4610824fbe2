/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "snap/crew.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>

#define CREW_MAX 64

struct crew {
	pthread_mutex_t lock;
	pthread_cond_t work, done;
	pthread_t threads[CREW_MAX];
	unsigned n;	      /* threads there are */
	unsigned wanted;      /* of them in the batch, still to begin */
	unsigned busy;	      /* of them in the batch, not finished */
	bool quit;

	void (*fn)(void *arg, size_t i);
	void *arg;
	size_t items;
	atomic_size_t next;
};

static void work_off(struct crew *c)
{
	size_t i;

	while ((i = atomic_fetch_add(&c->next, 1)) < c->items)
		c->fn(c->arg, i);
}

static void *member(void *arg)
{
	struct crew *c = arg;

	pthread_mutex_lock(&c->lock);
	while (!c->quit) {
		if (!c->wanted) {
			pthread_cond_wait(&c->work, &c->lock);
			continue;
		}
		c->wanted--;
		pthread_mutex_unlock(&c->lock);
		work_off(c);
		pthread_mutex_lock(&c->lock);
		if (--c->busy == 0)
			pthread_cond_signal(&c->done);
	}
	pthread_mutex_unlock(&c->lock);
	return NULL;
}

int crew_new(struct crew **out)
{
	struct crew *c = calloc(1, sizeof(*c));

	if (!c)
		return -ENOMEM;
	pthread_mutex_init(&c->lock, NULL);
	pthread_cond_init(&c->work, NULL);
	pthread_cond_init(&c->done, NULL);
	*out = c;
	return 0;
}

void crew_free(struct crew **crew)
{
	struct crew *c = *crew;

	if (!c)
		return;
	pthread_mutex_lock(&c->lock);
	c->quit = true;
	pthread_cond_broadcast(&c->work);
	pthread_mutex_unlock(&c->lock);
	for (unsigned i = 0; i < c->n; i++)
		pthread_join(c->threads[i], NULL);
	pthread_mutex_destroy(&c->lock);
	pthread_cond_destroy(&c->work);
	pthread_cond_destroy(&c->done);
	free(c);
	*crew = NULL;
}

/* Up to `wanted` threads; the process's signals are for others. */
static void grow(struct crew *c, unsigned wanted)
{
	sigset_t all, old;

	if (wanted > CREW_MAX)
		wanted = CREW_MAX;
	if (c->n >= wanted)
		return;
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &old);
	while (c->n < wanted && pthread_create(&c->threads[c->n], NULL, member, c) == 0)
		c->n++;
	pthread_sigmask(SIG_SETMASK, &old, NULL);
}

static void start(struct crew *c, unsigned helpers)
{
	pthread_mutex_lock(&c->lock);
	c->wanted = c->busy = helpers;
	for (unsigned i = 0; i < helpers; i++)
		pthread_cond_signal(&c->work);
	pthread_mutex_unlock(&c->lock);
}

/* Members that have not begun are not needed any more. */
static void finish(struct crew *c)
{
	pthread_mutex_lock(&c->lock);
	c->busy -= c->wanted;
	c->wanted = 0;
	while (c->busy)
		pthread_cond_wait(&c->done, &c->lock);
	pthread_mutex_unlock(&c->lock);
}

void crew_run(struct crew *c, unsigned depth, void (*fn)(void *arg, size_t i), void *arg, size_t n)
{
	unsigned helpers = depth < n ? depth : n;

	helpers -= helpers > 0;
	c->fn = fn;
	c->arg = arg;
	c->items = n;
	atomic_store(&c->next, 0);
	if (helpers) {
		grow(c, helpers);
		helpers = helpers < c->n ? helpers : c->n;
		start(c, helpers);
	}
	work_off(c);
	if (helpers)
		finish(c);
}
