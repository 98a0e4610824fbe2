/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Walk one tree depth first: remove, survey, usage and syncing stand on it. (Copying and comparing
 * walk two trees at once and use the trail themselves.) Memory: a batch of items, and for each
 * level of the current path the names of its directories that are still to be entered.
 */
#ifndef SNAP_WALK_H
#define SNAP_WALK_H

#include "snap/ctx.h"
#include "snap/io.h"
#include "snap/trail.h"

#define WALK_BATCH 64

struct err;
struct walk;

/* What tells a tree's own entries from a file system mounted into it. */
struct guard {
	uint64_t dev, ino, mount; /* the root's */
	bool btrfs;
};
int guard_init(struct guard *g, struct io_dir *root);
/* A mount point, a nested subvolume, or the stub that a snapshot has in the place of one. */
bool guard_nested(const struct guard *g, const struct io_stat *st);
/* The latter alone: an empty directory without an inode of its own. */
bool guard_stub(const struct guard *g, const struct io_stat *st);
/* -EXDEV "nested_filesystem". */
int guard_error(struct err *err, const char *path);

/* Is it a failure that says: this name is not what it was any more? */
bool walk_vanished(int error);

/* Fill err from a failed item (with its path; "" is the root) or call; "canceled" says so. */
int walk_fail(struct err *err, int error, const char *op, const char *path);

/* Remove dir/name, a directory with all it holds: snap_remove() for the engine's own use, without
 * progress. */
int remove_dir_at(struct io_dir *dir, const char *name, struct err *err);

enum walk_answer { WALK_AGAIN = 1 }; /* of left() */

struct walk_ops {
	bool stat; /* items come with st */
	unsigned open_flags;
	/* Up to WALK_BATCH entries of the current directory; reset an item's type to DT_UNKNOWN to
	 * keep the walk out of a directory. */
	int (*batch)(struct walk *w, struct io_item *items, size_t n);
	/* The current directory, with all below, is done. May be NULL. */
	int (*leave)(struct walk *w);
	/* Back in the parent of `name`. WALK_AGAIN enters it once more. May be NULL. */
	int (*left)(struct walk *w, const char *name);
	/* `name` in the current directory is a nested file system: it is not entered. NULL: no
	 * more than that. */
	int (*nested)(struct walk *w, const char *name, const struct io_stat *st);
};

struct walk_frame {
	struct io_names dirs;
	size_t next;
	unsigned again;
	bool listed;
};

struct walk {
	const struct walk_ops *ops;
	struct snap_ctx *ctx;
	struct err *err;
	void *arg;
	struct trail trail;
	struct guard guard;
	struct walk_frame *frames;
	size_t depth, size;
	struct io_item items[WALK_BATCH];
};

/*
 * Walk what is in directory `root`, which is taken over; with `only` just that name (a directory)
 * of it. 0, -errno with err filled, or the first value other than 0 that an operation returned.
 */
int walk_dir(struct io_dir *root, const char *only, const struct walk_ops *ops, void *arg,
	struct err *err);
/* The same by the threads driver on a descriptor, which stays the caller's. */
int walk_tree(int fd, const char *only, const struct walk_ops *ops, struct snap_ctx *ctx, void *arg,
	struct err *err);

#endif
