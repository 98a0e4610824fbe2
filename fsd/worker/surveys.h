/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Looks into trees for an answer: the plan of a dry run, or what a question says. That takes as
 * long as the trees are large, so each has a thread of its own and nobody waits behind it; there
 * are few at once, and fewer of one user.
 */
#ifndef FSD_WORKER_SURVEYS_H
#define FSD_WORKER_SURVEYS_H

#include "fsd/worker/jobs.h"

struct surveys;

/* 0 or -ENOMEM. */
int surveys_new(struct fsd *f, struct surveys **out);
/* Cancel those that are at work, and wait for them. */
void surveys_free(struct surveys **s);

/* Takes `job`, which jobs_submit() gave with JOBS_SURVEY, and answers request `id`: when the look
 * is taken, or at once with why it is not. */
void surveys_start(struct surveys *s, uint64_t id, struct job *job);
/* The client of request `id` is gone: no tree is looked into for nobody. */
void surveys_abandon(struct surveys *s, uint64_t id);

#endif
