/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What happens by itself: offline pools looked at again, kept links swept, expired snapshots and
 * sites and retired generations turned into jobs, old jobs forgotten, and in a thread of its own
 * whatever walks trees (removal.h).
 */
#ifndef FSD_WORKER_HOUSEKEEPING_H
#define FSD_WORKER_HOUSEKEEPING_H

#include "fsd/worker/state.h"

int housekeeping_start(struct fsd *f, struct err *err);
/* It comes to its end by itself from here on. */
void housekeeping_cancel(struct fsd *f);
/* Cancels it, and waits for its end. */
void housekeeping_stop(struct fsd *f);

/* Something was put into a pool's trash, or a generation was retired: look soon. Never blocks. */
void housekeeping_wake(struct fsd *f);
/* The kept link (live.old.JOB) of the site with this id may go in a while. */
void housekeeping_published(struct fsd *f, const char *site);

/*
 * Open a pool, recover its jobs, sweep what they left, and only then call it online. Errors are
 * kept as the pool's reason and returned. Blocks as long as the storage does; write_lock must not
 * be held.
 */
int housekeeping_bring_online(struct fsd *f, struct pool_root *r, struct err *err);
/* That it is offline, for the log and as an event. write_lock must not be held. */
void housekeeping_tell_offline(struct fsd *f, struct pool_root *r);

#endif
