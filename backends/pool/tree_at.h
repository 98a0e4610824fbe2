/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What every driver does with a tree's address: name it in errors, open or remove what is there. */
#ifndef BACKENDS_POOL_TREE_AT_H
#define BACKENDS_POOL_TREE_AT_H

#include "backends/pool/pool.h"
#include "snap/base/err.h"

#define TREE_PATH_SIZE ERR_OBJECT_SIZE

/* The absolute path as this process sees it now, for errors only; "NAME" when /proc is missing.
 * Cut at the front when too long. Returns `out`. */
const char *tree_path(struct tree_at at, char out[TREE_PATH_SIZE]);

/* err_sys() with the tree's path as the object. */
int tree_err(struct err *err, int num, const char *op, struct tree_at at);

/* Open the tree's directory, never following a symlink. The fd, or -errno with err filled. */
int tree_open(struct tree_at at, struct err *err);

/* pool_driver.tree_usage of every driver. */
int tree_usage(struct pool *pool, struct tree_at at, struct snap_ctx *ctx, struct snap_usage *out,
	struct err *err);

/* Fail with -EEXIST "exists" when the name is taken. */
int tree_must_not_exist(struct tree_at at, struct err *err);

/* What stands beside a tree for the length of one call. */
#define TREE_SIDE_WORK "work"	/* a tree in the making */
#define TREE_SIDE_OLD "a"	/* the two sides of a diff, frozen */
#define TREE_SIDE_NEW "b"
#define TREE_SIDE_ROLES { TREE_SIDE_WORK, TREE_SIDE_OLD, TREE_SIDE_NEW }

/* pool_driver.tree_remove for a tree that is a subvolume or a plain directory (tree_remove.c). */
int tree_remove(struct tree_at at, struct snap_ctx *ctx, struct err *err);
/* The same for this name alone. */
int tree_remove_one(struct tree_at at, struct snap_ctx *ctx, struct err *err);

/*
 * The name of what a driver keeps beside the tree `name` for the length of one call: ".NAME.ROLE".
 * tree_remove() of NAME sweeps it. `out` has NAME_MAX + 1 bytes. 0 or -ENAMETOOLONG.
 */
int tree_side_name(char *out, const char *name, const char *role);

#endif
