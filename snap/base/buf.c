/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "snap/base/buf.h"

#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void buf_release(struct buf *b)
{
	free(b->data);
	*b = BUF_INIT;
}

void buf_reset(struct buf *b)
{
	b->len = 0;
	b->error = 0;
	if (b->data)
		b->data[0] = '\0';
}

/* Make room for `len` more bytes and the NUL. */
static int grow(struct buf *b, size_t len)
{
	size_t need, size;
	char *data;

	if (b->error)
		return b->error;
	if (__builtin_add_overflow(b->len, len, &need) || need > SIZE_MAX / 2) {
		b->error = -ENOMEM;
		return b->error;
	}
	if (need < b->size)
		return 0;
	for (size = b->size ? b->size : 64; size <= need; size *= 2)
		;
	data = realloc(b->data, size);
	if (!data) {
		b->error = -ENOMEM;
		return b->error;
	}
	b->data = data;
	b->size = size;
	return 0;
}

void *buf_reserve(struct buf *b, size_t len)
{
	return grow(b, len) == 0 ? b->data + b->len : NULL;
}

void buf_add(struct buf *b, const void *data, size_t len)
{
	if (grow(b, len) < 0)
		return;
	if (len)
		memcpy(b->data + b->len, data, len);
	b->len += len;
	b->data[b->len] = '\0';
}

void buf_adds(struct buf *b, const char *s)
{
	buf_add(b, s, strlen(s));
}

void buf_printf(struct buf *b, const char *fmt, ...)
{
	va_list ap;
	int len;

	va_start(ap, fmt);
	len = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	if (len < 0 || grow(b, len) < 0)
		return;
	va_start(ap, fmt);
	vsnprintf(b->data + b->len, len + 1, fmt, ap);
	va_end(ap);
	b->len += len;
}

int buf_error(const struct buf *b)
{
	return b->error;
}

const char *buf_str(const struct buf *b)
{
	return b->data ? b->data : "";
}

char *buf_steal(struct buf *b)
{
	char *data;

	if (grow(b, 0) == 0)
		b->data[b->len] = '\0';
	data = b->error ? NULL : b->data;
	if (b->error)
		free(b->data);
	*b = BUF_INIT;
	return data;
}
