/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Messages between the api process and the worker over one SOCK_SEQPACKET pair. The api asks, the
 * worker answers each request once; a body beyond MSG_INLINE_MAX travels as a sealed memfd. The
 * api never sends a descriptor with another purpose, and the worker never follows one it did not
 * expect.
 */
#ifndef FSD_CORE_MSG_H
#define FSD_CORE_MSG_H

#include <stddef.h>
#include <stdint.h>

#include "snap/base/buf.h"

enum msg_type {
	/* api to worker */
	MSG_REQUEST = 1, /* body: request_encode() */
	MSG_ABANDON,	 /* the client of request `id` is gone: answer nothing */
	/* worker to api */
	MSG_READY, /* the worker serves: the api may accept connections; id: the newest event's */
	MSG_REPLY, /* status: of HTTP; body: JSON (text for /metrics) */
	MSG_EVENT, /* wake-up: id is the newest event's */
};

#define MSG_INLINE_MAX 32768
#define MSG_BODY_MAX (256u << 20) /* the worker's answers; requests: REQUEST_SIZE_MAX */

struct msg {
	enum msg_type type;
	uint16_t status;
	uint64_t id; /* chosen by the api for MSG_REQUEST, repeated in the answer */
	struct buf body;
};

#define MSG_INIT ((struct msg){0})
void msg_release(struct msg *m);

/* Send one message; blocks while the socket is full. Callers serialise sends on one fd. 0,
 * -EPIPE when the other side is gone, -ENOMEM, -errno. */
int msg_send(int fd, const struct msg *m);

/* Receive one message into an empty `m`; a body above `body_max` is -EMSGSIZE, a malformed message
 * -EBADMSG. 1, 0 when the other side has closed, -EAGAIN on a non-blocking fd, -errno. */
int msg_recv(int fd, struct msg *m, size_t body_max);

#endif
