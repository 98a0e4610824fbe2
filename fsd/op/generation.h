/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A new generation of a site from a source, up to its rename into gen/. */
#ifndef FSD_OP_GENERATION_H
#define FSD_OP_GENERATION_H

#include "fsd/op/common.h"

/* What a job holds as "generation" that makes it, or takes it out of its site. */
#define GENERATION_KEY_SIZE (ID_SIZE + LAYOUT_NUMBER_SIZE + 1)
const char *generation_key(const char *site_id, int64_t number, char out[GENERATION_KEY_SIZE]);

/* Is there room? Then reserve a number; the site and the source, of pool `from`, are planned
 * already. */
int generation_plan(struct fsd *f, struct job *job, const struct cat_site *site,
	const struct pool_root *from, struct err *err);

/* Choose the number and note it. */
int generation_reserve(struct fsd *f, struct job *job, const struct cat_site *site,
	struct err *err);

/* Stage it and move it to gen/N. `site` is the site's directory. */
int generation_build(struct fsd *f, struct job *job, int site, struct err *err);

/* Does gen/N exist and is it this job's? 1, 0, -errno. */
int generation_built(struct job *job, int site);

/* Take it away again (into the trash) where it was built but may not stay. */
int generation_discard(struct job *job, int site, struct err *err);

/* Numbers are never given twice, so the highest one that leaves its site is remembered in
 * site.json before it goes. */
int generation_remember(struct job *job, int site, int64_t number, struct err *err);

#endif
