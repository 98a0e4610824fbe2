/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A change in place: entries of a live tree are replaced one by one, each by one rename, after all
 * that is needed lies durably in a work directory at the tree's root (fsd/worker/work.h).
 *
 * WORK_PLAN there is the commit point and afterwards the record of the change:
 *   job    the last job that acted: the change, or its undo, or the undo's undo
 *   method, consistency  what was copied for it is; of a change that copied something
 *   made   ns: everything in `items` was in the work directory, out of reach, before this time
 *   since  ns: what is newer in the entries that were taken out was written to them late
 *   done   ns: all items were dealt with
 *   items  [{"path":  where, escaped as by json_text()
 *            "name":  the entry in the work directory that waits, or what was taken out, or neither
 *            "in":    inode of the entry that is put in place; 0: what is there is only taken out
 *            "size", "mtime": of that entry, as it waits
 *            "wanted": the paths that were asked for, where `path` is a missing parent of them
 *            "ctime": ns, of the entry once it is in place; -1: somebody was faster
 *            "taken": ns, ctime of what was taken out, when it was
 *            "failed": reason}]
 * An item is done when its entry has left the work directory ("in" not 0) or has come into it (0),
 * so rolling forward again does nothing twice. Doing the items the other way round is the undo.
 */
#ifndef FSD_OP_CHANGE_H
#define FSD_OP_CHANGE_H

#include <jansson.h>

#include "fsd/op/common.h"

#define CHANGE_NAME_SIZE (JOB_ID_SIZE + 8)

/* ".fsd-JOB". Returns `out`. */
const char *change_name(const char *job, char out[CHANGE_NAME_SIZE]);

/* A new item (a new reference) from what waits, or does not, under this name. `path` and `wanted`
 * (may be NULL) are stolen. NULL without memory or when it cannot be looked at. */
json_t *change_item(int work, json_t *path, const char *name, json_t *wanted);

/* Write the plan: the commit point. `items` is stolen. Has what they replace in `tree` written out
 * before, and waits for the clock's tick. -E2BIG "too_large". */
int change_commit(struct job *job, int tree, int work, int64_t generation, json_t *items,
	struct err *err);

/* Is the plan in the work directory this job's? 1, 0, -errno. */
int change_committed(const struct job *job, int work);

/* Do what is left to do, make it durable, say so in the plan; fills job->result: "generation",
 * "paths" and, where an item failed, "failed". Idempotent. */
int change_apply(struct job *job, int tree, int work, struct err *err);

/* The items that undo those of `plan`: a new reference or NULL. */
json_t *change_reverse(int work, json_t *plan);

/* How many entries changed since the plan was done? Without `ctx` only the paths themselves are
 * looked at, not what is beneath them. -errno on failure. */
int change_since(int tree, json_t *plan, struct snap_ctx *ctx, uint64_t *changed, struct err *err);

#endif
