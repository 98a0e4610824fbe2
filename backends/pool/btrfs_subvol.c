/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Subvolumes: made, copied, looked at and removed by held descriptors. libbtrfsutil does the
 * ioctls; what an ordinary user may not do is done another way here.
 */
#include "backends/pool/btrfs.h"

#include <btrfsutil.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/btrfs_tree.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "snap/base/fd.h"
#include "snap/remove.h"

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

static int delete_at_once(struct tree_at at)
{
	errno = 0;
	return result(btrfs_util_delete_subvolume_fd(at.dirfd, at.name, 0));
}

/* Everything inside, each entry by snap_remove(), which would not enter the subvolume itself. */
static int remove_content(int fd, struct snap_ctx *ctx, struct err *err)
{
	int dup = fd_reopen_dir(fd);
	DIR *dir = dup < 0 ? NULL : fdopendir(dup);
	const struct dirent *d;
	int r = 0;

	if (!dir) {
		r = dup < 0 ? dup : -errno;
		fd_close(&dup);
		return err_sys(err, -r, "open tree", NULL);
	}
	while (r == 0 && (d = readdir(dir))) {
		if (strcmp(d->d_name, ".") != 0 && strcmp(d->d_name, "..") != 0)
			r = snap_remove(fd, d->d_name, ctx, err);
	}
	closedir(dir);
	return r;
}

/* As an ordinary user: an owner may make it writable, empty it, and rmdir works on an empty
 * subvolume (4.18). With user_subvol_rm_allowed the ioctl works once it is writable. */
static int remove_unprivileged(int fd, struct tree_at at, struct snap_ctx *ctx, struct err *err)
{
	int r = subvol_set_read_only(fd, false);

	if (r < 0)
		return tree_err(err, -r, "make writable for removal", at);
	if (delete_at_once(at) == 0)
		return 0;
	r = remove_content(fd, ctx, err);
	if (r < 0)
		return r;
	if (unlinkat(at.dirfd, at.name, AT_REMOVEDIR) < 0)
		return tree_err(err, errno, "remove subvolume", at);
	return 0;
}

static int remove_open(int fd, struct tree_at at, struct snap_ctx *ctx, struct err *err)
{
	int r = delete_at_once(at);

	switch (r) {
	case 0:
	case -ENOENT:
		return 0;
	case -EPERM:
	case -EACCES:
	case -EROFS:
		return remove_unprivileged(fd, at, ctx, err);
	default:
		return tree_err(err, -r, "delete subvolume", at);
	}
}

int subvol_remove(struct tree_at at, struct snap_ctx *ctx, struct err *err)
{
	_cleanup_fd_ int fd = -1;
	int r = subvol_check(at.dirfd, at.name);

	if (r < 0)
		return tree_err(err, -r, "stat", at);
	if (r == 0)
		return snap_remove(at.dirfd, at.name, ctx, err);
	fd = fd_open_dir(at.dirfd, at.name);
	if (fd == -ENOENT)
		return 0;
	if (fd < 0)
		return tree_err(err, -fd, "open tree", at);
	r = btrfs_refuse_nested(fd, err);
	return r < 0 ? r : remove_open(fd, at, ctx, err);
}
