/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The API's objects (docs/api.md) from catalog records. New references; NULL without memory. */
#ifndef FSD_WORKER_PRESENT_H
#define FSD_WORKER_PRESENT_H

#include <jansson.h>

#include "fsd/worker/state.h"
#include "snap/paths.h"

json_t *present_site(struct fsd *f, struct catalog *c, const struct cat_site *s);
json_t *present_generation(struct fsd *f, const struct cat_site *s,
	const struct cat_generation *g);
json_t *present_snapshot(struct fsd *f, struct catalog *c, const struct cat_snapshot *s);
json_t *present_pool(struct fsd *f, struct catalog *c, struct pool_root *r);
json_t *present_event(struct catalog *c, const struct cat_event *e);
/* {"total", "paths": the first hundred} */
json_t *present_paths(const struct paths *p);

#endif
