/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The response parser: what it takes, what it refuses, in whatever pieces it arrives. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/http.h"
#include "client/sse.h"

struct got {
	char data[4096];
	size_t len;
};

static int take(void *arg, const char *data, size_t len)
{
	struct got *g = arg;

	assert_true(g->len + len < sizeof(g->data));
	memcpy(g->data + g->len, data, len);
	g->len += len;
	g->data[g->len] = '\0';
	return 0;
}

/* Feed in pieces of `piece` bytes. Bytes used in all, or the error. */
static ssize_t feed(struct http *h, struct got *g, const char *text, size_t piece)
{
	size_t len = strlen(text), used = 0;

	memset(g, 0, sizeof(*g));
	http_init(h, take, g);
	while (used < len && !http_done(h)) {
		size_t n = len - used < piece ? len - used : piece;
		ssize_t r = http_feed(h, text + used, n);

		if (r < 0)
			return r;
		used += (size_t)r;
	}
	return (ssize_t)used;
}

static const size_t pieces[] = {1, 2, 3, 7, 100000};
#define N_PIECES (sizeof(pieces) / sizeof(pieces[0]))

static void takes(const char *text, int status, const char *body, size_t rest)
{
	for (size_t i = 0; i < N_PIECES; i++) {
		struct http h;
		struct got g;
		ssize_t used = feed(&h, &g, text, pieces[i]);

		assert_true(used >= 0);
		assert_true(http_done(&h));
		assert_int_equal(h.status, status);
		assert_string_equal(g.data, body);
		assert_int_equal(strlen(text) - (size_t)used, rest);
	}
}

static void refuses(const char *text)
{
	for (size_t i = 0; i < N_PIECES; i++) {
		struct http h;
		struct got g;

		if (feed(&h, &g, text, pieces[i]) != -EBADMSG)
			fail_msg("taken: %s", text);
		assert_non_null(h.why);
	}
}

static void test_http__takes_a_body_with_a_length(void **state)
{
	(void)state;
	takes("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", 200, "hello", 0);
	takes("HTTP/1.1 200\r\ncontent-length:5 \r\n\r\nhello", 200, "hello", 0);
	takes("HTTP/1.1 404 \r\nContent-Length: 0\r\nX: \r\n\r\n", 404, "", 0);
	takes("HTTP/1.1 204 No\r\n\r\n", 204, "", 0);
	takes("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1", 200, "ok", 8);
}

static void test_http__takes_chunks_extensions_and_trailers(void **state)
{
	(void)state;
	takes("HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n"
	      "5\r\nhello\r\n1;a=b\r\n!\r\n0\r\nX-Sum: 1\r\n\r\n",
		200, "hello!", 0);
	takes("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
	      "0000A\r\n0123456789\r\n0\r\n\r\n",
		200, "0123456789", 0);
}

static void test_http__skips_interim_answers(void **state)
{
	(void)state;
	takes("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx", 200,
		"x", 0);
	refuses("HTTP/1.1 100 C\r\n\r\nHTTP/1.1 100 C\r\n\r\nHTTP/1.1 100 C\r\n\r\n"
		"HTTP/1.1 100 C\r\n\r\nHTTP/1.1 100 C\r\n\r\n");
	refuses("HTTP/1.1 101 Switching\r\n\r\n");
}

static void test_http__refuses_malformed_status_lines(void **state)
{
	(void)state;
	refuses("HTTP/1.0 200 OK\r\n\r\n");
	refuses("HTTP/2 200\r\n\r\n");
	refuses("http/1.1 200 OK\r\n\r\n");
	refuses("HTTP/1.1  200 OK\r\n\r\n");
	refuses("HTTP/1.1 20 OK\r\n\r\n");
	refuses("HTTP/1.1 2000 OK\r\n\r\n");
	refuses("HTTP/1.1 +20 OK\r\n\r\n");
	refuses("HTTP/1.1 999 OK\r\n\r\n");
	refuses("HTTP/1.1 200 OK\nContent-Length: 0\n\n");
	refuses("\r\nHTTP/1.1 200 OK\r\n\r\n");
	refuses("garbage\r\n");
}

static void test_http__refuses_malformed_headers(void **state)
{
	(void)state;
#define HEAD "HTTP/1.1 200 OK\r\n"
	refuses(HEAD "Content-Length : 5\r\n\r\n");
	refuses(HEAD ": 5\r\n\r\n");
	refuses(HEAD "No colon\r\n\r\n");
	refuses(HEAD "A: b\r\n folded\r\n\r\n");
	refuses(HEAD "A: b\rc\r\n\r\n");
	refuses(HEAD "A: b\x01\r\n\r\n");
	refuses(HEAD "A: b\n\r\n");
	refuses(HEAD "A: bc\nContent-Length: 0\r\n\r\n");
	refuses("HTTP/1.1 200 OK!\nContent-Length: 0\r\n\r\n");
	refuses(HEAD "Content-Length: 00\n\r\n");
}

static void test_http__refuses_unclear_framing(void **state)
{
	(void)state;
	refuses(HEAD "\r\n");
	refuses(HEAD "Content-Length: 5\r\nContent-Length: 5\r\n\r\n");
	refuses(HEAD "Content-Length: 5, 5\r\n\r\n");
	refuses(HEAD "Content-Length: -1\r\n\r\n");
	refuses(HEAD "Content-Length: +1\r\n\r\n");
	refuses(HEAD "Content-Length: 0x5\r\n\r\n");
	refuses(HEAD "Content-Length: \r\n\r\n");
	refuses(HEAD "Content-Length: 99999999999999999999\r\n\r\n");
	refuses(HEAD "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n");
	refuses(HEAD "Transfer-Encoding: gzip, chunked\r\n\r\n");
	refuses(HEAD "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n");
	refuses("HTTP/1.1 204 No\r\nContent-Length: 5\r\n\r\n");
}

static void test_http__refuses_malformed_chunks(void **state)
{
	(void)state;
#define CHUNKED HEAD "Transfer-Encoding: chunked\r\n\r\n"
	refuses(CHUNKED "\r\n");
	refuses(CHUNKED "x\r\n");
	refuses(CHUNKED "-5\r\nhello\r\n");
	refuses(CHUNKED "5\nhello\r\n");
	refuses(CHUNKED "5\r\nhelloX\r\n");
	refuses(CHUNKED "ffffffffffffffff\r\n");
	refuses(CHUNKED "5 hello\r\n"
			"hello6\r\n");
}

static void test_http__is_not_done_while_something_is_missing(void **state)
{
	static const char whole[] = CHUNKED "5\r\nhello\r\n0\r\n\r\n";
	struct http h;
	struct got g;

	(void)state;
	for (size_t len = 0; len < sizeof(whole) - 1; len++) {
		char *part = strndup(whole, len);

		assert_int_equal(feed(&h, &g, part, 3), len);
		assert_false(http_done(&h));
		free(part);
	}
}

static void test_http__bounds_lines_and_their_number(void **state)
{
	size_t size = HTTP_LINE_MAX + 100;
	char *text = calloc(1, size + 10 * (HTTP_HEADERS_MAX + 2)), *p;

	(void)state;
	assert_non_null(text);
	memset(text, 'a', sizeof(HEAD) + HTTP_LINE_MAX);
	memcpy(text, HEAD "A: ", sizeof(HEAD "A: ") - 1);
	strcat(text, "\r\n");
	refuses(text);
	p = stpcpy(text, HEAD);
	for (int i = 0; i <= HTTP_HEADERS_MAX; i++)
		p = stpcpy(p, "A: b\r\n");
	refuses(text);
	free(text);
}

static void test_http__reads_connection_and_type(void **state)
{
	struct http h;
	struct got g;

	(void)state;
	feed(&h, &g, HEAD "Connection: x, Close\r\n"
			  "Content-Type: TEXT/Event-Stream; charset=utf-8\r\n"
			  "Content-Length: 0\r\n\r\n", 100);
	assert_false(h.keep_alive);
	assert_string_equal(h.type, "text/event-stream");
	feed(&h, &g, HEAD "Connection: closed\r\nContent-Length: 0\r\n\r\n", 100);
	assert_true(h.keep_alive);
}

/* ---- events ---- */

struct events {
	char text[1024];
};

static int take_event(void *arg, const char *id, const char *data, size_t len)
{
	struct events *e = arg;
	size_t at = strlen(e->text);

	snprintf(e->text + at, sizeof(e->text) - at, "[%s|%.*s]", id, (int)len, data);
	return 0;
}

static void events(const char *stream, const char *want)
{
	for (size_t piece = 1; piece < 20; piece++) {
		struct events e = {""};
		struct sse s;

		sse_init(&s, take_event, &e);
		for (size_t i = 0; i < strlen(stream); i += piece) {
			size_t n = strlen(stream) - i < piece ? strlen(stream) - i : piece;

			assert_int_equal(sse_feed(&s, stream + i, n), 0);
		}
		assert_string_equal(e.text, want);
		sse_release(&s);
	}
}

static void test_sse__joins_lines_and_keeps_ids(void **state)
{
	(void)state;
	events("id: 7\ndata: a\ndata: b\n\ndata:c\n\n", "[7|a\nb][7|c]");
	events("id: 7\r\nevent: x\r\ndata: a\r\n\r\n", "[7|a]");
	events("data: a\rid: 8\r\r", "[8|a]");
	events("data\n\n", "[|]");
}

static void test_sse__skips_comments_and_unfinished_events(void **state)
{
	(void)state;
	events(": hello\n\n:\n\nid: 3\n\nretry: 5\n\ndata: x\n", "");
	events(":x\ndata: a\n\n", "[|a]");
}

static void test_sse__bounds_an_event(void **state)
{
	struct events e = {""};
	char piece[4096];
	struct sse s;
	int r = 0;

	(void)state;
	memset(piece, 'a', sizeof(piece));
	sse_init(&s, take_event, &e);
	for (int i = 0; r == 0 && i < 1000; i++)
		r = sse_feed(&s, piece, sizeof(piece));
	assert_int_equal(r, -EFBIG);
	sse_release(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_http__takes_a_body_with_a_length),
		cmocka_unit_test(test_http__takes_chunks_extensions_and_trailers),
		cmocka_unit_test(test_http__skips_interim_answers),
		cmocka_unit_test(test_http__refuses_malformed_status_lines),
		cmocka_unit_test(test_http__refuses_malformed_headers),
		cmocka_unit_test(test_http__refuses_unclear_framing),
		cmocka_unit_test(test_http__refuses_malformed_chunks),
		cmocka_unit_test(test_http__is_not_done_while_something_is_missing),
		cmocka_unit_test(test_http__bounds_lines_and_their_number),
		cmocka_unit_test(test_http__reads_connection_and_type),
		cmocka_unit_test(test_sse__joins_lines_and_keeps_ids),
		cmocka_unit_test(test_sse__skips_comments_and_unfinished_events),
		cmocka_unit_test(test_sse__bounds_an_event),
	};

	return cmocka_run_group_tests_name("response", tests, NULL, NULL);
}
