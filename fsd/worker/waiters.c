/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fsd/worker/waiters.h"

#include <errno.h>
#include <stdlib.h>

#include "snap/base/clock.h"

void waiters_init(struct waiters *w)
{
	*w = (struct waiters){0};
	pthread_mutex_init(&w->lock, NULL);
}

void waiters_release(struct waiters *w)
{
	while (w->head) {
		struct waiter *next = w->head->next;

		free(w->head);
		w->head = next;
	}
	pthread_mutex_destroy(&w->lock);
}

int waiters_add(struct waiters *w, struct waiter waiter)
{
	struct waiter *new = malloc(sizeof(*new));

	if (!new)
		return -ENOMEM;
	*new = waiter;
	pthread_mutex_lock(&w->lock);
	new->next = w->head;
	w->head = new;
	pthread_mutex_unlock(&w->lock);
	return 0;
}

static bool take(struct waiters *w, bool (*match)(const struct waiter *, int64_t), int64_t key,
	struct waiter *out)
{
	struct waiter **p, *found;

	pthread_mutex_lock(&w->lock);
	for (p = &w->head; *p && !match(*p, key); p = &(*p)->next)
		;
	found = *p;
	if (found) {
		*p = found->next;
		*out = *found;
	}
	pthread_mutex_unlock(&w->lock);
	free(found);
	return found;
}

static bool of_job(const struct waiter *w, int64_t job)
{
	return w->job == job;
}

static bool due(const struct waiter *w, int64_t now)
{
	return w->deadline <= now;
}

static bool of_request(const struct waiter *w, int64_t request)
{
	return w->request == (uint64_t)request;
}

bool waiters_take_job(struct waiters *w, int64_t job, struct waiter *out)
{
	return take(w, of_job, job, out);
}

bool waiters_take_due(struct waiters *w, int64_t now, struct waiter *out)
{
	return take(w, due, now, out);
}

bool waiters_take_request(struct waiters *w, uint64_t request)
{
	struct waiter ignored;

	return take(w, of_request, (int64_t)request, &ignored);
}

int waiters_timeout(struct waiters *w, int64_t now, int most)
{
	int64_t first = now + most * NSEC_PER_MSEC;

	pthread_mutex_lock(&w->lock);
	for (const struct waiter *i = w->head; i; i = i->next) {
		if (i->deadline < first)
			first = i->deadline;
	}
	pthread_mutex_unlock(&w->lock);
	return first <= now ? 0 : (int)((first - now + NSEC_PER_MSEC - 1) / NSEC_PER_MSEC);
}
