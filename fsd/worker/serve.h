/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * From a message of the api to its answer: queries go to reader threads with their own catalog
 * handles, jobs to submitting threads, which make their plans one at a time. The main loop only
 * passes on, so it is never busy.
 */
#ifndef FSD_WORKER_SERVE_H
#define FSD_WORKER_SERVE_H

#include "fsd/core/msg.h"
#include "fsd/worker/state.h"

struct serve;

/* Start the threads. `readers`: how many. */
int serve_start(struct fsd *f, unsigned readers, struct serve **out, struct err *err);
void serve_stop(struct serve **s);

/* Pass on one message; takes its body. Bad ones are answered at once. */
void serve_message(struct serve *s, struct msg *m);
/* Answer those whose deadline has passed. */
void serve_due(struct serve *s);

/* A job has ended: answer its waiters, wake the event streams (struct jobs' on_end). */
void serve_job_end(struct fsd *f, int64_t id, json_t *view);

#endif
