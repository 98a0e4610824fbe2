/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The btrfs pool driver: a tree is a subvolume, a copy is a snapshot. The ioctls are in
 * btrfs_subvol.c, the search for nested file systems in btrfs_nested.c, the diff in btrfs_diff.c.
 *
 * What is durable when (tested by cutting the power of a loop image): the snapshot ioctl flushes
 * the source's data and commits the transaction, so the copy and every name made before it are on
 * disk when it returns. Creation, deletion and rename of a subvolume are not, until a directory
 * that received a name is fsynced. That is why a filled tree is built in a subvolume of its own and
 * then snapshotted to its name: one flush, however many files.
 */
#include "backends/pool/btrfs.h"

#include <btrfsutil.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/btrfs_tree.h>
#include <linux/magic.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "snap/base/clock.h"
#include "snap/base/fd.h"

/* May this process search trees (CAP_SYS_ADMIN in the initial namespace)? Only asking tells. */
static bool may_search(int fd)
{
	uint64_t *ids = NULL;
	size_t n;

	if (btrfs_util_deleted_subvolumes_fd(fd, &ids, &n) != BTRFS_UTIL_OK)
		return false;
	free(ids);
	return true;
}

static int btrfs_probe(int rootfd, char why[POOL_WHY_SIZE])
{
	struct statfs fs;
	uint64_t id;

	if (fstatfs(rootfd, &fs) < 0) {
		int num = errno;

		snprintf(why, POOL_WHY_SIZE, "statfs: %s", strerror(num));
		return -num;
	}
	if (fs.f_type != BTRFS_SUPER_MAGIC) {
		snprintf(why, POOL_WHY_SIZE, "not btrfs: statfs says type 0x%lx",
			(unsigned long)fs.f_type);
		return 0;
	}
	errno = 0;
	/* The root may be a plain directory: only the id is told of any place in a subvolume. */
	if (btrfs_util_subvolume_id_fd(rootfd, &id) != BTRFS_UTIL_OK) {
		snprintf(why, POOL_WHY_SIZE, "btrfs, but its subvolumes cannot be listed: %s",
			strerror(errno));
		return 0;
	}
	snprintf(why, POOL_WHY_SIZE, "%s", may_search(rootfd) ? "btrfs, with full privileges" :
		"btrfs as an ordinary user: removal and diff walk the tree");
	return 1;
}

static int btrfs_open(int rootfd, struct pool **out, struct err *err)
{
	struct pool *pool = calloc(1, sizeof(*pool));

	if (!pool)
		return err_sys(err, ENOMEM, "open pool", NULL);
	pool->rootfd = rootfd;
	pool->privileged = may_search(rootfd);
	*out = pool;
	return 0;
}

static void btrfs_close(struct pool **pool)
{
	free(*pool);
	*pool = NULL;
}

static unsigned btrfs_caps(const struct pool *pool)
{
	unsigned caps = POOL_CONSTANT_COST | POOL_READ_ONLY | POOL_SHARES;

	return pool->privileged ? caps | POOL_FREES_LATER : caps;
}

/* The name of what does not exist yet, mode 0755 whatever the umask says. The mode reaches the disk
 * with the subvolume's creation only when nothing had to be changed after it. */
static int create_subvol(struct tree_at at, const char *name, struct err *err)
{
	_cleanup_fd_ int fd = -1;
	struct stat st;
	int r = subvol_create(at.dirfd, name);

	if (r == -EEXIST)
		return tree_must_not_exist((struct tree_at){at.dirfd, name}, err);
	if (r < 0)
		return tree_err(err, -r, "create subvolume", at);
	fd = fd_open_dir(at.dirfd, name);
	if (fd < 0)
		return tree_err(err, -fd, "open tree", at);
	if (fstat(fd, &st) < 0)
		return tree_err(err, errno, "stat", at);
	if ((st.st_mode & 07777) == 0755)
		return 0;
	r = fchmod(fd, 0755) < 0 ? -errno : fd_sync(fd);
	return r < 0 ? tree_err(err, -r, "set the mode of the tree", at) : 0;
}

static int btrfs_tree_create(struct pool *pool, struct tree_at at, struct err *err)
{
	(void)pool;
	return create_subvol(at, at.name, err);
}

static int open_subvol(struct tree_at at, struct err *err)
{
	char path[TREE_PATH_SIZE];
	int r = subvol_check(at.dirfd, at.name);

	if (r < 0)
		return tree_err(err, -r, "stat", at);
	if (r > 0)
		return tree_open(at, err);
	if (fd_exists(at.dirfd, at.name) == 0)
		return tree_err(err, ENOENT, "open tree", at);
	return err_set(err, EINVAL, "not_a_tree", tree_path(at, path), "this is not a subvolume");
}

static int snapshot_to(int fd, struct tree_at to, bool read_only, struct err *err)
{
	int r = subvol_snapshot(fd, to.dirfd, to.name, read_only);

	if (r == -EEXIST)
		return tree_must_not_exist(to, err);
	return r < 0 ? tree_err(err, -r, "snapshot", to) : 0;
}

/* Undo a half-made tree; what that cannot do is told beside the failure that led here. */
static void undo(struct tree_at at, struct snap_ctx *ctx, struct err *err)
{
	/* The removal must work although the job was canceled. */
	struct snap_ctx own = {.threads = ctx->threads};
	char path[TREE_PATH_SIZE];
	struct err e = ERR_INIT;

	if (tree_remove_one(at, &own, &e) < 0)
		err_hint(err, "%.200s was left behind: %.100s", tree_path(at, path), e.reason);
}

static int btrfs_tree_copy(struct pool *pool, struct tree_at from, struct tree_at to,
	unsigned flags, struct snap_ctx *ctx, struct pool_made *made, struct err *err)
{
	_cleanup_fd_ int fd = open_subvol(from, err);
	int r;

	(void)pool;
	if (fd < 0)
		return fd;
	r = btrfs_refuse_nested(fd, err);
	if (r < 0)
		return r;
	if (snap_canceled(ctx))
		return tree_err(err, ECANCELED, "snapshot", to);
	r = snapshot_to(fd, to, flags & POOL_COPY_READ_ONLY, err);
	if (r < 0)
		return r;
	/* The tree's users may make subvolumes as well: one made since the first look is not in the
	 * copy. */
	r = btrfs_refuse_nested(fd, err);
	if (r < 0) {
		undo(to, ctx, err);
		return r;
	}
	*made = (struct pool_made){.method = POOL_METHOD_SNAPSHOT};
	made->copy.consistency = SNAP_ATOMIC;
	return 0;
}

/* Copy into the work subvolume, then give the result its name by a snapshot. */
static int fill_work(int src, struct tree_at work, struct tree_at to, unsigned flags,
	struct snap_ctx *ctx, struct pool_made *made, struct err *err)
{
	const struct snap_copy_opts opts = {
		.reflink = true,
		.durable = false, /* the snapshot makes it so */
		.source_is_live = flags & POOL_COPY_LIVE,
		.keep_owners = flags & POOL_COPY_OWNERS,
	};
	_cleanup_fd_ int fd = tree_open(work, err);
	int r;

	if (fd < 0)
		return fd;
	r = snap_copy(src, fd, &opts, ctx, &made->copy, err);
	if (r < 0)
		return r;
	if (snap_canceled(ctx))
		return tree_err(err, ECANCELED, "fill tree", to);
	made->method = made->copy.bytes_cloned ? POOL_METHOD_REFLINK : POOL_METHOD_COPY;
	return snapshot_to(fd, to, false, err);
}

static int btrfs_tree_fill(struct pool *pool, int src, struct tree_at to, unsigned flags,
	struct snap_ctx *ctx, struct pool_made *made, struct err *err)
{
	struct pool_made m = {0};
	char name[NAME_MAX + 1];
	struct tree_at work = {to.dirfd, name};
	int r = tree_side_name(name, to.name, TREE_SIDE_WORK);

	(void)pool;
	if (r < 0)
		return tree_err(err, -r, "fill tree", to);
	r = tree_must_not_exist(to, err);
	if (r == 0)
		r = tree_remove_one(work, ctx, err);
	if (r == 0)
		r = create_subvol(work, name, err);
	if (r < 0)
		return r;
	r = fill_work(src, work, to, flags, ctx, &m, err);
	/* After success the tree is whole and tree_remove() sweeps what this may leave. */
	undo(work, ctx, r < 0 ? err : NULL);
	if (r < 0) {
		snap_copy_result_release(&m.copy);
		return r;
	}
	*made = m;
	return 0;
}

static int cannot_move(struct err *err, int num, struct tree_at at, const char *why)
{
	char path[TREE_PATH_SIZE];

	return err_set(err, num, "cannot_move", tree_path(at, path), "%s", why);
}

static int adopt_open(int fd, struct pool *pool, struct tree_at src, struct tree_at to,
	struct err *err)
{
	struct snap_ctx ctx = {0};
	int r = subvol_read_only(fd);

	if (r < 0)
		return tree_err(err, -r, "read the subvolume's flags", src);
	if (r > 0)
		return cannot_move(err, EOPNOTSUPP, src, "a read-only subvolume cannot be renamed");
	r = btrfs_refuse_nested(fd, err);
	if (r < 0)
		return r;
	/* Ask by a hard error first what a flush would be wasted on. */
	r = tree_must_not_exist(to, err);
	if (r == 0)
		r = btrfs_flush(pool, fd, &ctx, err);
	if (r < 0)
		return r;
	if (renameat2(src.dirfd, src.name, to.dirfd, to.name, RENAME_NOREPLACE) == 0)
		return 0;
	if (errno == EXDEV)
		return cannot_move(err, EXDEV, src, "it lies on another file system or mount");
	return tree_err(err, errno, "rename into the pool", src);
}

static int btrfs_tree_adopt(struct pool *pool, struct tree_at src, struct tree_at to,
	struct err *err)
{
	_cleanup_fd_ int fd = -1;
	int r = subvol_check(src.dirfd, src.name);

	if (r < 0)
		return tree_err(err, -r, "stat", src);
	if (r == 0 && fd_exists(src.dirfd, src.name) == 0)
		return tree_err(err, ENOENT, "rename into the pool", src);
	if (r == 0)
		return cannot_move(err, EOPNOTSUPP, src,
			"a tree of a btrfs pool is a subvolume, and this is none");
	fd = tree_open(src, err);
	return fd < 0 ? fd : adopt_open(fd, pool, src, to, err);
}

/* A subvolume is not a plain directory: whoever snapshots what is around it would lose it. */
static int btrfs_tree_release(struct pool *pool, struct tree_at from, struct tree_at to,
	struct err *err)
{
	(void)pool;
	(void)to;
	return cannot_move(err, EOPNOTSUPP, from,
		"a subvolume becomes a plain directory only by a copy");
}

static int btrfs_tree_seal(struct pool *pool, struct tree_at at, struct err *err)
{
	_cleanup_fd_ int fd = open_subvol(at, err);
	int r = fd < 0 ? fd : subvol_set_read_only(fd, true);

	(void)pool;
	return fd < 0 || r == 0 ? r : tree_err(err, -r, "make read-only", at);
}

static int btrfs_tree_remove(struct pool *pool, struct tree_at at, struct snap_ctx *ctx,
	struct err *err)
{
	(void)pool;
	return tree_remove(at, ctx, err);
}

static int btrfs_tree_check(struct pool *pool, struct tree_at at, bool *ro, struct err *err)
{
	_cleanup_fd_ int fd = -1;
	int r = subvol_check(at.dirfd, at.name);

	(void)pool;
	if (r < 0)
		return tree_err(err, -r, "stat", at);
	if (r == 0 || !ro)
		return r;
	fd = tree_open(at, err);
	if (fd < 0)
		return fd;
	r = subvol_read_only(fd);
	if (r < 0)
		return tree_err(err, -r, "read the subvolume's flags", at);
	*ro = r > 0;
	return 1;
}

/* Where a short-lived snapshot may stand: fsd sweeps .fsd/trash at start. Without that folder (a
 * bare pool) the root serves. */
static int open_trash(struct pool *pool)
{
	int fd = fd_open_beneath(pool->rootfd, ".fsd/trash", O_RDONLY | O_DIRECTORY);

	return fd == -ENOENT ? fd_reopen_dir(pool->rootfd) : fd;
}

static int flush_by_snapshot(int fd, int trash, struct snap_ctx *ctx, struct err *err)
{
	static atomic_uint serial;
	struct tree_at at = {-1, "tree"};
	_cleanup_fd_ int dir = -1;
	char name[64];
	int r;

	snprintf(name, sizeof(name), "flush.%d.%llx.%u", (int)getpid(),
		(unsigned long long)clock_real(), atomic_fetch_add(&serial, 1));
	if (mkdirat(trash, name, 0700) < 0)
		return err_sys(err, errno, "make a wrapper for a flush", name);
	dir = fd_open_dir(trash, name);
	if (dir < 0)
		return err_sys(err, -dir, "open", name);
	at.dirfd = dir;
	r = snapshot_to(fd, at, true, err);
	if (r == 0)
		undo(at, ctx, NULL);
	unlinkat(trash, name, AT_REMOVEDIR);
	return r;
}

int btrfs_flush(struct pool *pool, int fd, struct snap_ctx *ctx, struct err *err)
{
	_cleanup_fd_ int trash = -1;

	/* Removing the snapshot again would cost an ordinary user a walk over all of it. */
	if (!pool->privileged) {
		int r = fd_sync_fs(fd);

		return r < 0 ? err_sys(err, -r, "syncfs", NULL) : 0;
	}
	trash = open_trash(pool);
	if (trash < 0)
		return err_sys(err, -trash, "open .fsd/trash", NULL);
	return flush_by_snapshot(fd, trash, ctx, err);
}

/* One directory up on the same file system, or -EXDEV where there is none. */
static int open_parent(int fd)
{
	_cleanup_fd_ int up = openat(fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct stat here, there;
	int out;

	if (up < 0 || fstat(fd, &here) < 0 || fstat(up, &there) < 0)
		return -errno;
	if (here.st_dev != there.st_dev || here.st_ino == there.st_ino)
		return -EXDEV;
	out = up;
	up = -1;
	return out;
}

/* `dir` may be anywhere inside the tree; the snapshot ioctl wants the subvolume's own root. */
static int open_subvol_root(int dir)
{
	int fd = fd_reopen_dir(dir);

	while (fd >= 0) {
		struct stat st;
		int up;

		if (fstat(fd, &st) == 0 && st.st_ino == BTRFS_FIRST_FREE_OBJECTID)
			return fd;
		up = open_parent(fd);
		close(fd);
		fd = up;
	}
	return fd;
}

static int btrfs_sync_dir(struct pool *pool, int dir, struct snap_ctx *ctx, struct err *err)
{
	_cleanup_fd_ int fd = open_subvol_root(dir);

	if (fd < 0)
		return err_sys(err, -fd, "find the subvolume", NULL);
	return btrfs_flush(pool, fd, ctx, err);
}

static int btrfs_tree_flush(struct pool *pool, int dir, struct snap_ctx *ctx)
{
	return pool->privileged ? btrfs_flush(pool, dir, ctx, NULL) : -EOPNOTSUPP;
}

static int btrfs_pending(struct pool *pool, uint64_t *trees, struct err *err)
{
	uint64_t *ids = NULL;
	size_t n = 0;

	errno = 0;
	if (btrfs_util_deleted_subvolumes_fd(pool->rootfd, &ids, &n) != BTRFS_UTIL_OK)
		return err_sys(err, errno ? errno : EIO, "list deleted subvolumes", NULL);
	free(ids);
	*trees = n;
	return 0;
}

const struct pool_driver pool_driver_btrfs = {
	.name = "btrfs",
	.probe = btrfs_probe,
	.open = btrfs_open,
	.close = btrfs_close,
	.caps = btrfs_caps,
	.tree_create = btrfs_tree_create,
	.tree_copy = btrfs_tree_copy,
	.tree_fill = btrfs_tree_fill,
	.tree_adopt = btrfs_tree_adopt,
	.tree_release = btrfs_tree_release,
	.tree_seal = btrfs_tree_seal,
	.tree_remove = btrfs_tree_remove,
	.tree_check = btrfs_tree_check,
	.tree_usage = tree_usage,
	.tree_diff = btrfs_tree_diff,
	.sync_dir = btrfs_sync_dir,
	.tree_flush = btrfs_tree_flush,
	.pending = btrfs_pending,
};
