/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Subvolumes: made, copied, looked at and deleted by held descriptors, through libbtrfsutil. */
#include "backends/pool/btrfs.h"

#include <btrfsutil.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/btrfs_tree.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "snap/base/fd.h"

/* The library sets errno with every failure; a few of its checks do it through a value only. */
static int result(enum btrfs_util_error e)
{
	if (e == BTRFS_UTIL_OK)
		return 0;
	return errno ? -errno : -EIO;
}

int subvol_create(int dirfd, const char *name)
{
	errno = 0;
	return result(btrfs_util_create_subvolume_fd(dirfd, name, 0, NULL, NULL));
}

int subvol_snapshot(int fd, int dirfd, const char *name, bool read_only)
{
	errno = 0;
	fd_sync_add(); /* it commits the transaction */
	return result(btrfs_util_create_snapshot_fd2(fd, dirfd, name,
		read_only ? BTRFS_UTIL_CREATE_SNAPSHOT_READ_ONLY : 0, NULL, NULL));
}

/* The root directory of a subvolume is inode 256; the check of the file system is for the same
 * number elsewhere. */
int subvol_check(int dirfd, const char *name)
{
	_cleanup_fd_ int fd = -1;
	struct statfs fs;
	struct stat st;

	if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISDIR(st.st_mode) || st.st_ino != BTRFS_FIRST_FREE_OBJECTID)
		return 0;
	fd = openat(dirfd, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 || fstatfs(fd, &fs) < 0)
		return errno == ENOENT ? 0 : -errno;
	return fs.f_type == BTRFS_SUPER_MAGIC;
}

int subvol_read_only(int fd)
{
	bool ro;
	int r;

	errno = 0;
	r = result(btrfs_util_get_subvolume_read_only_fd(fd, &ro));
	return r < 0 ? r : ro;
}

int subvol_set_read_only(int fd, bool read_only)
{
	int ro = subvol_read_only(fd);

	if (ro < 0 || ro == read_only)
		return ro < 0 ? ro : 0;
	errno = 0;
	return result(btrfs_util_set_subvolume_read_only_fd(fd, read_only));
}

int subvol_delete(int dirfd, const char *name)
{
	errno = 0;
	return result(btrfs_util_delete_subvolume_fd(dirfd, name, 0));
}
