/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fsd/op/copy_out.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fsd/worker/step.h"
#include "snap/base/err.h"
#include "snap/base/fd.h"
#include "snap/remove.h"

void copy_out_release(struct copy_out *c)
{
	outside_release(&c->o);
}

int copy_out_open(struct copy_out *c, struct err *err)
{
	int r = outside_open(c->job, &c->o, err);

	if (r == 0 && (r = outside_side_name(&c->o, c->job->text, c->side)) < 0)
		err_sys(err, -r, "rename", c->o.path);
	return r;
}

int copy_out_find(struct copy_out *c, struct err *err)
{
	int r = copy_out_open(c, err);

	if (r < 0)
		return outside_given_up(c->job, err) ? 0 : r;
	return 1;
}

int copy_out_make(struct copy_out *c, uint64_t *ino, struct err *err)
{
	struct stat st;
	int fd;

	if (mkdirat(c->o.parent, c->side, 0700) < 0)
		return err_sys(err, errno, "mkdir", c->side);
	step("copy_out.made");
	fd = fd_open_dir(c->o.parent, c->side);
	if (fd < 0)
		return err_sys(err, -fd, "open", c->side);
	if (fstat(fd, &st) < 0) {
		err_sys(err, errno, "stat", c->side);
		fd_close(&fd);
		return -err->num;
	}
	*ino = st.st_ino;
	return fd;
}

int copy_out_fill(struct copy_out *c, int tree, int dir, struct snap_copy_opts opts,
	struct err *err)
{
	struct pool_root *p = c->job->pool;
	struct snap_copy_result copied;
	int r;

	opts.reflink = p->driver->caps(p->handle) & POOL_SHARES;
	opts.durable = true;
	r = snap_copy(tree, dir, &opts, &c->job->ctx, &copied, err);
	step("copy_out.filled");
	if (r < 0)
		return r;
	op_count_walked(c->job, &copied);
	r = fd_sync(dir);
	return r < 0 ? err_sys(err, -r, "fsync", c->side) : 0;
}

int copy_out_sync(struct copy_out *c, struct err *err)
{
	int r = fd_sync(c->o.parent);

	return r < 0 ? err_sys(err, -r, "fsync", c->o.path) : 0;
}

int copy_out_names(const struct copy_out *c, const char *name, uint64_t ino)
{
	struct stat st;

	if (!ino)
		return 0;
	if (fstatat(c->o.parent, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : -errno;
	return S_ISDIR(st.st_mode) && st.st_ino == ino;
}

int copy_out_place(struct copy_out *c, uint64_t ino, unsigned flags, struct err *err)
{
	if (renameat2(c->o.parent, c->side, c->o.parent, c->o.name, flags) < 0)
		return err_sys(err, errno, "rename", c->o.path);
	step("copy_out.placed");
	if (copy_out_names(c, c->o.name, ino) == 0) {
		renameat2(c->o.parent, c->o.name, c->o.parent, c->side, flags);
		return err_set(err, EBUSY, "source_changed", c->o.path,
			"somebody put another directory in the place of the one that "
			"was made for it");
	}
	return copy_out_sync(c, err);
}

/* Through what is open, since the name is others' to give. */
static int remove_side(struct copy_out *c, uint64_t ino, struct err *err)
{
	_cleanup_fd_ int side = fd_open_dir(c->o.parent, c->side);
	struct snap_ctx ctx = {0};
	struct stat st;

	if (side < 0)
		return side == -ENOENT || side == -ENOTDIR || side == -ELOOP
			? 0
			: err_sys(err, -side, "open", c->side);
	if (fstat(side, &st) < 0)
		return err_sys(err, errno, "stat", c->side);
	if (ino && st.st_ino == ino)
		return snap_remove_held(c->o.parent, c->side, side, &ctx, err);
	unlinkat(c->o.parent, c->side, AT_REMOVEDIR); /* made, and not noted yet: it is empty */
	return 0;
}

int copy_out_revert(struct copy_out *c, uint64_t ino, struct err *err)
{
	int r = copy_out_open(c, err);

	if (r == 0)
		r = remove_side(c, ino, err);
	/* Or it may come back when nobody remembers it; also where an earlier try removed it. */
	if (r == 0)
		r = copy_out_sync(c, err);
	if (r == 0 || !outside_given_up(c->job, err))
		return r;
	err_hint(&c->job->err, "it was out of reach: %.150s or %.150s.fsd-%s may be left",
		c->o.path, c->o.path, c->job->text);
	return 0;
}
