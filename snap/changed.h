/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What in a tree was written, by its ctimes. */
#ifndef SNAP_CHANGED_H
#define SNAP_CHANGED_H

#include <stdint.h>

#include "snap/paths.h"

struct err;
struct snap_ctx;

/*
 * Add every entry beneath `dir` whose ctime is not before `since` (ns, by the clock of ctimes:
 * settle_now()); a directory's moves with the names in it. `dir` itself is not told, and fsd's own
 * names are not (snap/skip.h); other file systems inside are not entered. Blocks.
 */
int snap_changed(int dir, int64_t since, struct snap_ctx *ctx, struct paths *out, struct err *err);

/*
 * The same where a removal has been at work since: it moves the ctimes of the directories it takes
 * names from, and of files it takes one of several names of. So only what is no directory counts,
 * and only what was also made (where the file system says so) or has an mtime since then.
 */
int snap_written(int dir, int64_t since, struct snap_ctx *ctx, struct paths *out, struct err *err);

#endif
