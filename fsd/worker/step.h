/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A named instant between two effects on disk, where the crash suite can stop the worker: built
 * with -Dtests=true the environment decides (FSD_STEP_LOG: append each name to this file;
 * FSD_STEP_AT=N: at the Nth step of the process do FSD_STEP_ACTION, "kill" or "stop"); otherwise
 * it is nothing.
 */
#ifndef FSD_WORKER_STEP_H
#define FSD_WORKER_STEP_H

#ifdef FSD_TESTS
void step(const char *name);
#else
static inline void step(const char *name)
{
	(void)name;
}
#endif

#endif
