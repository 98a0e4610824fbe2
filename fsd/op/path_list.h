/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Relative paths in path order: by components, '/' before every other byte. */
#ifndef FSD_OP_PATH_LIST_H
#define FSD_OP_PATH_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct path_list {
	char **items;
	size_t n, size;
};

/* Copies. 0 or -ENOMEM. */
int path_list_add(struct path_list *l, const char *path);
/* Sort, and drop what is twice there or lies in another one of the list. */
void path_list_reduce(struct path_list *l);
void path_list_release(struct path_list *l);
#define _cleanup_path_list_ __attribute__((cleanup(path_list_release)))

/* Is `path` this directory, or in it? */
bool path_is_below(const char *path, const char *top);

#endif
