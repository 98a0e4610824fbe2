/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the btrfs driver's diff stands on: the send ioctl and the kinship of subvolumes. */
#ifndef BACKENDS_POOL_BTRFS_SEND_H
#define BACKENDS_POOL_BTRFS_SEND_H

#include <stdint.h>

#include "snap/ctx.h"
#include "snap/send_stream.h"

struct err;

/*
 * Give the commands of the no-data stream from read-only subvolume `parent` (an id) to the
 * read-only subvolume of `fd` to `fn`. Needs CAP_SYS_ADMIN. 0, -ECANCELED, what the ioctl says
 * (-EPERM; -EAGAIN while a balance or dedupe is at work), what the parser or `fn` says.
 */
int btrfs_send(int fd, uint64_t parent, struct snap_ctx *ctx, send_cmd_fn *fn, void *arg,
	struct err *err);

/*
 * Do the subvolumes of `a` and `b` come from one another, or from the same one, so that an inode
 * number means the same file in both? 1, 0, -errno. Needs CAP_SYS_ADMIN.
 */
int btrfs_related(int a, int b);

#endif
