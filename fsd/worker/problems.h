/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What is wrong and stays so until somebody acts: differences between catalog and pools, jobs that
 * could not be recovered. `fsctl status` lists them; they are found again after a restart.
 */
#ifndef FSD_WORKER_PROBLEMS_H
#define FSD_WORKER_PROBLEMS_H

#include <pthread.h>
#include <stdbool.h>

#include "snap/base/err.h"

#define PROBLEMS_KEPT 100

struct problems {
	pthread_mutex_t lock;
	struct {
		bool critical;
		bool stale;
		char scope[64]; /* what is checked again as a whole: "scan:main" */
		struct err err;
	} *items;
	unsigned n;
};

void problems_init(struct problems *p);
void problems_release(struct problems *p);
/*
 * `err` has an object and a hint: who reads it was not there. It takes the place of one with its
 * scope, code and object, and where PROBLEMS_KEPT are listed a critical one that of a warning;
 * others are dropped then. Is it listed now, and was it not before?
 */
bool problems_add(struct problems *p, bool critical, const char *scope, const struct err *err);
/* Forget what a scope has about this object, and of a site about its generations. Was there
 * anything? */
bool problems_drop(struct problems *p, const char *scope, const char *object);
/* Forget all of a scope. */
void problems_clear(struct problems *p, const char *scope);
/* The same, but for what is added again between the two: what stays wrong stays listed. */
void problems_begin(struct problems *p, const char *scope);
void problems_end(struct problems *p, const char *scope);
void problems_each(struct problems *p, void (*fn)(bool critical, const struct err *, void *),
	void *arg);

#endif
