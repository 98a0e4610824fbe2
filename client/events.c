/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The stream of events: a connection of its own that comes back by itself. */
#include "client/internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/sse.h"

#define QUEUE_MAX 4096 /* events of one received piece (16 KiB) are at most this many */

struct fsc_events {
	struct fsc fsc; /* a copy: own connection */
	bool streaming; /* the head of the answer came, and was the stream's */
	struct http http;
	struct sse sse;
	struct fsc_value *queue[QUEUE_MAX]; /* parsed and not handed out */
	size_t head, n;
	struct fsc_value *current; /* borrowed by the caller */
	char *refusal;		   /* body of an answer that is not a stream */
	size_t refusal_len;
	int64_t lost; /* since when there is no connection; 0: there is */
	unsigned pause;
};

static int take_event(void *arg, const char *id, const char *data, size_t len)
{
	struct fsc_events *e = arg;
	struct fsc_value *v = NULL;
	int r = fsc_value_parse(data, len, &v);

	(void)id;
	if (r < 0)
		return r;
	if (e->n == QUEUE_MAX) {
		fsc_value_free(&v);
		return -EFBIG;
	}
	e->queue[(e->head + e->n++) % QUEUE_MAX] = v;
	e->pause = 0;
	return 0;
}

static bool is_stream(const struct http *http)
{
	return http->status == 200 && strcmp(http->type, "text/event-stream") == 0;
}

static int take_body(void *arg, const char *data, size_t len)
{
	struct fsc_events *e = arg;
	char *p;

	if (is_stream(&e->http))
		return sse_feed(&e->sse, data, len);
	if (len > 65536 - e->refusal_len)
		return -EFBIG;
	p = realloc(e->refusal, e->refusal_len + len + 1);
	if (!p)
		return -ENOMEM;
	e->refusal = p;
	memcpy(p + e->refusal_len, data, len);
	e->refusal_len += len;
	return 0;
}

int fsc_events_open(struct fsc *fsc, const char *after, struct fsc_events **out,
	struct fsc_error *err)
{
	struct fsc_events *e;

	if (after && (strlen(after) >= SSE_ID_MAX || strpbrk(after, "\r\n")))
		return fsc_fail(err, EINVAL, FSC_EXIT_USAGE, "bad_request", after,
			"not the id of an event");
	e = calloc(1, sizeof(*e));
	if (!e)
		return fsc_no_memory(err);
	e->fsc.addr = fsc->addr;
	e->fsc.timeout = fsc->timeout;
	e->fsc.conn.fd = -1;
	e->fsc.conn.wake = fsc->conn.wake;
	sse_init(&e->sse, take_event, e);
	if (after)
		snprintf(e->sse.id, sizeof(e->sse.id), "%s", after);
	sse_restart(&e->sse);
	*out = e;
	return 0;
}

void fsc_events_free(struct fsc_events **events)
{
	struct fsc_events *e = *events;

	if (e) {
		fsc_conn_close(&e->fsc.conn);
		for (size_t i = 0; i < e->n; i++)
			fsc_value_free(&e->queue[(e->head + i) % QUEUE_MAX]);
		fsc_value_free(&e->current);
		sse_release(&e->sse);
		free(e->refusal);
	}
	free(e);
	*events = NULL;
}

static void drop(struct fsc_events *e)
{
	fsc_conn_close(&e->fsc.conn);
	e->streaming = false;
	e->refusal_len = 0;
	sse_restart(&e->sse);
}

static int64_t earlier(int64_t a, int64_t b)
{
	return a < 0 || (b >= 0 && b < a) ? b : a;
}

static int start(struct fsc_events *e, int64_t deadline)
{
	struct fsc_call call = {.method = "GET", .path = "/v1/events",
		.accept = "text/event-stream", .last_id = e->sse.id[0] ? e->sse.id : NULL};
	size_t len = 0;
	char *text = fsc_call_text(&call, &len);
	int r = text ? fsc_conn_open(&e->fsc.conn, &e->fsc.addr, deadline) : -ENOMEM;

	http_init(&e->http, take_body, e);
	if (r == 0) {
		e->fsc.met = true;
		r = fsc_conn_send(&e->fsc.conn, text, len, deadline);
	}
	free(text);
	return r;
}

/* Receive a piece and parse it. 0; -EPIPE at the end of the connection. */
static int step(struct fsc_events *e, int64_t deadline)
{
	struct fsc_conn *c = &e->fsc.conn;
	int r = fsc_conn_fill(c, deadline);
	ssize_t n;

	if (r <= 0)
		return r < 0 ? r : -EPIPE;
	n = http_feed(&e->http, c->in, c->len);
	c->pos = c->len;
	if (n < 0)
		return (int)n;
	if (http_in_body(&e->http) && is_stream(&e->http)) {
		e->streaming = true;
		e->lost = 0;
	}
	return http_done(&e->http) && is_stream(&e->http) ? -EPIPE : 0;
}

/* A lost connection: wait a little, then try again; for at most FSC_LOST_MS, or (where somebody
 * was there before) as long as the caller likes to wait. */
static int comes_back(struct fsc_events *e, int r, int64_t deadline)
{
	bool gone = r == -ECONNREFUSED || r == -ENOENT;
	int64_t again;

	drop(e);
	if (r != -EPIPE && r != -ECONNRESET && !(gone && e->fsc.met))
		return r;
	if (!e->lost)
		e->lost = fsc_now_ms();
	again = fsc_backoff(e->lost, &e->pause);
	if (again < 0)
		return r;
	return fsc_conn_pause(&e->fsc.conn, earlier(deadline, again));
}

/* 0: something happened; -ETIMEDOUT: the caller's time is over. */
static int advance(struct fsc_events *e, int64_t deadline)
{
	int64_t silence = e->fsc.timeout ? fsc_now_ms() + e->fsc.timeout : -1;
	int r = 0;

	if (e->fsc.conn.fd < 0)
		r = start(e, earlier(deadline, silence));
	if (r == 0)
		r = step(e, deadline);
	if (r == 0 || r == -ETIMEDOUT || r == -EINTR)
		return r;
	return comes_back(e, r, deadline);
}

/* fsd is not back: what comes meanwhile is to be had later. */
static int lost(struct fsc_events *e, int r, struct fsc_error *err)
{
	char hint[128 + SSE_ID_MAX];

	r = fsc_transport_error(&e->fsc, r, err);
	if (r != -ECONNREFUSED || !e->fsc.met || !e->sse.id[0])
		return r;
	snprintf(hint, sizeof(hint), "start it (systemctl start fsd); then go on where this ended: "
		"fsctl event follow --after %s", e->sse.id);
	fsc_hint(err, hint);
	return r;
}

static int fail(struct fsc_events *e, int r, struct fsc_error *err)
{
	drop(e);
	if (r == -EBADMSG)
		return fsc_bad_response(err, e->http.why ? e->http.why : "an event is not JSON");
	if (r == -EFBIG)
		return fsc_bad_response(err, "an event is too large");
	return lost(e, r, err);
}

static int refused(struct fsc_events *e, struct fsc_error *err)
{
	int r;

	if (e->http.status < 400)
		r = fsc_bad_response(err, "it is not a stream of events");
	else
		r = fsc_refusal(e->http.status, e->refusal, e->refusal_len, err);
	drop(e);
	return r;
}

int fsc_events_next(struct fsc_events *e, int timeout, const struct fsc_value **event,
	struct fsc_error *err)
{
	int64_t deadline = timeout < 0 ? -1 : fsc_now_ms() + timeout;

	while (!e->n) {
		int r = advance(e, deadline);

		if (r == -ETIMEDOUT)
			return 0;
		if (r < 0)
			return fail(e, r, err);
		if (http_done(&e->http) && e->fsc.conn.fd >= 0)
			return refused(e, err);
	}
	fsc_value_free(&e->current);
	e->current = e->queue[e->head];
	e->head = (e->head + 1) % QUEUE_MAX;
	e->n--;
	*event = e->current;
	return 1;
}
