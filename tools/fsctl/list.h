/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef FSCTL_LIST_H
#define FSCTL_LIST_H

#include "tools/fsctl/cli.h"
#include "tools/fsctl/columns.h"

/*
 * Objects, one a line: an aligned table on a terminal, printed at the end, without the columns that
 * are empty and the last ones where they find no room; names, tab-separated values or JSON as they
 * come otherwise.
 */
struct list_out;
struct list_out *list_begin(const struct cli *c, const struct view *view);
int list_item(struct list_out *out, const struct fsc_value *item); /* 0 or -ENOMEM */
/* `next` is the cursor that continues the list, or NULL. Frees. 0 or -ENOMEM. */
int list_end(struct list_out **out, const char *next);
/* Frees and leaves what was printed as it is. */
void list_drop(struct list_out **out);

#endif
