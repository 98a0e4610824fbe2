/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "snap/flush.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "snap/base/clock.h"
#include "snap/base/err.h"
#include "snap/base/fd.h"
#include "snap/io_threads_priv.h"
#include "snap/lease.h"
#include "snap/settle.h"
#include "snap/skip.h"
#include "snap/walk.h"

static int64_t centiseconds(const char *file)
{
	FILE *f = fopen(file, "re");
	long value = 0;

	if (f) {
		if (fscanf(f, "%ld", &value) != 1 || value < 0)
			value = 0;
		fclose(f);
	}
	return value * (NSEC_PER_SEC / 100);
}

int64_t snap_dirty_since(void)
{
	int64_t expire = centiseconds("/proc/sys/vm/dirty_expire_centisecs");
	int64_t every = centiseconds("/proc/sys/vm/dirty_writeback_centisecs");
	int64_t now = settle_now(), age = 2 * (expire + every);

	return every && age < now ? now - age : 1;
}

struct flushing {
	int64_t since;
	struct snap_ctx leases; /* of its own: a second for all, and then no answer is one */
};


/* One that cannot be opened decides the answer: the rest would be in vain. */
static int flush_file(struct flushing *f, struct io_dir *dir, const struct io_item *it)
{
	_cleanup_tfd_ int fd = -1;
	int64_t waiting = 0;

	if (clock_of(&it->st.ctime) < f->since)
		return 0;
	do
		fd = t_open_read(tdir_fd(dir), it->name);
	while (fd == -EWOULDBLOCK && lease_wait(&f->leases, &waiting));
	if (fd < 0)
		return walk_vanished(fd) ? 0 : fd;
	return t_flush_for_settle(fd);
}

static int batch(struct walk *w, struct io_item *items, size_t n)
{
	struct io_dir *dir = trail_dir(&w->trail);
	int r = 0;

	for (size_t i = 0; i < n && r == 0; i++) {
		struct io_item *it = &items[i];

		if (snap_skip(dir, trail_path(&w->trail, it->name), it->type) != SNAP_KEEP)
			it->type = DT_UNKNOWN; /* not to be entered */
		else if (it->type == DT_REG)
			r = flush_file(w->arg, dir, it);
	}
	return r;
}

static const struct walk_ops ops = {.stat = true, .batch = batch};

/* 0 or -errno. */
static int flush(int tree, const char *path, struct flushing *f, struct snap_ctx *ctx)
{
	_cleanup_fd_ int at = fd_open_beneath(tree, path, O_PATH | O_NOFOLLOW), fd = -1;
	char name[PROC_FD_SIZE];
	struct stat st;

	if (at < 0)
		return walk_vanished(at) ? 0 : at;
	if (fstat(at, &st) < 0)
		return -errno;
	if (!S_ISDIR(st.st_mode) && !S_ISREG(st.st_mode))
		return 0;
	fd = open(t_proc(at, name), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	return S_ISDIR(st.st_mode) ? walk_tree(fd, NULL, &ops, ctx, f, NULL)
				    : t_flush_for_settle(fd);
}

int64_t snap_flush(int tree, const char *path, struct snap_ctx *ctx)
{
	int64_t now = settle_now();
	struct flushing f = {.since = snap_dirty_since(),
		.leases.lease_waited = SNAP_LEASE_WAIT - NSEC_PER_SEC};

	return flush(tree, path, &f, ctx) < 0 ? f.since : now;
}
