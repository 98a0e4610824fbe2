/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Remove a tree beneath a held directory, never following a symlink or leaving the directory. */
#ifndef SNAP_REMOVE_H
#define SNAP_REMOVE_H

#include "snap/ctx.h"

struct err;

/*
 * Remove dirfd/name and everything below it. A name that does not exist is success. Does not enter
 * a mount point or nested subvolume: -EXDEV "nested_filesystem" after removing the rest. Immutable
 * and append-only flags are cleared first. Counts entries_done. Blocks.
 */
int snap_remove(int dirfd, const char *name, struct snap_ctx *ctx, struct err *err);

/* Remove everything in directory `dir`, which stays: the caller's descriptor. The same rules;
 * `dir` itself may be a mount point or a subvolume. */
int snap_remove_content(int dir, struct snap_ctx *ctx, struct err *err);

/*
 * Remove the directory that `held` is open on, which once was dirfd/name, where others may rename:
 * its content through the descriptor, then the name if it still stands for it. Whatever else has
 * the name by now is left alone, and that is success.
 */
int snap_remove_held(int dirfd, const char *name, int held, struct snap_ctx *ctx, struct err *err);

#endif
