/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One HTTP request from its first line to its answer: the callbacks of libmicrohttpd. */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "fsd/api/server.h"
#include "snap/base/clock.h"

/* Of a body that is refused anyway: read so much more, for the client to see the answer. */
#define DROPPED_MAX (8u << 20)

/* ---- begin and end ---- */

void *http_begin(void *server, const char *uri, struct MHD_Connection *mhd)
{
	struct conn *conn =
		MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT)->socket_context;
	struct call *c = conn ? calloc(1, sizeof(*c)) : NULL;
	struct server *s = server;

	if (!c)
		return NULL;
	c->conn = conn;
	c->mhd = mhd;
	c->target = strdup(uri);
	if (!c->target) {
		free(c);
		return NULL;
	}
	pthread_mutex_lock(&s->lock);
	conn->call = c;
	pthread_mutex_unlock(&s->lock);
	return c;
}

/* The worker need not answer any more. */
static void abandon(struct call *c)
{
	if (c->id)
		server_abandon(c->conn->server, c->id);
	c->id = 0;
	c->deadline = 0;
}

void http_end(void *server, struct MHD_Connection *mhd, void **context,
	enum MHD_RequestTerminationCode why)
{
	struct call *c = *context;
	struct server *s = server;

	(void)mhd;
	(void)why;
	if (!c)
		return;
	*context = NULL;
	pthread_mutex_lock(&s->lock);
	abandon(c);
	s->bodies -= c->counted;
	c->conn->call = NULL;
	c->conn->deadline = clock_mono() + s->limits.request;
	server_due(s, c->conn->deadline);
	pthread_mutex_unlock(&s->lock);
	stream_free(&c->stream);
	msg_release(&c->reply);
	route_release(&c->route);
	buf_release(&c->body);
	free(c->target);
	free(c);
}

/* ---- waiting ---- */

void call_resume(struct call *c)
{
	if (!c->suspended)
		return;
	c->suspended = false;
	MHD_resume_connection(c->mhd);
}

static bool is_gone(const struct conn *c)
{
	struct pollfd p = {.fd = c->fd};

	return c->hung_up || c->server->closing || (poll(&p, 1, 0) > 0 && (p.revents & POLLHUP));
}

int call_suspend(struct call *c, int64_t until)
{
	struct server *s = c->conn->server;
	int64_t latest = clock_mono() + s->limits.resume;

	if (is_gone(c->conn))
		return -EPIPE;
	c->wake = until < latest ? until : latest;
	c->suspended = true;
	server_due(s, c->deadline && c->deadline < c->wake ? c->deadline : c->wake);
	MHD_suspend_connection(c->mhd);
	return 0;
}

int call_ask(struct call *c, const struct request *r, int64_t timeout)
{
	struct server *s = c->conn->server;
	_cleanup_buf_ struct buf body = BUF_INIT;
	uint64_t id = ++s->calls << 32 | (uint32_t)(c->conn - s->conns);
	int ret = request_encode(r, &body);

	if (ret == 0)
		ret = server_send(s, MSG_REQUEST, id, &body);
	if (ret < 0)
		return ret;
	c->id = id;
	c->answered = false;
	c->deadline = clock_mono() + timeout;
	return 0;
}

/* Sleep until there is an answer, or end the connection when its client is gone. */
static enum MHD_Result wait_for_answer(struct call *c)
{
	c->state = CALL_WAITING;
	if (call_suspend(c, INT64_MAX) == 0)
		return MHD_YES;
	abandon(c);
	return MHD_NO;
}

/* ---- the head ---- */

struct head {
	unsigned lengths, codings;
	bool body; /* one follows */
	bool too_large;
	const char *twice; /* a header that may come once */
	bool malformed;
};

static bool may_repeat(const char *key)
{
	static const char *const once[] = {"Host", "Content-Length", "Transfer-Encoding",
		"Content-Type", "Idempotency-Key", "Last-Event-ID", "Authorization", "Expect"};

	for (size_t i = 0; i < sizeof(once) / sizeof(once[0]); i++) {
		if (strcasecmp(once[i], key) == 0)
			return false;
	}
	return true;
}

struct twin {
	const char *key;
	unsigned n;
};

static enum MHD_Result count_twin(void *arg, enum MHD_ValueKind kind, const char *key,
	const char *value)
{
	struct twin *t = arg;

	(void)kind;
	(void)value;
	t->n += strcasecmp(t->key, key) == 0;
	return MHD_YES;
}

static bool is_chunked(const char *value)
{
	return strcasecmp(value, "chunked") == 0;
}

struct scan {
	struct call *call;
	struct head head;
};

static enum MHD_Result scan_header(void *arg, enum MHD_ValueKind kind, const char *key,
	size_t key_size, const char *value, size_t value_size)
{
	struct scan *scan = arg;
	struct head *h = &scan->head;
	struct twin t = {.key = key};

	(void)kind;
	if (strlen(key) != key_size || (value && strlen(value) != value_size))
		h->malformed = true; /* a NUL inside */
	if (!may_repeat(key)) {
		MHD_get_connection_values(scan->call->mhd, MHD_HEADER_KIND, count_twin, &t);
		if (t.n > 1)
			h->twice = key;
	}
	if (strcasecmp(key, "Content-Length") == 0) {
		h->lengths++;
		h->body |= strtoull(value ? value : "", NULL, 10) > 0;
		h->too_large = strtoull(value ? value : "", NULL, 10) > ROUTE_BODY_MAX;
	}
	if (strcasecmp(key, "Transfer-Encoding") == 0) {
		h->codings++;
		h->body = true;
		h->malformed |= !value || !is_chunked(value);
	}
	return MHD_YES;
}

static int check_head(const struct call *c, const struct head *h, struct err *err)
{
	if (h->twice)
		return err_set(err, EBADMSG, "bad_request", h->twice, "this header is given twice");
	if (h->lengths && h->codings)
		return err_set(err, EBADMSG, "bad_request", "Transfer-Encoding",
			"it comes together with Content-Length");
	if (h->malformed)
		return err_set(err, EBADMSG, "bad_request", NULL, "a header is malformed");
	if (h->body && !c->route.body)
		return err_set(err, EBADMSG, "bad_request", "body", "this request takes none");
	if (h->too_large)
		return err_set(err, EFBIG, "too_large", "body", "it has more than 1 MiB");
	return 0;
}

static const char *header(const struct call *c, const char *name)
{
	return MHD_lookup_connection_value(c->mhd, MHD_HEADER_KIND, name);
}

static int take_key(struct call *c, struct err *err)
{
	const char *key = header(c, "Idempotency-Key");

	if (!key || !c->route.jobs)
		return 0;
	if (request_set_str(&c->route.request, F_KEY, key) < 0)
		return err_sys(err, ENOMEM, "read the request", NULL);
	return 0;
}

static enum MHD_Result take_head(struct call *c, const char *method)
{
	struct scan scan = {.call = c};
	struct head *h = &scan.head;
	int r = route_target(method, c->target, &c->route, &c->refusal);

	MHD_get_connection_values_n(c->mhd, MHD_HEADER_KIND, scan_header, &scan);
	if (r == 0)
		r = check_head(c, h, &c->refusal);
	if (r == 0)
		r = take_key(c, &c->refusal);
	/* Where a body would follow, or may: nothing more is read from this connection.
	 * Libmicrohttpd ends it after any answer that is given now, so others wait for the end of
	 * the request. */
	if (r < 0 && (h->body || h->twice || h->malformed))
		return answer_problem(c, &c->refusal, true);
	c->state = CALL_BODY;
	return MHD_YES;
}

/* ---- the body ---- */

/* Is there room for so much more among all the bodies that are held? */
static bool count_body(struct call *c, size_t len)
{
	struct server *s = c->conn->server;
	bool room;

	pthread_mutex_lock(&s->lock);
	room = len <= s->limits.bodies - s->bodies;
	if (room) {
		s->bodies += len;
		c->counted += len;
	}
	pthread_mutex_unlock(&s->lock);
	return room;
}

static enum MHD_Result take_body(struct call *c, const char *data, size_t len)
{
	if (!c->dropped && c->body.len + len <= ROUTE_BODY_MAX) {
		if (count_body(c, len)) {
			buf_add(&c->body, data, len);
			return MHD_YES;
		}
		c->crowded = true;
	}
	c->dropped += len;
	return c->dropped <= DROPPED_MAX ? MHD_YES : MHD_NO;
}

static int check_body(struct call *c, struct err *err)
{
	if (c->refusal.num) {
		*err = c->refusal;
		return -err->num;
	}
	if (c->crowded)
		return err_set(err, EAGAIN, "too_many", "body",
			"too many requests with large bodies at once");
	if (c->dropped)
		return err_set(err, EFBIG, "too_large", "body", "it has more than 1 MiB");
	if (buf_error(&c->body) < 0)
		return err_sys(err, ENOMEM, "read the request", NULL);
	return route_body(&c->route, header(c, "Content-Type"), buf_str(&c->body), c->body.len,
		err);
}

/* ---- the question ---- */

static int64_t patience(const struct call *c)
{
	const struct api_limits *l = &c->conn->server->limits;
	const struct request *r = &c->route.request;

	if (r->op == OP_HEALTH)
		return l->health;
	return l->answer + request_int(r, F_WAIT) * API_SEC;
}

static int ask(struct call *c, struct err *err)
{
	int r;

	if (stream_wanted(c))
		return stream_open(c, err);
	r = call_ask(c, &c->route.request, patience(c));
	if (r == -E2BIG)
		return err_set(err, EFBIG, "too_large", "body", "it is too large to be passed on");
	return r < 0 ? err_sys(err, -r, "ask the worker", NULL) : 0;
}

/* The request has arrived whole. */
static enum MHD_Result complete(struct call *c)
{
	struct server *s = c->conn->server;
	struct err err = ERR_INIT;
	enum MHD_Result ok = MHD_NO;
	int r = check_body(c, &err);

	buf_release(&c->body);
	if (r == 0) {
		c->route.request.actor = c->conn->actor;
		pthread_mutex_lock(&s->lock);
		c->conn->deadline = 0;
		r = ask(c, &err);
		if (r == 0)
			ok = wait_for_answer(c);
		pthread_mutex_unlock(&s->lock);
	}
	return r < 0 ? answer_problem(c, &err, false) : ok;
}

static enum MHD_Result pass_on(struct call *c)
{
	if (c->stream && c->reply.status < 400)
		return stream_begin(c);
	return answer_body(c, c->reply.status, &c->reply.body, false);
}

/* Resumed: by the answer, by a clock, by a hang-up. */
static enum MHD_Result look_again(struct call *c)
{
	struct server *s = c->conn->server;
	struct err err = ERR_INIT;
	enum MHD_Result ok = MHD_YES;
	bool answered, late = false;

	pthread_mutex_lock(&s->lock);
	answered = c->answered;
	if (!answered && clock_mono() >= c->deadline) {
		late = true;
		abandon(c);
		err_set(&err, ETIMEDOUT, "worker_silent", NULL, "the worker does not answer");
	} else if (!answered) {
		ok = wait_for_answer(c);
	}
	pthread_mutex_unlock(&s->lock);
	if (answered)
		return pass_on(c);
	return late ? answer_problem(c, &err, false) : ok;
}

enum MHD_Result http_request(void *server, struct MHD_Connection *mhd, const char *url,
	const char *method, const char *version, const char *data, size_t *size, void **context)
{
	struct call *c = *context;

	(void)server;
	(void)mhd;
	(void)url;
	(void)version;
	if (!c)
		return MHD_NO;
	if (c->state == CALL_HEAD)
		return take_head(c, method);
	if (c->state == CALL_WAITING)
		return look_again(c);
	if (c->state == CALL_ANSWERED)
		return MHD_YES;
	if (*size == 0)
		return complete(c);
	if (take_body(c, data, *size) != MHD_YES)
		return MHD_NO;
	*size = 0;
	return MHD_YES;
}
