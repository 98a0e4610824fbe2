/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The table of what may be asked, as JSON, for check_openapi.py. */
#include <stdio.h>
#include <string.h>

#include <jansson.h>

#include "fsd/core/request.h"

static json_t *field(enum field f, bool required)
{
	static const char *const types[] = {
		[T_STRING] = "string", [T_BOOL] = "boolean", [T_INT] = "integer",
		[T_LIST] = "array", [T_MAP] = "object",
	};
	json_t *v = json_pack("{s:s,s:s,s:b}", "name", field_specs[f].name, "type",
		types[field_specs[f].type], "required", required);
	int64_t min, max;

	if (field_words(f))
		json_object_set_new(v, "words", json_string(field_words(f)));
	if (field_range(f, &min, &max)) {
		json_object_set_new(v, "min", json_integer(min));
		json_object_set_new(v, "max", json_integer(max));
	}
	return v;
}

static bool required(enum op op, enum field f)
{
	for (int i = 0; i < OP_FIELDS_MAX && op_specs[op].fields[i]; i++) {
		if (op_specs[op].fields[i] == (f | OP_REQUIRED))
			return true;
	}
	return false;
}

static json_t *spec(enum op op)
{
	json_t *fields = json_array();

	for (int f = F_NONE + 1; f < F_COUNT; f++) {
		if (op_takes(op, f))
			json_array_append_new(fields, field(f, required(op, f)));
	}
	return json_pack("{s:s,s:s?,s:s?,s:s,s:o}", "name", op_specs[op].name, "method",
		op_specs[op].method, "path", op_specs[op].path, "role",
		role_name(op_specs[op].role), "fields", fields);
}

int main(void)
{
	json_t *ops = json_array();

	for (int op = OP_NONE + 1; op < OP_COUNT; op++)
		json_array_append_new(ops, spec(op));
	json_dumpf(ops, stdout, JSON_INDENT(1));
	json_decref(ops);
	return 0;
}
