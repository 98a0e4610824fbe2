/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Write send streams by hand: what the parser and the path simulator are tested on. */
#ifndef TESTS_UNIT_POOL_STREAM_MAKER_H
#define TESTS_UNIT_POOL_STREAM_MAKER_H

#include <endian.h>
#include <string.h>

#include "snap/base/buf.h"
#include "snap/send_stream.h"

#define MAKER_PATH 15
#define MAKER_PATH_TO 16
#define MAKER_PATH_LINK 17

struct maker {
	struct buf out;
	size_t cmd; /* where the open command begins */
};

static inline void put16(struct buf *b, uint16_t v)
{
	v = htole16(v);
	buf_add(b, &v, sizeof(v));
}

static inline void put32(struct buf *b, uint32_t v)
{
	v = htole32(v);
	buf_add(b, &v, sizeof(v));
}

static inline void maker_begin(struct maker *m, uint32_t version)
{
	buf_add(&m->out, "btrfs-stream", 13);
	put32(&m->out, version);
}

static inline void maker_cmd(struct maker *m, uint16_t cmd)
{
	m->cmd = m->out.len;
	put32(&m->out, 0);
	put16(&m->out, cmd);
	put32(&m->out, 0);
}

static inline void maker_attr(struct maker *m, uint16_t type, const void *data, uint16_t len)
{
	put16(&m->out, type);
	put16(&m->out, len);
	buf_add(&m->out, data, len);
}

static inline void maker_text(struct maker *m, uint16_t type, const char *text)
{
	maker_attr(m, type, text, (uint16_t)strlen(text));
}

static inline void maker_u64(struct maker *m, uint16_t type, uint64_t v)
{
	v = htole64(v);
	maker_attr(m, type, &v, sizeof(v));
}

/* Fill in length and checksum. */
static inline void maker_seal(struct maker *m)
{
	char *p = m->out.data + m->cmd;
	uint32_t len = htole32((uint32_t)(m->out.len - m->cmd - 10)), crc;

	memcpy(p, &len, 4);
	memset(p + 6, 0, 4);
	crc = htole32(send_crc32c(0, p, m->out.len - m->cmd));
	memcpy(p + 6, &crc, 4);
}

/* A command with a path and perhaps a second one (RENAME: path_to, LINK and SYMLINK: path_link). */
static inline void maker_path(struct maker *m, uint16_t cmd, const char *path, const char *second)
{
	maker_cmd(m, cmd);
	maker_text(m, MAKER_PATH, path);
	if (second)
		maker_text(m, cmd == SEND_RENAME ? MAKER_PATH_TO : MAKER_PATH_LINK, second);
	maker_seal(m);
}

static inline void maker_extent(struct maker *m, const char *path, uint64_t offset, uint64_t len)
{
	maker_cmd(m, SEND_UPDATE_EXTENT);
	maker_text(m, MAKER_PATH, path);
	maker_u64(m, 18, offset);
	maker_u64(m, 4, len);
	maker_seal(m);
}

static inline void maker_utimes(struct maker *m, const char *path)
{
	const char time[12] = {0};

	maker_cmd(m, SEND_UTIMES);
	maker_text(m, MAKER_PATH, path);
	maker_attr(m, 10, time, sizeof(time));
	maker_seal(m);
}

static inline void maker_end(struct maker *m)
{
	maker_cmd(m, SEND_END);
	maker_seal(m);
}

#endif
