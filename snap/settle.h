/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a copy of a live tree remembers in order to prove itself: for each path a digest of the stat
 * that its copy was made from. When a whole walk at or after an instant T finds every entry with
 * the stat recorded before T, the copy equals the source at T: whatever changed in between would
 * have moved a ctime. That holds if no change can hide in the same clock tick as the stat, so
 * entries that changed within two ticks of their stat are recorded as "different whatever comes".
 *
 * 24 bytes for an entry, at most 3/4 full: some 32 to 64 MiB for a million entries.
 */
#ifndef SNAP_SETTLE_H
#define SNAP_SETTLE_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "snap/idmap.h"
#include "snap/io.h"

struct snap_ctx;

struct settle {
	struct idmap seen;
	int64_t tick;	/* ns: how coarse the clock behind ctime is */
	int64_t newest; /* the newest ctime seen, ns */
};

enum settle_answer {
	SETTLE_NEW,	  /* not seen yet */
	SETTLE_DIFFERENT, /* changed since, or it could have */
	SETTLE_SAME,
};

/* `network`: times come from a clock that cannot be read here. */
void settle_init(struct settle *s, bool network);
void settle_release(struct settle *s);

/* The clock that ctimes come from, in ns; read it before the stat. And how far it goes at once. */
int64_t settle_now(void);
int64_t settle_tick(void);

/* `open`: it changed while it was read. 0 or -ENOMEM. */
int settle_record(struct settle *s, const char *path, const struct io_stat *st, int64_t now,
	bool open);
/* The copy of this path was taken away: whatever comes back there is different. */
void settle_forget(struct settle *s, const char *path);
enum settle_answer settle_compare(const struct settle *s, const char *path,
	const struct io_stat *st);

/* Until the clock has passed the newest ctime by two ticks. 0 or -ECANCELED. */
int settle_wait(const struct settle *s, struct snap_ctx *ctx);

/* Identity, size, owner, mode, mtime, ctime; never 0 or 1. */
uint64_t stat_digest(const struct io_stat *st);

#endif
