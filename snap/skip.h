/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Entries of a tree that are no part of it, so copies, surveys, measurements and comparisons leave
 * them out. Names alone do not make them so: the tree belongs to others, who call their own what
 * they like.
 *
 *   .fsd-JOB, .fsd-gone-JOB   at its root: the work directory of a change in place, which is of the
 *                             caller's user, closed to everybody else, and holds SNAP_WORK_MARK.
 *                             JOB is a job's id: 8 to 13 of Crockford's base 32 digits, lower case
 *   .nfsFFFFFFFFFFFFFFFFCCCCCCCC  a regular file anywhere: what a Linux NFS client made of one that
 *                             was removed while it was open (silly rename): 16 hex digits of its
 *                             file id, 8 of a counter, in lower case (Linux, fs/nfs/unlink.c)
 *
 * `path` is relative to the tree's root, without a slash at either end.
 */
#ifndef SNAP_SKIP_H
#define SNAP_SKIP_H

#include <stdbool.h>

struct io_dir;

#define SNAP_WORK_PREFIX ".fsd-"
#define SNAP_WORK_GONE SNAP_WORK_PREFIX "gone-"
#define SNAP_WORK_MARK ".fsd-work" /* an empty file */

/* Could it be a work directory, or something below one, by its name? */
bool snap_is_work_name(const char *path);

/* Is it? `tree` is the tree's root. */
bool snap_is_work(int tree, const char *path);

/* Is it a silly rename, by the name of a regular file? */
bool snap_is_silly_name(const char *name);

enum snap_skip { SNAP_KEEP, SNAP_SKIP_WORK, SNAP_SKIP_SILLY };

/* What is the entry of `dir` that has this path and this type (DT_*)? */
enum snap_skip snap_skip(struct io_dir *dir, const char *path, unsigned char type);

/* Is it left out, where only the tree's root is at hand? No for what does not exist. */
bool snap_skip_at(int tree, const char *path);

#endif
