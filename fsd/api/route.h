/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * From the text of an HTTP request to a struct request, by the table alone. Knows nothing of
 * connections: this is the part of the api that strangers talk to first, and a fuzzer drives it.
 */
#ifndef FSD_API_ROUTE_H
#define FSD_API_ROUTE_H

#include <stdbool.h>
#include <stddef.h>

#include "fsd/core/request.h"

struct err;

#define ROUTE_BODY_MAX (1u << 20)

struct route {
	struct request request; /* op is OP_NONE until the body says it, for POST /v1/jobs */
	bool jobs;		/* POST /v1/jobs */
	bool body;		/* a POST: may carry a JSON object */
	const char *allow;	/* for 405: the methods of this path; static storage */
};

#define ROUTE_INIT ((struct route){0})
void route_release(struct route *r);

/*
 * Take method and target ("/v1/sites/shop?limit=3") into `out`: path and query fields are set,
 * their values not yet checked. HEAD is GET. Errors: "not_found" (-ENOENT) without such a path,
 * "method_not_allowed" (-EOPNOTSUPP, `allow` is set), "bad_request" for anything malformed: a bad
 * percent sign, a NUL, a value of more than 4096 bytes, an unknown or repeated parameter.
 */
int route_target(const char *method, const char *target, struct route *out, struct err *err);

/*
 * The body, when it has arrived whole, and the end of it: the request is complete and checked
 * (request_validate). `type` is the Content-Type or NULL: "bad_content_type" (-EINVAL) where there
 * is a body of another one than application/json.
 */
int route_body(struct route *r, const char *type, const char *body, size_t len, struct err *err);

#endif
