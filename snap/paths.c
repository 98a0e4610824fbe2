/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "snap/paths.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int paths_add(struct paths *p, const char *path, const char *reason)
{
	if (p->n < PATHS_KEPT && !p->items) {
		p->items = calloc(PATHS_KEPT, sizeof(*p->items));
		if (!p->items)
			return -ENOMEM;
	}
	if (p->n < PATHS_KEPT) {
		p->items[p->n].path = strdup(path);
		if (!p->items[p->n].path)
			return -ENOMEM;
		p->items[p->n++].reason = reason;
	}
	p->total++;
	return 0;
}

void paths_release(struct paths *p)
{
	for (size_t i = 0; i < p->n; i++)
		free(p->items[i].path);
	free(p->items);
	*p = PATHS_INIT;
}
