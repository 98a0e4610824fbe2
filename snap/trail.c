/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "snap/trail.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

static void cut(struct buf *b, size_t len)
{
	if (b->data) {
		b->len = len;
		b->data[len] = '\0';
	}
}

/* "a" + "b" is "a/b". */
static int append(struct buf *b, const char *name)
{
	if (b->len)
		buf_adds(b, "/");
	buf_adds(b, name);
	return buf_error(b);
}

static int add_level(struct trail *t, struct io_dir *dir, uint64_t dev, uint64_t ino)
{
	if (t->depth == t->size) {
		size_t size = t->size ? t->size * 2 : 32;
		void *levels = reallocarray(t->levels, size, sizeof(*t->levels));

		if (!levels)
			return -ENOMEM;
		t->levels = levels;
		t->size = size;
	}
	t->levels[t->depth++] = (struct trail_level){
		.dir = dir, .dev = dev, .ino = ino, .path_len = t->path.len};
	return 0;
}

int trail_init(struct trail *t, struct io_dir *root)
{
	int r;

	*t = (struct trail){.first_open = 1};
	r = add_level(t, root, 0, 0);
	if (r < 0)
		io_dir_close(&root);
	return r;
}

void trail_release(struct trail *t)
{
	for (size_t i = 0; i < t->depth; i++)
		io_dir_close(&t->levels[i].dir);
	free(t->levels);
	buf_release(&t->path);
	buf_release(&t->shown);
	*t = (struct trail){0};
}

int trail_push(struct trail *t, const char *name, struct io_dir *dir, const struct io_stat *st)
{
	size_t len = t->path.len;
	int r = append(&t->path, name);

	if (r == 0)
		r = add_level(t, dir, st->dev, st->ino);
	if (r < 0) {
		io_dir_close(&dir);
		t->path.error = 0;
		cut(&t->path, len);
		return r;
	}
	if (t->depth - t->first_open > TRAIL_OPEN)
		io_dir_close(&t->levels[t->first_open++].dir);
	return 0;
}

static int accept_if_same(struct io_dir *dir, const struct trail_level *level)
{
	struct io_item it = {0};
	int r = io_drv(dir)->dir_get(dir, &it);

	io_item_release(&it);
	if (r < 0)
		return r;
	return it.st.dev == level->dev && it.st.ino == level->ino ? 0 : -ESTALE;
}

static int reopen_parent(struct io_dir *child, struct trail_level *level)
{
	_cleanup_io_dir_ struct io_dir *dir = NULL;
	int r = io_drv(child)->dir_parent(child, &dir);

	if (r == 0)
		r = accept_if_same(dir, level);
	if (r < 0)
		return r;
	level->dir = dir;
	dir = NULL;
	return 0;
}

int trail_open_path(struct io_dir *root, const char *path, size_t len, struct io_dir **out)
{
	_cleanup_io_dir_ struct io_dir *dir = NULL;
	struct io_dir *next;
	char name[NAME_MAX + 1];
	int r;

	while (len || !dir) {
		size_t n = len ? strcspn(path, "/") : 0;

		n = n < len ? n : len;
		if (n > NAME_MAX)
			return -ENAMETOOLONG;
		memcpy(name, n ? path : ".", n ? n : 2);
		if (n)
			name[n] = '\0';
		r = io_drv(root)->dir_open(dir ? dir : root, name, 0, &next);
		if (r < 0)
			return r;
		io_dir_close(&dir);
		dir = next;
		path += n < len ? n + 1 : n;
		len -= n < len ? n + 1 : n;
	}
	*out = dir;
	dir = NULL;
	return 0;
}

static int reopen_by_names(struct trail *t, struct trail_level *level)
{
	_cleanup_io_dir_ struct io_dir *dir = NULL;
	int r = trail_open_path(t->levels[0].dir, buf_str(&t->path), level->path_len, &dir);

	if (r == 0)
		r = accept_if_same(dir, level);
	if (r < 0)
		return -ESTALE;
	level->dir = dir;
	dir = NULL;
	return 0;
}

int trail_pop(struct trail *t)
{
	struct trail_level *top = &t->levels[t->depth - 1], *up = top - 1;
	int r = 0;

	if (!up->dir) {
		r = reopen_parent(top->dir, up);
		if (r < 0)
			r = reopen_by_names(t, up);
		if (r == 0)
			t->first_open = t->depth - 2;
	}
	io_dir_close(&top->dir);
	t->depth--;
	cut(&t->path, up->path_len);
	return r;
}

const char *trail_name(const struct trail *t)
{
	const char *path = buf_str(&t->path), *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

const char *trail_path(struct trail *t, const char *name)
{
	if (!name)
		return buf_str(&t->path);
	buf_reset(&t->shown);
	buf_add(&t->shown, buf_str(&t->path), t->path.len);
	return append(&t->shown, name) < 0 ? "?" : t->shown.data;
}
