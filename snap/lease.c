/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "snap/lease.h"

#include <stdio.h>
#include <time.h>

#include "snap/base/clock.h"
#include "snap/ctx.h"

#define STEP (10 * NSEC_PER_MSEC)

int64_t lease_break_time(void)
{
	FILE *f = fopen("/proc/sys/fs/lease-break-time", "re");
	int seconds = 45;

	if (f) {
		if (fscanf(f, "%d", &seconds) != 1 || seconds < 0)
			seconds = 45;
		fclose(f);
	}
	return seconds * NSEC_PER_SEC;
}

/* Threads that wait at the same time wait once. */
static bool is_over(struct snap_ctx *ctx, int64_t now, int64_t limit)
{
	int64_t step = now - atomic_exchange(&ctx->lease_last, now);

	return atomic_fetch_add(&ctx->lease_waited, step < 2 * STEP ? step : 2 * STEP) >= limit;
}

bool lease_wait(struct snap_ctx *ctx, int64_t *since)
{
	int64_t now = clock_mono();
	int64_t grace = ctx->lease_wait ? NSEC_PER_SEC : 0;
	int64_t limit = ctx->lease_wait ? ctx->lease_wait : SNAP_LEASE_WAIT;

	if (!*since)
		*since = now;
	if (snap_canceled(ctx) || (now - *since >= grace && is_over(ctx, now, limit)))
		return false;
	nanosleep(&(struct timespec){.tv_nsec = STEP}, NULL);
	return true;
}
