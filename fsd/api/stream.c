/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Server-sent events (the HTML standard's "text/event-stream"). A stream is a cursor: it asks the
 * worker for a page of events only when the last page has left for the client and newer ones are
 * there, so a slow reader costs one page, whatever happens meanwhile.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "fsd/api/server.h"
#include "fsd/core/json.h"
#include "snap/base/clock.h"
#include "snap/base/fd.h"

#define PAGE 100 /* events */
#define BLOCK 4096

struct stream {
	int64_t cursor;	 /* the last event that was sent */
	uint64_t asked;	 /* the newest event when it asked last */
	bool more;	 /* there was another page behind the last one */
	bool ended;	 /* the worker refused: the client comes again and is told why */
	int64_t silence; /* a sign of life is due then */
	struct buf out;
	size_t sent; /* of out */
};

bool stream_wanted(const struct call *c)
{
	const char *accept = MHD_lookup_connection_value(c->mhd, MHD_HEADER_KIND, "Accept");

	return c->route.request.op == OP_EVENTS && accept && strstr(accept, "text/event-stream");
}

void stream_free(struct stream **s)
{
	if (*s)
		buf_release(&(*s)->out);
	free(*s);
	*s = NULL;
}

/* ---- asking ---- */

static int ask(struct call *c)
{
	struct server *s = c->conn->server;
	struct request r;
	int ret;

	request_init(&r, OP_EVENTS);
	r.actor = c->conn->actor;
	ret = request_set_int(&r, F_AFTER, c->stream->cursor);
	if (ret == 0)
		ret = request_set_int(&r, F_LIMIT, PAGE);
	if (ret == 0)
		ret = call_ask(c, &r, s->limits.answer);
	c->stream->asked = s->newest_event;
	c->stream->more = false;
	request_release(&r);
	return ret;
}

static int event_id(const char *text, int64_t *out)
{
	int64_t n = 0;

	if (*text == '\0')
		return -EINVAL;
	for (; *text; text++) {
		if (*text < '0' || *text > '9' || __builtin_mul_overflow(n, 10, &n) ||
			__builtin_add_overflow(n, *text - '0', &n))
			return -EINVAL;
	}
	*out = n;
	return 0;
}

/* The header comes from a client that reconnects; the query is what it began with. */
int stream_open(struct call *c, struct err *err)
{
	const char *last = MHD_lookup_connection_value(c->mhd, MHD_HEADER_KIND, "Last-Event-ID");
	struct server *s = c->conn->server;
	int64_t cursor = s->newest_event;
	int r;

	if (last && *last) {
		if (event_id(last, &cursor) < 0)
			return err_set(err, EBADMSG, "bad_request", "Last-Event-ID",
				"it is not the id of an event");
	} else if (request_has(&c->route.request, F_AFTER)) {
		cursor = request_int(&c->route.request, F_AFTER);
	}
	c->stream = calloc(1, sizeof(*c->stream));
	if (!c->stream)
		return err_sys(err, ENOMEM, "open a stream", NULL);
	c->stream->cursor = cursor;
	r = ask(c);
	return r < 0 ? err_sys(err, -r, "ask the worker", NULL) : 0;
}

/* ---- what goes out ---- */

static void add_event(struct stream *st, json_t *event)
{
	const json_t *id = json_object_get(event, "id");
	const char *kind = json_str_at(event, "kind");
	char *data = json_dumps(event, JSON_COMPACT);
	int64_t n = json_integer_value(id);

	if (data && (json_is_integer(id) ||
			    (json_is_string(id) && event_id(json_string_value(id), &n) == 0))) {
		buf_printf(&st->out, "id: %lld\n", (long long)n);
		if (kind && !strpbrk(kind, "\r\n"))
			buf_printf(&st->out, "event: %s\n", kind);
		buf_printf(&st->out, "data: %s\n\n", data);
		if (n > st->cursor)
			st->cursor = n;
	}
	free(data);
}

void stream_reply(struct call *c)
{
	struct stream *st = c->stream;
	json_t *root = NULL, *items;

	c->id = 0;
	if (c->reply.status < 400)
		root = json_loadb(buf_str(&c->reply.body), c->reply.body.len, 0, NULL);
	items = json_object_get(root, "items");
	for (size_t i = 0; i < json_array_size(items); i++)
		add_event(st, json_array_get(items, i));
	st->more = json_is_string(json_object_get(root, "next"));
	st->ended = !json_is_array(items) || buf_error(&st->out) < 0;
	json_decref(root);
	msg_release(&c->reply);
	call_resume(c);
}

bool stream_eager(const struct call *c)
{
	const struct stream *st = c->stream;

	return st && !c->id && (st->more || st->ended || c->conn->server->newest_event > st->asked);
}

/* Up to `max` bytes of what waits; afterwards the buffer is given back, not kept. */
static size_t take_out(struct stream *st, char *buf, size_t max)
{
	size_t n = st->out.len - st->sent < max ? st->out.len - st->sent : max;

	memcpy(buf, st->out.data + st->sent, n);
	st->sent += n;
	if (st->sent == st->out.len) {
		buf_release(&st->out);
		st->sent = 0;
	}
	return n;
}

/*
 * Something to send, 0 after falling asleep, or the end. It is always the regular end, even where
 * nobody is left to read it: after END_WITH_ERROR libmicrohttpd 0.9.75 may leave the connection
 * alone until its timeout, while after the last chunk it writes, sees the error and closes.
 */
static ssize_t next_bytes(struct call *c, char *buf, size_t max)
{
	struct server *s = c->conn->server;
	struct stream *st = c->stream;
	int64_t now = clock_mono();

	if (!st->out.len && c->id && now >= c->deadline)
		return MHD_CONTENT_READER_END_OF_STREAM; /* a worker that is silent */
	if (!st->out.len && st->ended)
		return MHD_CONTENT_READER_END_OF_STREAM;
	if (!st->out.len && stream_eager(c) && ask(c) < 0)
		return MHD_CONTENT_READER_END_OF_STREAM;
	if (!st->out.len && now >= st->silence)
		buf_adds(&st->out, ": alive\n\n");
	if (st->out.len) {
		st->silence = now + s->limits.keepalive;
		return take_out(st, buf, max);
	}
	return call_suspend(c, st->silence) < 0 ? MHD_CONTENT_READER_END_OF_STREAM : 0;
}

static ssize_t read_stream(void *arg, uint64_t pos, char *buf, size_t max)
{
	struct call *c = arg;
	struct server *s = c->conn->server;
	ssize_t n;

	(void)pos;
	pthread_mutex_lock(&s->lock);
	n = next_bytes(c, buf, max);
	pthread_mutex_unlock(&s->lock);
	return n;
}

enum MHD_Result stream_begin(struct call *c)
{
	struct server *s = c->conn->server;
	struct MHD_Response *r =
		MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, BLOCK, read_stream, c, NULL);
	enum MHD_Result ok;

	if (!r)
		return MHD_NO;
	MHD_add_response_header(r, MHD_HTTP_HEADER_CONTENT_TYPE, "text/event-stream");
	MHD_add_response_header(r, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
	pthread_mutex_lock(&s->lock);
	c->state = CALL_ANSWERED;
	c->stream->silence = clock_mono() + s->limits.keepalive;
	/* The headers go out with it. An id without data is no event; who connects again before the
	 * first one came says where it stood. */
	buf_printf(&c->stream->out, "id: %lld\n: fsd\n\n", (long long)c->stream->cursor);
	stream_reply(c);
	pthread_mutex_unlock(&s->lock);
	ok = MHD_queue_response(c->mhd, MHD_HTTP_OK, r);
	MHD_destroy_response(r);
	return ok;
}
