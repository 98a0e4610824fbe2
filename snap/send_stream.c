/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The stream is cut into pieces of known length - header, command header, command body - and each
 * state handles its piece when all of it is there.
 */
#include "snap/send_stream.h"

#include <endian.h>
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "snap/base/err.h"

#define STREAM_MAGIC "btrfs-stream" /* with its NUL */
#define STREAM_HEADER (sizeof(STREAM_MAGIC) + 4)
#define CMD_HEADER 10
#define CRC_OFFSET 6
/* BTRFS_SEND_BUF_SIZE_V2: 16 KiB and the largest compressed extent. */
#define CMD_MAX (144 * 1024)

enum attr {
	ATTR_UUID = 1,
	ATTR_CTRANSID,
	ATTR_INO,
	ATTR_SIZE,
	ATTR_MODE,
	ATTR_UID,
	ATTR_GID,
	ATTR_RDEV,
	ATTR_CTIME,
	ATTR_MTIME,
	ATTR_ATIME,
	ATTR_OTIME,
	ATTR_XATTR_NAME,
	ATTR_XATTR_DATA,
	ATTR_PATH,
	ATTR_PATH_TO,
	ATTR_PATH_LINK,
	ATTR_FILE_OFFSET,
	ATTR_DATA,
	ATTR_CLONE_UUID,
	ATTR_CLONE_CTRANSID,
	ATTR_CLONE_PATH,
	ATTR_CLONE_OFFSET,
	ATTR_CLONE_LEN,
	ATTR_FALLOCATE_MODE, /* version 2 */
	ATTR_FILEATTR,
	ATTR_UNENCODED_FILE_LEN,
	ATTR_UNENCODED_LEN,
	ATTR_UNENCODED_OFFSET,
	ATTR_COMPRESSION,
	ATTR_ENCRYPTION,
	ATTR_VERITY_ALGORITHM, /* version 3 */
	ATTR_VERITY_BLOCK_SIZE,
	ATTR_VERITY_SALT,
	ATTR_VERITY_SIG,
	ATTR_MAX = ATTR_VERITY_SIG,
};

#define BIT(attr) (1ULL << (attr))
#define PATH BIT(ATTR_PATH)
#define RANGE (PATH | BIT(ATTR_FILE_OFFSET))

/* What a command must have for its meaning here; others (times, owners...) may be there. */
static const uint64_t required[SEND_CMD_MAX + 1] = {
	[SEND_SUBVOL] = PATH,
	[SEND_SNAPSHOT] = PATH,
	[SEND_MKFILE] = PATH,
	[SEND_MKDIR] = PATH,
	[SEND_MKNOD] = PATH,
	[SEND_MKFIFO] = PATH,
	[SEND_MKSOCK] = PATH,
	[SEND_SYMLINK] = PATH | BIT(ATTR_PATH_LINK),
	[SEND_RENAME] = PATH | BIT(ATTR_PATH_TO),
	[SEND_LINK] = PATH | BIT(ATTR_PATH_LINK),
	[SEND_UNLINK] = PATH,
	[SEND_RMDIR] = PATH,
	[SEND_SET_XATTR] = PATH | BIT(ATTR_XATTR_NAME) | BIT(ATTR_XATTR_DATA),
	[SEND_REMOVE_XATTR] = PATH | BIT(ATTR_XATTR_NAME),
	[SEND_WRITE] = RANGE | BIT(ATTR_DATA),
	[SEND_CLONE] = RANGE | BIT(ATTR_CLONE_LEN),
	[SEND_TRUNCATE] = PATH | BIT(ATTR_SIZE),
	[SEND_CHMOD] = PATH | BIT(ATTR_MODE),
	[SEND_CHOWN] = PATH | BIT(ATTR_UID) | BIT(ATTR_GID),
	[SEND_UTIMES] = PATH | BIT(ATTR_MTIME),
	[SEND_UPDATE_EXTENT] = RANGE | BIT(ATTR_SIZE),
	[SEND_FALLOCATE] = RANGE | BIT(ATTR_SIZE) | BIT(ATTR_FALLOCATE_MODE),
	[SEND_FILEATTR] = PATH | BIT(ATTR_FILEATTR),
	[SEND_ENCODED_WRITE] = RANGE | BIT(ATTR_UNENCODED_FILE_LEN) | BIT(ATTR_DATA),
	[SEND_ENABLE_VERITY] = PATH,
};

/* The only length an attribute of fixed size may have. */
static const uint16_t fixed_len[ATTR_MAX + 1] = {
	[ATTR_UUID] = 16,
	[ATTR_CTRANSID] = 8,
	[ATTR_INO] = 8,
	[ATTR_SIZE] = 8,
	[ATTR_MODE] = 8,
	[ATTR_UID] = 8,
	[ATTR_GID] = 8,
	[ATTR_RDEV] = 8,
	[ATTR_CTIME] = 12,
	[ATTR_MTIME] = 12,
	[ATTR_ATIME] = 12,
	[ATTR_OTIME] = 12,
	[ATTR_FILE_OFFSET] = 8,
	[ATTR_CLONE_UUID] = 16,
	[ATTR_CLONE_CTRANSID] = 8,
	[ATTR_CLONE_OFFSET] = 8,
	[ATTR_CLONE_LEN] = 8,
	[ATTR_FALLOCATE_MODE] = 4,
	[ATTR_FILEATTR] = 8,
	[ATTR_UNENCODED_FILE_LEN] = 8,
	[ATTR_UNENCODED_LEN] = 8,
	[ATTR_UNENCODED_OFFSET] = 8,
	[ATTR_COMPRESSION] = 4,
	[ATTR_ENCRYPTION] = 4,
	[ATTR_VERITY_ALGORITHM] = 1,
	[ATTR_VERITY_BLOCK_SIZE] = 4,
};

struct attr_value {
	const uint8_t *data;
	size_t len;
};

/* The attributes of one command: views into the parser's buffer. */
struct attrs {
	uint64_t present;
	struct attr_value value[ATTR_MAX + 1];
};

enum state {
	IN_HEADER,
	IN_CMD_HEADER,
	IN_CMD,
	ENDED,
	BROKEN,
};

struct send_stream {
	send_cmd_fn *fn;
	void *arg;
	enum state state;
	uint32_t version;
	bool named; /* the SUBVOL or SNAPSHOT command has been there */
	size_t have, want;
	uint8_t piece[CMD_HEADER + CMD_MAX];
	char path[PATH_MAX], path_to[PATH_MAX], path_link[PATH_MAX];
};

static uint32_t crc_table[256];

static void make_crc_table(void)
{
	for (uint32_t i = 0; i < 256; i++) {
		uint32_t crc = i;

		for (int bit = 0; bit < 8; bit++)
			crc = crc & 1 ? crc >> 1 ^ 0x82f63b78 : crc >> 1;
		crc_table[i] = crc;
	}
}

uint32_t send_crc32c(uint32_t crc, const void *data, size_t len)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	const uint8_t *p = data;

	pthread_once(&once, make_crc_table);
	while (len--)
		crc = crc >> 8 ^ crc_table[(uint8_t)crc ^ *p++];
	return crc;
}

static uint16_t get16(const uint8_t *p)
{
	uint16_t v;

	memcpy(&v, p, sizeof(v));
	return le16toh(v);
}

static uint32_t get32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return le32toh(v);
}

static uint64_t get64(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return le64toh(v);
}

static int bad(struct err *err, const char *what)
{
	return err_set(err, EBADMSG, "bad_stream", NULL, "bad send stream: %s", what);
}

int send_stream_new(send_cmd_fn *fn, void *arg, struct send_stream **out)
{
	struct send_stream *s = calloc(1, sizeof(*s));

	if (!s)
		return -ENOMEM;
	s->fn = fn;
	s->arg = arg;
	s->want = STREAM_HEADER;
	*out = s;
	return 0;
}

void send_stream_free(struct send_stream **s)
{
	free(*s);
	*s = NULL;
}

static void next_piece(struct send_stream *s, enum state state, size_t want)
{
	s->state = state;
	s->have = 0;
	s->want = want;
}

static int on_header(struct send_stream *s, struct err *err)
{
	if (memcmp(s->piece, STREAM_MAGIC, sizeof(STREAM_MAGIC)) != 0)
		return bad(err, "no btrfs-stream header");
	s->version = get32(s->piece + sizeof(STREAM_MAGIC));
	if (s->version < 1 || s->version > 3)
		return bad(err, "a version other than 1, 2 or 3");
	next_piece(s, IN_CMD_HEADER, CMD_HEADER);
	return 0;
}

/* The header stays in the buffer: the checksum covers it. */
static int on_cmd_header(struct send_stream *s, struct err *err)
{
	uint32_t len = get32(s->piece);

	if (len > CMD_MAX)
		return bad(err, "a command longer than any kernel sends");
	s->state = IN_CMD;
	s->want = CMD_HEADER + len;
	return 0;
}

/* One attribute at *pos. DATA of a later version takes the rest of the command. */
static int take_attr(const struct send_stream *s, size_t *pos, struct attrs *a, struct err *err)
{
	size_t left = s->have - *pos, head = 4, len;
	const uint8_t *p = s->piece + *pos;
	uint16_t type;

	if (left < 2)
		return bad(err, "an attribute is cut off");
	type = get16(p);
	if (type == 0 || type > ATTR_MAX)
		return bad(err, "an unknown attribute");
	if (a->present & BIT(type))
		return bad(err, "an attribute stands twice");
	if (type == ATTR_DATA && s->version >= 2) {
		head = 2;
		len = left - head;
	} else {
		if (left < head)
			return bad(err, "an attribute is cut off");
		len = get16(p + 2);
		if (len > left - head)
			return bad(err, "an attribute is longer than its command");
	}
	if (fixed_len[type] && len != fixed_len[type])
		return bad(err, "an attribute has a wrong length");
	a->present |= BIT(type);
	a->value[type] = (struct attr_value){p + head, len};
	*pos += head + len;
	return 0;
}

static int take_text(const struct attr_value *v, char out[PATH_MAX], struct err *err)
{
	if (v->len >= PATH_MAX)
		return bad(err, "a path is too long");
	if (v->len && memchr(v->data, '\0', v->len))
		return bad(err, "a path holds a NUL");
	if (v->len)
		memcpy(out, v->data, v->len);
	out[v->len] = '\0';
	return 0;
}

/* Names between single slashes, none of them "." or ".."; "" is the tree itself. */
static bool is_normal(const char *path)
{
	const char *p = path;

	if (!*p)
		return true;
	for (;;) {
		size_t len = strcspn(p, "/");

		if (len == 0 || len > NAME_MAX || (len == 1 && p[0] == '.') ||
			(len == 2 && p[0] == '.' && p[1] == '.'))
			return false;
		if (!p[len])
			return true;
		p += len + 1;
	}
}

static int take_path(const struct attr_value *v, char out[PATH_MAX], struct err *err)
{
	int r = take_text(v, out, err);

	if (r == 0 && !is_normal(out))
		return bad(err, "a path is absolute or not normalised");
	return r;
}

static int take_paths(struct send_stream *s, const struct attrs *a, struct send_cmd *cmd,
	struct err *err)
{
	int r = 0;

	if (a->present & PATH) {
		r = take_path(&a->value[ATTR_PATH], s->path, err);
		cmd->path = s->path;
	}
	if (r == 0 && a->present & BIT(ATTR_PATH_TO)) {
		r = take_path(&a->value[ATTR_PATH_TO], s->path_to, err);
		cmd->path_to = s->path_to;
	}
	if (r == 0 && a->present & BIT(ATTR_PATH_LINK)) {
		r = cmd->type == SEND_SYMLINK ?
			take_text(&a->value[ATTR_PATH_LINK], s->path_link, err) :
			take_path(&a->value[ATTR_PATH_LINK], s->path_link, err);
		cmd->path_link = s->path_link;
	}
	return r;
}

static int take_range(const struct attrs *a, struct send_cmd *cmd, struct err *err)
{
	if (a->present & BIT(ATTR_FILE_OFFSET))
		cmd->offset = get64(a->value[ATTR_FILE_OFFSET].data);
	if (a->present & BIT(ATTR_SIZE))
		cmd->size = get64(a->value[ATTR_SIZE].data);
	else if (a->present & BIT(ATTR_CLONE_LEN))
		cmd->size = get64(a->value[ATTR_CLONE_LEN].data);
	else if (a->present & BIT(ATTR_UNENCODED_FILE_LEN))
		cmd->size = get64(a->value[ATTR_UNENCODED_FILE_LEN].data);
	else if (a->present & BIT(ATTR_DATA))
		cmd->size = a->value[ATTR_DATA].len;
	/* File offsets are signed in the kernel; so no sum of two can overflow here. */
	if (cmd->offset > INT64_MAX || cmd->size > INT64_MAX ||
		cmd->offset + cmd->size > INT64_MAX)
		return bad(err, "a range beyond the largest file");
	return 0;
}

static int check_order(struct send_stream *s, enum send_cmd_type type, struct err *err)
{
	bool names = type == SEND_SUBVOL || type == SEND_SNAPSHOT;

	if (names && s->named)
		return bad(err, "a second subvolume");
	if (!names && !s->named && type != SEND_END)
		return bad(err, "a command before the subvolume's name");
	s->named = true;
	return 0;
}

static int parse_cmd(struct send_stream *s, struct send_cmd *cmd, struct err *err)
{
	struct attrs a = {0};
	uint16_t type = get16(s->piece + 4);
	size_t pos = CMD_HEADER;
	int r;

	if (type == 0 || type > SEND_CMD_MAX)
		return bad(err, "an unknown command");
	cmd->type = (enum send_cmd_type)type;
	r = check_order(s, cmd->type, err);
	while (r == 0 && pos < s->have)
		r = take_attr(s, &pos, &a, err);
	if (r < 0)
		return r;
	if ((a.present & required[type]) != required[type])
		return bad(err, "a command lacks an attribute");
	r = take_paths(s, &a, cmd, err);
	return r < 0 ? r : take_range(&a, cmd, err);
}

static int on_cmd(struct send_stream *s, struct err *err)
{
	uint32_t crc = get32(s->piece + CRC_OFFSET);
	struct send_cmd cmd = {0};
	int r;

	memset(s->piece + CRC_OFFSET, 0, 4);
	if (send_crc32c(0, s->piece, s->have) != crc)
		return bad(err, "a checksum is wrong");
	r = parse_cmd(s, &cmd, err);
	if (r == 0)
		r = s->fn(&cmd, s->arg, err);
	if (r < 0)
		return r;
	if (cmd.type == SEND_END)
		next_piece(s, ENDED, 0);
	else
		next_piece(s, IN_CMD_HEADER, CMD_HEADER);
	return 0;
}

static int on_piece(struct send_stream *s, struct err *err)
{
	switch (s->state) {
	case IN_HEADER:
		return on_header(s, err);
	case IN_CMD_HEADER:
		return on_cmd_header(s, err);
	case IN_CMD:
		return on_cmd(s, err);
	case ENDED:
		return bad(err, "bytes behind the end");
	case BROKEN:
		break;
	}
	return -EBADMSG;
}

int send_stream_feed(struct send_stream *s, const void *data, size_t len, struct err *err)
{
	const uint8_t *p = data;
	int r = s->state == BROKEN ? bad(err, "it was given up before") : 0;

	while (r == 0 && len) {
		size_t n = s->want - s->have < len ? s->want - s->have : len;

		memcpy(s->piece + s->have, p, n);
		s->have += n;
		p += n;
		len -= n;
		/* A command without attributes is whole with its header. */
		do {
			if (s->have == s->want)
				r = on_piece(s, err);
		} while (r == 0 && s->state == IN_CMD && s->have == s->want);
	}
	if (r < 0)
		s->state = BROKEN;
	return r;
}

int send_stream_end(struct send_stream *s, struct err *err)
{
	return s->state == ENDED ? 0 : bad(err, "it is cut off");
}
