/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The send stream's parser and the path simulator behind it. The first byte says how the rest is
 * meant: as a stream as it stands, with its checksums put right, or as a script of commands on a
 * few names.
 */
#include <stdint.h>
#include <stdlib.h>

#include "snap/send_paths.h"
#include "tests/unit/pool/stream_maker.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int look(const struct send_change *c, void *arg)
{
	size_t *sum = arg;

	*sum += (c->path ? strlen(c->path) : 0) + (c->from ? strlen(c->from) : 0);
	for (size_t i = 0; i < c->n_ranges; i++)
		*sum += c->ranges[i].len;
	return 0;
}

static void run(const char *data, size_t len, size_t step)
{
	struct send_paths *p = NULL;
	struct send_stream *s = NULL;
	size_t sum = 0;
	int r = 0;

	if (send_paths_new(&p) < 0 || send_stream_new(send_paths_apply, p, &s) < 0)
		abort();
	for (size_t i = 0; r == 0 && i < len; i += step)
		r = send_stream_feed(s, data + i, len - i < step ? len - i : step, NULL);
	if (r == 0)
		send_stream_end(s, NULL);
	send_paths_finish(p, look, &sum, NULL);
	send_stream_free(&s);
	send_paths_free(&p);
}

/* The fuzzer does not guess checksums. */
static void seal_all(struct buf *b)
{
	size_t at = 17;

	while (at + 10 <= b->len) {
		uint32_t len, crc;

		memcpy(&len, b->data + at, 4);
		len = le32toh(len);
		if (len > b->len - at - 10)
			return;
		memset(b->data + at + 6, 0, 4);
		crc = htole32(send_crc32c(0, b->data + at, len + 10));
		memcpy(b->data + at + 6, &crc, 4);
		at += len + 10;
	}
}

static void play(struct maker *m, uint8_t what, const char *x, const char *y)
{
	static const uint16_t cmds[] = {SEND_MKFILE, SEND_MKDIR, SEND_RENAME, SEND_LINK,
		SEND_UNLINK, SEND_RMDIR, SEND_UPDATE_EXTENT, SEND_UTIMES};
	uint16_t cmd = cmds[what % 8];

	if (cmd == SEND_UPDATE_EXTENT)
		maker_extent(m, x, (uint64_t)what << 9, what);
	else if (cmd == SEND_UTIMES)
		maker_utimes(m, x);
	else
		maker_path(m, cmd, x, cmd == SEND_RENAME || cmd == SEND_LINK ? y : NULL);
}

static void script(const uint8_t *data, size_t size)
{
	static const char *const names[] = {"a", "a/b", "a/b/c", "b", "b/a", "c", "o1-2-3", ""};
	struct maker m = {0};

	maker_begin(&m, 2);
	maker_path(&m, SEND_SNAPSHOT, "s", NULL);
	for (size_t i = 0; i + 1 < size; i += 2)
		play(&m, data[i], names[data[i + 1] & 7], names[data[i + 1] >> 3 & 7]);
	maker_end(&m);
	run(m.out.data, m.out.len, m.out.len);
	buf_release(&m.out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct buf b = BUF_INIT;

	if (size < 2)
		return 0;
	if (data[0] & 1) {
		script(data + 1, size - 1);
		return 0;
	}
	buf_add(&b, data + 1, size - 1);
	if (data[0] & 2)
		seal_all(&b);
	run(b.data, b.len, 1 + (data[0] >> 2));
	buf_release(&b);
	return 0;
}
