/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "snap/base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdint.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>


static atomic_ulong syncs;

void fd_close(int *fd)
{
	int saved = errno;

	if (*fd >= 0)
		close(*fd);
	*fd = -1;
	errno = saved;
}

void ptr_free(void *pp)
{
	void **p = pp;

	free(*p);
	*p = NULL;
}

int fd_write_all(int fd, const void *data, size_t len)
{
	const char *p = data;

	while (len) {
		ssize_t n = write(fd, p, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		p += n;
		len -= n;
	}
	return 0;
}

int fd_read_all(int fd, void *data, size_t len)
{
	char *p = data;

	while (len) {
		ssize_t n = read(fd, p, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return -ENODATA;
		p += n;
		len -= n;
	}
	return 0;
}

int fd_open_dir(int dirfd, const char *name)
{
	int fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

int fd_open_beneath(int dirfd, const char *path, int flags)
{
	struct open_how how = {
		.flags = (unsigned)flags | O_CLOEXEC,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS,
	};
	long fd;

	/* EAGAIN: a rename raced with the walk of ".." (openat2(2)). */
	for (int tries = 0; tries < 100; tries++) {
		fd = syscall(SYS_openat2, dirfd, path, &how, sizeof(how));
		if (fd >= 0 || errno != EAGAIN)
			break;
	}
	return fd < 0 ? -errno : (int)fd;
}

int fd_reopen_dir(int fd)
{
	int out = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return out < 0 ? -errno : out;
}

int fd_read_file(int dirfd, const char *name, size_t max, char **data, size_t *len)
{
	_cleanup_fd_ int fd = openat(dirfd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	_cleanup_free_ char *out = NULL;
	struct stat st;
	int r;

	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	if ((uint64_t)st.st_size > max)
		return -EFBIG;
	out = malloc(st.st_size + 1);
	if (!out)
		return -ENOMEM;
	r = fd_read_all(fd, out, st.st_size);
	if (r < 0)
		return r;
	out[st.st_size] = '\0';
	if (len)
		*len = st.st_size;
	*data = out;
	out = NULL;
	return 0;
}

static int write_new(int dirfd, const char *name, const void *data, size_t len, mode_t mode)
{
	_cleanup_fd_ int fd = openat(dirfd, name,
		O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	int r;

	if (fd < 0)
		return -errno;
	r = fd_write_all(fd, data, len);
	if (r == 0 && fchmod(fd, mode) < 0)
		r = -errno;
	if (r == 0)
		r = fd_sync(fd);
	return r;
}

/* 0 or -ENAMETOOLONG. */
static int temp_name(const char *name, char out[NAME_MAX + 8])
{
	return snprintf(out, NAME_MAX + 8, ".%s.new", name) > NAME_MAX ? -ENAMETOOLONG : 0;
}

bool fd_is_temporary(const char *entry, const char *name)
{
	char temp[NAME_MAX + 8];

	return temp_name(name, temp) == 0 && strcmp(entry, temp) == 0;
}

int fd_sweep_file(int dirfd, const char *name)
{
	char temp[NAME_MAX + 8];
	int r = temp_name(name, temp);

	if (r < 0)
		return r;
	return unlinkat(dirfd, temp, 0) < 0 && errno != ENOENT ? -errno : 0;
}

int fd_write_file(int dirfd, const char *name, const void *data, size_t len, mode_t mode)
{
	char temp[NAME_MAX + 8];
	int r = fd_sweep_file(dirfd, name);

	if (r < 0 || (r = temp_name(name, temp)) < 0)
		return r;
	r = write_new(dirfd, temp, data, len, mode);
	if (r == 0 && renameat(dirfd, temp, dirfd, name) < 0)
		r = -errno;
	if (r < 0)
		unlinkat(dirfd, temp, 0);
	return r;
}

int fd_clone_file(int from, int to, const char *name, mode_t mode)
{
	_cleanup_fd_ int src = openat(from, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	_cleanup_fd_ int dst = src < 0 ? -1 : openat(to, name,
		O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	int r;

	if (src < 0 || dst < 0)
		return -errno;
	r = ioctl(dst, FICLONE, src) < 0 || fchmod(dst, mode) < 0 ? -errno : 0;
	if (r < 0)
		unlinkat(to, name, 0);
	return r;
}

void fd_sync_add(void)
{
	atomic_fetch_add(&syncs, 1);
}

int fd_sync(int fd)
{
	fd_sync_add();
	return fsync(fd) < 0 ? -errno : 0;
}

int fd_sync_fs(int fd)
{
	fd_sync_add();
	return syncfs(fd) < 0 ? -errno : 0;
}

unsigned long fd_sync_count(void)
{
	return atomic_load(&syncs);
}

int fd_mkdir(int dirfd, const char *name, mode_t mode)
{
	return mkdirat(dirfd, name, mode) < 0 && errno != EEXIST ? -errno : 0;
}

int fd_exists(int dirfd, const char *name)
{
	struct stat st;

	if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) == 0)
		return 1;
	return errno == ENOENT ? 0 : -errno;
}

int fd_is_link_to(int dirfd, const char *name, const char *text)
{
	char found[PATH_MAX];
	ssize_t n = readlinkat(dirfd, name, found, sizeof(found) - 1);

	if (n < 0)
		return errno == ENOENT || errno == EINVAL ? 0 : -errno;
	found[n] = '\0';
	return strcmp(found, text) == 0;
}

int fd_path(int fd, const char *name, char *out, size_t size)
{
	char link[64], path[PATH_MAX];
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, path, sizeof(path) - 1);
	path[n < 0 ? 0 : n] = '\0';
	n = snprintf(out, size, "%s%s%s", strcmp(path, "/") == 0 ? "" : path, name ? "/" : "",
		name ? name : "");
	return n < (ssize_t)size ? 0 : -ENAMETOOLONG;
}
