/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A list as the API answers it: {"items":[...],"next":CURSOR or null}, written item by item. */
#ifndef FSD_WORKER_LIST_H
#define FSD_WORKER_LIST_H

#include <jansson.h>
#include <stdbool.h>

#include "fsd/core/request.h"
#include "fsd/worker/state.h"
#include "snap/base/buf.h"

#define PAGE_BYTES (1u << 20) /* then a page ends early: what is in an item has no bounds */

struct list {
	struct fsd *f;
	struct catalog *c;
	const struct cat_site *site; /* for generations */
	const char *state;	     /* of jobs; NULL: any, or the catalog's filter is enough */
	bool undoable;		     /* only such jobs */
	struct buf *out;
	unsigned n, limit; /* 0: none, all is on one page */
	bool more;
	char next[CAT_NAME_SIZE];
};

void list_begin(struct list *l, struct fsd *f, struct catalog *c, struct buf *out);
/* The same in pages, as the request says. */
int list_init(struct list *l, struct fsd *f, struct catalog *c, const struct request *r,
	struct buf *out, struct err *err);

/* Takes `item`; `cursor` goes on behind it. 0; 1: there is no room, it begins the next page;
 * -ENOMEM. */
int list_add(struct list *l, json_t *item, const char *cursor);

/* The two halves of it, for who writes an item's text by himself: is there no room, so that there
 * is a next page? And behind the text. */
bool list_full(struct list *l);
void list_added(struct list *l, const char *cursor);

/* `r`: how adding ended; an error stays one. */
int list_end(struct list *l, int r);

#endif
