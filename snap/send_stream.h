/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reading a btrfs send stream (protocols 1 to 3): a streaming parser that trusts nothing it reads.
 *
 * Format (kernel fs/btrfs/send.h; all little-endian): the header "btrfs-stream\0" and a u32
 * version; then commands of u32 length (of what follows the header), u16 command, u32 crc32c (seed
 * 0, not inverted, over the whole command with this field zero) and attributes. An attribute is
 * u16 type, u16 length, data; from version 2 on DATA has no length, is the last and takes the rest.
 *
 * What the stream means for the paths of a tree is the matter of snap/send_paths.h.
 */
#ifndef SNAP_SEND_STREAM_H
#define SNAP_SEND_STREAM_H

#include <limits.h>
#include <stddef.h>
#include <stdint.h>

struct err;

enum send_cmd_type {
	SEND_SUBVOL = 1,
	SEND_SNAPSHOT,
	SEND_MKFILE,
	SEND_MKDIR,
	SEND_MKNOD,
	SEND_MKFIFO,
	SEND_MKSOCK,
	SEND_SYMLINK,
	SEND_RENAME,
	SEND_LINK,
	SEND_UNLINK,
	SEND_RMDIR,
	SEND_SET_XATTR,
	SEND_REMOVE_XATTR,
	SEND_WRITE,
	SEND_CLONE,
	SEND_TRUNCATE,
	SEND_CHMOD,
	SEND_CHOWN,
	SEND_UTIMES,
	SEND_END,
	SEND_UPDATE_EXTENT, /* instead of WRITE and CLONE in a stream without data */
	SEND_FALLOCATE,	    /* version 2 */
	SEND_FILEATTR,
	SEND_ENCODED_WRITE,
	SEND_ENABLE_VERITY, /* version 3 */
	SEND_CMD_MAX = SEND_ENABLE_VERITY,
};

/* One command. Pointers are borrowed until the callback returns; what the command does not have is
 * NULL or 0. Paths are relative, normalised, at most PATH_MAX - 1 bytes; "" is the tree itself. */
struct send_cmd {
	enum send_cmd_type type;
	const char *path;
	const char *path_to;   /* RENAME */
	const char *path_link; /* LINK: the existing path; SYMLINK: the target, any bytes */
	uint64_t offset, size; /* WRITE, CLONE, UPDATE_EXTENT, FALLOCATE; TRUNCATE: size */
};

/* 0, or a value < 0 that ends the parsing and is returned by it; err is the callback's to fill. */
typedef int send_cmd_fn(const struct send_cmd *cmd, void *arg, struct err *err);

struct send_stream;

/* `fn` is called by send_stream_feed(), once a command, SEND_END included. 0 or -ENOMEM. */
int send_stream_new(send_cmd_fn *fn, void *arg, struct send_stream **out);
void send_stream_free(struct send_stream **s);

/*
 * The next bytes of the stream, in pieces of any size. 0, the callback's error, or -EBADMSG
 * "bad_stream" with the reason; after an error every call gives -EBADMSG. Memory is bounded by
 * the largest command a kernel sends (about 144 KiB), whatever lengths the stream claims.
 */
int send_stream_feed(struct send_stream *s, const void *data, size_t len, struct err *err);

/* The stream has ended: -EBADMSG unless it ended behind its END command. */
int send_stream_end(struct send_stream *s, struct err *err);

/* CRC-32C as the stream has it: seed 0, no inversion. */
uint32_t send_crc32c(uint32_t crc, const void *data, size_t len);

#endif
