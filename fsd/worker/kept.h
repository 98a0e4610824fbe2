/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What something else has taken the place of is kept for undo_keep: what a change in place replaced
 * (work.h), a directory that import put aside, a site that was ejected by copy. Somebody may still
 * hold it and write there, and what he writes is nowhere else. So it is looked at before it is
 * removed: if something was written since, an event tells of it (KIND.late_writes) and it is kept,
 * by ctimes, which nobody can set.
 */
#ifndef FSD_WORKER_KEPT_H
#define FSD_WORKER_KEPT_H

#include <stdbool.h>
#include <stdint.h>

struct catalog;
struct err;
struct fsd;
struct pool_root;
struct snap_ctx;

/*
 * Remove what was kept longer than undo_keep in a pool:
 *   work directories in the trees of its sites; if written to, kept for another undo_keep;
 *   directories that import has put aside (site.json "parked": {"path", "ino", "parent",
 *   "since"}); if written to, left to their owner. A removal that has begun ("removing") looks
 *   again before it goes on, at what it does not change itself (snap_written()). One that is not
 *   found is forgotten when its folder is there; that, or one that cannot be removed, when
 *   undo_keep is over twice.
 * `c` is the caller's reader. write_lock must not be held.
 */
void kept_sweep(struct fsd *f, struct catalog *c, struct pool_root *r, struct snap_ctx *ctx);

/*
 * Tell of what was written, after `since` (ns; 0: ever), to what a change in place replaced in a
 * tree of the site `site` (id) that is a snapshot's now. 1: something was; 0; -errno. write_lock
 * must not be held.
 */
int kept_tell_replaced(struct fsd *f, const char *site, int tree, int64_t since,
	struct snap_ctx *ctx, struct err *err);

/*
 * Is the deleted site `id`, whose time is over, to be kept for another undo_keep? That is, was it
 * ejected (site.json "ejected") and its live tree, by copy, written to since, or a generation since
 * it was retired? 1; 0; -errno with a hint: it cannot be looked at, and stays until somebody has.
 * write_lock must not be held.
 */
int kept_ejected(struct fsd *f, struct pool_root *r, const char *id, struct snap_ctx *ctx,
	struct err *err);

/* What an import of the deleted site `id`, whose time is over, had put aside: remove it. 1: there
 * is still something to look for, and only the site knows of it; 0; -errno with a hint: it cannot
 * be removed yet. write_lock must not be held. */
int kept_parked(struct fsd *f, struct pool_root *r, const char *id, struct snap_ctx *ctx,
	struct err *err);

/* May the deleted site go? By catalog and configuration as they are now; write_lock is held. */
bool kept_may_purge(struct fsd *f, const char *id, struct err *err);

#endif
