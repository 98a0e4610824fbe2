/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What every long-running call of the engine is given: how to stop it and where it counts. One
 * ctx serves one job; its counters may be read by any thread while the job runs.
 */
#ifndef SNAP_CTX_H
#define SNAP_CTX_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct err;

#define SNAP_LEASE_WAIT 5000000000LL /* 5 s */

struct snap_ctx {
	atomic_bool cancel; /* set by anyone; calls return -ECANCELED within 100 ms */

	/* Progress, monotone. A total is the caller's, who has counted before: set once, 0 while
	 * it is not known. More may come to be done, where a tree changes meanwhile. */
	_Atomic uint64_t entries_total, entries_done;
	_Atomic uint64_t bytes_total, bytes_done;
	/* Of bytes_done what copies have put on the storage: no hole, no link, nothing shared. */
	_Atomic uint64_t bytes_written;

	unsigned threads; /* upper limit of threads for one call; 0: the engine chooses */

	/* All calls together wait lease_wait ns at most for who holds leases on files
	 * (snap/lease.h), and a second more for each file; 0: SNAP_LEASE_WAIT, and no more. A
	 * holder that answers needs less than the second; one that does not must not hold up a
	 * job for ever. */
	int64_t lease_wait;
	_Atomic int64_t lease_waited, lease_last; /* their own */

	/* May a copy take more room? Asked before the first of it and about every 4 MiB: 0, or
	 * -errno with err filled, which ends the call. NULL: as much as the storage has. */
	int (*admit)(void *arg, struct err *err);
	void *admit_arg; /* borrowed */
};

/* The sum of two counts of bytes; what a signed number cannot hold is told as the most that it can:
 * a few sparse files are enough for that. */
static inline uint64_t snap_add(uint64_t a, uint64_t b)
{
	uint64_t sum;

	return __builtin_add_overflow(a, b, &sum) || sum > INT64_MAX ? INT64_MAX : sum;
}

static inline bool snap_canceled(const struct snap_ctx *ctx)
{
	return atomic_load_explicit(&ctx->cancel, memory_order_relaxed);
}

#endif
