/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What is different between two trees, as a stream of changes in path order. Two ways: walking
 * both (any file system; a file is compared by content when sizes are equal but times differ, or
 * are not trusted), and reading a btrfs no-data send stream (snap/send_stream.h).
 */
#ifndef SNAP_DIFF_H
#define SNAP_DIFF_H

#include <stdbool.h>
#include <stdint.h>

#include "snap/ctx.h"

struct err;

enum snap_change {
	SNAP_ADDED = '+',
	SNAP_REMOVED = '-',
	SNAP_CONTENT = 'M',  /* content changed (metadata perhaps too); link target, type, rdev */
	SNAP_METADATA = 'm', /* owner, mode, mtime, xattrs, ACLs only */
	SNAP_RENAMED = 'R',  /* from `from` to `path` */
};

/* Called once a change from one thread; `from` is NULL except for SNAP_RENAMED. A value other than
 * 0 stops the walk and is returned by it. Paths are borrowed until the callback returns. */
typedef int snap_diff_fn(enum snap_change change, const char *path, const char *from, void *arg);

struct snap_diff_opts {
	bool full; /* compare the content of every file, trusting no time stamp: `fsctl check` */
	bool ignore_dir_mtime;
	/* Of a and b, in ns of the clock of ctimes; 0: for ever. The size and times of a file that
	 * was changed after this, or lies in a directory that was moved after it, are not trusted:
	 * whoever changes a file may give it the times it had. */
	int64_t trusted_until[2];
};

/*
 * Walk trees `a` (old) and `b` (new): directories, the caller's descriptors. An added or removed
 * directory is followed by what it holds. Times of directories count as metadata. "." is the root
 * itself. Path order: by components, that is '/' sorts before every other byte. Names that
 * snap_copy() leaves out by default are left out here too. With `full`, names of one inode in one
 * tree that are not names of one inode in the other are SNAP_METADATA. Errors: -ECANCELED; -EXDEV
 * "nested_filesystem".
 */
int snap_diff(int a, int b, const struct snap_diff_opts *opts, struct snap_ctx *ctx,
	snap_diff_fn *fn, void *arg, struct err *err);

#endif
