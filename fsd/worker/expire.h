/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What time does: sites and snapshots expire, generations retire, and the records of old jobs and
 * events go. What goes for good after undo_keep is removal.h's.
 */
#ifndef FSD_WORKER_EXPIRE_H
#define FSD_WORKER_EXPIRE_H

#include <jansson.h>
#include <stdint.h>

#include "fsd/worker/state.h"
#include "snap/ctx.h"

/*
 * Ask for all jobs that are due `now` (real time, ns). What was asked for is not asked for again
 * while its job is unfinished; what is still due after it, because it failed, is after a minute,
 * then two, up to an hour. `asked` is where this is remembered: the caller's object, empty
 * at first. `c` is a reader of the caller's. write_lock must not be held.
 */
void expire_look(struct fsd *f, struct catalog *c, int64_t now, json_t *asked,
	struct snap_ctx *ctx);

#endif
