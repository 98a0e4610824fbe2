/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Wait for who holds a lease on a file (fcntl(2) F_SETLEASE): file servers do, its owner can. */
#ifndef SNAP_LEASE_H
#define SNAP_LEASE_H

#include <stdbool.h>
#include <stdint.h>

struct snap_ctx;

/* The kernel takes a lease away when its holder has not given it up for so long, in ns:
 * /proc/sys/fs/lease-break-time. */
int64_t lease_break_time(void);

/*
 * After an open with O_NONBLOCK that said EWOULDBLOCK, which also asks the holder to give it up:
 * sleeps a moment. True: try again. False: canceled, or ctx->lease_wait is over. *since is 0 for
 * the first try of a file.
 */
bool lease_wait(struct snap_ctx *ctx, int64_t *since);

#endif
