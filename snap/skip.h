/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Names in a tree that are no part of it, so copies, surveys and comparisons leave them out:
 *
 *   .fsd-JOB, .fsd-gone-JOB   at its root: the work directory of a change in place. JOB is a job's
 *                             id, 8 to 13 of Crockford's base 32 digits in lower case; whatever else
 *                             begins with ".fsd-" is the tree's own
 *   .nfsHEX                   anywhere: what an NFS client made of a file that was removed while it
 *                             was open (silly rename)
 *
 * `path` is relative to the tree's root, without a slash at either end.
 */
#ifndef SNAP_SKIP_H
#define SNAP_SKIP_H

#include <stdbool.h>

#define SNAP_WORK_PREFIX ".fsd-"
#define SNAP_WORK_GONE SNAP_WORK_PREFIX "gone-"

/* A work directory, or anything below one. */
bool snap_is_work(const char *path);

/* That, or a path whose last name is a silly rename. */
bool snap_skip(const char *path);

#endif
