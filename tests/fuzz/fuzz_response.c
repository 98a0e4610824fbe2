/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * libFuzzer: HTTP responses and event streams as the client library reads them. Whatever arrives,
 * the result must not depend on the pieces it arrives in.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "client/http.h"
#include "client/sse.h"

struct result {
	ssize_t used; /* or the error */
	int status;
	uint64_t body; /* hash of what the callbacks were given */
	size_t len;
};

static void mix(struct result *r, const char *data, size_t len)
{
	for (size_t i = 0; i < len; i++)
		r->body = (r->body ^ (unsigned char)data[i]) * 1099511628211u;
	r->len += len;
}

static int take_body(void *arg, const char *data, size_t len)
{
	mix(arg, data, len);
	return 0;
}

static int take_event(void *arg, const char *id, const char *data, size_t len)
{
	if (strlen(id) >= SSE_ID_MAX || data[len] != '\0')
		abort();
	mix(arg, id, strlen(id));
	mix(arg, data, len);
	return 0;
}

static void parse_response(const char *data, size_t size, size_t piece, struct result *out)
{
	struct http h;

	memset(out, 0, sizeof(*out));
	http_init(&h, take_body, out);
	for (size_t at = 0; at < size && !http_done(&h) && out->used >= 0;) {
		size_t n = size - at < piece ? size - at : piece;
		ssize_t r = http_feed(&h, data + at, n);

		if (r > (ssize_t)n || (r >= 0 && r < (ssize_t)n && !http_done(&h)))
			abort();
		at += r > 0 ? (size_t)r : 0;
		out->used = r < 0 ? r : (ssize_t)at;
	}
	if (out->used < 0 && !h.why)
		abort();
	/* Of a response that broke, how much was handed out depends on the pieces. */
	if (out->used < 0)
		out->body = out->len = 0;
	else
		out->status = h.status;
}

static void parse_events(const char *data, size_t size, size_t piece, struct result *out)
{
	struct sse s;

	memset(out, 0, sizeof(*out));
	sse_init(&s, take_event, out);
	for (size_t at = 0; at < size && out->used == 0; at += piece)
		out->used = sse_feed(&s, data + at, size - at < piece ? size - at : piece);
	sse_release(&s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct result whole, pieces;

	if (size < 1)
		return 0;
	size_t piece = 1 + data[0] % 7;
	const char *text = (const char *)data + 1;

	parse_response(text, size - 1, size, &whole);
	parse_response(text, size - 1, piece, &pieces);
	if (memcmp(&whole, &pieces, sizeof(whole)) != 0)
		abort();
	parse_events(text, size - 1, size, &whole);
	parse_events(text, size - 1, piece, &pieces);
	if (memcmp(&whole, &pieces, sizeof(whole)) != 0)
		abort();
	return 0;
}
