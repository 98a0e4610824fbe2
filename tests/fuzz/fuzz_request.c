/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The api's bytes as the worker decodes them: what is accepted must survive both forms. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "fsd/core/request.h"
#include "snap/base/err.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool ok)
{
	if (!ok)
		abort();
}

static void same(const struct request *a, const struct request *b)
{
	_cleanup_buf_ struct buf x = BUF_INIT, y = BUF_INIT;

	must(request_encode(a, &x) == 0 && request_encode(b, &y) == 0);
	must(x.len == y.len && memcmp(x.data, y.data, x.len) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_buf_ struct buf wire = BUF_INIT;
	struct err err = ERR_INIT;
	struct request r, again;
	char *json;

	if (request_decode(data, size, &r, &err) < 0) {
		must(err.num && err.code && *err.reason);
		return 0;
	}
	must(request_encode(&r, &wire) == 0);
	must(request_decode(wire.data, wire.len, &again, NULL) == 0);
	same(&r, &again);
	request_release(&again);
	json = request_to_json(&r);
	must(json != NULL);
	/* A note of control characters and such was refused; only size may still be in the way. */
	if (request_from_json(r.op, json, &again, &err) == 0)
		request_release(&again);
	else
		must(strcmp(err.code, "too_large") == 0 || strcmp(err.code, "bad_request") == 0);
	free(json);
	request_release(&r);
	return 0;
}
