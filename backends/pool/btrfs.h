/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the files of the btrfs pool driver share. */
#ifndef BACKENDS_POOL_BTRFS_H
#define BACKENDS_POOL_BTRFS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backends/pool/pool.h"
#include "backends/pool/tree_at.h"

struct pool {
	int rootfd;
	bool privileged; /* tree search is allowed: root, in practice */
};

/* Subvolumes by descriptor and name (btrfs_subvol.c). 0 or -errno, nothing else is filled. */
int subvol_create(int dirfd, const char *name);
/* Durable when it returns: the ioctl flushes the source's data and commits (tested). */
int subvol_snapshot(int fd, int dirfd, const char *name, bool read_only);
/* 1 when dirfd/name is the root of a subvolume, 0 (also for a missing name), -errno. */
int subvol_check(int dirfd, const char *name);
/* Is the subvolume of `fd` read-only? 1, 0, -errno. */
int subvol_read_only(int fd);
/* Set or clear that. Durable when it returns: the ioctl commits. */
int subvol_set_read_only(int fd, bool read_only);

/* At once, with all its files. It may have no subvolume inside (-ENOTEMPTY). An ordinary user needs
 * the mount option user_subvol_rm_allowed (-EPERM), and a writable one (-EROFS). */
int subvol_delete(int dirfd, const char *name);

/*
 * Is there a subvolume or a mount somewhere inside the subvolume of `fd`? 0, or -EXDEV
 * "nested_filesystem" with the path inside the tree, or another error. O(nested + mounts), not
 * O(files) (btrfs_nested.c).
 */
int btrfs_refuse_nested(int fd, struct err *err);
/* The same for mounts alone: what a removal would silently detach. */
int btrfs_refuse_mounts(int fd, struct err *err);

/* Make the dirty data and metadata of the subvolume of `fd` durable, whatever neighbours do. */
int btrfs_flush(struct pool *pool, int fd, struct snap_ctx *ctx, struct err *err);

/* pool_driver.tree_diff (btrfs_diff.c) */
int btrfs_tree_diff(struct pool *pool, struct tree_at a, struct tree_at b, int scratch,
	const struct snap_diff_opts *opts, struct snap_ctx *ctx, snap_diff_fn *fn, void *arg,
	struct err *err);

/*
 * Its short way alone, for two read-only subvolumes. *told: the differences were complete and the
 * result is that of `fn`; false: nothing was given to `fn` and walking may succeed.
 */
int btrfs_diff_by_send(int a, int b, struct snap_ctx *ctx, snap_diff_fn *fn, void *arg,
	bool *told, struct err *err);

#endif
