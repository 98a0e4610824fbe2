/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "snap/links.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct link_copy *links_find(const struct links *l, const struct io_stat *st)
{
	uint64_t *index = idmap_get(&l->by_inode, st->dev, st->ino);

	return index ? &l->items[*index - 1] : NULL;
}

static int make_room(struct links *l)
{
	size_t size = l->size ? l->size * 2 : 64;
	void *items;

	if (l->n < l->size)
		return 0;
	items = reallocarray(l->items, size, sizeof(*l->items));
	if (!items)
		return -ENOMEM;
	l->items = items;
	l->size = size;
	return 0;
}

int links_add(struct links *l, const struct io_stat *st, const char *path, uint64_t digest,
	bool fresh)
{
	struct link_copy *known = links_find(l, st), new = {.digest = digest, .fresh = fresh};

	if (make_room(l) < 0)
		return -ENOMEM;
	new.path = strdup(path);
	if (!new.path)
		return -ENOMEM;
	if (known) {
		free(known->path);
		*known = new;
		return 0;
	}
	if (idmap_set(&l->by_inode, st->dev, st->ino, l->n + 1) < 0) {
		free(new.path);
		return -ENOMEM;
	}
	l->items[l->n++] = new;
	return 0;
}

void links_release(struct links *l)
{
	for (size_t i = 0; i < l->n; i++)
		free(l->items[i].path);
	free(l->items);
	idmap_release(&l->by_inode);
	*l = (struct links){0};
}
