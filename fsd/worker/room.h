/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Room for what copies: below min_free none is begun, and one that brings the pool there ends, so
 * that what is left stays for those who write into live sites.
 */
#ifndef FSD_WORKER_ROOM_H
#define FSD_WORKER_ROOM_H

#include <stdint.h>

struct err;
struct fsd;
struct job;

/* The job copies into its pool. -ENOSPC "below_min_free" with what to delete; else its intent says
 * that it is to be watched. write_lock is held. */
int room_plan(struct fsd *f, struct job *job, struct err *err);

/* For --dry-run: warn where what such a job is to copy, by the last measurement, would bring the
 * pool below min_free. It is not refused: holes and compression take no room. */
void room_warn(struct fsd *f, struct job *job);

/* While such a job runs its ctx asks the same again: it is to be used up to `w` going away. */
struct room_watch {
	struct fsd *f;
	const struct job *job;
	uint64_t counted; /* what its pool was told of job->ctx.bytes_written */
};
void room_watch(struct room_watch *w, struct fsd *f, struct job *job);

/* A job failed with ENOSPC, in its pool or elsewhere: hint at what to delete. */
void room_explain(struct fsd *f, const struct job *job, struct err *err);

#endif
