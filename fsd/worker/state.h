/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The worker's state, one struct for the process. Who may touch what:
 *
 *   write_lock   the catalog's writer handle; held over a whole plan or record
 *   jobs.lock    the queue (jobs.h)
 *   send_lock    sends on msg_fd
 *
 * A thread that needs both takes write_lock first. The config is replaced whole by a reload;
 * readers take a reference with fsd_config().
 */
#ifndef FSD_WORKER_STATE_H
#define FSD_WORKER_STATE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "backends/catalog/catalog.h"
#include "fsd/core/config.h"
#include "fsd/worker/jobs.h"
#include "fsd/worker/pools.h"
#include "fsd/worker/problems.h"
#include "fsd/worker/spool.h"
#include "fsd/worker/waiters.h"

struct fsd {
	_Atomic(const struct config *) config; /* old ones are kept until exit: reloads are rare */
	int msg_fd;
	pthread_mutex_t send_lock;
	struct catalog *catalog; /* the writer */
	pthread_mutex_t write_lock;
	struct pools pools;
	struct jobs jobs;
	struct waiters waiters;
	struct problems problems;
	struct spools spools;
	struct housekeeping *housekeeping;
	_Atomic int64_t last_event; /* the newest event's id */
	int wake_fd; /* eventfd: the main loop looks at deadlines again */
	int64_t started; /* real time */
	atomic_bool stopping;
};

static inline const struct config *fsd_config(struct fsd *f)
{
	return atomic_load(&f->config);
}

/* Put an event (write_lock is held) and remember its id for the wake-up of streams. */
int fsd_event(struct fsd *f, const struct cat_event *e, struct err *err);

#endif
