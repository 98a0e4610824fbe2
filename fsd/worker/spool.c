/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fsd/worker/spool.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "snap/base/buf.h"
#include "snap/base/clock.h"
#include "snap/base/fd.h"

#define KEEP (3600 * NSEC_PER_SEC)
#define FLUSH 65536

/* ---- writing ---- */

struct spool {
	char *beside;
	int fd; /* -1: nothing has left `pending` yet */
	uint64_t size;
	struct buf pending;
};

struct spool *spool_new(const char *beside)
{
	struct spool *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->fd = -1;
	s->beside = strdup(beside);
	if (!s->beside)
		spool_free(&s);
	return s;
}

void spool_free(struct spool **s)
{
	if (*s) {
		fd_close(&(*s)->fd);
		buf_release(&(*s)->pending);
		free((*s)->beside);
	}
	free(*s);
	*s = NULL;
}

/* Not every file system knows O_TMPFILE. */
static int make_file(const char *beside)
{
	_cleanup_free_ char *name = NULL;
	int fd;

	if (asprintf(&name, "%s.XXXXXX", beside) < 0) {
		name = NULL;
		return -ENOMEM;
	}
	fd = mkostemp(name, O_CLOEXEC);
	if (fd < 0)
		return -errno;
	unlink(name);
	return fd;
}

static int flush(struct spool *s)
{
	int r = buf_error(&s->pending);

	if (r == 0 && s->fd < 0) {
		s->fd = make_file(s->beside);
		r = s->fd < 0 ? s->fd : 0;
	}
	if (r == 0)
		r = fd_write_all(s->fd, s->pending.data, s->pending.len);
	s->pending.len = 0;
	return r;
}

int spool_add(struct spool *s, const char *line)
{
	size_t len = strlen(line) + 1;

	if (s->size + len > SPOOL_MAX)
		return -EFBIG;
	s->size += len;
	buf_adds(&s->pending, line);
	buf_adds(&s->pending, "\n");
	return s->pending.len < FLUSH && buf_error(&s->pending) == 0 ? 0 : flush(s);
}

/* ---- reading ---- */

void spools_init(struct spools *s)
{
	*s = (struct spools){0};
	pthread_mutex_init(&s->lock, NULL);
}

static void forget(struct spool_kept *k)
{
	fd_close(&k->fd);
	*k = (struct spool_kept){.fd = -1};
}

void spools_release(struct spools *s)
{
	for (unsigned i = 0; i < SPOOLS; i++) {
		if (s->items[i].job)
			forget(&s->items[i]);
	}
	pthread_mutex_destroy(&s->lock);
}

/* A free place, with room for `size` bytes more; the oldest ones go. */
static struct spool_kept *make_room(struct spools *all, uint64_t size)
{
	for (;;) {
		struct spool_kept *place = NULL, *oldest = NULL;
		uint64_t sum = size;

		for (struct spool_kept *k = all->items; k < all->items + SPOOLS; k++) {
			if (!k->job)
				place = k;
			else if (!oldest || k->since < oldest->since)
				oldest = k;
			sum += k->size;
		}
		if (place && sum <= SPOOLS_MAX)
			return place;
		forget(oldest);
	}
}

int spools_keep(struct spools *all, int64_t job, struct spool *s)
{
	int r = flush(s);

	if (r < 0)
		return r;
	pthread_mutex_lock(&all->lock);
	*make_room(all, s->size) = (struct spool_kept){job, clock_mono(), s->size, s->fd};
	pthread_mutex_unlock(&all->lock);
	s->fd = -1;
	return 0;
}

int spools_open(struct spools *all, int64_t job, uint64_t *size)
{
	int fd = -ENOENT;

	pthread_mutex_lock(&all->lock);
	for (const struct spool_kept *k = all->items; k < all->items + SPOOLS; k++) {
		if (k->job != job)
			continue;
		fd = fcntl(k->fd, F_DUPFD_CLOEXEC, 0);
		if (fd < 0)
			fd = -errno;
		*size = k->size;
	}
	pthread_mutex_unlock(&all->lock);
	return fd;
}

void spools_expire(struct spools *all)
{
	pthread_mutex_lock(&all->lock);
	for (struct spool_kept *k = all->items; k < all->items + SPOOLS; k++) {
		if (k->job && k->since + KEEP <= clock_mono())
			forget(k);
	}
	pthread_mutex_unlock(&all->lock);
}
