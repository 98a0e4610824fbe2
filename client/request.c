/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Putting a request for a job together, and asking for it. */
#include "client/internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define KEY_MAX 200

struct fsc_request {
	json_t *args;
	int error; /* of a setter: reported by fsc_submit() */
	bool submitted;
	char key[KEY_MAX + 1];
};

/* 128 random bits, in hex. */
static int new_key(struct fsc_request *req)
{
	unsigned char bytes[16];

	if (getrandom(bytes, sizeof(bytes), 0) != (ssize_t)sizeof(bytes))
		return -EIO;
	for (size_t i = 0; i < sizeof(bytes); i++)
		snprintf(req->key + 2 * i, 3, "%02x", bytes[i]);
	req->submitted = false;
	return 0;
}

struct fsc_request *fsc_request_new(const char *kind)
{
	struct fsc_request *req = calloc(1, sizeof(*req));

	if (!req)
		return NULL;
	req->args = json_object();
	if (!req->args || new_key(req) < 0 || fsc_request_set_str(req, "kind", kind) < 0)
		fsc_request_free(&req);
	return req;
}

void fsc_request_free(struct fsc_request **req)
{
	if (*req)
		json_decref((*req)->args);
	free(*req);
	*req = NULL;
}

static json_t *text(const char *bytes)
{
	char *plain = fsc_text_encode(bytes);
	json_t *j = plain ? json_string(plain) : NULL;

	free(plain);
	return j;
}

/* Takes `value`, which is NULL without memory. */
static int set(struct fsc_request *req, const char *key, json_t *value)
{
	int r = 0;

	if (json_object_set_new(req->args, key, value) < 0)
		r = -ENOMEM;
	else if (req->submitted)
		r = new_key(req);
	if (r < 0 && req->error == 0)
		req->error = r;
	return r;
}

static int invalid(struct fsc_request *req)
{
	if (req->error == 0)
		req->error = -EINVAL;
	return -EINVAL;
}

int fsc_request_set_str(struct fsc_request *req, const char *key, const char *value)
{
	return value ? set(req, key, text(value)) : invalid(req);
}

int fsc_request_set_int(struct fsc_request *req, const char *key, int64_t value)
{
	return set(req, key, json_integer(value));
}

int fsc_request_set_bool(struct fsc_request *req, const char *key, bool value)
{
	return set(req, key, json_boolean(value));
}

int fsc_request_set_list(struct fsc_request *req, const char *key, const char *const items[],
	size_t n)
{
	json_t *list = json_array();

	for (size_t i = 0; list && i < n; i++) {
		if (!items[i]) {
			json_decref(list);
			return invalid(req);
		}
		if (json_array_append_new(list, text(items[i])) < 0) {
			json_decref(list);
			list = NULL;
		}
	}
	return set(req, key, list);
}

int fsc_request_set_map(struct fsc_request *req, const char *key, const char *const keys[],
	const char *const values[], size_t n)
{
	json_t *map = json_object();

	for (size_t i = 0; map && i < n; i++) {
		json_t *value = values[i] ? text(values[i]) : json_null();

		if (!keys[i]) {
			json_decref(value);
			json_decref(map);
			return invalid(req);
		}
		if (json_object_set_new(map, keys[i], value) < 0) {
			json_decref(map);
			map = NULL;
		}
	}
	return set(req, key, map);
}

const char *fsc_request_key(const struct fsc_request *req)
{
	return req->key;
}

int fsc_request_set_key(struct fsc_request *req, const char *key)
{
	size_t len = strlen(key);

	if (!len || len > KEY_MAX)
		return invalid(req);
	for (const char *p = key; *p; p++) {
		if (*p <= ' ' || *p > '~')
			return invalid(req);
	}
	memcpy(req->key, key, len + 1);
	req->submitted = false;
	return 0;
}

static int check(const struct fsc_request *req, const char *body, struct fsc_error *err)
{
	if (req->error == -EINVAL)
		return fsc_fail(err, EINVAL, FSC_EXIT_USAGE, "bad_request", NULL,
			"an argument of the request is missing or not a text");
	if (req->error == -EIO)
		return fsc_fail(err, EIO, FSC_EXIT_FAILED, "bad_request", NULL,
			"no random bytes for an idempotency key");
	/* A name that is not UTF-8 as the key of a map, or no memory. */
	if (req->error < 0 || !body)
		return fsc_no_memory(err);
	return 0;
}

int fsc_submit(struct fsc *fsc, struct fsc_request *req, unsigned wait, struct fsc_value **answer,
	struct fsc_error *err)
{
	char *body = req->error ? NULL : json_dumps(req->args, JSON_COMPACT);
	char path[64] = "/v1/jobs";
	struct fsc_call call = {.method = "POST", .path = path, .key = req->key, .body = body,
		.wait = wait > 60 ? 60 : wait};
	int r = check(req, body, err);

	if (call.wait)
		snprintf(path, sizeof(path), "/v1/jobs?wait=%u", call.wait);
	if (r == 0) {
		req->submitted = true;
		r = fsc_exchange(fsc, &call, answer, err);
	}
	free(body);
	return r;
}
