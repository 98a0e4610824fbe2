/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A named instant between two effects on disk, where the crash suite can stop the worker: built
 * with -Dtests=true the environment decides, otherwise it is nothing.
 *
 *   FSD_STEP_LOG=FILE      append each name to it
 *   FSD_STEP_AT=N          at the Nth step of the process do
 *   FSD_STEP_ACTION=       "kill" (the default) or "stop"
 *   FSD_STEP_CONTROL=FILE  map a struct step_control from it: a test arms a daemon that runs, or
 *                          holds up the thread that comes to a step while all others go on
 */
#ifndef FSD_WORKER_STEP_H
#define FSD_WORKER_STEP_H

#ifdef FSD_TESTS
#include <stdint.h>

#define STEP_NAMES 4096
#define STEP_NAME_SIZE 24

/* In the machine's byte order; tests/crash/daemon.py and tests/scenario/conftest.py know it. */
struct step_control {
	uint64_t count;	 /* steps so far, over all processes that used this file */
	uint64_t at;	 /* act when count becomes this; 0: never */
	uint32_t action; /* 0: kill, 1: stop */
	uint32_t reserved;
	char names[STEP_NAMES][STEP_NAME_SIZE]; /* of step `count` at [count % STEP_NAMES] */
	char hold[STEP_NAME_SIZE]; /* stay at steps of this name while it stands here */
};

void step(const char *name);
#else
static inline void step(const char *name)
{
	(void)name;
}
#endif

#endif
