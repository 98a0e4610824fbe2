/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "snap/walk.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/stat.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "snap/base/err.h"
#include "snap/base/fd.h"
#include "snap/io_threads.h"

/* What keeps changing under the walk is tried this often. */
#define AGAIN_MAX 100

/* BTRFS_EMPTY_SUBVOL_DIR_OBJECTID: what a snapshot shows in the place of a nested subvolume. */
#define BTRFS_STUB_INO 2

int guard_init(struct guard *g, struct io_dir *root)
{
	struct io_item it = {0};
	struct io_fs fs;
	int r = io_drv(root)->dir_get(root, &it);

	if (r == 0)
		r = io_drv(root)->dir_fs(root, &fs);
	io_item_release(&it);
	if (r < 0)
		return r;
	*g = (struct guard){
		.dev = it.st.dev, .ino = it.st.ino, .mount = it.st.mount,
		.btrfs = fs.flags & IO_FS_BTRFS};
	return 0;
}

bool guard_stub(const struct guard *g, const struct io_stat *st)
{
	/* Its device is the superblock's, not the snapshot's; the root of an ext4 mounted here has
	 * the same number. */
	return g->btrfs && S_ISDIR(st->mode) && st->ino == BTRFS_STUB_INO &&
		st->mount == g->mount && !(st->attrs & STATX_ATTR_MOUNT_ROOT);
}

bool guard_nested(const struct guard *g, const struct io_stat *st)
{
	if (st->attrs & STATX_ATTR_MOUNT_ROOT && st->mount != g->mount)
		return true;
	if (!S_ISDIR(st->mode))
		return false; /* overlayfs gives files the device of their layer */
	return st->dev != g->dev || (st->mount && g->mount && st->mount != g->mount) ||
		st->attrs & STATX_ATTR_AUTOMOUNT || guard_stub(g, st);
}

int guard_error(struct err *err, const char *path)
{
	err_set(err, EXDEV, "nested_filesystem", path,
		"a mount point or nested subvolume is inside the tree");
	err_hint(err, "unmount it, or move it out of the tree, and try again");
	err_in_tree(err);
	return -EXDEV;
}

bool walk_vanished(int error)
{
	return error == -ENOENT || error == -ESTALE || error == -ENOTDIR || error == -ELOOP;
}

int walk_fail(struct err *err, int error, const char *op, const char *path)
{
	if (!path || !*path)
		path = ".";
	if (error == -ECANCELED)
		return err_set(err, ECANCELED, "canceled", path, "canceled");
	err_sys(err, -error, op ? op : "walk", path);
	err_in_tree(err);
	return error;
}

static int frame_push(struct walk *w)
{
	if (w->depth == w->size) {
		size_t size = w->size ? w->size * 2 : 32;
		void *frames = reallocarray(w->frames, size, sizeof(*w->frames));

		if (!frames)
			return walk_fail(w->err, -ENOMEM, "walk", trail_path(&w->trail, NULL));
		w->frames = frames;
		w->size = size;
	}
	w->frames[w->depth++] = (struct walk_frame){0};
	return 0;
}

static int batch_end(struct walk *w, size_t n)
{
	struct walk_frame *f = &w->frames[w->depth - 1];
	int r = w->ops->batch(w, w->items, n);

	for (size_t i = 0; r == 0 && i < n; i++) {
		if (w->items[i].type == DT_DIR)
			io_names_add(&f->dirs, w->items[i].name, DT_DIR);
	}
	if (r == 0 && buf_error(&f->dirs.buf))
		r = walk_fail(w->err, -ENOMEM, "walk", trail_path(&w->trail, NULL));
	return r;
}

/* Types and stats; what vanished meanwhile is taken out. Returns how many are left, or -errno. */
static ssize_t batch_stat(struct walk *w, size_t n)
{
	struct io_dir *dir = trail_dir(&w->trail);
	size_t kept = 0;

	if (w->ops->stat)
		io_drv(dir)->stat(dir, w->items, n);
	for (size_t i = 0; i < n; i++) {
		if (w->items[i].type == DT_UNKNOWN)
			io_drv(dir)->stat(dir, &w->items[i], 1);
	}
	for (size_t i = 0; i < n; i++) {
		struct io_item *it = &w->items[i];

		if (walk_vanished(it->error))
			continue;
		if (it->error < 0)
			return walk_fail(w->err, it->error, it->op,
				trail_path(&w->trail, it->name));
		if (kept != i) {
			struct io_item swap = w->items[kept];

			w->items[kept] = *it;
			*it = swap;
		}
		kept++;
	}
	return kept;
}

static int slice(struct walk *w, const struct io_names *names, size_t *pos)
{
	ssize_t n = 0;

	for (; n < WALK_BATCH; n++) {
		struct io_item *it = &w->items[n];

		io_item_reset(it);
		it->name = io_names_next(names, pos, &it->type);
		if (!it->name)
			break;
	}
	n = batch_stat(w, n);
	return n < 0 ? n : n > 0 ? batch_end(w, n) : 0;
}

static int list_dir(struct walk *w)
{
	struct io_dir *dir = trail_dir(&w->trail);
	struct io_names names = {0};
	bool restart = true;
	int more, r = 0;

	do {
		size_t pos = 0;

		io_names_reset(&names);
		more = io_drv(dir)->dir_list(dir, restart, &names);
		restart = false;
		if (more == -ENOENT)
			more = 0; /* the directory was removed under us */
		if (more < 0)
			r = walk_fail(w->err, more, "list", trail_path(&w->trail, NULL));
		while (r == 0 && pos < names.buf.len) {
			r = snap_canceled(w->ctx) ? walk_fail(w->err, -ECANCELED, NULL,
							    trail_path(&w->trail, NULL)) :
						    slice(w, &names, &pos);
		}
	} while (r == 0 && more > 0);
	io_names_release(&names);
	return r;
}

static int enter(struct walk *w, const char *name)
{
	struct io_dir *here = trail_dir(&w->trail), *dir;
	struct io_item it = {0};
	int r = io_drv(here)->dir_open(here, name, w->ops->open_flags, &dir);

	if (walk_vanished(r))
		return 0;
	if (r < 0)
		return walk_fail(w->err, r, "open", trail_path(&w->trail, name));
	r = io_drv(dir)->dir_get(dir, &it);
	io_item_release(&it);
	if (r < 0) {
		io_dir_close(&dir);
		return walk_fail(w->err, r, it.op, trail_path(&w->trail, name));
	}
	if (guard_nested(&w->guard, &it.st)) {
		io_dir_close(&dir);
		return w->ops->nested ? w->ops->nested(w, name, &it.st) : 0;
	}
	r = trail_push(&w->trail, name, dir, &it.st);
	return r < 0 ? walk_fail(w->err, r, "walk", name) : frame_push(w);
}

static void frame_pop(struct walk *w)
{
	io_names_release(&w->frames[--w->depth].dirs);
}

/* Up one level, and whatever the walk's user does there. */
static int leave(struct walk *w)
{
	struct walk_frame *up;
	const char *name;
	int r = w->ops->leave ? w->ops->leave(w) : 0;

	frame_pop(w);
	if (r != 0 || w->depth == 0)
		return r;
	r = trail_pop(&w->trail);
	if (r < 0)
		return walk_fail(w->err, r, "walk back", trail_path(&w->trail, NULL));
	up = &w->frames[w->depth - 1];
	name = up->dirs.buf.data + up->next + 1;
	r = w->ops->left ? w->ops->left(w, name) : 0;
	if (r == WALK_AGAIN && up->again++ < AGAIN_MAX)
		return 0;
	if (r == WALK_AGAIN)
		return walk_fail(w->err, -EBUSY, "walk", trail_path(&w->trail, name));
	up->next += strlen(name) + 2;
	up->again = 0;
	return r;
}

static int step(struct walk *w)
{
	struct walk_frame *f = &w->frames[w->depth - 1];
	size_t depth = w->depth, pos = f->next;
	const char *name;
	int r;

	if (!f->listed) {
		f->listed = true;
		return list_dir(w);
	}
	name = io_names_next(&f->dirs, &pos, NULL);
	if (!name)
		return leave(w);
	r = enter(w, name);
	/* Not entered: go on behind it. Entered: leave() does. */
	if (w->depth == depth)
		w->frames[depth - 1].next = pos;
	return r;
}

static int start(struct walk *w, struct io_dir *root, const char *only)
{
	int r = trail_init(&w->trail, root);

	if (r == 0)
		r = guard_init(&w->guard, root);
	if (r < 0)
		return walk_fail(w->err, r, "open", only ? only : ".");
	r = frame_push(w);
	if (r == 0 && only) {
		io_names_add(&w->frames[0].dirs, only, DT_DIR);
		w->frames[0].listed = true;
	}
	return r;
}

static void walk_free(struct walk *w)
{
	while (w->depth)
		frame_pop(w);
	free(w->frames);
	trail_release(&w->trail);
	for (size_t i = 0; i < WALK_BATCH; i++)
		io_item_release(&w->items[i]);
	free(w);
}

int walk_dir(struct io_dir *root, const char *only, const struct walk_ops *ops, void *arg,
	struct err *err)
{
	struct snap_ctx *ctx = root->place->ctx;
	struct walk *w = calloc(1, sizeof(*w));
	int r;

	if (!w) {
		io_dir_close(&root);
		return walk_fail(err, -ENOMEM, "walk", only);
	}
	*w = (struct walk){.ops = ops, .ctx = ctx, .err = err, .arg = arg};
	r = start(w, root, only);
	while (r == 0 && w->depth) {
		r = snap_canceled(ctx) ?
			walk_fail(err, -ECANCELED, NULL, trail_path(&w->trail, NULL)) :
			step(w);
	}
	walk_free(w);
	return r;
}

int walk_tree(int fd, const char *only, const struct walk_ops *ops, struct snap_ctx *ctx, void *arg,
	struct err *err)
{
	_cleanup_io_place_ struct io_place *place = NULL;
	struct io_dir *root;
	int r = io_threads_new(ctx, &place);

	if (r == 0)
		r = io_threads_dir(place, fd, &root);
	if (r < 0)
		return walk_fail(err, r, "open", only ? only : ".");
	return walk_dir(root, only, ops, arg, err);
}
