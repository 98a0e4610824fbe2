/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A stranger's request as text: "METHOD\nTARGET\nTYPE\nBODY". What passes must be a good one. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "fsd/api/route.h"
#include "fsd/core/json.h"
#include "snap/base/err.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool ok)
{
	if (!ok)
		abort();
}

/* The next line of *s, cut off. */
static char *line(char **s)
{
	char *start = *s, *end = strchr(start, '\n');

	if (end)
		*end++ = '\0';
	*s = end ? end : start + strlen(start);
	return start;
}

static void refused(const struct err *err)
{
	json_t *problem = json_problem(err, json_problem_status(err));

	must(err->num && json_problem_status(err) >= 400 && json_problem_status(err) < 500);
	must(problem != NULL);
	json_decref(problem);
}

static void accepted(const struct request *r)
{
	_cleanup_buf_ struct buf wire = BUF_INIT;
	struct request again;

	if (request_encode(r, &wire) < 0)
		return; /* too large */
	must(request_decode(wire.data, wire.len, &again, NULL) == 0);
	request_release(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1), *s = text, *method, *target, *type;
	struct route route = ROUTE_INIT;
	struct err err = ERR_INIT;

	must(text != NULL);
	memcpy(text, data, size);
	text[size] = '\0';
	method = line(&s);
	target = line(&s);
	type = line(&s);
	if (route_target(method, target, &route, &err) < 0 ||
		route_body(&route, *type ? type : NULL, s, text + size - s, &err) < 0)
		refused(&err);
	else
		accepted(&route.request);
	route_release(&route);
	free(text);
	return 0;
}
