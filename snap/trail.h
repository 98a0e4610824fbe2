/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Where a depth-first walk stands: the chain of directories from the root to the current one. Trees
 * may be deeper than PATH_MAX and than the number of descriptors, so only the root and the
 * last TRAIL_OPEN levels stay open; on the way back a closed one is reached through "..", or by
 * names from the root when the directory was moved meanwhile, and is only accepted if it is still
 * the same inode.
 */
#ifndef SNAP_TRAIL_H
#define SNAP_TRAIL_H

#include "snap/io.h"

#define TRAIL_OPEN 24

struct trail_level {
	struct io_dir *dir; /* NULL: closed to save descriptors */
	uint64_t dev, ino;
	size_t path_len; /* of the path that leads here */
};

struct trail {
	struct trail_level *levels;
	size_t depth; /* levels in use; the root is level 0 */
	size_t size;
	size_t first_open; /* levels from here on are open, besides level 0 */
	struct buf path;   /* relative to the root; "" at the root */
	struct buf shown;  /* what trail_path() answers */
};

/* Takes over `root`, also on failure. 0 or -errno. */
int trail_init(struct trail *t, struct io_dir *root);
void trail_release(struct trail *t);

/* Go down into `name`, open as `dir`, which is taken over, also on failure. */
int trail_push(struct trail *t, const char *name, struct io_dir *dir, const struct io_stat *st);

/* Go up. -ESTALE when the way back is gone. */
int trail_pop(struct trail *t);

static inline struct io_dir *trail_dir(const struct trail *t)
{
	return t->levels[t->depth - 1].dir;
}

/* The current directory's own name; "" at the root. Borrowed until the next move. */
const char *trail_name(const struct trail *t);

/* The path of `name` in the current directory, NULL the directory itself; borrowed until the next
 * call. "" for the root, "?" when there is no memory. */
const char *trail_path(struct trail *t, const char *name);

/* Open the directory at a relative path beneath `root` component by component (any length), each
 * without following symlinks. *out is the caller's. */
int trail_open_path(struct io_dir *root, const char *path, size_t len, struct io_dir **out);

#endif
