/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the files of late.c share: one merge, what it knows and what it puts in place. */
#ifndef FSD_OP_LATE_PRIV_H
#define FSD_OP_LATE_PRIV_H

#include "fsd/op/late.h"

#include <stddef.h>
#include <sys/stat.h>

#include <jansson.h>

#include "snap/base/clock.h"

/*
 * What comes over waits in the work directory `.fsd-JOB` of `to` under a number, and by an exchange
 * what it replaces gets that name: it is kept, since somebody may hold it. WORK_PLAN there lists
 * them, each before it is exchanged: {"made", "since", "items": [{"path", "name", "staged": the
 * inode that waits, "ino", "size", "mtime": of what was judged ("ino" 0: nothing was there)}]}, and
 * "done" once all is over (worker/kept.h).
 *
 * Names of one inode come together: an exchange changes the ctime that tells whose the others are,
 * so all are judged before the first. They are listed at once, with links of one copy.
 */
struct merge {
	struct late *late;
	int work; /* -1: not needed yet */
	json_t *plan, *items; /* the latter borrowed from it */
	unsigned next;	      /* number in the work directory */
	uint64_t told;
};

/* `path` beneath a held directory, "." itself too. 0 or -errno. */
int late_look(int root, const char *path, struct stat *st);

static inline int64_t late_ctime(const struct stat *st)
{
	return clock_of(&st->st_ctim);
}

/* ---- late_put.c ---- */

/* Warn of a path of the old directory; of the first WARNINGS_MAX. */
#define WARNINGS_MAX 50
void merge_tell(struct merge *m, const char *path, const char *why);

/* The same of one that is newest there and stays there. */
void merge_leave(struct merge *m, const char *path, const char *why);
#define BOTH_WRITTEN "written after it was copied, and so was the copy"

/* What is to come over as `path`: `judged` is what it replaces there, st_ino 0: nothing. */
json_t *merge_item(struct merge *m, const char *path, const struct stat *judged);

/* Was `st`, of an entry of the new one, written to by its own users? That moves its ctime, whatever
 * becomes of size and mtime; but so does the exchange of another name of it. */
bool merge_is_written(const struct merge *m, const struct stat *st);

/* A copy of the old one's `path` for each item of `group`, staged, listed, and put in place. What
 * cannot be put is left (merge_leave). 0 or -errno. */
int merge_bring(struct merge *m, const char *path, json_t *group);

/* The plan as it is, durable. */
int merge_store_plan(struct merge *m, struct err *err);

/* Mend what a crash left between an exchange and its record, and forget what waits in vain. 0 or
 * -errno. */
int merge_mend(struct merge *m);

#endif
