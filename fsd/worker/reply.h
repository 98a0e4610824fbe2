/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Answers to the api process: one for each request, from any thread. */
#ifndef FSD_WORKER_REPLY_H
#define FSD_WORKER_REPLY_H

#include <jansson.h>

#include "fsd/worker/state.h"
#include "snap/base/buf.h"

struct err;

/* Takes what is in `body`; 500 where it has an error. */
void reply_body(struct fsd *f, uint64_t id, int status, struct buf *body);
/* Takes `body`. */
void reply_json(struct fsd *f, uint64_t id, int status, json_t *body);
/* With the status that fits the error. */
void reply_problem(struct fsd *f, uint64_t id, const struct err *err);

#endif
