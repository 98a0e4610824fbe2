/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fsd/worker/spool.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "snap/base/buf.h"
#include "snap/base/clock.h"
#include "snap/base/fd.h"

#define KEEP (3600 * NSEC_PER_SEC)
#define FLUSH 65536

/* ---- room: all->lock is held ---- */

static void forget(struct spools *all, struct spool_kept *k)
{
	all->bytes -= k->size;
	fd_close(&k->fd);
	*k = (struct spool_kept){.fd = -1};
}

static struct spool_kept *oldest(struct spools *all)
{
	struct spool_kept *first = NULL;

	for (struct spool_kept *k = all->items; k < all->items + SPOOLS; k++) {
		if (k->job && (!first || k->since < first->since))
			first = k;
	}
	return first;
}

/* Do they take more than is left to others on the disk of this file? */
static bool is_tight(const struct spools *all, int fd)
{
	struct statvfs st;

	return all->bytes > SPOOLS_MAX ||
	       (fstatvfs(fd, &st) == 0 && (uint64_t)st.f_bavail * st.f_frsize < all->bytes);
}

static int reserve(struct spools *all, int fd, uint64_t more)
{
	struct spool_kept *k;
	int r = 0;

	pthread_mutex_lock(&all->lock);
	all->bytes += more;
	while (is_tight(all, fd) && (k = oldest(all)))
		forget(all, k);
	if (is_tight(all, fd)) {
		all->bytes -= more;
		r = -ENOSPC;
	}
	pthread_mutex_unlock(&all->lock);
	return r;
}

static void give_back(struct spools *all, uint64_t bytes)
{
	pthread_mutex_lock(&all->lock);
	all->bytes -= bytes;
	pthread_mutex_unlock(&all->lock);
}

/* ---- writing ---- */

struct spool {
	struct spools *all;
	char *beside;
	int fd; /* -1: nothing has left `pending` yet */
	uint64_t size, reserved;
	struct buf pending;
};

struct spool *spool_new(struct spools *all, const char *beside)
{
	struct spool *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->all = all;
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
		give_back((*s)->all, (*s)->reserved);
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
		r = reserve(s->all, s->fd, s->pending.len);
	if (r == 0) {
		s->reserved += s->pending.len;
		r = fd_write_all(s->fd, s->pending.data, s->pending.len);
	}
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

void spools_release(struct spools *s)
{
	for (unsigned i = 0; i < SPOOLS; i++) {
		if (s->items[i].job)
			forget(s, &s->items[i]);
	}
	pthread_mutex_destroy(&s->lock);
}

static struct spool_kept *free_place(struct spools *all)
{
	for (struct spool_kept *k = all->items; k < all->items + SPOOLS; k++) {
		if (!k->job)
			return k;
	}
	return NULL;
}

int spools_keep(int64_t job, struct spool *s)
{
	struct spools *all = s->all;
	int r = flush(s);

	if (r < 0)
		return r;
	pthread_mutex_lock(&all->lock);
	if (!free_place(all))
		forget(all, oldest(all));
	*free_place(all) = (struct spool_kept){job, clock_mono(), s->size, s->fd};
	pthread_mutex_unlock(&all->lock);
	s->reserved = 0;
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
	struct spool_kept *k;

	pthread_mutex_lock(&all->lock);
	while ((k = oldest(all)) && (k->since + KEEP <= clock_mono() || is_tight(all, k->fd)))
		forget(all, k);
	pthread_mutex_unlock(&all->lock);
}
