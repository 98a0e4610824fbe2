/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which members of which objects are shown, and how: one description for tables, for plain lines
 * (tabs, exact numbers) and for `show`. */
#ifndef FSCTL_COLUMNS_H
#define FSCTL_COLUMNS_H

#include <stdbool.h>

#include "client/fsclient.h"

enum how { H_TEXT, H_NUMBER, H_SIZE, H_TIME, H_BOOL, H_LIST, H_MAP, H_SNAPSHOT, H_GENERATION,
	H_SECONDS, H_JSON, H_PATH, H_SENTENCES, H_UNDO, H_SUBJECT, H_JOB_STATE };

struct column {
	const char *head, *path;
	enum how how;
	bool in_list; /* else only in `show` */
	bool wide;    /* may be cut in a table */
};

struct view {
	const char *path;      /* of the API: the template of the command table */
	const char *one;       /* the same for `show` */
	const struct column *columns; /* the first one is the name; ends with .head NULL */
};

/* For the path of a command; NULL when there is none. */
const struct view *view_for(const char *path);

/* One cell, malloc'd; NULL without memory. `human`: for a terminal, else exact. Never acts on a
 * terminal, never holds a tab or line feed. */
char *cell_text(const struct column *col, const struct fsc_value *item, bool human);

#endif
