/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Answers to queries: read from the catalog by a reader's own handle, never blocking a writer. */
#ifndef FSD_WORKER_QUERY_H
#define FSD_WORKER_QUERY_H

#include <jansson.h>

#include "fsd/worker/state.h"

struct buf;

/* The answer's body in `out`, which is empty before: JSON, for OP_METRICS text. Lists write each
 * item as it is read, so a long one costs no more memory than its text. 0, or -errno and what is
 * in `out` means nothing. */
int query_answer(struct fsd *f, struct catalog *c, const struct request *r, struct buf *out,
	struct err *err);

/* Parts of it, in files of their own. *out: a new reference. */
int query_status(struct fsd *f, struct catalog *c, json_t **out, struct err *err);
int query_metrics(struct fsd *f, struct catalog *c, struct buf *out, struct err *err);
int query_changes(struct fsd *f, struct catalog *c, const struct request *r, struct buf *out,
	struct err *err);

/* The job that is named; cat_job_release() it. "not_found", "bad_request". */
int query_find_job(struct catalog *c, const struct request *r, struct cat_job *row,
	struct err *err);
int query_no_cursor(struct err *err);

#endif
