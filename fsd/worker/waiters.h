/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Requests whose answer waits until a job has ended or a deadline has passed. */
#ifndef FSD_WORKER_WAITERS_H
#define FSD_WORKER_WAITERS_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct waiter {
	uint64_t request; /* the message to answer */
	int64_t job;
	int64_t deadline; /* CLOCK_MONOTONIC, ns */
	bool submitted;	  /* the answer is {"job": ...}: it was a POST */
	struct waiter *next;
};

struct waiters {
	pthread_mutex_t lock;
	struct waiter *head;
};

void waiters_init(struct waiters *w);
void waiters_release(struct waiters *w);

/* 0 or -ENOMEM. */
int waiters_add(struct waiters *w, struct waiter waiter);

/* Take out one that waits for the job, or one that is due; false when there is none. */
bool waiters_take_job(struct waiters *w, int64_t job, struct waiter *out);
bool waiters_take_due(struct waiters *w, int64_t now, struct waiter *out);

/* Take out the one of this request: its client is gone, or is answered otherwise. */
bool waiters_take_request(struct waiters *w, uint64_t request);

/* ms until the next is due, at most `most`. */
int waiters_timeout(struct waiters *w, int64_t now, int most);

#endif
