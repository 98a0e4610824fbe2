/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The thread that removes: deleted sites whose undo_keep is over, what lies in the trash of the
 * pools, and what else was kept for undo (kept.h). It walks trees and may take hours, so
 * housekeeping, which has it, does not wait for it. What cannot be removed is a problem, and the
 * rest goes all the same. It also looks into what was retired (retired.h), which is
 * such a walk and first of all.
 */
#ifndef FSD_WORKER_REMOVAL_H
#define FSD_WORKER_REMOVAL_H

#include <stdbool.h>

struct err;
struct fsd;
struct pool_root;
struct removal;

int removal_start(struct fsd *f, struct removal **out, struct err *err);
/* It stops where it is, without a wait for that; the next start goes on. */
void removal_cancel(struct removal *rm);
/* Cancels it, and waits until it has stopped. */
void removal_stop(struct removal **rm);

/* There is something to do. Never blocks. */
void removal_wake(struct removal *rm);

/*
 * Is the thread out of a pool that is offline, so that its descriptors may be replaced? Otherwise
 * it is asked to go. It does not come back before the pool is online. Never blocks.
 */
bool removal_left(struct removal *rm, const struct pool_root *r);

#endif
