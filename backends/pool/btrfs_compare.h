/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Look at one entry in two trees: what of it is different. Only reads; for trees at rest. */
#ifndef BACKENDS_POOL_BTRFS_COMPARE_H
#define BACKENDS_POOL_BTRFS_COMPARE_H

#include <stdbool.h>
#include <sys/stat.h>

#include "snap/ctx.h"
#include "snap/send_paths.h"

struct verdict {
	bool same_inode; /* by birth: false means one took the other's place */
	bool content, metadata;
	struct statx old, new;
};

/*
 * Compare change->from in the tree of `a` with change->path in the tree of `b`. Of one inode only
 * what the stream spoke of is looked at; of two everything. 0, -ECANCELED, -errno.
 */
int btrfs_compare(int a, int b, const struct send_change *change, struct snap_ctx *ctx,
	struct verdict *out);

#endif
