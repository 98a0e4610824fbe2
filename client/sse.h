/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A parser of server-sent events (WHATWG HTML, 9.2.6), fed with whatever pieces arrive. Names of
 * events and retry times are not used by fsd's clients and are skipped.
 */
#ifndef CLIENT_SSE_H
#define CLIENT_SSE_H

#include <stdbool.h>
#include <stddef.h>

#define SSE_EVENT_MAX (1u << 20) /* bytes of one event */
#define SSE_ID_MAX 64

/* One event; the texts are NUL-terminated and borrowed. Not 0 ends the feeding, as -errno. */
typedef int sse_event_fn(void *arg, const char *id, const char *data, size_t len);

struct sse {
	sse_event_fn *event;
	void *arg;
	char *line, *data;
	size_t line_len, line_size, data_len, data_size;
	bool has_data, skip_lf;
	char next[SSE_ID_MAX]; /* of the event that is being received, or of one before it */
	char id[SSE_ID_MAX];   /* of the last whole event that had one */
};

void sse_init(struct sse *s, sse_event_fn *event, void *arg);
void sse_release(struct sse *s);
/* Forget a half-received event (after a lost connection); the id stays. */
void sse_restart(struct sse *s);
/* 0; -EFBIG, -ENOMEM; or what the callback returned. */
int sse_feed(struct sse *s, const char *data, size_t len);

#endif
