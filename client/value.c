/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Looking into answers. A `struct fsc_value` is a jansson value under another name. */
#include "client/internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

const struct fsc_value *fsc_value_member(const struct fsc_value *v, const char *key)
{
	return fsc_from_json(json_object_get(fsc_json(v), key));
}

const struct fsc_value *fsc_value_at(const struct fsc_value *v, const char *path)
{
	json_t *at = fsc_json(v);

	while (at && path && *path) {
		size_t len = strcspn(path, ".");

		at = json_object_getn(at, path, len);
		path += len;
		if (*path == '.')
			path++;
	}
	return fsc_from_json(at);
}

enum fsc_type fsc_value_type(const struct fsc_value *v)
{
	if (!v)
		return FSC_NULL;
	switch (json_typeof(fsc_json(v))) {
	case JSON_OBJECT:
		return FSC_OBJECT;
	case JSON_ARRAY:
		return FSC_LIST;
	case JSON_STRING:
		return FSC_STR;
	case JSON_INTEGER:
		return FSC_INT;
	case JSON_REAL:
		return FSC_REAL;
	case JSON_TRUE:
	case JSON_FALSE:
		return FSC_BOOL;
	default:
		return FSC_NULL;
	}
}

const char *fsc_value_str(const struct fsc_value *v, const char *path)
{
	return json_string_value(fsc_json(fsc_value_at(v, path)));
}

int64_t fsc_value_int(const struct fsc_value *v, const char *path, int64_t other)
{
	const json_t *j = fsc_json(fsc_value_at(v, path));

	if (json_is_integer(j))
		return json_integer_value(j);
	/* Beyond these the conversion is undefined. */
	if (json_is_real(j) && json_real_value(j) > -9.2e18 && json_real_value(j) < 9.2e18)
		return (int64_t)json_real_value(j);
	return other;
}

double fsc_value_real(const struct fsc_value *v, const char *path, double other)
{
	const json_t *j = fsc_json(fsc_value_at(v, path));

	return json_is_number(j) ? json_number_value(j) : other;
}

bool fsc_value_bool(const struct fsc_value *v, const char *path, bool other)
{
	const json_t *j = fsc_json(fsc_value_at(v, path));

	return json_is_boolean(j) ? json_is_true(j) : other;
}

char *fsc_value_bytes(const struct fsc_value *v, const char *path)
{
	const char *text = fsc_value_str(v, path);

	return text ? fsc_text_decode(text) : NULL;
}

size_t fsc_value_count(const struct fsc_value *v)
{
	return json_is_array(fsc_json(v)) ? json_array_size(fsc_json(v)) :
					    json_object_size(fsc_json(v));
}

const struct fsc_value *fsc_value_item(const struct fsc_value *v, size_t i)
{
	return fsc_from_json(json_array_get(fsc_json(v), i));
}

const char *fsc_value_next(const struct fsc_value *v, const char *key)
{
	json_t *j = fsc_json(v);
	void *iter;

	if (!json_is_object(j))
		return NULL;
	iter = key ? json_object_iter_next(j, json_object_key_to_iter(key)) : json_object_iter(j);
	return json_object_iter_key(iter);
}

char *fsc_value_text(const struct fsc_value *v, unsigned indent)
{
	size_t flags = JSON_ENCODE_ANY | (indent ? JSON_INDENT(indent < 31 ? indent : 31) : 0);

	return v ? json_dumps(fsc_json(v), flags) : strdup("null");
}

int fsc_value_parse(const char *text, size_t len, struct fsc_value **out)
{
	json_error_t error;
	json_t *j = json_loadb(text, len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);

	if (!j)
		return json_error_code(&error) == json_error_out_of_memory ? -ENOMEM : -EBADMSG;
	*out = fsc_from_json(j);
	return 0;
}

void fsc_value_free(struct fsc_value **v)
{
	json_decref(fsc_json(*v));
	*v = NULL;
}
