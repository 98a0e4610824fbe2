/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Make a directory tree durable on a file system that has no better way. */
#ifndef BACKENDS_POOL_SYNC_TREE_H
#define BACKENDS_POOL_SYNC_TREE_H

#include "snap/ctx.h"

struct err;

/*
 * fsync every file and directory beneath `dir` and `dir` itself, from several threads: its cost
 * follows the tree, not what neighbours have dirty. On btrfs, where each fsync is slow, and where
 * no thread can be had, one syncfs. Does not follow symlinks or enter other file systems. Blocks.
 */
int sync_tree(int dir, struct snap_ctx *ctx, struct err *err);

#endif
