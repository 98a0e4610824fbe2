/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The copy pool driver: any file system; a tree is a plain directory, a copy is a walked copy of
 * every file. It never shares storage, not even where the file system could (that is the reflink
 * driver's), so that a damaged block damages one tree.
 *
 * A tree in the making stands beside its name and gets it by a rename when it is whole and durable:
 * a name that exists is a complete tree here too. (A tree in use is still never renamed.)
 */
#include "backends/pool/pool.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "backends/pool/sync_tree.h"
#include "backends/pool/tree_at.h"
#include "snap/base/fd.h"
#include "snap/remove.h"

struct pool {
	char none; /* a root needs nothing to be remembered */
};

static int copy_probe(int rootfd, char why[POOL_WHY_SIZE])
{
	struct statvfs vfs;
	struct statfs fs;

	if (fstatvfs(rootfd, &vfs) < 0 || fstatfs(rootfd, &fs) < 0) {
		int num = errno;

		snprintf(why, POOL_WHY_SIZE, "statfs: %s", strerror(num));
		return -num;
	}
	/* Read-only it still serves what there is; what would change something says so. */
	snprintf(why, POOL_WHY_SIZE, "copies every file, on any file system (type 0x%lx%s)",
		(unsigned long)fs.f_type, vfs.f_flag & ST_RDONLY ? ", mounted read-only" : "");
	return 1;
}

static int copy_open(int rootfd, struct pool **out, struct err *err)
{
	(void)rootfd;
	*out = calloc(1, sizeof(**out));
	return *out ? 0 : err_sys(err, ENOMEM, "open pool", NULL);
}

static void copy_close(struct pool **pool)
{
	free(*pool);
	*pool = NULL;
}

static unsigned copy_caps(const struct pool *pool)
{
	(void)pool;
	return 0;
}

static int make_dir(struct tree_at at, const char *name, struct err *err)
{
	_cleanup_fd_ int fd = -1;
	int r;

	if (mkdirat(at.dirfd, name, 0755) < 0)
		return errno == EEXIST ?
			tree_must_not_exist((struct tree_at){at.dirfd, name}, err) :
			tree_err(err, errno, "mkdir", at);
	fd = fd_open_dir(at.dirfd, name);
	if (fd < 0)
		return tree_err(err, -fd, "open tree", at);
	r = fchmod(fd, 0755) < 0 ? -errno : fd_sync(fd);
	return r < 0 ? tree_err(err, -r, "make tree", at) : 0;
}

static int copy_tree_create(struct pool *pool, struct tree_at at, struct err *err)
{
	(void)pool;
	return make_dir(at, at.name, err);
}

/* Undo a half-made tree; what that cannot do is told beside the failure that led here. */
static void undo(struct tree_at at, struct snap_ctx *ctx, struct err *err)
{
	struct snap_ctx own = {.threads = ctx->threads};
	char path[TREE_PATH_SIZE];
	struct err e = ERR_INIT;

	if (snap_remove(at.dirfd, at.name, &own, &e) < 0)
		err_hint(err, "%.200s was left behind: %.100s", tree_path(at, path), e.reason);
}

static int fill_work(int src, struct tree_at work, struct tree_at to, unsigned flags,
	struct snap_ctx *ctx, struct snap_copy_result *result, struct err *err)
{
	const struct snap_copy_opts opts = {
		.durable = true,
		.source_is_live = flags & POOL_COPY_LIVE,
		.keep_owners = flags & POOL_COPY_OWNERS,
	};
	_cleanup_fd_ int fd = tree_open(work, err);
	int r;

	if (fd < 0)
		return fd;
	r = snap_copy(src, fd, &opts, ctx, result, err);
	if (r < 0)
		return r;
	if (snap_canceled(ctx))
		return tree_err(err, ECANCELED, "copy tree", to);
	if (renameat2(work.dirfd, work.name, to.dirfd, to.name, RENAME_NOREPLACE) == 0)
		return 0;
	if (errno == EEXIST)
		return tree_must_not_exist(to, err);
	return tree_err(err, errno, "rename the finished copy", to);
}

static int copy_tree_fill(struct pool *pool, int src, struct tree_at to, unsigned flags,
	struct snap_ctx *ctx, struct pool_made *made, struct err *err)
{
	struct pool_made m = {.method = POOL_METHOD_COPY};
	char name[NAME_MAX + 1];
	struct tree_at work = {to.dirfd, name};
	int r = tree_side_name(name, to.name, TREE_SIDE_WORK);

	(void)pool;
	if (r < 0)
		return tree_err(err, -r, "copy tree", to);
	r = tree_must_not_exist(to, err);
	if (r == 0)
		r = snap_remove(work.dirfd, work.name, ctx, err);
	if (r == 0)
		r = make_dir(work, name, err);
	if (r < 0)
		return r;
	r = fill_work(src, work, to, flags, ctx, &m.copy, err);
	if (r < 0) {
		undo(work, ctx, err);
		snap_copy_result_release(&m.copy);
		return r;
	}
	*made = m;
	return 0;
}

/* Read-only is a promise of fsd's here, not of the file system: caps say so. */
static int copy_tree_copy(struct pool *pool, struct tree_at from, struct tree_at to,
	unsigned flags, struct snap_ctx *ctx, struct pool_made *made, struct err *err)
{
	_cleanup_fd_ int src = tree_open(from, err);

	return src < 0 ? src : copy_tree_fill(pool, src, to, flags, ctx, made, err);
}

static int cannot_move(struct err *err, int num, struct tree_at at, const char *why)
{
	char path[TREE_PATH_SIZE];

	return err_set(err, num, "cannot_move", tree_path(at, path), "%s", why);
}

static int move(struct tree_at from, struct tree_at to, const char *op, struct err *err)
{
	if (renameat2(from.dirfd, from.name, to.dirfd, to.name, RENAME_NOREPLACE) == 0)
		return 0;
	if (errno == EEXIST)
		return tree_must_not_exist(to, err);
	if (errno == EXDEV)
		return cannot_move(err, EXDEV, from, "source and destination lie on different "
			"file systems or mounts");
	return tree_err(err, errno, op, from);
}

/* What was written there by others is as durable as what a copy would have made. */
static int copy_tree_adopt(struct pool *pool, struct tree_at src, struct tree_at to,
	struct err *err)
{
	_cleanup_fd_ int fd = tree_open(src, err);
	struct snap_ctx ctx = {0};
	int r;

	(void)pool;
	if (fd < 0)
		return fd;
	r = snap_survey(fd, &ctx, NULL, NULL, err);
	if (r < 0)
		return r;
	r = tree_must_not_exist(to, err);
	if (r == 0)
		r = sync_tree(fd, &ctx, err);
	return r < 0 ? r : move(src, to, "rename into the pool", err);
}

static int copy_tree_release(struct pool *pool, struct tree_at from, struct tree_at to,
	struct err *err)
{
	(void)pool;
	return move(from, to, "rename out of the pool", err);
}

static int copy_tree_remove(struct pool *pool, struct tree_at at, struct snap_ctx *ctx,
	struct err *err)
{
	(void)pool;
	return tree_remove(at, ctx, err);
}

static int copy_tree_check(struct pool *pool, struct tree_at at, bool *ro, struct err *err)
{
	struct stat st;

	(void)pool;
	if (fstatat(at.dirfd, at.name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : tree_err(err, errno, "stat", at);
	if (!S_ISDIR(st.st_mode))
		return 0;
	if (ro)
		*ro = false;
	return 1;
}

static int copy_tree_diff(struct pool *pool, struct tree_at a, struct tree_at b, int scratch,
	const struct snap_diff_opts *opts, struct snap_ctx *ctx, snap_diff_fn *fn, void *arg,
	struct err *err)
{
	_cleanup_fd_ int old = tree_open(a, err);
	_cleanup_fd_ int new = old < 0 ? -1 : tree_open(b, err);

	(void)pool;
	(void)scratch;
	if (old < 0 || new < 0)
		return old < 0 ? old : new;
	return snap_diff(old, new, opts, ctx, fn, arg, err);
}

static int copy_sync_dir(struct pool *pool, int dir, struct snap_ctx *ctx, struct err *err)
{
	(void)pool;
	return sync_tree(dir, ctx, err);
}

const struct pool_driver pool_driver_copy = {
	.name = "copy",
	.probe = copy_probe,
	.open = copy_open,
	.close = copy_close,
	.caps = copy_caps,
	.tree_create = copy_tree_create,
	.tree_copy = copy_tree_copy,
	.tree_fill = copy_tree_fill,
	.tree_adopt = copy_tree_adopt,
	.tree_release = copy_tree_release,
	.tree_remove = copy_tree_remove,
	.tree_check = copy_tree_check,
	.tree_usage = tree_usage,
	.tree_diff = copy_tree_diff,
	.sync_dir = copy_sync_dir,
};
