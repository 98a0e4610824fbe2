/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A parser of HTTP/1.1 responses (RFC 9112), fed with whatever pieces arrive. Strict, since the one
 * server it talks to is known: CRLF only, no folded lines, one framing (a length or chunks; never
 * "until the connection closes", which cannot tell a truncated answer from a whole one).
 */
#ifndef CLIENT_HTTP_H
#define CLIENT_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define HTTP_LINE_MAX 8192   /* bytes of one line */
#define HTTP_HEADERS_MAX 100 /* lines, trailers included */
#define HTTP_INTERIM_MAX 4   /* 1xx answers before the real one */

enum http_state {
	HTTP_STATUS,
	HTTP_HEADER,
	HTTP_BODY,
	HTTP_CHUNK_SIZE,
	HTTP_CHUNK,
	HTTP_CHUNK_END,
	HTTP_TRAILER,
	HTTP_DONE
};

/* Takes a piece of the body. 0, or -errno, which ends the parsing and is returned by it. */
typedef int http_body_fn(void *arg, const char *data, size_t len);

struct http {
	/* of the answer; all valid once in_body() */
	int status;
	bool keep_alive;
	char type[64]; /* Content-Type without parameters, lower case; "" if none or too long */
	const char *why; /* after -EBADMSG: what is wrong */
	/* inside */
	enum http_state state;
	http_body_fn *body;
	void *arg;
	bool has_length, chunked, has_encoding;
	uint64_t left; /* bytes that are still to come of the body or chunk */
	unsigned headers, interim;
	size_t line_len;
	char line[HTTP_LINE_MAX];
};

void http_init(struct http *h, http_body_fn *body, void *arg);

/*
 * Take `len` bytes. Returns how many were used, all of them unless the response ended before (then
 * http_done() is true, and the rest belongs to whatever comes next). -EBADMSG: not a response, and
 * h->why says why; -errno of the body callback.
 */
ssize_t http_feed(struct http *h, const char *data, size_t len);

static inline bool http_done(const struct http *h)
{
	return h->state == HTTP_DONE;
}
/* Status and headers are there. */
static inline bool http_in_body(const struct http *h)
{
	return h->state > HTTP_HEADER;
}

#endif
