/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A tree is copied to a directory outside of the pools: it is built as DIR.fsd-JOB beside DIR, made
 * durable, and renamed to DIR, which is the commit point. The operation notes durably which inode
 * is on its way, so that recovery never takes another directory for it.
 */
#ifndef FSD_OP_COPY_OUT_H
#define FSD_OP_COPY_OUT_H

#include <limits.h>

#include "fsd/op/common.h"
#include "fsd/op/outside.h"
#include "snap/copy.h"

struct copy_out {
	struct job *job;
	struct outside o;
	char side[NAME_MAX + 1]; /* the name beside DIR */
};
#define COPY_OUT_INIT(j) {.job = (j), .o = OUTSIDE_INIT}
void copy_out_release(struct copy_out *c);
#define _cleanup_copy_out_ __attribute__((cleanup(copy_out_release)))

/* The place that was planned (outside_plan). 0 or -errno. */
int copy_out_open(struct copy_out *c, struct err *err);
/* The same for recovery. 1; 0: it was given up (outside_given_up); -errno: it cannot be seen. */
int copy_out_find(struct copy_out *c, struct err *err);

/* Make the directory beside DIR, empty, for nobody else to enter. The fd or -errno. */
int copy_out_make(struct copy_out *c, uint64_t *ino, struct err *err);

/* Copy `tree` into it, durably, sharing storage where the pool does, and count it. `opts`: what is
 * skipped, and whether the source is live. */
int copy_out_fill(struct copy_out *c, int tree, int dir, struct snap_copy_opts opts,
	struct err *err);

/* The rename to DIR of the directory with this inode, with flags of renameat2(2), and fsync of what
 * receives it. -EBUSY "source_changed": another one had been put in its place, which is back. */
int copy_out_place(struct copy_out *c, uint64_t ino, unsigned flags, struct err *err);
int copy_out_sync(struct copy_out *c, struct err *err);

/* Does this name beside DIR, or DIR's own, stand for the directory with this inode (0: none)?
 * 1, 0, -errno. */
int copy_out_names(const struct copy_out *c, const char *name, uint64_t ino);

/* Recovery before the commit point, of what is not open yet: remove, durably, what is beside DIR,
 * if it is the job's own. `ino` is 0 where nothing was noted yet. */
int copy_out_revert(struct copy_out *c, uint64_t ino, struct err *err);

#endif
