/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Copy a tree: every entry with its metadata, confined to the two directories it is given,
 * whatever anybody does to the source meanwhile. This is the walked copy of the `copy` pool
 * driver, of import, eject and path restores; the O(1) ways belong to pool drivers.
 */
#ifndef SNAP_COPY_H
#define SNAP_COPY_H

#include <stdbool.h>
#include <stdint.h>

#include "snap/ctx.h"
#include "snap/paths.h"

struct err;

enum snap_consistency {
	SNAP_ATOMIC,  /* one instant */
	SNAP_SETTLED, /* walked, and proved equal to the source at one instant */
	SNAP_FUZZY,   /* some paths kept changing: the result lists them */
};
/* "atomic", "settled", "fuzzy" */
const char *snap_consistency_name(enum snap_consistency c);

struct snap_copy_opts {
	bool reflink;	     /* FICLONE where the file systems can, else read and write */
	bool durable;	     /* on return all of it survives a power cut, except the name of the
				destination directory itself, which belongs to the caller */
	bool source_is_live; /* settle: DESIGN's rule; otherwise the source is known not to change */
	unsigned settle_rounds; /* 0: 5 */
	/* Return a path's verdict: true leaves it (and everything below) out. NULL: `.fsd-*` and
	 * `.nfs*` names are left out; a function of your own replaces that rule. Called from several
	 * threads. */
	bool (*skip)(const char *path, void *arg);
	void *skip_arg;
};

struct snap_copy_result {
	enum snap_consistency consistency;
	uint64_t entries, files, bytes; /* copied: entries of all types, regular files, their sizes */
	uint64_t bytes_cloned;		/* of bytes: those that share storage with the source */
	struct paths unsettled;		/* not empty only when fuzzy */
	struct paths reported;		/* what could not be carried over: sockets, file flags */
};
void snap_copy_result_release(struct snap_copy_result *r);

/*
 * Copy the content of directory `src` into the empty directory `dst`, then `src`'s own metadata.
 * Both descriptors stay the caller's. Blocks. A mount point or nested subvolume inside the source
 * is refused: -EXDEV, code "nested_filesystem", object the path. On failure what was made stays
 * for the caller to remove (snap_remove). Errors: -ECANCELED; -ENOSPC and -EDQUOT "no_space";
 * -EIO and everything the kernel says, with the path.
 */
int snap_copy(int src, int dst, const struct snap_copy_opts *opts, struct snap_ctx *ctx,
	struct snap_copy_result *result, struct err *err);

/*
 * Copy the one entry src_dir/src_name (of any type, a directory with all it holds) to
 * dst_dir/dst_name, which must not exist. Names are single components. Same options and errors.
 */
int snap_copy_entry(int src_dir, const char *src_name, int dst_dir, const char *dst_name,
	const struct snap_copy_opts *opts, struct snap_ctx *ctx, struct snap_copy_result *result,
	struct err *err);

/*
 * Refuse what cannot be taken in before anything is made: walks directories only and fails with
 * "nested_filesystem" as snap_copy() would. Counts entries and bytes into ctx's totals and
 * *entries, *bytes (may be NULL) for plans.
 */
int snap_survey(int src, struct snap_ctx *ctx, uint64_t *entries, uint64_t *bytes, struct err *err);

#endif
