/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fsd/worker/late_event.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "fsd/core/json.h"
#include "fsd/core/log.h"
#include "fsd/worker/present.h"
#include "snap/base/clock.h"
#include "snap/base/err.h"
#include "snap/base/fd.h"

int late_event(struct fsd *f, const struct late_event *e)
{
	struct cat_event row = {.time = clock_real()};
	json_t *data = present_late(e->paths);
	_cleanup_free_ char *text = NULL;
	struct err err = ERR_INIT;
	int r;

	json_object_set_new(data, "directory", json_text(e->directory));
	text = json_dumps(data, JSON_COMPACT);
	json_decref(data);
	row.data = text;
	snprintf(row.kind, sizeof(row.kind), "%s", e->kind);
	snprintf(row.site, sizeof(row.site), "%s", e->site);
	r = fsd_event(f, &row, &err);
	err_set(&err, EBUSY, "late_writes", e->directory,
		"%" PRIu64 " paths were written in it %s; first: %s", e->paths->total, e->reason,
		e->paths->items[0].path);
	err_hint(&err, "%s", e->hint);
	log_err(LOG_WARNING, "a directory that was taken over is still in use", &err, "site", e->site,
		NULL);
	return r;
}
