/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One request in memory. Its rules: request_check.c; its forms: request_wire.c, request_json.c. */
#include "fsd/core/request.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void request_init(struct request *r, enum op op)
{
	*r = (struct request){.op = op};
}

void request_release(struct request *r)
{
	for (int f = 0; f < F_COUNT; f++) {
		struct request_value *v = &r->values[f];

		free(v->text);
		for (size_t i = 0; i < v->n; i++)
			free(v->items[i]);
		free(v->items);
	}
	request_init(r, OP_NONE);
}

static bool has_type(enum field f, enum field_type type)
{
	return f > F_NONE && f < F_COUNT && field_specs[f].type == type;
}

static int copy(const char *s, char **out)
{
	if (strnlen(s, REQUEST_SIZE_MAX) == REQUEST_SIZE_MAX)
		return -E2BIG;
	*out = strdup(s);
	return *out ? 0 : -ENOMEM;
}

int request_set_str(struct request *r, enum field f, const char *s)
{
	int ret;

	if (!has_type(f, T_STRING))
		return -EINVAL;
	if (r->values[f].present)
		return -EEXIST;
	ret = copy(s, &r->values[f].text);
	r->values[f].present = ret == 0;
	return ret;
}

int request_set_int(struct request *r, enum field f, int64_t n)
{
	if (!has_type(f, T_INT) && !has_type(f, T_BOOL))
		return -EINVAL;
	if (r->values[f].present)
		return -EEXIST;
	if (has_type(f, T_BOOL) && n != 0 && n != 1)
		return -EINVAL;
	r->values[f].number = n;
	r->values[f].present = true;
	return 0;
}

int request_add(struct request *r, enum field f, const char *item)
{
	struct request_value *v;
	int ret;

	if (!has_type(f, T_LIST) && !has_type(f, T_MAP))
		return -EINVAL;
	v = &r->values[f];
	if (v->n == REQUEST_ITEMS_MAX)
		return -E2BIG;
	if ((v->n & (v->n - 1)) == 0) { /* full at every power of two */
		char **items = realloc(v->items, (v->n ? 2 * v->n : 1) * sizeof(*items));

		if (!items)
			return -ENOMEM;
		v->items = items;
	}
	ret = copy(item, &v->items[v->n]);
	if (ret < 0)
		return ret;
	for (size_t len = strlen(v->items[v->n]); f == F_PATHS && len && item[len - 1] == '/';)
		v->items[v->n][--len] = '\0';
	v->n++;
	v->present = true;
	return 0;
}

bool request_has(const struct request *r, enum field f)
{
	return r->values[f].present;
}

const char *request_str(const struct request *r, enum field f)
{
	return r->values[f].text;
}

int64_t request_int(const struct request *r, enum field f)
{
	return r->values[f].number;
}

bool request_bool(const struct request *r, enum field f)
{
	return r->values[f].number != 0;
}

char *const *request_list(const struct request *r, enum field f, size_t *n)
{
	*n = r->values[f].n;
	return r->values[f].items;
}
