/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Writes that came too late: a directory was copied while it was in use, then the copy took its
 * place. What was written into the old one in between is found by comparing both, the content of
 * all that changed since, and brought over where the new one was not changed meanwhile; names of
 * one inode stay so. Nothing is ever removed from the new one; no directory of it is replaced.
 */
#ifndef FSD_OP_LATE_H
#define FSD_OP_LATE_H

#include <stdbool.h>
#include <stdint.h>

struct err;
struct job;
struct snap_ctx;

struct late {
	struct job *job;      /* for warnings and names */
	struct snap_ctx *ctx; /* not always the job's: after a commit point nothing is canceled */
	int from, to;	      /* directories: the old one and the new one; the caller's */
	/* What changed in `from` after this time (ns, by ctime) may be missing in `to`. */
	int64_t since;
	/* What changed in `to` after this time was changed by its own users. */
	int64_t until;
	bool reflink;
	const char *old_name; /* for messages: what `from` is called now */
	uint64_t merged;      /* out: paths brought over */
	uint64_t left;	      /* out: paths newest in `from` alone, each with a warning */
};

/*
 * Is `to` a good copy of `from`, every byte? Differences of what changed after `since` do not
 * count. -EIO "verify_failed": the path of the first other one, and what differs of it.
 */
int late_verify(struct late *l, struct err *err);

/* Bring late writes over; idempotent. What was brought over is durable on return. What it replaced
 * is kept in the work directory `.fsd-JOB` of `to`, if there is any: somebody may hold it. */
int late_merge(struct late *l, struct err *err);

/* Now, and no change made later can carry a ctime that is not newer: waits for the clock's tick. */
int64_t late_now(void);

#endif
