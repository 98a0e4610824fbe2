/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Metadata of one inode through a descriptor of it: stat, xattrs, owner, mode, times. ACLs are
 * copied as the raw xattrs they are; file capabilities too.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "snap/base/fd.h"
#include "snap/io_threads_priv.h"

#define ACL_ACCESS "system.posix_acl_access"
#define ACL_DEFAULT "system.posix_acl_default"

int t_fail_with(struct io_item *it, int error, const char *op)
{
	it->error = error;
	it->op = op;
	return error;
}

int t_fail(struct io_item *it, const char *op)
{
	return t_fail_with(it, -errno, op);
}

void t_close(int *fd)
{
	int saved = errno;

	if (*fd >= 0)
		sys->close(*fd);
	*fd = -1;
	errno = saved;
}

static struct timespec time_of(const struct statx_timestamp *t)
{
	return (struct timespec){.tv_sec = t->tv_sec, .tv_nsec = t->tv_nsec};
}

int t_stat(int fd, const char *name, struct io_stat *out)
{
	int flags = AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | (*name ? 0 : AT_EMPTY_PATH);
	struct statx sx;

	if (sys->statx(fd, name, flags, STATX_BASIC_STATS | STATX_BTIME | STATX_MNT_ID, &sx) < 0)
		return -errno;
	*out = (struct io_stat){
		.dev = makedev(sx.stx_dev_major, sx.stx_dev_minor),
		.ino = sx.stx_ino,
		.rdev = makedev(sx.stx_rdev_major, sx.stx_rdev_minor),
		.size = sx.stx_size,
		.allocated = sx.stx_blocks * 512,
		.mount = sx.stx_mask & STATX_MNT_ID ? sx.stx_mnt_id : 0,
		.attrs = sx.stx_attributes,
		.mode = sx.stx_mode,
		.nlink = sx.stx_nlink,
		.uid = sx.stx_uid,
		.gid = sx.stx_gid,
		.atime = time_of(&sx.stx_atime),
		.mtime = time_of(&sx.stx_mtime),
		.ctime = time_of(&sx.stx_ctime),
		.btime = sx.stx_mask & STATX_BTIME ? time_of(&sx.stx_btime) : (struct timespec){0},
	};
	return 0;
}

static ssize_t list(int fd, const char *path, char *out, size_t size)
{
	return path ? sys->listxattr(path, out, size) : sys->flistxattr(fd, out, size);
}

static ssize_t value(int fd, const char *path, const char *name, void *out, size_t size)
{
	return path ? sys->getxattr(path, name, out, size) : sys->fgetxattr(fd, name, out, size);
}

/* All names into `out`, which may have to grow while others add some. */
static int names_get(int fd, const char *path, struct buf *out)
{
	size_t size = 1024;
	ssize_t n;

	for (int tries = 0; tries < 8; tries++, size *= 4) {
		buf_reset(out);
		if (!buf_reserve(out, size))
			return -ENOMEM;
		n = list(fd, path, out->data, size);
		if (n >= 0) {
			out->len = n;
			return 0;
		}
		if (errno == ENOTSUP || errno == ENOSYS)
			return 0;
		if (errno != ERANGE)
			return -errno;
	}
	return -ERANGE;
}

static int value_get(int fd, const char *path, const char *name, struct io_item *it)
{
	_cleanup_buf_ struct buf v = BUF_INIT;
	ssize_t n;

	/* XATTR_SIZE_MAX is 65536. */
	for (size_t size = 256; size <= 65536; size *= 16) {
		if (!buf_reserve(&v, size))
			return -ENOMEM;
		n = value(fd, path, name, v.data, size);
		if (n >= 0) {
			io_xattr_add(&it->xattrs, name, v.data, n);
			return 0;
		}
		if (errno != ERANGE)
			break;
	}
	if (errno == ENODATA)
		return 0; /* removed meanwhile: ctime tells */
	if (errno == EPERM || errno == EACCES || errno == ENOTSUP) {
		it->flags |= IO_XATTR_LOST;
		return 0;
	}
	return -errno;
}

static bool starts(const char *s, const char *prefix)
{
	return strncmp(s, prefix, strlen(prefix)) == 0;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/*
 * Not an HMAC over the inode it belongs to, and not the second names under which XFS shows ACLs to
 * root: they would be mere noise elsewhere (attr's xattr.conf leaves them out too).
 */
static bool worth_keeping(const char *name)
{
	return strcmp(name, "security.evm") != 0 && !starts(name, "trusted.SGI_");
}

static int values_get(int fd, const char *path, const struct buf *names, struct io_item *it)
{
	_cleanup_free_ char **sorted = NULL;
	size_t n = 0;
	int r;

	for (size_t i = 0; i < names->len; i += strlen(names->data + i) + 1)
		n++;
	sorted = calloc(n, sizeof(*sorted));
	if (!sorted)
		return -ENOMEM;
	n = 0;
	for (size_t i = 0; i < names->len; i += strlen(names->data + i) + 1)
		sorted[n++] = names->data + i;
	qsort(sorted, n, sizeof(*sorted), by_name);
	for (size_t i = 0; i < n; i++) {
		r = worth_keeping(sorted[i]) ? value_get(fd, path, sorted[i], it) : 0;
		if (r < 0)
			return r;
	}
	return buf_error(&it->xattrs);
}

int t_xattrs_get(int fd, const char *path, struct io_item *it)
{
	_cleanup_buf_ struct buf names = BUF_INIT;
	int r;

	buf_reset(&it->xattrs);
	r = names_get(fd, path, &names);
	if (r == 0 && names.len)
		r = values_get(fd, path, &names, it);
	return r < 0 ? t_fail_with(it, r, "read extended attributes") : 0;
}

/* The namespaces that mean the same on every file system. */
static bool portable(const char *name)
{
	return starts(name, "user.") || starts(name, "trusted.") || starts(name, "security.") ||
		starts(name, "system.posix_acl_");
}

static bool has_space(int fd)
{
	struct statfs fs;

	return sys->fstatfs(fd, &fs) == 0 && fs.f_bavail * (uint64_t)fs.f_bsize > 16 << 20;
}

/* Does the place merely lack what it takes to keep this attribute? */
static bool acceptable_loss(const struct tplace *place, int fd, const char *name, int error)
{
	switch (error) {
	case ENOTSUP:
	case E2BIG:
	case ERANGE:
		return true;
	case EPERM:
	case EACCES:
		return !place->root || !portable(name);
	case ENOSPC: /* ext4 keeps at most a block of them for each inode */
		return has_space(fd);
	case EIO:
	case ENOMEM:
	case EDQUOT:
		return false;
	default:
		return !portable(name);
	}
}

int t_xattrs_set(const struct tplace *place, int fd, const char *path, struct io_item *it)
{
	struct io_xattr x;
	size_t pos = 0;
	int r;

	while (io_xattr_next(&it->xattrs, &pos, &x)) {
		r = path ? sys->setxattr(path, x.name, x.value, x.len, 0) :
			   sys->fsetxattr(fd, x.name, x.value, x.len, 0);
		if (r == 0)
			continue;
		if (!acceptable_loss(place, fd, x.name, errno))
			return t_fail(it, "set extended attribute");
		it->flags |= IO_XATTR_LOST;
	}
	return 0;
}

/* Absent and unsupported are both fine. */
void t_acls_strip(int fd, const char *path)
{
	if (path) {
		sys->removexattr(path, ACL_ACCESS);
		return;
	}
	sys->fremovexattr(fd, ACL_ACCESS);
	sys->fremovexattr(fd, ACL_DEFAULT);
}

/*
 * As an ordinary user the owner stays the caller's: told, not an error; but set-id bits must not
 * turn into the caller's.
 */
static int owner_set(const struct tplace *place, int fd, struct io_item *it, mode_t *mode)
{
	const struct io_stat *st = &it->st;

	if (sys->fchownat(fd, "", st->uid, st->gid, AT_EMPTY_PATH) == 0)
		return 0;
	if (place->root || errno != EPERM)
		return -errno;
	it->flags |= IO_OWNER_LOST;
	if (st->uid != place->uid)
		*mode &= ~S_ISUID;
	if (sys->fchownat(fd, "", -1, st->gid, AT_EMPTY_PATH) == 0)
		return 0;
	if (errno != EPERM)
		return -errno;
	*mode &= ~S_ISGID;
	return 0;
}

static int times_set(int fd, bool by_path, const struct io_stat *st)
{
	struct timespec times[2] = {st->atime, st->mtime};

	return by_path ? sys->utimensat(fd, "", times, AT_EMPTY_PATH) : sys->futimens(fd, times);
}

/*
 * The order matters: chown drops set-id bits and file capabilities, setting an ACL may drop setgid,
 * and all of it moves ctime only.
 */
int t_meta_set(const struct tplace *place, int fd, const char *path, struct io_item *it,
	const struct io_put *how)
{
	mode_t mode = it->st.mode & 07777;
	char proc[PROC_FD_SIZE];
	int r;

	r = owner_set(place, fd, it, &mode);
	if (r < 0)
		return t_fail_with(it, r, "change owner");
	if (how->strip)
		t_acls_strip(fd, path);
	if (it->xattrs.len) {
		r = t_xattrs_set(place, fd, path, it);
		if (r < 0)
			return r;
	}
	if (!S_ISLNK(it->st.mode)) {
		r = path ? sys->chmod(t_proc(fd, proc), mode) : sys->fchmod(fd, mode);
		if (r < 0)
			return t_fail(it, "change mode");
	}
	if (times_set(fd, path != NULL, &it->st) < 0)
		return t_fail(it, "set times");
	return 0;
}
