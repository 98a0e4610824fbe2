/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fsd/op/path_list.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int path_list_add(struct path_list *l, const char *path)
{
	if (l->n == l->size) {
		size_t size = l->size ? 2 * l->size : 16;
		void *more = reallocarray(l->items, size, sizeof(*l->items));

		if (!more)
			return -ENOMEM;
		l->items = more;
		l->size = size;
	}
	l->items[l->n] = strdup(path);
	return l->items[l->n] ? (l->n++, 0) : -ENOMEM;
}

static int order(const void *a, const void *b)
{
	const unsigned char *x = *(const unsigned char *const *)a;
	const unsigned char *y = *(const unsigned char *const *)b;

	while (*x && *x == *y)
		x++, y++;
	if (*x == *y)
		return 0;
	if (!*x || !*y)
		return *x ? 1 : -1;
	if (*x == '/' || *y == '/')
		return *x == '/' ? -1 : 1;
	return *x < *y ? -1 : 1;
}

bool path_is_below(const char *path, const char *top)
{
	size_t len = strlen(top);

	return strncmp(path, top, len) == 0 && (path[len] == '\0' || path[len] == '/');
}

void path_list_reduce(struct path_list *l)
{
	size_t kept = 0;

	if (l->n)
		qsort(l->items, l->n, sizeof(*l->items), order);
	for (size_t i = 0; i < l->n; i++) {
		if (kept && path_is_below(l->items[i], l->items[kept - 1]))
			free(l->items[i]);
		else
			l->items[kept++] = l->items[i];
	}
	l->n = kept;
}

void path_list_release(struct path_list *l)
{
	for (size_t i = 0; i < l->n; i++)
		free(l->items[i]);
	free(l->items);
	*l = (struct path_list){0};
}
