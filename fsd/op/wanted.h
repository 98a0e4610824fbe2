/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The paths of a source that a request names ("paths"): checked when it is planned, noted in the
 * intent, and what a copy of the source takes and leaves out.
 */
#ifndef FSD_OP_WANTED_H
#define FSD_OP_WANTED_H

#include "fsd/op/common.h"
#include "fsd/op/path_list.h"

/* Planning: are they plain relative paths, and does the source have each, without a symlink on the
 * way? Notes them in the intent; `paths` receives them in order, none within another. "bad_path",
 * "not_found", "too_large". */
int wanted_plan(struct job *job, const struct resolved *source, struct path_list *paths,
	struct err *err);

/* The same where it is enough that one of both sources has the path. */
int wanted_plan_either(struct job *job, const struct resolved *a, const struct resolved *b,
	struct err *err);

/* The same paths again from the intent; none is noted: none. */
int wanted_load(const struct job *job, struct path_list *paths, struct err *err);

/* What a copy is given: of `paths` those in [first, end). */
struct wanted {
	const struct path_list *paths;
	size_t first, end;
	const char *folder; /* what the copy's paths are relative to in the source: "" or "a/b" */
};

/* A snap_copy_opts.skip (its argument is a struct wanted): leaves out what is neither wanted, nor
 * in what is wanted, nor on the way to it. */
bool wanted_skips(const char *path, void *arg);

/* Has the copy of `path`, which is to be dir/at, been made? A live source may have lost it since
 * the plan: "not_found". */
int wanted_check(const struct job *job, int dir, const char *at, const char *path,
	struct err *err);

#endif
