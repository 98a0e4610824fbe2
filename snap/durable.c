/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Make a finished copy survive a power cut. Its data is already on the way to the disk
 * (SYNC_FILE_RANGE_WRITE), so syncing each file costs little, whatever the neighbours of the file
 * system do; `syncfs` would wait for them too. On btrfs it is the other way round: syncing by file
 * takes seconds, and pools there do not ask for it, since they snapshot.
 */
#include <dirent.h>
#include <errno.h>

#include "snap/base/err.h"
#include "snap/copy_priv.h"

static int batch(struct walk *w, struct io_item *items, size_t n)
{
	struct io_dir *dir = trail_dir(&w->trail);

	io_drv(dir)->sync(dir, items, n);
	for (size_t i = 0; i < n; i++) {
		if (items[i].error < 0)
			return walk_fail(w->err, items[i].error, items[i].op,
				trail_path(&w->trail, items[i].name));
	}
	return 0;
}

static int leave(struct walk *w)
{
	struct io_dir *dir = trail_dir(&w->trail);
	int r;

	if (w->arg && w->depth == 1)
		return 0; /* what holds the entry is the caller's */
	r = io_drv(dir)->dir_sync(dir);
	return r < 0 ? walk_fail(w->err, r, "fsync", trail_path(&w->trail, NULL)) : 0;
}

static int nested(struct walk *w, const char *name, const struct io_stat *st)
{
	(void)st;
	return guard_error(w->err, trail_path(&w->trail, name));
}

static const struct walk_ops ops = {.batch = batch, .leave = leave, .nested = nested};

/* An entry that is no directory. 1: it is one. */
static int sync_single(struct copy *c, struct io_dir *dir)
{
	struct io_item it = {.name = c->only_as};

	io_drv(dir)->stat(dir, &it, 1);
	if (it.error == 0 && it.type == DT_DIR)
		return 1;
	if (it.error == -ENOENT)
		return 0; /* a socket was left out */
	if (it.error == 0)
		io_drv(dir)->sync(dir, &it, 1);
	return it.error < 0 ? walk_fail(c->err, it.error, it.op, it.name) : 0;
}

static int sync_fs(struct copy *c)
{
	struct io_dir *dir = trail_dir(&c->dst);
	int r = io_drv(dir)->fs_sync(dir);

	return r < 0 ? walk_fail(c->err, r, "syncfs", NULL) : 0;
}

static int sync_tree(struct copy *c)
{
	struct io_dir *dir = trail_dir(&c->dst), *root;
	int r = io_drv(dir)->dir_open(dir, ".", 0, &root);

	if (r < 0)
		return walk_fail(c->err, r, "open", NULL);
	/* Only the presence of the argument counts. */
	return walk_dir(root, c->only ? c->only_as : NULL, &ops, c->only ? c : NULL, c->err);
}

int copy_make_durable(struct copy *c)
{
	struct io_dir *dir = trail_dir(&c->dst);
	struct io_fs fs;
	int r = io_drv(dir)->dir_fs(dir, &fs);

	if (r < 0)
		return walk_fail(c->err, r, "statfs", NULL);
	if (fs.flags & IO_FS_BTRFS)
		return sync_fs(c);
	r = c->only ? sync_single(c, dir) : 1;
	if (r == 1)
		r = sync_tree(c);
	/* An ordinary user's copy of what its owner may not read. */
	return r == -EACCES ? sync_fs(c) : r;
}
