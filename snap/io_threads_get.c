/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The source side of the threads driver: one entry at a time, trusting no name. What a name was in
 * the listing may be a FIFO or a symlink to /etc/shadow by the time it is opened: O_NOFOLLOW and
 * O_NONBLOCK at the open, a look at the type after it, and everything else through the descriptor.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "snap/base/fd.h"
#include "snap/io_threads_priv.h"
#include "snap/lease.h"

/* Holes are looked for from here on: below, a hole saves next to nothing. */
#define SPARSE_MIN 4096

int t_open_read(int dirfd, const char *name)
{
	int flags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
	int fd = sys->openat(dirfd, name, flags | O_NOATIME, 0);

	if (fd < 0 && errno == EPERM) /* not ours: O_NOATIME is refused */
		fd = sys->openat(dirfd, name, flags, 0);
	if (fd < 0 && (errno == ELOOP || errno == ENXIO || errno == ENODEV))
		return -ESTALE;
	return fd < 0 ? -errno : fd;
}

int t_open_file(struct io_dir *dir, const char *name)
{
	int64_t since = 0;
	int fd;

	do
		fd = t_open_read(tdir_fd(dir), name);
	while (fd == -EWOULDBLOCK && lease_wait(dir->place->ctx, &since));
	return fd == -EWOULDBLOCK && snap_canceled(dir->place->ctx) ? -ECANCELED : fd;
}

int t_flush_for_settle(int fd)
{
	unsigned flags = SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE;

	return sys->sync_file_range(fd, 0, 0, flags) < 0 ? -errno : 0;
}

ssize_t t_pread(int fd, void *data, size_t len, uint64_t off)
{
	size_t done = 0;
	ssize_t n;

	while (done < len) {
		n = sys->pread(fd, (char *)data + done, len - done, off + done);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		done += n;
	}
	return done;
}

int t_stat_one(struct io_dir *dir, struct io_item *it)
{
	int r = t_stat(tdir_fd(dir), it->name, &it->st);

	if (r < 0)
		return t_fail_with(it, r, "stat");
	it->type = IFTODT(it->st.mode);
	return 0;
}

int t_source_open(struct io_dir *dir, struct io_item *it, const struct io_get *how)
{
	_cleanup_tfd_ int fd = t_open_file(dir, it->name);
	int out, r;

	if (fd < 0)
		return t_fail_with(it, fd, "open");
	if (how->live) {
		r = t_flush_for_settle(fd);
		/* ESPIPE: a FIFO or device; the stat below says so. */
		if (r < 0 && r != -ESPIPE)
			return t_fail_with(it, r, "sync_file_range");
	}
	r = t_stat(fd, "", &it->st);
	if (r < 0)
		return t_fail_with(it, r, "stat");
	if (!S_ISREG(it->st.mode))
		return t_fail_with(it, -ESTALE, "open");
	if (how->defer_linked && it->st.nlink > 1)
		it->flags |= IO_DEFERRED;
	else if (t_xattrs_get(fd, NULL, it) < 0)
		return it->error;
	out = fd;
	fd = -1;
	return out;
}

/* Did the file stay what it was while it was read? */
void t_source_recheck(int fd, struct io_item *it, const struct io_get *how)
{
	struct io_stat now;

	if (how->live && (t_stat(fd, "", &now) < 0 || !io_stat_same(&now, &it->st)))
		it->flags |= IO_CHANGED;
}

static bool has_holes(int fd, const struct io_stat *st)
{
	return st->allocated < st->size && st->size > SPARSE_MIN &&
		sys->lseek(fd, 0, SEEK_HOLE) < (off_t)st->size;
}

static int get_content(int fd, struct io_item *it)
{
	/* One more than expected, to see it grow. */
	size_t want = it->st.size + 1;
	ssize_t n;

	if (!buf_reserve(&it->content, want))
		return t_fail_with(it, -ENOMEM, "read");
	n = t_pread(fd, it->content.data, want, 0);
	if (n < 0)
		return t_fail_with(it, n, "read");
	if ((uint64_t)n != it->st.size)
		it->flags |= IO_CHANGED;
	it->content.len = n;
	it->content.data[n] = '\0';
	return 0;
}

static int get_file(struct io_dir *dir, struct io_item *it, const struct io_get *how)
{
	_cleanup_tfd_ int fd = t_source_open(dir, it, how);

	if (fd < 0)
		return fd;
	if (it->flags & IO_DEFERRED)
		return 0;
	if (it->st.size > how->content_max || has_holes(fd, &it->st)) {
		it->flags |= IO_LARGE;
		return 0;
	}
	if (it->st.size && get_content(fd, it) < 0)
		return it->error;
	t_source_recheck(fd, it, how);
	return 0;
}

static int get_target(int fd, struct io_item *it)
{
	/* PATH_MAX is the limit of every file system. */
	ssize_t n;

	if (!buf_reserve(&it->content, PATH_MAX))
		return t_fail_with(it, -ENOMEM, "readlink");
	n = sys->readlinkat(fd, "", it->content.data, PATH_MAX);
	if (n < 0)
		return t_fail(it, "readlink");
	it->content.len = n;
	it->content.data[n] = '\0';
	return 0;
}

/* Symlinks, FIFOs, devices, sockets: never opened, only pinned. */
static int get_special(struct io_dir *dir, struct io_item *it, const struct io_get *how)
{
	_cleanup_tfd_ int fd = sys->openat(tdir_fd(dir), it->name,
		O_PATH | O_NOFOLLOW | O_CLOEXEC, 0);
	char proc[PROC_FD_SIZE];
	int r;

	if (fd < 0)
		return t_fail(it, "open");
	r = t_stat(fd, "", &it->st);
	if (r < 0)
		return t_fail_with(it, r, "stat");
	if (IFTODT(it->st.mode) != it->type)
		return t_fail_with(it, -ESTALE, "open");
	if (how->defer_linked && it->st.nlink > 1) {
		it->flags |= IO_DEFERRED;
		return 0;
	}
	if (it->type == DT_LNK && get_target(fd, it) < 0)
		return it->error;
	if (it->type == DT_SOCK)
		return 0;
	r = t_xattrs_get(fd, t_proc(fd, proc), it);
	t_source_recheck(fd, it, how);
	return r;
}

int t_get_one(struct io_dir *dir, struct io_item *it, const struct io_get *how)
{
	if (it->type == DT_UNKNOWN && t_stat_one(dir, it) < 0)
		return it->error;
	switch (it->type) {
	case DT_REG:
		return get_file(dir, it, how);
	case DT_DIR:
		return t_stat_one(dir, it);
	default:
		return get_special(dir, it, how);
	}
}

int t_sync_one(struct io_dir *dir, struct io_item *it)
{
	_cleanup_tfd_ int fd = -1;

	if (it->type != DT_REG)
		return 0;
	fd = t_open_file(dir, it->name);
	if (fd < 0)
		return t_fail_with(it, fd, "open");
	return sys->fsync(fd) < 0 ? t_fail(it, "fsync") : 0;
}

#define EXTENTS_AT_ONCE 128

static void count_extents(const struct fiemap *map, struct io_item *it, bool *last)
{
	for (unsigned i = 0; i < map->fm_mapped_extents; i++) {
		const struct fiemap_extent *e = &map->fm_extents[i];

		if (e->fe_flags & FIEMAP_EXTENT_SHARED)
			it->shared += e->fe_length;
		if (e->fe_flags & FIEMAP_EXTENT_DATA_INLINE)
			it->flags |= IO_INLINE;
		if (e->fe_flags & FIEMAP_EXTENT_LAST)
			*last = true;
	}
}

static int extents_of(int fd, struct io_dir *dir, struct io_item *it)
{
	size_t size = sizeof(struct fiemap) + EXTENTS_AT_ONCE * sizeof(struct fiemap_extent);
	_cleanup_free_ struct fiemap *map = calloc(1, size);
	const struct fiemap_extent *e;
	bool last = false;

	if (!map)
		return t_fail_with(it, -ENOMEM, "fiemap");
	for (uint64_t at = 0; !last; at = e->fe_logical + e->fe_length) {
		if (snap_canceled(dir->place->ctx))
			return t_fail_with(it, -ECANCELED, "fiemap");
		memset(map, 0, sizeof(*map));
		map->fm_start = at;
		map->fm_length = FIEMAP_MAX_OFFSET - at;
		map->fm_extent_count = EXTENTS_AT_ONCE;
		if (sys->ioctl(fd, FS_IOC_FIEMAP, map) < 0)
			return t_fail(it, "fiemap");
		if (!map->fm_mapped_extents)
			break;
		count_extents(map, it, &last);
		e = &map->fm_extents[map->fm_mapped_extents - 1];
	}
	return 0;
}

int t_extents_one(struct io_dir *dir, struct io_item *it)
{
	_cleanup_tfd_ int fd = -1;

	it->shared = 0;
	it->flags &= ~IO_INLINE;
	if (it->type != DT_REG)
		return 0;
	fd = t_open_file(dir, it->name);
	if (fd < 0)
		return t_fail_with(it, fd, "open");
	return extents_of(fd, dir, it);
}
