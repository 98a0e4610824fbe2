/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tools/fsctl/list.h"

#include <errno.h>
#include <libsmartcols.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/fsctl/text.h"

enum form { FORM_TABLE, FORM_LINES, FORM_NAMES, FORM_JSON };

struct list_out {
	enum form form;
	const struct view *view;
	struct libscols_table *table;
	size_t n;
};

static bool is_number(enum how how)
{
	return how == H_NUMBER || how == H_SIZE || how == H_SECONDS;
}

static struct libscols_table *new_table(const struct view *view)
{
	struct libscols_table *table;
	struct libscols_column *column;

	/* Widths of characters are the locale's. */
	setlocale(LC_CTYPE, "");
	table = scols_new_table();
	for (const struct column *col = view->columns; table && col->head; col++) {
		int flags = (is_number(col->how) ? SCOLS_FL_RIGHT : 0) |
			(col->wide ? SCOLS_FL_TRUNC : 0);

		if (!col->in_list)
			continue;
		column = scols_table_new_column(table, col->head, 0, flags);
		/* Cells are escaped already; it would escape our backslashes again. */
		if (column)
			scols_column_set_safechars(column, "\\");
	}
	return table;
}

struct list_out *list_begin(const struct cli *c, const struct view *view)
{
	struct list_out *out = calloc(1, sizeof(*out));

	if (!out)
		return NULL;
	out->view = view;
	out->form = c->json ? FORM_JSON :
		c->quiet    ? FORM_NAMES :
		isatty(STDOUT_FILENO) ? FORM_TABLE : FORM_LINES;
	if (out->form == FORM_TABLE) {
		out->table = new_table(view);
		if (!out->table) {
			free(out);
			return NULL;
		}
	}
	if (out->form == FORM_JSON)
		fputs("{\"items\": [", stdout);
	return out;
}

static int table_line(struct list_out *out, const struct fsc_value *item)
{
	struct libscols_line *line = scols_table_new_line(out->table, NULL);
	size_t i = 0;

	if (!line)
		return -ENOMEM;
	for (const struct column *col = out->view->columns; col->head; col++) {
		if (col->in_list && scols_line_refer_data(line, i++, cell_text(col, item, true)))
			return -ENOMEM;
	}
	return 0;
}

static int plain_line(struct list_out *out, const struct fsc_value *item)
{
	const char *before = "";

	for (const struct column *col = out->view->columns; col->head; col++) {
		char *text = col->in_list ? cell_text(col, item, false) : NULL;

		if (!col->in_list)
			continue;
		if (!text)
			return -ENOMEM;
		printf("%s%s", before, text);
		free(text);
		before = "\t";
		if (out->form == FORM_NAMES)
			break;
	}
	putchar('\n');
	return 0;
}

static int json_item(struct list_out *out, const struct fsc_value *item)
{
	char *text = fsc_value_text(item, 0);

	if (!text)
		return -ENOMEM;
	printf("%s\n%s", out->n ? "," : "", text);
	free(text);
	return 0;
}

int list_item(struct list_out *out, const struct fsc_value *item)
{
	int r = out->form == FORM_TABLE ? table_line(out, item) :
		out->form == FORM_JSON	? json_item(out, item) :
					  plain_line(out, item);

	out->n++;
	return r;
}

void list_drop(struct list_out **out)
{
	if ((*out)->table)
		scols_unref_table((*out)->table);
	free(*out);
	*out = NULL;
}

void list_end(struct list_out **out, const char *next)
{
	struct list_out *o = *out;

	if (o->form == FORM_JSON) {
		fputs(o->n ? "\n], \"next\": " : "], \"next\": ", stdout);
		if (next)
			put_json_string(stdout, next);
		else
			fputs("null", stdout);
		fputs("}\n", stdout);
	}
	if (o->table && o->n)
		scols_print_table(o->table);
	list_drop(out);
}
