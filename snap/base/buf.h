/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A growing byte buffer whose content is always NUL-terminated. Errors stick: after a failed
 * allocation every append is a no-op and buf_error() answers -ENOMEM, so callers check once.
 */
#ifndef SNAP_BASE_BUF_H
#define SNAP_BASE_BUF_H

#include <stddef.h>

struct buf {
	char *data; /* NULL while empty */
	size_t len; /* without the NUL */
	size_t size;
	int error; /* 0 or -ENOMEM */
};

#define BUF_INIT ((struct buf){0})

void buf_release(struct buf *b);
#define _cleanup_buf_ __attribute__((cleanup(buf_release)))

void buf_reset(struct buf *b);
void buf_add(struct buf *b, const void *data, size_t len);
void buf_adds(struct buf *b, const char *s);
void buf_printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Room for `len` more bytes without a further allocation; what it points to stays uninitialised. */
void *buf_reserve(struct buf *b, size_t len);

int buf_error(const struct buf *b);
/* The content, "" while empty; valid until the next change. */
const char *buf_str(const struct buf *b);
/* Hand the malloc'd content to the caller (NULL on error) and leave the buffer empty. */
char *buf_steal(struct buf *b);

#endif
