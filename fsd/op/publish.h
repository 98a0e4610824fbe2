/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Making a generation live: the steps that publish, rollback and restore share. */
#ifndef FSD_OP_PUBLISH_H
#define FSD_OP_PUBLISH_H

#include "fsd/op/common.h"

/* Mark the live generation as retired by this job, then switch: DESIGN's "Publish". `site` is the
 * site's directory. */
int publish_generation(struct job *job, int site, int64_t number, struct err *err);

/* Is `number` live because of this job? 1, 0, -errno. */
int publish_committed(struct job *job, int site, int64_t number);

/* The mark of a switch that did not happen is taken back. */
int publish_revert(struct job *job, int site, struct err *err);

/* What is left after the switch: the new live one is not retired any more. */
int publish_finish(struct fsd *f, struct job *job, int site, int64_t number, struct err *err);

/* result: {"site", "generation", "retired"} */
int publish_record(struct fsd *f, struct job *job, struct err *err);

bool publish_beyond_undo(const struct cat_job *done);
/* undo: publish what the job retired; where it has become an undo snapshot, restore that. */
int publish_undo(struct fsd *f, const struct cat_job *done, json_t *intent,
	struct request *request, struct err *err);

#endif
