/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The send stream repeats what stayed equal: times on every inode it passes, extents that were
 * written again with the same bytes. Here both trees are asked.
 */
#include "backends/pool/btrfs_compare.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "snap/base/fd.h"

#define CHUNK (256 * 1024)

struct side {
	int tree;
	const char *path;
	int fd; /* O_PATH */
	struct statx st;
};

static int side_open(struct side *s, int tree, const char *path)
{
	s->tree = tree;
	s->path = *path ? path : ".";
	s->fd = fd_open_beneath(tree, s->path, O_PATH | O_NOFOLLOW);
	if (s->fd < 0)
		return s->fd;
	if (statx(s->fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS | STATX_BTIME, &s->st) < 0)
		return -errno;
	return 0;
}

static void side_close(struct side *s)
{
	fd_close(&s->fd);
}

#define _cleanup_side_ __attribute__((cleanup(side_close)))

static ssize_t read_at(int fd, char *data, size_t len, off_t offset)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = pread(fd, data + done, len - done, offset + (off_t)done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		done += n;
	}
	return (ssize_t)done;
}

/* 1 when some byte differs, 0, -errno. */
static int range_differs(int x, int y, struct send_range range, char *data, struct snap_ctx *ctx)
{
	while (range.len) {
		size_t want = range.len < CHUNK ? range.len : CHUNK;
		ssize_t n, m;

		if (snap_canceled(ctx))
			return -ECANCELED;
		n = read_at(x, data, want, (off_t)range.offset);
		m = read_at(y, data + CHUNK, want, (off_t)range.offset);
		if (n < 0 || m < 0)
			return (int)(n < 0 ? n : m);
		if (n != m || memcmp(data, data + CHUNK, n) != 0)
			return 1;
		if ((size_t)n < want) /* both end here */
			return 0;
		range.offset += n;
		range.len -= n;
	}
	return 0;
}

static int bytes_differ(const struct side *a, const struct side *b, const struct send_range *ranges,
	size_t n, struct snap_ctx *ctx)
{
	_cleanup_fd_ int x = fd_open_beneath(a->tree, a->path, O_RDONLY | O_NOFOLLOW);
	_cleanup_fd_ int y = fd_open_beneath(b->tree, b->path, O_RDONLY | O_NOFOLLOW);
	_cleanup_free_ char *data = malloc(2 * CHUNK);
	int r = 0;

	if (x < 0 || y < 0 || !data)
		return x < 0 ? x : y < 0 ? y : -ENOMEM;
	for (size_t i = 0; r == 0 && i < n; i++)
		r = range_differs(x, y, ranges[i], data, ctx);
	return r;
}

static int targets_differ(const struct side *a, const struct side *b)
{
	char x[PATH_MAX], y[PATH_MAX];
	ssize_t n = readlinkat(a->fd, "", x, sizeof(x));
	ssize_t m = n < 0 ? n : readlinkat(b->fd, "", y, sizeof(y));

	if (m < 0)
		return -errno;
	return n != m || memcmp(x, y, n) != 0;
}

static int content_differs(const struct side *a, const struct side *b,
	const struct send_range *ranges, size_t n, struct snap_ctx *ctx)
{
	const struct statx *x = &a->st, *y = &b->st;

	if ((x->stx_mode ^ y->stx_mode) & S_IFMT)
		return 1;
	if (S_ISREG(x->stx_mode))
		return x->stx_size != y->stx_size ? 1 : bytes_differ(a, b, ranges, n, ctx);
	if (S_ISLNK(x->stx_mode))
		return targets_differ(a, b);
	if (S_ISBLK(x->stx_mode) || S_ISCHR(x->stx_mode))
		return x->stx_rdev_major != y->stx_rdev_major ||
			x->stx_rdev_minor != y->stx_rdev_minor;
	return 0;
}

/* Names and values of all extended attributes, sorted by nothing: btrfs lists them in the order of
 * their hashes, the same for the same set. An O_PATH descriptor is asked through /proc. */
static int list_xattrs(const struct side *s, char **names, ssize_t *len)
{
	char link[64];

	snprintf(link, sizeof(link), "/proc/self/fd/%d", s->fd);
	*len = listxattr(link, NULL, 0);
	if (*len <= 0)
		return *len < 0 ? -errno : 0;
	*names = malloc(*len);
	if (!*names)
		return -ENOMEM;
	*len = listxattr(link, *names, *len);
	return *len < 0 ? -errno : 0;
}

static int value_differs(const struct side *a, const struct side *b, const char *name)
{
	_cleanup_free_ char *x = malloc(2 * XATTR_SIZE_MAX);
	char left[64], right[64];
	ssize_t n, m;

	if (!x)
		return -ENOMEM;
	snprintf(left, sizeof(left), "/proc/self/fd/%d", a->fd);
	snprintf(right, sizeof(right), "/proc/self/fd/%d", b->fd);
	n = getxattr(left, name, x, XATTR_SIZE_MAX);
	m = n < 0 ? n : getxattr(right, name, x + XATTR_SIZE_MAX, XATTR_SIZE_MAX);
	if (m < 0)
		return errno == ENODATA ? 1 : -errno;
	return n != m || memcmp(x, x + XATTR_SIZE_MAX, n) != 0;
}

static int xattrs_differ(const struct side *a, const struct side *b)
{
	_cleanup_free_ char *x = NULL, *y = NULL;
	ssize_t n = 0, m = 0;
	int r = list_xattrs(a, &x, &n);

	if (r == 0)
		r = list_xattrs(b, &y, &m);
	if (r < 0)
		return r == -EOPNOTSUPP ? 0 : r;
	/* The same number of bytes in names, and each of the one has its equal in the other. */
	if (n != m)
		return 1;
	for (ssize_t i = 0; r == 0 && i < n; i += (ssize_t)strlen(x + i) + 1)
		r = value_differs(a, b, x + i);
	return r;
}

static bool attributes_differ(const struct statx *x, const struct statx *y)
{
	return x->stx_mode != y->stx_mode || x->stx_uid != y->stx_uid ||
		x->stx_gid != y->stx_gid || x->stx_mtime.tv_sec != y->stx_mtime.tv_sec ||
		x->stx_mtime.tv_nsec != y->stx_mtime.tv_nsec;
}

static bool same_birth(const struct statx *x, const struct statx *y)
{
	return x->stx_ino == y->stx_ino && ((x->stx_mode ^ y->stx_mode) & S_IFMT) == 0 &&
		x->stx_btime.tv_sec == y->stx_btime.tv_sec &&
		x->stx_btime.tv_nsec == y->stx_btime.tv_nsec;
}

static int compare_same(const struct side *a, const struct side *b, const struct send_change *c,
	struct snap_ctx *ctx, struct verdict *v)
{
	int r = content_differs(a, b, c->ranges, c->n_ranges, ctx);

	v->content = r > 0;
	v->metadata = c->touched & SEND_TOUCH_XATTR || attributes_differ(&a->st, &b->st);
	return r < 0 ? r : 0;
}

static int compare_others(const struct side *a, const struct side *b, struct snap_ctx *ctx,
	struct verdict *v)
{
	const struct send_range all = {0, a->st.stx_size};
	int r = content_differs(a, b, &all, 1, ctx);

	v->content = r > 0;
	v->metadata = attributes_differ(&a->st, &b->st);
	if (r != 0 || v->metadata)
		return r < 0 ? r : 0;
	r = xattrs_differ(a, b);
	v->metadata = r > 0;
	return r < 0 ? r : 0;
}

int btrfs_compare(int a, int b, const struct send_change *change, struct snap_ctx *ctx,
	struct verdict *out)
{
	_cleanup_side_ struct side x = {.fd = -1}, y = {.fd = -1};
	struct verdict v = {0};
	int r = side_open(&x, a, change->from);

	if (r == 0)
		r = side_open(&y, b, change->path);
	if (r < 0)
		return r;
	v.old = x.st;
	v.new = y.st;
	v.same_inode = change->kind != SEND_PATH_REPLACED && same_birth(&x.st, &y.st);
	r = v.same_inode ? compare_same(&x, &y, change, ctx, &v) :
		compare_others(&x, &y, ctx, &v);
	if (r == 0)
		*out = v;
	return r;
}
