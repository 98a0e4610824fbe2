/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A few threads that work on the items of one batch together with their caller. They are started
 * when a batch first asks for them and take no signals.
 */
#ifndef SNAP_CREW_H
#define SNAP_CREW_H

#include <stddef.h>

struct crew;

/* 0 or -ENOMEM. */
int crew_new(struct crew **out);
void crew_free(struct crew **crew);

/*
 * Call fn(arg, i) once for every i below n, from up to `depth` threads with the caller's being one;
 * fewer when threads cannot be started. Returns when all calls have. One batch at a time.
 */
void crew_run(struct crew *crew, unsigned depth, void (*fn)(void *arg, size_t i), void *arg,
	size_t n);

#endif
