/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Comparing trees of sites and snapshots. Whoever changes a file may give it the size and the times
 * it had, but not its ctime. So a walk reads files that were changed since the one tree was a copy
 * of the other, and no others: the documents say when that was.
 */
#ifndef FSD_OP_COMPARE_H
#define FSD_OP_COMPARE_H

#include <stdbool.h>
#include <stdint.h>

#include "snap/diff.h"

struct err;
struct job;
struct pool_root;

struct compare_side {
	struct pool_root *pool;
	int wrapper;   /* of the tree; the owner's to close */
	int64_t made;  /* changes have newer ctimes (ns); INT64_MAX: there are none */
	int64_t as_of; /* what its source is from: newer changes of that are not in it (ns) */
};
#define COMPARE_SIDE_INIT {.wrapper = -1}

void compare_side_release(struct compare_side *s);
#define _cleanup_compare_side_ __attribute__((cleanup(compare_side_release)))

/* Generation `number` of a site or snapshot, open as `dir`. 0 or -errno. */
int compare_open(struct pool_root *pool, int dir, int64_t number, struct compare_side *out);

/* `scratch`: for the driver (pool.h), or -1. */
int compare_trees(struct job *job, const struct compare_side *a, const struct compare_side *b,
	int scratch, snap_diff_fn *fn, void *arg, struct err *err);

#endif
