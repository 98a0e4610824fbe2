/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A request's fields as a JSON object: in the body of POST /v1/jobs and in the catalog. */
#include "fsd/core/request.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fsd/core/json.h"
#include "snap/base/err.h"
#include "snap/base/fd.h"

/* Paths may hold any bytes; json_text() says how those are written. */
static bool is_bytes(enum field f)
{
	return f == F_DIR || f == F_PATHS;
}

/* These come by the header and the query of HTTP and say nothing about the work. */
static bool is_outside(enum field f)
{
	return f == F_KEY || f == F_WAIT;
}

/* ---- to JSON ---- */

static json_t *text_out(enum field f, const char *s)
{
	return is_bytes(f) ? json_text(s) : json_string(s);
}

static json_t *list_out(enum field f, const struct request_value *v)
{
	json_t *list = json_array();

	for (size_t i = 0; list && i < v->n; i++) {
		if (json_array_append_new(list, text_out(f, v->items[i])) < 0) {
			json_decref(list);
			return NULL;
		}
	}
	return list;
}

static json_t *map_out(const struct request_value *v)
{
	json_t *map = json_object();

	for (size_t i = 0; map && i < v->n; i++) {
		const char *s = v->items[i];
		size_t key = strcspn(s, "=");
		json_t *value = s[key] ? json_string(s + key + 1) : json_null();

		if (json_object_setn_new(map, s, key, value) < 0) {
			json_decref(map);
			return NULL;
		}
	}
	return map;
}

static json_t *value_out(enum field f, const struct request_value *v)
{
	switch (field_specs[f].type) {
	case T_STRING:
		return text_out(f, v->text);
	case T_BOOL:
		return json_boolean(v->number);
	case T_INT:
		return json_integer(v->number);
	case T_LIST:
		return list_out(f, v);
	default:
		return map_out(v);
	}
}

char *request_to_json(const struct request *r)
{
	json_t *object = json_object();
	char *text = NULL;

	for (int f = F_NONE + 1; object && f < F_COUNT; f++) {
		if (!request_has(r, f) || is_outside(f))
			continue;
		if (json_object_set_new(object, field_specs[f].name,
			    value_out(f, &r->values[f])) < 0)
			goto out;
	}
	text = object ? json_dumps(object, JSON_COMPACT) : NULL;
out:
	json_decref(object);
	return text;
}

/* ---- from JSON ---- */

/* 0 or -errno; a NUL inside was refused by the parser. */
static int text_in(struct request *r, enum field f, const json_t *value)
{
	_cleanup_free_ char *bytes = NULL;
	const char *s = json_string_value(value);
	int ret = 0;

	if (s && is_bytes(f)) {
		ret = json_text_decode(s, &bytes);
		s = bytes;
	}
	if (ret < 0 || !s)
		return ret < 0 ? ret : -EINVAL;
	return field_specs[f].type == T_STRING ? request_set_str(r, f, s) : request_add(r, f, s);
}

static int list_in(struct request *r, enum field f, const json_t *value)
{
	int ret = json_array_size(value) > 0 ? 0 : -EINVAL;

	for (size_t i = 0; ret == 0 && i < json_array_size(value); i++)
		ret = text_in(r, f, json_array_get(value, i));
	return ret;
}

static int pair_in(struct request *r, enum field f, const char *key, const json_t *value)
{
	_cleanup_buf_ struct buf b = BUF_INIT;

	if (strchr(key, '=') || (!json_is_string(value) && !json_is_null(value)))
		return -EINVAL;
	buf_adds(&b, key);
	if (json_is_string(value)) {
		buf_adds(&b, "=");
		buf_adds(&b, json_string_value(value));
	}
	return buf_error(&b) < 0 ? buf_error(&b) : request_add(r, f, buf_str(&b));
}

static int map_in(struct request *r, enum field f, const json_t *value)
{
	json_t *map = (json_t *)(uintptr_t)value; /* jansson's iterators know no const */
	const char *key;
	json_t *v;
	int ret = json_object_size(map) > 0 ? 0 : -EINVAL;

	json_object_foreach (map, key, v) {
		if (ret == 0)
			ret = pair_in(r, f, key, v);
	}
	return ret;
}

static int value_in(struct request *r, enum field f, const json_t *value)
{
	switch (field_specs[f].type) {
	case T_STRING:
		return text_in(r, f, value);
	case T_BOOL:
		return json_is_boolean(value) ? request_set_int(r, f, json_is_true(value))
					      : -EINVAL;
	case T_INT:
		return json_is_integer(value) ? request_set_int(r, f, json_integer_value(value))
					      : -EINVAL;
	case T_LIST:
		return list_in(r, f, value);
	default:
		return map_in(r, f, value);
	}
}

static const char *type_text(enum field f)
{
	static const char *const texts[] = {
		[T_STRING] = "a string",
		[T_BOOL] = "true or false",
		[T_INT] = "a whole number",
		[T_LIST] = "a list of strings, not an empty one",
		[T_MAP] = "an object of strings and nulls, not an empty one",
	};

	return texts[field_specs[f].type];
}

static enum field field_by_name(const char *name)
{
	for (int f = F_NONE + 1; f < F_COUNT; f++) {
		if (!is_outside(f) && strcmp(field_specs[f].name, name) == 0)
			return f;
	}
	return F_NONE;
}

static int member_in(struct request *r, const char *name, const json_t *value, struct err *err)
{
	enum field f = field_by_name(name);
	int ret;

	if (f == F_NONE)
		return err_set(err, EBADMSG, "bad_request", name, "it is not known here");
	ret = value_in(r, f, value);
	if (ret == -ENOMEM)
		return err_sys(err, ENOMEM, "read the request", NULL);
	if (ret == -E2BIG)
		return err_set(err, EBADMSG, "bad_request", name, "it is too large");
	if (ret == -EBADMSG)
		return err_set(err, EBADMSG, "bad_request", name, "its bytes are written wrongly");
	return ret == 0 ? 0
			: err_set(err, EBADMSG, "bad_request", name, "it is not %s", type_text(f));
}

int request_set_json(struct request *r, const json_t *object, struct err *err)
{
	json_t *o = (json_t *)(uintptr_t)object;
	const char *name;
	json_t *value;
	int ret = 0;

	if (!json_is_object(o))
		return err_set(err, EBADMSG, "bad_request", NULL, "it is not a JSON object");
	json_object_foreach (o, name, value) {
		if (ret == 0 && strcmp(name, "kind") != 0)
			ret = member_in(r, name, value, err);
	}
	return ret;
}

int request_from_json(enum op op, const char *json, struct request *r, struct err *err)
{
	json_t *object = NULL;
	int ret;

	request_init(r, op);
	ret = json_parse(json, strlen(json), "arguments", &object, err);
	if (ret == 0)
		ret = request_set_json(r, object, err);
	if (ret == 0)
		ret = request_validate(r, err);
	if (ret < 0)
		request_release(r);
	json_decref(object);
	return ret;
}
