/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a job found that is too much for its record: lines of text in a file without a name, for who
 * asks within the hour. A restart forgets them all.
 */
#ifndef FSD_WORKER_SPOOL_H
#define FSD_WORKER_SPOOL_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

#define SPOOL_MAX (32u << 20) /* bytes of one */
#define SPOOLS 32	      /* that are kept at once: the newest, */
#define SPOOLS_MAX (128u << 20) /* and no more than these bytes of all, also while written, */
				/* nor more than the disk has free besides */

struct spools {
	pthread_mutex_t lock;
	uint64_t bytes; /* of all, also of those that are being written */
	struct spool_kept {
		int64_t job; /* 0: a free place */
		int64_t since; /* monotonic */
		uint64_t size;
		int fd;
	} items[SPOOLS];
};

void spools_init(struct spools *s);
void spools_release(struct spools *s);

/* ---- writing ---- */

struct spool;
/* `all` has to outlive it. `beside`: a file in whose folder it goes. NULL without memory; touches
 * no disk. */
struct spool *spool_new(struct spools *all, const char *beside);
void spool_free(struct spool **s);
/* Append a line, without its end; the oldest ones that are kept make room. 0; -EFBIG: it has no
 * room for more; -ENOSPC: there is none besides what others need; -errno. */
int spool_add(struct spool *s, const char *line);

/* ---- reading ---- */

/* Keep it for readers as this job's; the oldest makes room. 0 or -errno. */
int spools_keep(int64_t job, struct spool *s);
/* A descriptor of the caller's, and the size; -ENOENT: it is not there, or no more. */
int spools_open(struct spools *all, int64_t job, uint64_t *size);
/* Forget those whose hour is over, and more where the disk needs the room. */
void spools_expire(struct spools *all);

#endif
