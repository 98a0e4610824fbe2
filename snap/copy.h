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
	bool source_is_live; /* settle: DESIGN's rule; otherwise the source is known not to change,
				and a change that shows all the same is -ESTALE "source_changed"
				or makes the result fuzzy */
	unsigned settle_rounds; /* 0: 5 */
	bool keep_owners; /* as an ordinary user: an owner or group that cannot be given to the copy
				is -EPERM "foreign_owner" at once, and not reported */
	/* Return a path's verdict: true leaves it (and everything below) out, besides what
	 * snap/skip.h leaves out. May be NULL. Called from several threads, and in each round of
	 * settling anew. An entry that snap_copy_entry() was asked for by name is not asked about,
	 * nor judged by either rule. */
	bool (*skip)(const char *path, void *arg);
	void *skip_arg;
};

struct snap_copy_result {
	enum snap_consistency consistency; /* atomic when the source was known not to change */
	uint64_t entries, files, bytes; /* copied: all entries, regular files, their sizes */
	uint64_t bytes_cloned;		/* of bytes: those that share storage with the source */
	struct paths unsettled;		/* not empty only when fuzzy */
	/* What could not be carried over: "socket", "immutable", "append-only", "xattr" (one that
	 * the destination refuses), "owner or group" (as an ordinary user), "hard link" (beyond
	 * what it can hold: copied instead), "removed, but open over NFS" (a silly rename). */
	struct paths reported;
};
void snap_copy_result_release(struct snap_copy_result *r);

/*
 * Copy the content of directory `src` into the empty directory `dst`, then `src`'s own metadata.
 * Both descriptors stay the caller's. Blocks. A mount point or nested subvolume inside the source
 * is refused: -EXDEV, code "nested_filesystem", object the path. On failure what was made stays
 * for the caller to remove (snap_remove). Errors: -ECANCELED; -ENOSPC and -EDQUOT "no_space";
 * -EINVAL "destination_inside_source"; -EIO and everything the kernel says, with the path.
 *
 * As an ordinary user the owner of everything copied is the caller: owners, groups and xattrs that
 * only root may set are reported, and set-id bits dropped where they would mean somebody else. ACLs
 * that `dst` would hand down to new entries are taken off it first.
 *
 * Durable on btrfs is one syncfs, which waits for the neighbours: copy without it into a subvolume
 * and snapshot that. Settling keeps 24 to 64 bytes of memory for each entry; otherwise memory does
 * not grow with the tree, but for the inodes that have several names.
 */
int snap_copy(int src, int dst, const struct snap_copy_opts *opts, struct snap_ctx *ctx,
	struct snap_copy_result *result, struct err *err);

/*
 * Copy the one entry src_dir/src_name (of any type, a directory with all it holds) to
 * dst_dir/dst_name, which must not exist. Names are single components. Same options and errors;
 * paths begin with src_name. Durable does not include the name in dst_dir, which is the caller's
 * to fsync. -ENOENT when there is no such entry, -EEXIST; a socket is reported and nothing is made.
 */
int snap_copy_entry(int src_dir, const char *src_name, int dst_dir, const char *dst_name,
	const struct snap_copy_opts *opts, struct snap_ctx *ctx, struct snap_copy_result *result,
	struct err *err);

/*
 * Refuse what cannot be taken in before anything is made: walks directories only and fails with
 * "nested_filesystem" as snap_copy() would. Counts what that would copy into *entries and *bytes,
 * which may be NULL.
 */
int snap_survey(int src, struct snap_ctx *ctx, uint64_t *entries, uint64_t *bytes, struct err *err);

#endif
