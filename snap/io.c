/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What all I/O drivers and the engine share: items, packed xattrs, packed names. */
#include "snap/io.h"

#include <string.h>

void io_item_reset(struct io_item *it)
{
	buf_reset(&it->content);
	buf_reset(&it->xattrs);
	it->name = it->as = it->op = NULL;
	it->type = 0;
	it->flags = 0;
	it->error = 0;
	it->shared = 0;
}

void io_item_release(struct io_item *it)
{
	buf_release(&it->content);
	buf_release(&it->xattrs);
}

/* name NUL, u32 length, value: nothing is aligned. */
void io_xattr_add(struct buf *packed, const char *name, const void *value, size_t len)
{
	uint32_t n = len;

	buf_add(packed, name, strlen(name) + 1);
	buf_add(packed, &n, sizeof(n));
	buf_add(packed, value, len);
}

bool io_xattr_next(const struct buf *packed, size_t *pos, struct io_xattr *out)
{
	uint32_t n;

	if (*pos >= packed->len)
		return false;
	out->name = packed->data + *pos;
	*pos += strlen(out->name) + 1;
	memcpy(&n, packed->data + *pos, sizeof(n));
	*pos += sizeof(n);
	out->value = packed->data + *pos;
	out->len = n;
	*pos += n;
	return true;
}

/* type, name NUL. */
void io_names_add(struct io_names *names, const char *name, unsigned char type)
{
	buf_add(&names->buf, &type, 1);
	buf_add(&names->buf, name, strlen(name) + 1);
	names->n++;
}

const char *io_names_next(const struct io_names *names, size_t *pos, unsigned char *type)
{
	const char *name;

	if (*pos >= names->buf.len)
		return NULL;
	if (type)
		*type = names->buf.data[*pos];
	name = names->buf.data + *pos + 1;
	*pos += strlen(name) + 2;
	return name;
}

void io_names_reset(struct io_names *names)
{
	buf_reset(&names->buf);
	names->n = 0;
}

void io_names_release(struct io_names *names)
{
	buf_release(&names->buf);
	names->n = 0;
}

static bool time_same(const struct timespec *a, const struct timespec *b)
{
	return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

bool io_stat_same(const struct io_stat *a, const struct io_stat *b)
{
	return a->dev == b->dev && a->ino == b->ino && a->size == b->size && a->mode == b->mode &&
		a->uid == b->uid && a->gid == b->gid && time_same(&a->mtime, &b->mtime) &&
		time_same(&a->ctime, &b->ctime);
}

void io_place_free(struct io_place **place)
{
	if (*place)
		(*place)->driver->place_free(place);
	*place = NULL;
}

void io_dir_close(struct io_dir **dir)
{
	if (*dir)
		io_drv(*dir)->dir_close(dir);
	*dir = NULL;
}
