/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What was written in a generation after it was retired is in the undo snapshot that it became,
 * where nobody would look for it: an event generation.late_writes tells of it. Finding it takes a
 * walk over all of the tree, so that is no part of the retirement, which holds the site: a note in
 * the snapshot ("look" in its meta.json) asks for it, and goes when the event has been told.
 * Whoever still holds a file of it open may write on, into a read-only subvolume too; so it is
 * looked at once more ("looked": since when) before it is deleted because its time is over. So is
 * what a change in place replaced in it, of which replaced.late_writes tells (kept.h).
 */
#ifndef FSD_WORKER_RETIRED_H
#define FSD_WORKER_RETIRED_H

struct err;
struct fsd;
struct pool_root;
struct snap_ctx;

/*
 * Look into all undo snapshots of a pool that have such a note. What is canceled begins anew the
 * next time. 0; -errno: one cannot be looked at, which is a problem until it can. Blocks;
 * write_lock must not be held.
 */
int retired_look(struct fsd *f, struct pool_root *r, struct snap_ctx *ctx);

/*
 * The last look, for the job that is to delete the snapshot with this id because its time is over.
 * 0: it may; -EBUSY "late_writes": that was told, and it is kept for another undo_keep. Blocks;
 * write_lock must not be held.
 */
int retired_look_again(struct fsd *f, struct pool_root *r, const char *id, struct snap_ctx *ctx,
	struct err *err);

#endif
