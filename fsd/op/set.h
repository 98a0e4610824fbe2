/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Attributes: site set, snapshot set (set.c), hold and release (hold.c). The document in the pool
 * is replaced first, the catalog follows. The commit point is passed when the document says what
 * was asked for.
 */
#ifndef FSD_OP_SET_H
#define FSD_OP_SET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#include "backends/catalog/catalog.h"

struct cat_job;
struct err;
struct fsd;
struct job;
struct request;
struct resolved;

#define SET_TEXT_MAX 200 /* bytes: a label's key and value, a hold's tag */

/* What the job is about: SITE or SITE@SNAP. Returns out. */
const char *set_object(const struct job *job, char out[2 * CAT_NAME_SIZE]);

/* `n` labels or holds (`what`) are to become `after`. 0 or -E2BIG "too_large"; where an older fsd
 * made too many, fewer will do. */
int set_refuse_many(const struct job *job, const char *what, size_t n, size_t after,
	struct err *err);

/* Note in the intent what an undo sets. Planning could only look at what was there then: jobs
 * before this one may have changed it. Stolen. */
int set_note_before(struct fsd *f, struct job *job, json_t *before, struct err *err);

#define SET_LOST_SIZE (3 * CAT_NAME_SIZE + 128)

/* Nothing keeps it any more; `noun`: fsctl's. False: its time is not over. */
bool set_is_lost(const char *noun, const char *object, int64_t expires, char text[SET_LOST_SIZE]);

/* The snapshot that the request names as its source, locked for a change. */
int set_plan_snapshot(struct fsd *f, struct job *job, struct resolved *s, struct err *err);
/* Its wrapper. The fd or -errno. */
int set_open_snapshot(struct job *job, struct err *err);
/* The same source for the undo of a job that is done. */
void set_snapshot_source(const struct cat_job *done, json_t *intent, struct request *request);

#endif
