/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fsd/worker/list.h"

#include <errno.h>
#include <stdio.h>

#include "fsd/core/json.h"
#include "snap/base/err.h"

void list_begin(struct list *l, struct fsd *f, struct catalog *c, struct buf *out)
{
	*l = (struct list){.f = f, .c = c, .out = out};
	buf_adds(out, "{\"items\":[");
}

int list_init(struct list *l, struct fsd *f, struct catalog *c, const struct request *r,
	struct buf *out, struct err *err)
{
	int64_t limit = request_has(r, F_LIMIT) ? request_int(r, F_LIMIT) : 100;

	if (limit < 1 || limit > 1000)
		return err_set(err, EINVAL, "bad_request", "limit", "a limit is 1 to 1000");
	list_begin(l, f, c, out);
	l->limit = (unsigned)limit;
	return 0;
}

bool list_full(struct list *l)
{
	l->more = l->limit && l->n && (l->n == l->limit || l->out->len >= PAGE_BYTES);
	return l->more;
}

void list_added(struct list *l, const char *cursor)
{
	l->n++;
	snprintf(l->next, sizeof(l->next), "%s", cursor);
}

/* Written and freed at once it costs half of what a tree of all items does. One more than the limit
 * is asked for: it says that there is a next page. */
int list_add(struct list *l, json_t *item, const char *cursor)
{
	if (!item)
		return -ENOMEM;
	if (list_full(l)) {
		json_decref(item);
		return 1;
	}
	if (l->n)
		buf_adds(l->out, ",");
	json_add(l->out, item);
	json_decref(item);
	list_added(l, cursor);
	return 0;
}

int list_end(struct list *l, int r)
{
	if (r < 0)
		return r;
	buf_adds(l->out, "],\"next\":");
	if (l->more) {
		json_t *next = json_string(l->next);

		json_add(l->out, next);
		json_decref(next);
	} else {
		buf_adds(l->out, "null");
	}
	buf_adds(l->out, "}");
	return 0;
}
