/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Time: nanosecond readings, RFC 3339 text in UTC, durations as people write them. */
#ifndef SNAP_BASE_CLOCK_H
#define SNAP_BASE_CLOCK_H

#include <stddef.h>
#include <stdint.h>
#include <time.h>

#define NSEC_PER_SEC 1000000000LL
#define NSEC_PER_MSEC 1000000LL

/* In ns. */
static inline int64_t clock_of(const struct timespec *t)
{
	return t->tv_sec * NSEC_PER_SEC + t->tv_nsec;
}

int64_t clock_real(void); /* CLOCK_REALTIME in ns */
int64_t clock_mono(void); /* CLOCK_MONOTONIC in ns */
int64_t clock_boot(void); /* CLOCK_BOOTTIME in ns: counts while suspended */

#define TIME_TEXT_SIZE 40
/* "2026-11-22T03:00:00.123Z"; milliseconds, always UTC. Returns `out`. */
const char *time_format(int64_t real_ns, char out[TIME_TEXT_SIZE]);
/* "20261122t030000z": usable as a name. Returns `out`. */
const char *time_name(int64_t real_ns, char out[TIME_TEXT_SIZE]);

/*
 * RFC 3339, or a prefix of it down to the date ("2026-11-22", "2026-11-22T03:00"); 't', ' ' or 'T'
 * may divide date and time; without a zone the time is taken as UTC. What was typed names all of a
 * day, minute, second or part of one: *real_ns is the last moment of that. 0 or -EINVAL.
 */
int time_parse_last(const char *text, int64_t *real_ns);

/* "90s", "15m", "24h", "7d", "4w", and "0": a number that has no unit could mean anything. 0,
 * -EINVAL or -ERANGE. */
int duration_parse(const char *text, int64_t *ns);
/* The same backwards, in the largest unit that needs no fraction ("7d", never weeks); whole
 * seconds. Returns out. */
const char *duration_format(int64_t ns, char out[TIME_TEXT_SIZE]);

#endif
