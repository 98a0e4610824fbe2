/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fsd/worker/state.h"

#include "fsd/core/id.h"

int fsd_event(struct fsd *f, const struct cat_event *e, struct err *err)
{
	struct cat_event event = *e;
	int r;

	event.id = id_next(atomic_load(&f->last_event));
	r = catalog_event_put(f->catalog, &event, err);
	if (r == 0)
		atomic_store(&f->last_event, event.id);
	return r;
}
