/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Restore of chosen paths: a change in place (docs/architecture.md, "Changes in place"). The
 * caller has planned site and source.
 */
#ifndef FSD_OP_RESTORE_PATHS_H
#define FSD_OP_RESTORE_PATHS_H

#include "fsd/op/common.h"

/* Check the paths (relative, no "..", in the source) and note them: intent "paths". */
int restore_paths_plan(struct fsd *f, struct job *job, const struct resolved *source,
	struct err *err);
/* Warn of what the paths that are directories have, and the source has not. */
int restore_paths_survey(struct fsd *f, struct job *job, struct err *err);
/* `site` is the site's directory in all of these. */
int restore_paths_run(struct fsd *f, struct job *job, int site, struct err *err);
int restore_paths_committed(struct job *job, int site);
int restore_paths_revert(struct job *job, int site, struct err *err);
int restore_paths_finish(struct job *job, int site, struct err *err);
int restore_paths_record(struct fsd *f, struct job *job, struct err *err);
int restore_paths_undo(struct fsd *f, const struct cat_job *done, json_t *intent,
	struct request *request, struct err *err);

#endif
