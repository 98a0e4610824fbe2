/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Parallel fsync of a tree. One thread walks and hands each directory's regular files out in
 * batches; fsync of many files at once lets the journal commit for all of them together.
 */
#include "backends/pool/sync_tree.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "backends/pool/tree_at.h"
#include "snap/base/fd.h"
#include "snap/lease.h"

/* Waiting for the disk, not computing: more than there are processors (5,000 files in 0.08 s). */
#define SYNC_THREADS 16
/* Open files waiting for a thread; bounds the descriptors in use. */
#define SYNC_QUEUE 64
/* Deeper trees, and those this user cannot read, are left to syncfs. */
#define SYNC_DEPTH 500

struct syncer {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	int queue[SYNC_QUEUE];
	unsigned n;
	bool ended;
	int error; /* the first, -errno */
	char leased[TREE_PATH_SIZE]; /* a file that could not be opened for its lease, or "" */
	struct snap_ctx *ctx;
	dev_t dev;
};

static void fail(struct syncer *s, int error)
{
	pthread_mutex_lock(&s->lock);
	if (s->error == 0)
		s->error = error;
	pthread_cond_broadcast(&s->changed);
	pthread_mutex_unlock(&s->lock);
}

/* The next file, or -1 when there will be none. */
static int take(struct syncer *s)
{
	int fd = -1;

	pthread_mutex_lock(&s->lock);
	while (s->n == 0 && !s->ended)
		pthread_cond_wait(&s->changed, &s->lock);
	if (s->n)
		fd = s->queue[--s->n];
	pthread_cond_broadcast(&s->changed);
	pthread_mutex_unlock(&s->lock);
	return fd;
}

static void *sync_files(void *arg)
{
	struct syncer *s = arg;
	int fd;

	while ((fd = take(s)) >= 0) {
		int r = snap_canceled(s->ctx) ? -ECANCELED : fd_sync(fd);

		close(fd);
		if (r < 0)
			fail(s, r);
	}
	return NULL;
}

/* Give `fd` away. 0, or the error that ended the work (fd is closed). */
static int hand_out(struct syncer *s, int fd)
{
	int r;

	pthread_mutex_lock(&s->lock);
	while (s->n == SYNC_QUEUE && s->error == 0)
		pthread_cond_wait(&s->changed, &s->lock);
	r = s->error;
	if (r == 0)
		s->queue[s->n++] = fd;
	else
		close(fd);
	pthread_cond_broadcast(&s->changed);
	pthread_mutex_unlock(&s->lock);
	return r;
}

static int open_entry(struct syncer *s, int dir, const char *name, int flags)
{
	int64_t since = 0;
	int fd;

	do {
		fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | flags);
		fd = fd < 0 ? -errno : fd;
	} while (fd == -EWOULDBLOCK && lease_wait(s->ctx, &since));
	if (fd == -EWOULDBLOCK && snap_canceled(s->ctx))
		return -ECANCELED;
	if (fd == -EWOULDBLOCK)
		tree_path((struct tree_at){dir, name}, s->leased);
	return fd;
}

static int sync_below(struct syncer *s, int dir, unsigned depth);

/* Symlinks, sockets, pipes and devices have no data; the fsync of their directory writes the
 * journal that holds them. A file that went away needs no sync. */
static int sync_entry(struct syncer *s, int dir, const char *name, unsigned depth)
{
	struct stat st;
	int fd, r;

	if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (st.st_dev != s->dev || !(S_ISREG(st.st_mode) || S_ISDIR(st.st_mode)))
		return 0;
	fd = open_entry(s, dir, name, S_ISDIR(st.st_mode) ? O_DIRECTORY : 0);
	if (fd < 0)
		return fd == -ENOENT || fd == -ELOOP || fd == -ENOTDIR ? 0 : fd;
	if (S_ISDIR(st.st_mode)) {
		r = sync_below(s, fd, depth + 1);
		close(fd);
		return r;
	}
	return hand_out(s, fd);
}

static int sync_entries(struct syncer *s, DIR *d, unsigned depth)
{
	const struct dirent *e;
	int r = 0;

	for (errno = 0; r == 0 && (e = readdir(d)); errno = 0) {
		if (snap_canceled(s->ctx))
			return -ECANCELED;
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
			r = sync_entry(s, dirfd(d), e->d_name, depth);
	}
	return r < 0 ? r : -errno;
}

/* What is below `dir`, then a duplicate of it into the queue. */
static int sync_below(struct syncer *s, int dir, unsigned depth)
{
	int fd = depth > SYNC_DEPTH ? -EMFILE : fd_reopen_dir(dir);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	int r;

	if (!d) {
		r = fd < 0 ? fd : -errno;
		fd_close(&fd);
		return r;
	}
	r = sync_entries(s, d, depth);
	closedir(d);
	if (r == 0) {
		fd = fd_reopen_dir(dir);
		r = fd < 0 ? fd : hand_out(s, fd);
	}
	return r;
}

static int run(struct syncer *s, int dir)
{
	pthread_t threads[SYNC_THREADS];
	unsigned n = 0;
	int r;

	while (n < SYNC_THREADS && pthread_create(&threads[n], NULL, sync_files, s) == 0)
		n++;
	if (n == 0)
		return -EMFILE;
	r = sync_below(s, dir, 0);
	pthread_mutex_lock(&s->lock);
	s->ended = true;
	pthread_cond_broadcast(&s->changed);
	pthread_mutex_unlock(&s->lock);
	for (unsigned i = 0; i < n; i++)
		pthread_join(threads[i], NULL);
	return r < 0 ? r : s->error;
}

static bool needs_syncfs(int r)
{
	return r == -EMFILE || r == -ENFILE || r == -EACCES || r == -EPERM;
}

int sync_tree(int dir, struct snap_ctx *ctx, struct err *err)
{
	struct syncer s = {
		.lock = PTHREAD_MUTEX_INITIALIZER,
		.changed = PTHREAD_COND_INITIALIZER,
		.ctx = ctx,
	};
	struct statfs fs;
	struct stat st;
	int r;

	if (fstatfs(dir, &fs) < 0 || fstat(dir, &st) < 0)
		return err_sys(err, errno, "stat", NULL);
	s.dev = st.st_dev;
	/* An fsync on btrfs takes a millisecond each. */
	r = fs.f_type == BTRFS_SUPER_MAGIC ? -EMFILE : run(&s, dir);
	if (needs_syncfs(r))
		r = fd_sync_fs(dir);
	if (*s.leased)
		return err_sys(err, -r, "open", s.leased);
	return r < 0 ? err_sys(err, -r, "fsync of the tree", NULL) : 0;
}
