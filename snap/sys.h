/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The system calls of the threads I/O driver, in a table, so that tests can count them and fail the
 * Nth one. Every call that touches a tree goes through `sys`; nothing else in snap may.
 *
 * The signatures are the C library's, with -1 and errno; variadic ones have their argument spelled
 * out.
 */
#ifndef SNAP_SYS_H
#define SNAP_SYS_H

#include <stddef.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <time.h>

struct statfs;
struct statx;

struct sys_calls {
	int (*openat)(int dirfd, const char *path, int flags, mode_t mode);
	int (*close)(int fd);
	ssize_t (*pread)(int fd, void *buf, size_t len, off_t off);
	ssize_t (*pwrite)(int fd, const void *buf, size_t len, off_t off);
	off_t (*lseek)(int fd, off_t off, int whence);
	int (*ftruncate)(int fd, off_t len);
	int (*statx)(int dirfd, const char *path, int flags, unsigned mask, struct statx *out);
	int (*fstatfs)(int fd, struct statfs *out);
	ssize_t (*getdents64)(int fd, void *buf, size_t len);
	ssize_t (*readlinkat)(int dirfd, const char *path, char *buf, size_t len);
	int (*mkdirat)(int dirfd, const char *path, mode_t mode);
	int (*mknodat)(int dirfd, const char *path, mode_t mode, dev_t dev);
	int (*symlinkat)(const char *target, int dirfd, const char *path);
	int (*linkat)(int fromfd, const char *from, int tofd, const char *to, int flags);
	int (*unlinkat)(int dirfd, const char *path, int flags);
	int (*fchownat)(int dirfd, const char *path, uid_t uid, gid_t gid, int flags);
	int (*fchmod)(int fd, mode_t mode);
	int (*chmod)(const char *path, mode_t mode);
	int (*utimensat)(int dirfd, const char *path, const struct timespec times[2], int flags);
	int (*futimens)(int fd, const struct timespec times[2]);
	ssize_t (*flistxattr)(int fd, char *list, size_t size);
	ssize_t (*listxattr)(const char *path, char *list, size_t size);
	ssize_t (*fgetxattr)(int fd, const char *name, void *value, size_t size);
	ssize_t (*getxattr)(const char *path, const char *name, void *value, size_t size);
	int (*fsetxattr)(int fd, const char *name, const void *value, size_t size, int flags);
	int (*setxattr)(const char *path, const char *name, const void *value, size_t size,
		int flags);
	int (*fremovexattr)(int fd, const char *name);
	int (*removexattr)(const char *path, const char *name);
	int (*ioctl)(int fd, unsigned long request, void *arg);
	ssize_t (*copy_file_range)(int in, off_t *in_off, int out, off_t *out_off, size_t len,
		unsigned flags);
	int (*sync_file_range)(int fd, off_t off, off_t len, unsigned flags);
	int (*fsync)(int fd);
	int (*syncfs)(int fd);
};

extern const struct sys_calls sys_kernel;

/* Tests replace it while no engine call runs. */
extern const struct sys_calls *sys;

#endif
