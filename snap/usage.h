/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* How much a tree holds. */
#ifndef SNAP_USAGE_H
#define SNAP_USAGE_H

#include <stdint.h>

#include "snap/ctx.h"

struct err;

struct snap_usage {
	uint64_t entries;
	uint64_t logical;   /* sum of the sizes of regular files, each inode once */
	uint64_t allocated; /* blocks * 512 of all inodes, each once; no files inline in metadata */
	uint64_t shared;    /* of allocated: bytes in extents that FIEMAP calls shared */
	uint64_t exclusive; /* allocated - shared, never below 0 */
};

/* Walk the tree, but no other file system inside it, nor what is no part of it (skip.h); O(extents)
 * where `with_extents` (FIEMAP of each file; a file system without FIEMAP counts everything as
 * exclusive), O(entries) otherwise. */
int snap_usage(int dir, int with_extents, struct snap_ctx *ctx, struct snap_usage *out,
	struct err *err);

#endif
