/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What was written into a directory after its copy had taken its place, and was found too late to be
 * brought over, is told: an event and a warning in the log. */
#ifndef FSD_WORKER_LATE_EVENT_H
#define FSD_WORKER_LATE_EVENT_H

#include "fsd/worker/state.h"
#include "snap/paths.h"

struct late_event {
	const char *kind;      /* of the event: "import.late_writes" */
	const char *site;      /* id */
	const char *directory; /* of the event's "directory" */
	const char *hint;      /* for the log, like `reason` */
	const char *reason;    /* "after import had put it aside; it is kept" */
	const struct paths *paths;
};

/* write_lock is held. 0, or -errno when the event cannot be stored; the log is told anyway. */
int late_event(struct fsd *f, const struct late_event *e);

#endif
