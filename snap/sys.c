/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "snap/sys.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/statfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "snap/base/fd.h"

static int call_openat(int dirfd, const char *path, int flags, mode_t mode)
{
	return openat(dirfd, path, flags, mode);
}

static int call_statx(int dirfd, const char *path, int flags, unsigned mask, struct statx *out)
{
	return statx(dirfd, path, flags, mask, out);
}

static int call_ioctl(int fd, unsigned long request, void *arg)
{
	return ioctl(fd, request, arg);
}

static int call_sync_file_range(int fd, off_t off, off_t len, unsigned flags)
{
	return sync_file_range(fd, off, len, flags);
}

static int by_errno(int r)
{
	if (r == 0)
		return 0;
	errno = -r;
	return -1;
}

/* Counted in fd_sync_count(). */
static int call_fsync(int fd)
{
	return by_errno(fd_sync(fd));
}

static int call_syncfs(int fd)
{
	return by_errno(fd_sync_fs(fd));
}

const struct sys_calls sys_kernel = {
	.openat = call_openat,
	.close = close,
	.pread = pread,
	.pwrite = pwrite,
	.lseek = lseek,
	.ftruncate = ftruncate,
	.statx = call_statx,
	.fstatfs = fstatfs,
	.getdents64 = getdents64,
	.readlinkat = readlinkat,
	.mkdirat = mkdirat,
	.mknodat = mknodat,
	.symlinkat = symlinkat,
	.linkat = linkat,
	.unlinkat = unlinkat,
	.fchownat = fchownat,
	.fchmod = fchmod,
	.chmod = chmod,
	.utimensat = utimensat,
	.futimens = futimens,
	.flistxattr = flistxattr,
	.listxattr = listxattr,
	.fgetxattr = fgetxattr,
	.getxattr = getxattr,
	.fsetxattr = fsetxattr,
	.setxattr = setxattr,
	.fremovexattr = fremovexattr,
	.removexattr = removexattr,
	.ioctl = call_ioctl,
	.copy_file_range = copy_file_range,
	.sync_file_range = call_sync_file_range,
	.fsync = call_fsync,
	.syncfs = call_syncfs,
};

const struct sys_calls *sys = &sys_kernel;
