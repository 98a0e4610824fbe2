/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Answers to queries: read from the catalog by a reader's own handle, never blocking a writer. */
#ifndef FSD_WORKER_QUERY_H
#define FSD_WORKER_QUERY_H

#include <jansson.h>

#include "fsd/worker/state.h"

/* 0 and *out (new reference), or -errno. OP_METRICS answers a JSON string: the text. */
int query_answer(struct fsd *f, struct catalog *c, const struct request *r, json_t **out,
	struct err *err);

/* Parts of it, in files of their own. */
int query_status(struct fsd *f, struct catalog *c, json_t **out, struct err *err);
int query_metrics(struct fsd *f, struct catalog *c, json_t **out, struct err *err);

#endif
