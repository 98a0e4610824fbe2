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
#define SPOOLS_MAX (128u << 20) /* and no more than these bytes of all */

struct spools {
	pthread_mutex_t lock;
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
/* `beside`: a file in whose folder there is room for it. NULL without memory; touches no disk. */
struct spool *spool_new(const char *beside);
void spool_free(struct spool **s);
/* Append a line, without its end. 0; -EFBIG: it has no room for more; -errno. */
int spool_add(struct spool *s, const char *line);

/* ---- reading ---- */

/* Keep it for readers as this job's; the oldest make room. 0 or -errno. */
int spools_keep(struct spools *all, int64_t job, struct spool *s);
/* A descriptor of the caller's, and the size; -ENOENT: it is not there, or no more. */
int spools_open(struct spools *all, int64_t job, uint64_t *size);
/* Forget those whose hour is over. */
void spools_expire(struct spools *all);

#endif
