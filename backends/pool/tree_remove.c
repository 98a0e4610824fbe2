/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The end of a tree that nobody uses any more, a subvolume or a plain directory. Subvolumes inside
 * go with it: on btrfs whoever may write in a directory may make one there, and it would keep the
 * tree for ever. A file system that is mounted inside is an administrator's, and is left alone.
 *
 * Who was in the tree when it was put away may still work in it. So what is inside is named beneath
 * held directories, and never found by following what he could exchange; what he made or moved
 * behind the look is met at the next try.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/btrfs.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "backends/pool/btrfs.h"
#include "snap/base/fd.h"
#include "snap/remove.h"

/* At one try: somebody may be making more subvolumes all the time. */
#define STEPS_MAX 20000

/* ---- one subvolume, without any inside ---- */

/* As an ordinary user: an owner may make it writable, empty it, and rmdir works on an empty
 * subvolume (4.18). With user_subvol_rm_allowed the ioctl works once it is writable. */
static int remove_unprivileged(int fd, struct tree_at at, struct snap_ctx *ctx, struct err *err)
{
	int r = subvol_set_read_only(fd, false);

	if (r < 0)
		return tree_err(err, -r, "make writable for removal", at);
	if (subvol_delete(at.dirfd, at.name) == 0)
		return 0;
	r = snap_remove_content(fd, ctx, err);
	if (r < 0)
		return r;
	if (unlinkat(at.dirfd, at.name, AT_REMOVEDIR) < 0)
		return tree_err(err, errno, "remove subvolume", at);
	return 0;
}

/* `fd` is open on it. */
static int remove_subvolume(int fd, struct tree_at at, struct snap_ctx *ctx, struct err *err)
{
	int r = subvol_delete(at.dirfd, at.name);

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

/* ---- those inside ---- */

/* Where a subvolume has its name. */
struct place {
	uint64_t id;
	int dir;
	char name[BTRFS_VOL_NAME_MAX + 1];
};

static void place_release(struct place *p)
{
	fd_close(&p->dir);
}
#define _cleanup_place_ __attribute__((cleanup(place_release)))

/* 1; 0: that of subvolume `id` is not beneath `dir`, or not any more. */
static int open_place(int dir, uint64_t id, uint64_t dirid, struct place *out)
{
	struct btrfs_ioctl_ino_lookup_user_args args = {.dirid = dirid, .treeid = id};
	int fd;

	/* EACCES: the way up from there does not lead through `dir`. */
	if (ioctl(dir, BTRFS_IOC_INO_LOOKUP_USER, &args) < 0)
		return errno == EACCES || errno == ENOENT ? 0 : -errno;
	fd = fd_open_beneath(dir, *args.path ? args.path : ".", O_RDONLY | O_DIRECTORY);
	if (fd < 0)
		return fd;
	*out = (struct place){.id = id, .dir = fd};
	memcpy(out->name, args.name, sizeof(out->name));
	return 1;
}

/* Any of the subvolumes beneath `dir` with nothing but directories between: 1; 0: there is none.
 * EOVERFLOW says that the list goes on; the kernel has set where. */
static int find_inside(int dir, struct place *out)
{
	struct btrfs_ioctl_get_subvol_rootref_args refs = {0};
	bool more;
	int r = 0;

	do {
		r = ioctl(dir, BTRFS_IOC_GET_SUBVOL_ROOTREF, &refs) < 0 ? -errno : 0;
		more = r == -EOVERFLOW;
		if (r < 0 && !more)
			return r;
		r = 0;
		for (unsigned i = 0; r == 0 && i < refs.num_items; i++)
			r = open_place(dir, refs.rootref[i].treeid, refs.rootref[i].dirid, out);
	} while (r == 0 && more);
	return r;
}

/* Into `dir` itself: a chain of them as long as anybody likes is taken apart link by link. */
static int bring_up(const struct place *from, int dir)
{
	_cleanup_fd_ int fd = fd_open_dir(from->dir, from->name);
	int r = fd < 0 ? fd : subvol_set_read_only(fd, false);
	char name[32];

	if (r < 0)
		return r;
	snprintf(name, sizeof(name), ".fsd-%llu", (unsigned long long)from->id);
	return renameat2(from->dir, from->name, dir, name, RENAME_NOREPLACE) < 0 ? -errno : 0;
}

/* One step: 1; 0: there is none left. */
static int remove_next(int dir, struct snap_ctx *ctx, struct err *err)
{
	_cleanup_place_ struct place at = {.dir = -1}, in = {.dir = -1};
	_cleanup_fd_ int fd = -1;
	struct tree_at tree;
	int r = find_inside(dir, &at);

	if (r <= 0)
		return r < 0 ? err_sys(err, -r, "look for nested subvolumes", NULL) : 0;
	tree = (struct tree_at){at.dir, at.name};
	fd = tree_open(tree, err);
	if (fd < 0)
		return fd;
	r = find_inside(fd, &in);
	if (r == 1)
		r = bring_up(&in, dir);
	else if (r == 0)
		return remove_subvolume(fd, tree, ctx, err) ?: 1;
	return r < 0 ? tree_err(err, -r, "remove nested subvolumes", tree) : 1;
}

static int remove_all_inside(int fd, struct tree_at at, struct snap_ctx *ctx, struct err *err)
{
	char path[TREE_PATH_SIZE];
	int r = 1;

	for (unsigned n = 0; r == 1 && n < STEPS_MAX; n++)
		r = snap_canceled(ctx) ? tree_err(err, ECANCELED, "remove nested subvolumes", at)
				       : remove_next(fd, ctx, err);
	if (r == 1)
		return err_set(err, EBUSY, "busy", tree_path(at, path),
			"there are very many subvolumes inside; the rest is left for "
			"the next time");
	return r;
}

/* `fd` is open on the tree, which is a subvolume itself or not. */
static int remove_inside(int fd, struct tree_at at, bool subvolume, struct snap_ctx *ctx,
	struct err *err)
{
	_cleanup_place_ struct place any = {.dir = -1};
	struct statfs fs;
	int r = fstatfs(fd, &fs) < 0 ? -errno : 0;

	if (r == 0 && fs.f_type == BTRFS_SUPER_MAGIC)
		r = find_inside(fd, &any);
	if (r == 1 && subvolume) /* their names are in it */
		r = subvol_set_read_only(fd, false) ?: 1;
	if (r < 0)
		return tree_err(err, -r, "look for nested subvolumes", at);
	return r == 1 ? remove_all_inside(fd, at, ctx, err) : 0;
}

/* ---- trees ---- */

/* Who reads of it does not know the tree, so it is named from the root. */
static int refuse_mounts(int fd, struct err *err)
{
	struct err inside = ERR_INIT;
	char path[PATH_MAX];
	int r = btrfs_refuse_mounts(fd, &inside);

	if (r == -EXDEV) {
		fd_path(fd, inside.object, path, sizeof(path));
		err_set(&inside, EXDEV, inside.code, path,
			"a file system is mounted inside what is to be removed");
		err_hint(&inside, "umount '%.300s'", path);
	}
	if (r < 0 && err)
		*err = inside;
	return r;
}

int tree_remove_one(struct tree_at at, struct snap_ctx *ctx, struct err *err)
{
	_cleanup_fd_ int fd = fd_open_dir(at.dirfd, at.name);
	int subvolume = subvol_check(at.dirfd, at.name), r;

	if (subvolume < 0)
		return tree_err(err, -subvolume, "stat", at);
	if (fd < 0 && fd != -ENOENT && subvolume)
		return tree_err(err, -fd, "open tree", at);
	if (fd < 0) /* it is gone, a file, or needs force */
		return snap_remove(at.dirfd, at.name, ctx, err);
	r = refuse_mounts(fd, err);
	if (r == 0)
		r = remove_inside(fd, at, subvolume, ctx, err);
	if (r < 0)
		return r;
	return subvolume ? remove_subvolume(fd, at, ctx, err)
			 : snap_remove(at.dirfd, at.name, ctx, err);
}

int tree_remove(struct tree_at at, struct snap_ctx *ctx, struct err *err)
{
	static const char *const roles[] = TREE_SIDE_ROLES;
	char name[NAME_MAX + 1];
	int r = 0;

	for (size_t i = 0; r == 0 && i < sizeof(roles) / sizeof(roles[0]); i++) {
		if (tree_side_name(name, at.name, roles[i]) == 0)
			r = tree_remove_one((struct tree_at){at.dirfd, name}, ctx, err);
	}
	return r < 0 ? r : tree_remove_one(at, ctx, err);
}
