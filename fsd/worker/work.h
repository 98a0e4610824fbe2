/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The work directory of a change in place, `.fsd-JOB` at the root of a tree: entries wait there
 * for the rename that puts them in place, and what they replaced is kept there for undo. The tree
 * belongs to others: they may rename the directory, remove what is around it, or put something of
 * their own there, but not look inside or write to it. So its owner and the mark in it are looked
 * at, never its name alone (snap/skip.h).
 */
#ifndef FSD_WORKER_WORK_H
#define FSD_WORKER_WORK_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include <jansson.h>

struct err;
struct snap_ctx;

/* The plan of a change: {"format", "job", "site", "made", "since", "done", "items": [...]}
 * (op/change.h). */
#define WORK_PLAN "plan.json"

/* Make it (0700) or open the one that is there. The fd or -errno; -EEXIST "in_the_way": not fsd's
 * own. */
int work_make(int tree, const char *name, struct err *err);
/* Also one that a crash left empty. -ENOENT also for something that is not fsd's own. */
int work_open(int tree, const char *name);

/* The names of all that are in a tree: a new JSON array, NULL when they cannot be listed. */
json_t *work_list(int tree);

/*
 * Remove the one that `work` is open on, which once was tree/name. Its mark goes last: what a crash
 * or a nested file system leaves of it stays fsd's own, and no part of the tree.
 */
int work_remove(int tree, const char *name, int work, struct snap_ctx *ctx, struct err *err);

/* Remove all of them, from a copy of a tree. */
int work_drop(int tree, struct snap_ctx *ctx, struct err *err);

/* In the plan's `item`: the ctime of what lies at work/NAME ("name" of the item) since it was taken
 * out, as "taken". Any later one is a write to it, whatever its mtime says. */
void work_note_taken(int work, json_t *item);

/* The directory that holds `path` and, in *name, its last component (borrowed from path). No
 * symlink is followed. The fd or -errno. */
int work_open_parent(int tree, const char *path, const char **name);

#endif
