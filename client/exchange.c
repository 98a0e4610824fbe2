/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The handle, and one request with its answer: sent over the kept connection, and over a new one
 * where that was lost. What may be sent twice without harm is sent again: reads by nature, requests
 * for jobs by their idempotency key.
 */
#include "client/internal.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

const char *fsc_version(void)
{
	return FSC_VERSION;
}

/* ---- handle ---- */

static int bad_url(const char *url, struct fsc_error *err)
{
	if (strncmp(url, "https://", 8) == 0 || strncmp(url, "http://", 7) == 0) {
		fsc_fail(err, EPROTONOSUPPORT, FSC_EXIT_USAGE, "unsupported_url", url,
			"this version reaches fsd only over its Unix socket, not over TCP");
		fsc_hint(err, "use unix:///run/fsd/fsd.sock on the file server itself");
		return -EPROTONOSUPPORT;
	}
	fsc_fail(err, EINVAL, FSC_EXIT_USAGE, "bad_url", url, "not a URL of fsd");
	fsc_hint(err, "write unix:///run/fsd/fsd.sock");
	return -EINVAL;
}

static int set_address(struct fsc *fsc, const char *url, struct fsc_error *err)
{
	const char *path = strncmp(url, "unix://", 7) == 0 ? url + 7 : url;

	if (*path != '/')
		return bad_url(url, err);
	fsc->addr.sun_family = AF_UNIX;
	if (strlen(path) >= sizeof(fsc->addr.sun_path))
		return fsc_fail(err, ENAMETOOLONG, FSC_EXIT_USAGE, "bad_url", url,
			"the path of a socket has at most %zu bytes",
			sizeof(fsc->addr.sun_path) - 1);
	memcpy(fsc->addr.sun_path, path, strlen(path) + 1);
	return 0;
}

int fsc_open(const char *url, struct fsc **out, struct fsc_error *err)
{
	struct fsc *fsc = calloc(1, sizeof(*fsc));
	int r;

	if (!fsc)
		return fsc_no_memory(err);
	if (!url)
		url = secure_getenv("FSD_URL");
	r = set_address(fsc, url && *url ? url : FSC_SOCKET, err);
	if (r < 0) {
		free(fsc);
		return r;
	}
	fsc->timeout = 30000;
	fsc->conn.fd = fsc->conn.wake = -1;
	*out = fsc;
	return 0;
}

void fsc_close(struct fsc **fsc)
{
	if (*fsc)
		fsc_conn_close(&(*fsc)->conn);
	free(*fsc);
	*fsc = NULL;
}

void fsc_set_timeout(struct fsc *fsc, unsigned milliseconds)
{
	fsc->timeout = milliseconds;
}

void fsc_set_wakeup(struct fsc *fsc, int fd)
{
	fsc->conn.wake = fd;
}

/* ---- errors ---- */

static bool is_lost(int r)
{
	return r == -EPIPE || r == -ECONNRESET || r == -ENOTCONN;
}

/* May another connection bring the answer? Nobody listening is waited for only where somebody
 * listened before: fsd is starting again. */
static bool may_retry(const struct fsc *fsc, int r)
{
	return is_lost(r) || (fsc->met && (r == -ECONNREFUSED || r == -ENOENT));
}

static int gone(const char *path, struct fsc_error *err)
{
	fsc_fail(err, ECONNREFUSED, FSC_EXIT_UNREACHABLE, "unreachable", path,
		"fsd went away, and is not back");
	fsc_hint(err, "start it (systemctl start fsd); \"fsctl job list\" shows then whether it "
		"had accepted a job");
	return -ECONNREFUSED;
}

int fsc_transport_error(struct fsc *fsc, int r, struct fsc_error *err)
{
	const char *path = fsc->addr.sun_path;

	if (may_retry(fsc, r)) /* it was tried again long enough */
		return gone(path, err);
	switch (r) {
	case -EINTR:
		return fsc_fail(err, EINTR, FSC_EXIT_INTERRUPTED, "interrupted", NULL,
			"interrupted");
	case -ETIMEDOUT:
		return fsc_fail(err, ETIMEDOUT, FSC_EXIT_UNREACHABLE, "timeout", path,
			"fsd does not answer");
	case -ENOENT:
	case -ECONNREFUSED:
		fsc_fail(err, ECONNREFUSED, FSC_EXIT_UNREACHABLE, "unreachable", path,
			r == -ENOENT ? "fsd is not running: no such socket" :
				       "fsd is not running: nobody listens at its socket");
		fsc_hint(err, "start it (systemctl start fsd), or name its socket by --url or "
			"FSD_URL");
		return -ECONNREFUSED;
	case -ENOMEM:
		return fsc_no_memory(err);
	default:
		return fsc_fail(err, -r, FSC_EXIT_UNREACHABLE, "unreachable", path,
			"cannot talk to fsd: %s", strerrordesc_np(-r));
	}
}

int fsc_bad_response(struct fsc_error *err, const char *why)
{
	return fsc_fail(err, EPROTO, FSC_EXIT_FAILED, "bad_response", NULL,
		"fsd's answer cannot be understood: %s", why);
}

int fsc_refusal(int status, const char *body, size_t len, struct fsc_error *err)
{
	struct fsc_value *v = NULL;
	int r;

	if (len && fsc_value_parse(body, len, &v) == 0 && json_is_object(fsc_json(v))) {
		r = fsc_problem(fsc_json(v), status, err);
	} else {
		json_t *none = json_object();

		r = fsc_problem(none, status, err);
		json_decref(none);
		if (err)
			snprintf(err->reason, sizeof(err->reason), "HTTP status %d", status);
	}
	fsc_value_free(&v);
	return r;
}

/* ---- the request's text ---- */

char *fsc_call_text(const struct fsc_call *call, size_t *len)
{
	char length[96] = "";
	char *out;
	int n;

	if (call->body)
		snprintf(length, sizeof(length),
			"Content-Type: application/json\r\nContent-Length: %zu\r\n",
			strlen(call->body));
	else if (strcmp(call->method, "GET") != 0)
		snprintf(length, sizeof(length), "Content-Length: 0\r\n");
	n = asprintf(&out,
		"%s %s HTTP/1.1\r\nHost: fsd\r\nUser-Agent: libfsclient/" FSC_VERSION
		"\r\nAccept: %s\r\n%s%s%s%s%s%s%s\r\n%s",
		call->method, call->path, call->accept ? call->accept : "application/json",
		call->key ? "Idempotency-Key: " : "", call->key ? call->key : "",
		call->key ? "\r\n" : "", call->last_id ? "Last-Event-ID: " : "",
		call->last_id ? call->last_id : "", call->last_id ? "\r\n" : "", length,
		call->body ? call->body : "");
	if (n < 0)
		return NULL;
	*len = (size_t)n;
	return out;
}

/* ---- one attempt ---- */

struct body {
	char *data;
	size_t len, size;
};

static int collect(void *arg, const char *data, size_t len)
{
	struct body *b = arg;

	if (len > FSC_BODY_MAX - b->len)
		return -EFBIG;
	if (b->len + len > b->size) {
		size_t size = (b->len + len) * 2;
		char *p = realloc(b->data, size);

		if (!p)
			return -ENOMEM;
		b->data = p;
		b->size = size;
	}
	memcpy(b->data + b->len, data, len);
	b->len += len;
	return 0;
}

static int64_t deadline_of(const struct fsc *fsc, const struct fsc_call *call)
{
	return fsc->timeout ? fsc_now_ms() + fsc->timeout + call->wait * 1000LL : -1;
}

/* Receive until the response is complete. -EPIPE: the connection ended before. */
static int receive(struct fsc *fsc, const struct fsc_call *call, struct http *http)
{
	struct fsc_conn *c = &fsc->conn;

	while (!http_done(http)) {
		ssize_t n;
		int r;

		if (c->pos == c->len) {
			r = fsc_conn_fill(c, deadline_of(fsc, call));
			if (r <= 0)
				return r < 0 ? r : -EPIPE;
		}
		n = http_feed(http, c->in + c->pos, c->len - c->pos);
		if (n < 0)
			return (int)n;
		c->pos += (size_t)n;
	}
	return 0;
}

static int attempt(struct fsc *fsc, const struct fsc_call *call, const char *text, size_t len,
	struct http *http)
{
	int r = 0;

	if (fsc->conn.fd >= 0 && fsc_conn_stale(&fsc->conn))
		fsc_conn_close(&fsc->conn);
	if (fsc->conn.fd < 0)
		r = fsc_conn_open(&fsc->conn, &fsc->addr, deadline_of(fsc, call));
	if (r == 0) {
		fsc->met = true;
		r = fsc_conn_send(&fsc->conn, text, len, deadline_of(fsc, call));
	}
	/* A server that refuses early answers and closes before it has read everything. */
	if (fsc->conn.fd >= 0 && (r == 0 || is_lost(r)))
		r = receive(fsc, call, http);
	if (r < 0 || !http->keep_alive)
		fsc_conn_close(&fsc->conn);
	return r;
}

/* ---- the exchange ---- */

int64_t fsc_backoff(int64_t since, unsigned *pause)
{
	int64_t now = fsc_now_ms();

	*pause = *pause ? *pause * 2 : 20;
	if (*pause > 500)
		*pause = 500;
	return now - since > FSC_LOST_MS ? -1 : now + *pause;
}

static int exchange(struct fsc *fsc, const struct fsc_call *call, struct http *http,
	struct body *body)
{
	size_t len = 0;
	char *text = fsc_call_text(call, &len);
	int64_t since = fsc_now_ms();
	unsigned pause = 0;
	int r;

	if (!text)
		return -ENOMEM;
	for (;;) {
		int64_t begun = fsc_now_ms(), again;

		body->len = 0;
		http_init(http, collect, body);
		r = attempt(fsc, call, text, len, http);
		if (r == 0 || !may_retry(fsc, r))
			break;
		/* What counts is the time without a connection: fsd may have been asked to wait. */
		since += fsc_now_ms() - begun;
		again = fsc_backoff(since, &pause);
		if (again < 0)
			break;
		r = fsc_conn_pause(&fsc->conn, again);
		if (r < 0)
			break;
	}
	free(text);
	return r;
}

static int parse_answer(const struct http *http, const struct body *body, struct fsc_value **out,
	struct fsc_error *err)
{
	int r;

	if (http->status < 200 || http->status > 299)
		return fsc_refusal(http->status, body->data, body->len, err);
	r = body->len ? fsc_value_parse(body->data, body->len, out) : -EBADMSG;
	if (r == -ENOMEM)
		return fsc_no_memory(err);
	return r < 0 ? fsc_bad_response(err, "it is not JSON") : 0;
}

int fsc_exchange(struct fsc *fsc, const struct fsc_call *call, struct fsc_value **out,
	struct fsc_error *err)
{
	struct body body = {0};
	struct http http;
	int r = exchange(fsc, call, &http, &body);

	if (r == 0) {
		r = parse_answer(&http, &body, out, err);
	} else if (r == -EBADMSG) {
		r = fsc_bad_response(err, http.why);
	} else if (r == -EFBIG) {
		r = fsc_bad_response(err, "it is too large");
	} else {
		r = fsc_transport_error(fsc, r, err);
	}
	free(body.data);
	return r;
}

int fsc_get(struct fsc *fsc, const char *path, struct fsc_value **out, struct fsc_error *err)
{
	struct fsc_call call = {.method = "GET", .path = path};

	if (*path != '/' || strpbrk(path, " \r\n\t"))
		return fsc_fail(err, EINVAL, FSC_EXIT_USAGE, "bad_request", path,
			"not a path of the API");
	return fsc_exchange(fsc, &call, out, err);
}
