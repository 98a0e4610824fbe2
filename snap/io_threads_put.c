/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The receiving side of the threads driver: make, clone and remove entries, one at a time. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "snap/io_threads_priv.h"

int t_pwrite(int fd, const void *data, size_t len, uint64_t off)
{
	const char *p = data;
	ssize_t n;

	for (; len; len -= n, p += n, off += n) {
		n = sys->pwrite(fd, p, len, off);
		if (n < 0 && errno == EINTR)
			n = 0;
		if (n < 0)
			return -errno;
	}
	return 0;
}

static int create(int dirfd, struct io_item *it)
{
	int fd = sys->openat(dirfd, io_item_as(it),
		O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);

	return fd < 0 ? t_fail(it, "create") : fd;
}

/* Late errors of the data show up here: quotas, NFS. */
static int close_written(int *fd, struct io_item *it)
{
	int r = sys->close(*fd);

	*fd = -1;
	return r < 0 ? t_fail(it, "close") : 0;
}

static int start_writeback(int fd, struct io_item *it, const struct io_put *how)
{
	if (how->flush && sys->sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE) < 0)
		return t_fail(it, "sync_file_range");
	return 0;
}

static int put_file(struct io_dir *dir, struct io_item *it, const struct io_put *how)
{
	_cleanup_tfd_ int fd = create(tdir_fd(dir), it);
	int r;

	if (fd < 0)
		return fd;
	r = t_pwrite(fd, buf_str(&it->content), it->content.len, 0);
	if (r < 0)
		return t_fail_with(it, r, "write");
	if (t_meta_set(tplace(dir->place), fd, NULL, it, how) < 0)
		return it->error;
	if (it->content.len && start_writeback(fd, it, how) < 0)
		return it->error;
	return close_written(&fd, it);
}

static int make_special(int dirfd, struct io_item *it)
{
	const char *name = io_item_as(it);

	if (it->type == DT_LNK)
		return sys->symlinkat(buf_str(&it->content), dirfd, name);
	return sys->mknodat(dirfd, name, (it->st.mode & S_IFMT) | 0600, it->st.rdev);
}

static int put_special(struct io_dir *dir, struct io_item *it, const struct io_put *how)
{
	_cleanup_tfd_ int fd = -1;
	char proc[PROC_FD_SIZE];
	struct io_stat made;
	int r;

	if (make_special(tdir_fd(dir), it) < 0)
		return t_fail(it, it->type == DT_LNK ? "symlink" : "mknod");
	fd = sys->openat(tdir_fd(dir), io_item_as(it), O_PATH | O_NOFOLLOW | O_CLOEXEC, 0);
	if (fd < 0)
		return t_fail(it, "open");
	r = t_stat(fd, "", &made);
	if (r < 0)
		return t_fail_with(it, r, "stat");
	/* Somebody put another inode in the place of what was just made. */
	if (IFTODT(made.mode) != it->type || made.uid != tplace(dir->place)->uid)
		return t_fail_with(it, -ESTALE, "open");
	return t_meta_set(tplace(dir->place), fd, t_proc(fd, proc), it, how);
}

int t_put_one(struct io_dir *dir, struct io_item *it, const struct io_put *how)
{
	switch (it->type) {
	case DT_REG:
		return put_file(dir, it, how);
	case DT_DIR:
		if (sys->mkdirat(tdir_fd(dir), io_item_as(it), 0700) < 0)
			return t_fail(it, "mkdir");
		return 0;
	case DT_LNK:
	case DT_FIFO:
	case DT_CHR:
	case DT_BLK:
		return put_special(dir, it, how);
	default:
		return t_fail_with(it, -EOPNOTSUPP, "create");
	}
}

static int share(int from, int to, struct io_item *it)
{
	if (it->st.size == 0)
		return 0;
	if (sys->ioctl(to, FICLONE, (void *)(intptr_t)from) == 0)
		return 0;
	if (errno == ENOTTY || errno == ENOSYS)
		errno = EOPNOTSUPP;
	return t_fail(it, "clone");
}

static int clone_into(int from, struct io_dir *to, struct io_item *it, const struct io_get *get,
	const struct io_put *put)
{
	_cleanup_tfd_ int fd = create(tdir_fd(to), it);
	int r;

	if (fd < 0)
		return fd;
	r = share(from, fd, it);
	if (r == 0) {
		t_source_recheck(from, it, get);
		r = t_meta_set(tplace(to->place), fd, NULL, it, put);
	}
	if (r == 0)
		r = start_writeback(fd, it, put);
	if (r == 0)
		r = close_written(&fd, it);
	if (r < 0)
		sys->unlinkat(tdir_fd(to), io_item_as(it), 0);
	return r;
}

int t_clone_one(struct io_dir *from, struct io_dir *to, struct io_item *it,
	const struct io_get *get, const struct io_put *put)
{
	_cleanup_tfd_ int fd = t_source_open(from, it, get);

	if (fd < 0)
		return fd;
	if (it->flags & IO_DEFERRED)
		return 0;
	return clone_into(fd, to, it, get, put);
}

/* Immutable and append-only refuse unlinking, on the entry and on its directory. */
static bool clear_flags(int fd)
{
	int flags;

	if (sys->ioctl(fd, FS_IOC_GETFLAGS, &flags) < 0)
		return false;
	if (!(flags & (FS_IMMUTABLE_FL | FS_APPEND_FL)))
		return false;
	flags &= ~(FS_IMMUTABLE_FL | FS_APPEND_FL);
	return sys->ioctl(fd, FS_IOC_SETFLAGS, &flags) == 0;
}

static bool clear_flags_of(int dirfd, struct io_item *it)
{
	_cleanup_tfd_ int fd = -1;

	if (it->type != DT_REG && it->type != DT_DIR)
		return false; /* opening it could do something */
	fd = t_open_read(dirfd, it->name);
	return fd >= 0 && clear_flags(fd);
}

/* What refused the removal, is it ours to take away? */
static bool give_way(int dirfd, struct io_item *it)
{
	bool dir, entry;

	if (errno == EACCES)
		return sys->fchmod(dirfd, 0700) == 0;
	if (errno != EPERM)
		return false;
	dir = clear_flags(dirfd);
	entry = clear_flags_of(dirfd, it);
	return dir || entry;
}

int t_remove_one(struct io_dir *dir, struct io_item *it)
{
	int flags = it->type == DT_DIR ? AT_REMOVEDIR : 0;
	int saved;

	if (sys->unlinkat(tdir_fd(dir), it->name, flags) == 0 || errno == ENOENT)
		return 0;
	saved = errno;
	if (!give_way(tdir_fd(dir), it))
		return t_fail_with(it, -saved, flags ? "rmdir" : "unlink");
	if (sys->unlinkat(tdir_fd(dir), it->name, flags) == 0 || errno == ENOENT)
		return 0;
	return t_fail(it, flags ? "rmdir" : "unlink");
}
