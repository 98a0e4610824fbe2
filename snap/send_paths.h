/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * From the commands of an incremental btrfs send stream to what they change in the end.
 *
 * The stream is a recipe, not a list of changes: it moves entries out of each other's way under
 * names such as "o257-8-0" at the top of the tree, makes new ones there first, and renames a file
 * by a new link and the removal of the old one. This module plays the recipe on the names alone.
 * It keeps only what the stream touched; everything else of the old tree is where it was.
 *
 * It tells which entries a change may concern; whether content or metadata really differ only a
 * look at both trees can tell, since the stream also repeats what stayed equal.
 */
#ifndef SNAP_SEND_PATHS_H
#define SNAP_SEND_PATHS_H

#include <stddef.h>
#include <stdint.h>

#include "snap/send_stream.h"

struct err;
struct send_paths;

enum send_change_kind {
	SEND_PATH_REMOVED,  /* `from` alone */
	SEND_PATH_RENAMED,  /* same inode, `from` in the old tree, `path` in the new one */
	SEND_PATH_KEPT,	    /* same inode and name, touched; `from` differs from `path` where a
			     * directory above was renamed */
	SEND_PATH_REPLACED, /* another inode under the same path in both trees */
	SEND_PATH_ADDED,    /* `path` alone */
};

enum send_touch {
	SEND_TOUCH_DATA = 1 << 0,  /* some bytes may differ: `ranges` says which */
	SEND_TOUCH_XATTR = 1 << 1, /* extended attributes (ACLs too) differ */
	SEND_TOUCH_ATTR = 1 << 2,  /* size, owner, mode or times may differ */
};

struct send_range {
	uint64_t offset, len;
};

struct send_change {
	enum send_change_kind kind;
	unsigned touched; /* enum send_touch; RENAMED and KEPT only */
	const char *path; /* in the new tree; NULL when REMOVED */
	const char *from; /* in the old tree; NULL when ADDED */
	const struct send_range *ranges;
	size_t n_ranges;
};

/* Paths are borrowed until it returns. A value other than 0 ends the list and is returned. */
typedef int send_change_fn(const struct send_change *change, void *arg);

/* 0 or -ENOMEM. */
int send_paths_new(struct send_paths **out);
void send_paths_free(struct send_paths **p);

/*
 * The next command: a send_cmd_fn with a struct send_paths as `arg`. 0, -ENOMEM, or -EBADMSG
 * "bad_stream" for what no kernel sends (a name removed twice, a directory moved below itself).
 */
int send_paths_apply(const struct send_cmd *cmd, void *arg, struct err *err);

/*
 * All changes, in path order (`path`, for what is gone `from`; '/' before every other byte, so
 * that a directory is followed by what it holds), REMOVED before the others of the same path.
 * -ENAMETOOLONG when a path does not fit PATH_MAX. Call it once, after the stream's end.
 */
int send_paths_finish(struct send_paths *p, send_change_fn *fn, void *arg, struct err *err);

/* The order above: < 0, 0, > 0. */
int send_path_cmp(const char *a, const char *b);

#endif
