/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Answers: the worker's body as it is, or a problem of our own, with the headers that go along. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fsd/api/server.h"
#include "fsd/core/id.h"
#include "fsd/core/json.h"
#include "snap/base/clock.h"
#include "snap/base/fd.h"

#define LOCATION_SIZE (16 + JOB_ID_SIZE)

static const char *type_of(const struct call *c, unsigned status)
{
	if (status >= 400)
		return "application/problem+json";
	return c->route.request.op == OP_METRICS ? "text/plain; version=0.0.4" : "application/json";
}

/* {"job":{"id":ID,...}}: the path of the job; "" when there is none in it. */
static void location_of(const struct buf *body, char out[LOCATION_SIZE])
{
	json_t *root = json_loadb(buf_str(body), body->len, 0, NULL);
	const char *id = json_str_at(json_object_get(root, "job"), "id");
	int64_t n;

	out[0] = '\0';
	if (id && job_id_parse(id, &n) == 0)
		snprintf(out, LOCATION_SIZE, "/v1/jobs/%.*s", JOB_ID_SIZE, id);
	json_decref(root);
}

static struct MHD_Response *respond(struct buf *body)
{
	size_t len = body->len;
	struct MHD_Response *r;
	char *data;

	if (len == 0)
		return MHD_create_response_from_buffer(0, (void *)(uintptr_t) "",
			MHD_RESPMEM_PERSISTENT);
	data = buf_steal(body);
	if (!data)
		return NULL;
	r = MHD_create_response_from_buffer(len, data, MHD_RESPMEM_MUST_FREE);
	if (!r)
		free(data);
	return r;
}

static enum MHD_Result queue(struct call *c, unsigned status, struct MHD_Response *r, bool close)
{
	struct server *s = c->conn->server;
	enum MHD_Result ok;

	MHD_add_response_header(r, MHD_HTTP_HEADER_CONTENT_TYPE, type_of(c, status));
	MHD_add_response_header(r, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
	if (close)
		MHD_add_response_header(r, MHD_HTTP_HEADER_CONNECTION, "close");
	c->state = CALL_ANSWERED;
	pthread_mutex_lock(&s->lock);
	c->conn->deadline = clock_mono() + s->limits.deliver;
	server_due(s, c->conn->deadline);
	pthread_mutex_unlock(&s->lock);
	ok = MHD_queue_response(c->mhd, status, r);
	MHD_destroy_response(r);
	return ok;
}

enum MHD_Result answer_body(struct call *c, unsigned status, struct buf *body, bool close)
{
	char location[LOCATION_SIZE] = "";
	struct MHD_Response *r;

	if (status < 200 || status > 599)
		status = 500;
	if (status == 202)
		location_of(body, location);
	r = respond(body);
	if (!r)
		return MHD_NO;
	if (location[0])
		MHD_add_response_header(r, MHD_HTTP_HEADER_LOCATION, location);
	return queue(c, status, r, close);
}

enum MHD_Result answer_problem(struct call *c, const struct err *err, bool close)
{
	unsigned status = json_problem_status(err);
	json_t *problem = json_problem(err, status);
	_cleanup_free_ char *text = problem ? json_dumps(problem, JSON_COMPACT) : NULL;
	_cleanup_buf_ struct buf body = BUF_INIT;
	struct MHD_Response *r;

	json_decref(problem);
	if (!text)
		return MHD_NO;
	buf_adds(&body, text);
	r = respond(&body);
	if (!r)
		return MHD_NO;
	if (status == 405)
		MHD_add_response_header(r, MHD_HTTP_HEADER_ALLOW, c->route.allow);
	return queue(c, status, r, close);
}
