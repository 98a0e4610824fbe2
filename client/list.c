/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Going through a list page by page. */
#include "client/internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct fsc_list {
	struct fsc *fsc;
	char *path;	      /* without a cursor */
	const char *parameter; /* that takes the cursor */
	struct fsc_value *page; /* NULL before the first one */
	size_t next;	      /* item of the page */
	char cursor[512];     /* of the page after this one; "": there is none */
	bool more;
};

/* Events continue after an id, everything else by an opaque cursor. */
static const char *parameter_of(const char *path)
{
	size_t len = strcspn(path, "?");
	bool log = len > 4 && strncmp(path + len - 4, "/log", 4) == 0;
	bool events = len == 10 && strncmp(path, "/v1/events", 10) == 0;

	return log || events ? "after" : "cursor";
}

struct fsc_list *fsc_list_new(struct fsc *fsc, const char *path)
{
	struct fsc_list *list = calloc(1, sizeof(*list));

	if (!list)
		return NULL;
	list->fsc = fsc;
	list->path = strdup(path);
	list->parameter = parameter_of(path);
	list->more = true;
	if (!list->path)
		fsc_list_free(&list);
	return list;
}

void fsc_list_free(struct fsc_list **list)
{
	if (*list) {
		fsc_value_free(&(*list)->page);
		free((*list)->path);
	}
	free(*list);
	*list = NULL;
}

/* `next` is a text; a number is taken too. */
static int keep_cursor(struct fsc_list *list, struct fsc_error *err)
{
	const struct fsc_value *next = fsc_value_member(list->page, "next");
	char old[sizeof(list->cursor)];
	char *text;

	memcpy(old, list->cursor, sizeof(old));
	list->cursor[0] = '\0';
	if (fsc_value_type(next) == FSC_NULL)
		return 0;
	text = fsc_value_type(next) == FSC_STR ? strdup(fsc_value_str(next, NULL)) :
						 fsc_value_text(next, 0);
	if (!text)
		return fsc_no_memory(err);
	if (strlen(text) < sizeof(list->cursor))
		memcpy(list->cursor, text, strlen(text) + 1);
	free(text);
	/* One that does not move would never end. */
	if (!list->cursor[0] || strcmp(old, list->cursor) == 0)
		return fsc_bad_response(err, "the list's cursor does not move");
	list->more = true;
	return 0;
}

static int fetch(struct fsc_list *list, struct fsc_error *err)
{
	struct fsc_value *page = NULL;
	char *path = strdup(list->path);
	int r;

	if (path && list->cursor[0] && fsc_path_add(&path, list->parameter, list->cursor) < 0) {
		free(path);
		path = NULL;
	}
	r = path ? fsc_get(list->fsc, path, &page, err) : fsc_no_memory(err);
	free(path);
	if (r < 0)
		return r;
	fsc_value_free(&list->page);
	list->page = page;
	list->next = 0;
	list->more = false;
	if (fsc_value_type(fsc_value_member(page, "items")) != FSC_LIST)
		return fsc_bad_response(err, "it is not a list");
	return keep_cursor(list, err);
}

int fsc_list_next(struct fsc_list *list, const struct fsc_value **item, struct fsc_error *err)
{
	for (;;) {
		const struct fsc_value *items = fsc_value_member(list->page, "items");
		int r;

		if (list->next < fsc_value_count(items)) {
			*item = fsc_value_item(items, list->next++);
			return 1;
		}
		if (!list->more)
			return 0;
		r = fetch(list, err);
		if (r < 0) {
			list->more = false;
			return r;
		}
	}
}

const char *fsc_list_cursor(const struct fsc_list *list)
{
	return list->cursor[0] ? list->cursor : NULL;
}
