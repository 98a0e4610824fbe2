/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "snap/remove.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/stat.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "snap/base/err.h"
#include "snap/io_threads.h"
#include "snap/walk.h"

struct removal {
	struct err nested; /* the first one, told at the end */
	uint64_t blocked;  /* how many are in the way */
	uint64_t seen;	   /* entries met in this pass */
	bool quiet;	   /* not the job's own work: no progress */
};

static void blocked(struct removal *r, const char *path)
{
	if (r->blocked++ == 0)
		guard_error(&r->nested, path);
}

/* EBUSY is how the kernel refuses to unlink a name that a file is mounted on. */
static bool mounted_on(struct walk *w, struct io_item *it)
{
	struct io_dir *dir = trail_dir(&w->trail);

	return it->error == -EBUSY && io_drv(dir)->stat(dir, it, 1) == 0 && it->error == 0 &&
		guard_nested(&w->guard, &it->st);
}

static void count(struct walk *w)
{
	if (!((struct removal *)w->arg)->quiet)
		atomic_fetch_add(&w->ctx->entries_done, 1);
}

static int removed(struct walk *w, struct io_item *it)
{
	int error = it->error;

	if (error == 0)
		count(w);
	/* A directory by now, or one with a name that was a file: the next look finds it. */
	if (error == 0 || error == -EISDIR || error == -ENOTDIR)
		return 0;
	if (mounted_on(w, it)) {
		blocked(w->arg, trail_path(&w->trail, it->name));
		return 0;
	}
	return walk_fail(w->err, error, it->op, trail_path(&w->trail, it->name));
}

static int batch(struct walk *w, struct io_item *items, size_t n)
{
	struct io_dir *dir = trail_dir(&w->trail);
	struct io_item *run = items, *end = items + n;
	int r = 0;

	((struct removal *)w->arg)->seen += n;
	/* Runs of files between the directories. */
	for (; r == 0 && run < end; run++) {
		size_t len = 0;

		while (run + len < end && run[len].type != DT_DIR)
			len++;
		if (len)
			io_drv(dir)->remove(dir, run, len);
		for (; r == 0 && len; len--, run++)
			r = removed(w, run);
	}
	return r;
}

static int left(struct walk *w, const char *name)
{
	struct removal *rm = w->arg;
	struct io_dir *dir = trail_dir(&w->trail);
	struct io_item it = {.name = name, .type = DT_DIR};

	io_drv(dir)->remove(dir, &it, 1);
	if (it.error == 0) {
		count(w);
		return 0;
	}
	if (it.error == -ENOTEMPTY || it.error == -EEXIST)
		return rm->blocked ? 0 : WALK_AGAIN;
	if (it.error == -ENOTDIR)
		return 0; /* swapped: what it is now is found when the parent is not empty */
	return walk_fail(w->err, it.error, it.op, trail_path(&w->trail, name));
}

static int nested(struct walk *w, const char *name, const struct io_stat *st)
{
	if (guard_stub(&w->guard, st))
		return left(w, name);
	blocked(w->arg, trail_path(&w->trail, name));
	return 0;
}

static const struct walk_ops ops = {
	.open_flags = IO_OPEN_FORCE,
	.batch = batch,
	.left = left,
	.nested = nested,
};

static int finish(int r, const struct removal *rm, struct err *err)
{
	if (r == 0 && rm->blocked) {
		if (err)
			*err = rm->nested;
		return -EXDEV;
	}
	return r;
}

/* Anything that is not a directory. 1: it is one. */
static int remove_single(int dirfd, const char *name, struct snap_ctx *ctx, struct err *err)
{
	_cleanup_io_place_ struct io_place *place = NULL;
	_cleanup_io_dir_ struct io_dir *dir = NULL;
	struct io_item it = {.name = name};
	int r = io_threads_new(ctx, &place);

	if (r == 0)
		r = io_threads_dir(place, dirfd, &dir);
	if (r < 0)
		return walk_fail(err, r, "open", name);
	io_drv(dir)->stat(dir, &it, 1);
	if (it.error == -ENOENT)
		return 0;
	if (it.error == 0 && it.type == DT_DIR)
		return 1;
	if (it.error == 0)
		io_drv(dir)->remove(dir, &it, 1);
	if (it.error < 0)
		return walk_fail(err, it.error, it.op, name);
	atomic_fetch_add(&ctx->entries_done, 1);
	return 0;
}

int snap_remove(int dirfd, const char *name, struct snap_ctx *ctx, struct err *err)
{
	struct removal rm = {0};
	int r = remove_single(dirfd, name, ctx, err);

	if (r != 1)
		return r;
	r = walk_tree(dirfd, name, &ops, ctx, &rm, err);
	return finish(r, &rm, err);
}

int remove_dir_at(struct io_dir *dir, const char *name, struct err *err)
{
	struct removal rm = {.quiet = true};
	struct io_dir *root;
	int r = io_drv(dir)->dir_open(dir, ".", 0, &root);

	if (r < 0)
		return walk_fail(err, r, "open", name);
	r = walk_dir(root, name, &ops, &rm, err);
	return finish(r, &rm, err);
}

int snap_remove_content(int dir, struct snap_ctx *ctx, struct err *err)
{
	struct removal rm = {0};
	int r, tries = 0;

	/* Once more than needed: somebody may have added something behind us. */
	do {
		rm.seen = 0;
		r = walk_tree(dir, NULL, &ops, ctx, &rm, err);
	} while (r == 0 && rm.seen && !rm.blocked && tries++ < 100);
	return finish(r, &rm, err);
}

int snap_remove_held(int dirfd, const char *name, int held, struct snap_ctx *ctx, struct err *err)
{
	struct stat st, now;
	int r = snap_remove_content(held, ctx, err);

	if (r < 0)
		return r;
	if (fstat(held, &st) < 0)
		return walk_fail(err, -errno, "stat", name);
	if (fstatat(dirfd, name, &now, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : walk_fail(err, -errno, "stat", name);
	if (now.st_ino != st.st_ino || now.st_dev != st.st_dev)
		return 0;
	/* Exchanged after that look, it is another directory that goes: an empty one at worst. */
	if (unlinkat(dirfd, name, AT_REMOVEDIR) < 0 && errno != ENOENT && errno != ENOTDIR)
		return walk_fail(err, -errno, "rmdir", name);
	return 0;
}
