/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fsd/worker/state.h"

int fsd_event(struct fsd *f, const struct cat_event *e, struct err *err)
{
	int64_t id;
	int r = catalog_event_put(f->catalog, e, &id, err);

	if (r == 0)
		atomic_store(&f->last_event, id);
	return r;
}
