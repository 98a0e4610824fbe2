/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Since when do ctimes tell of all that is written? A store into a mapped page moves the file's
 * ctime only when the page was clean; into one that is dirty already it leaves no trace, until the
 * kernel has written that out. (Linux, mm/memory.c do_page_mkwrite(); on tmpfs never.)
 */
#ifndef SNAP_FLUSH_H
#define SNAP_FLUSH_H

#include <stdint.h>

struct snap_ctx;

/*
 * When the oldest page that is dirty now may have become so (ns, by the clock of ctimes): two times
 * /proc/sys/vm/dirty_expire_centisecs and dirty_writeback_centisecs ago; 1 where nothing is written
 * out by itself.
 */
int64_t snap_dirty_since(void);

/*
 * Have the dirty pages of the files at `path` beneath `tree` ("." is all of it) written out: it is
 * begun, and not waited for, but for those that were being written out already: they may be dirty
 * again. Returns the time from which on their ctimes tell all (ns, by the clock
 * of ctimes: settle_now()): when this began or, where it could not be done, snap_dirty_since().
 * Who holds leases on the files is waited for a second in all. Other file systems inside are not
 * entered. Blocks for the walk.
 */
int64_t snap_flush(int tree, const char *path, struct snap_ctx *ctx);

#endif
