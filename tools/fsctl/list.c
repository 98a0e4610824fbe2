/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tools/fsctl/list.h"

#include <assert.h>
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
	char **cells; /* of the table: columns_of(view) for each item */
	size_t n, size;
};

static bool is_number(enum how how)
{
	return how == H_NUMBER || how == H_SIZE || how == H_SECONDS;
}

/* ---- tables ---- */

#define WIDE_MIN 8 /* a column that may be cut keeps at least this width */
#define NAME_MIN 40 /* and so does one of names, which the next command needs whole */
#define COLUMNS_MAX 16

struct shape {
	const struct column *columns[COLUMNS_MAX];
	size_t from[COLUMNS_MAX];	/* which cell of an item it is */
	size_t width[COLUMNS_MAX];	/* of what is in it, then what it gets */
	size_t n;
	bool more; /* columns that found no room */
};

static size_t columns_of(const struct view *view)
{
	size_t n = 0;

	for (const struct column *col = view->columns; col->head; col++)
		n += col->in_list;
	assert(n <= COLUMNS_MAX);
	return n;
}

static int keep_cells(struct list_out *out, const struct fsc_value *item)
{
	size_t n_columns = columns_of(out->view), i = out->n * n_columns;
	int r = 0;

	if (out->n == out->size) {
		size_t size = out->size ? 2 * out->size : 64;
		void *more = reallocarray(out->cells, size * n_columns, sizeof(*out->cells));

		if (!more)
			return -ENOMEM;
		out->cells = more;
		out->size = size;
	}
	for (const struct column *col = out->view->columns; col->head; col++) {
		if (!col->in_list)
			continue;
		out->cells[i] = cell_text(col, item, true);
		r = out->cells[i++] ? r : -ENOMEM;
	}
	out->n++;
	return r;
}

/* Columns with something in them, and the first one. */
static void shape_init(struct shape *s, const struct list_out *out)
{
	size_t n_columns = columns_of(out->view), k = 0;

	s->n = 0;
	for (const struct column *col = out->view->columns; col->head; col++) {
		size_t width = 0;

		if (!col->in_list)
			continue;
		for (size_t i = 0; i < out->n; i++) {
			size_t cell = text_width(out->cells[i * n_columns + k]);

			width = cell > width ? cell : width;
		}
		if (width || k == 0) {
			s->columns[s->n] = col;
			s->from[s->n] = k;
			s->width[s->n] = width > strlen(col->head) ? width : strlen(col->head);
			s->n++;
		}
		k++;
	}
}

static size_t least_width(const struct shape *s, size_t i)
{
	const struct column *col = s->columns[i];
	size_t head = strlen(col->head), least = head > WIDE_MIN ? head : WIDE_MIN;

	if (i == 0 || col->how == H_SUBJECT)
		least = NAME_MIN;
	else if (!col->wide)
		return s->width[i];
	return s->width[i] > least ? least : s->width[i];
}

/* How many of the columns find room when all give what they can. */
static size_t columns_in(const struct shape *s, size_t room)
{
	size_t least = 0, n = 0;

	while (n < s->n && (least += (n > 0) + least_width(s, n)) <= room)
		n++;
	return n ? n : 1;
}

/* A table that is broken over lines is none: the last columns go where they find no room, then
 * those that may be cut give what is missing, the last one first. */
static void shape_fit(struct shape *s, size_t room)
{
	size_t needed = 0, n = columns_in(s, room);

	s->more = n < s->n;
	if (s->more && room > strlen(" x")) {
		room -= strlen(" x");
		n = columns_in(s, room);
	}
	s->n = n;
	for (size_t i = 0; i < n; i++)
		needed += (i > 0) + s->width[i];
	while (n-- > 0 && needed > room) {
		size_t spare = s->width[n] - least_width(s, n), missing = needed - room;
		size_t given = spare < missing ? spare : missing;

		s->width[n] -= given;
		needed -= given;
	}
}

static struct libscols_table *new_table(const struct shape *s, size_t room)
{
	struct libscols_table *table = scols_new_table();

	for (size_t i = 0; table && i < s->n; i++) {
		const struct column *col = s->columns[i];
		struct libscols_column *column = scols_table_new_column(table, col->head, 0,
			is_number(col->how) ? SCOLS_FL_RIGHT : 0);

		/* Cells are escaped already; it would escape our backslashes again. */
		if (column)
			scols_column_set_safechars(column, "\\");
	}
	if (table && s->more)
		scols_table_new_column(table, text_more(), 0, 0);
	if (table) {
		scols_table_set_termforce(table, SCOLS_TERMFORCE_ALWAYS);
		scols_table_set_termwidth(table, room);
	}
	return table;
}

/* Blanks at the end of a line would break it where it ends at the edge. */
static void put_trimmed(const char *text)
{
	while (*text) {
		size_t line = strcspn(text, "\n"), len = line;

		while (len && text[len - 1] == ' ')
			len--;
		printf("%.*s\n", (int)len, text);
		text += line + (text[line] == '\n');
	}
}

static int print_table(struct list_out *out)
{
	size_t n_columns = columns_of(out->view), room = terminal_width(STDOUT_FILENO);
	struct libscols_table *table;
	struct shape s;
	char *text = NULL;
	int r = 0;

	setlocale(LC_CTYPE, ""); /* widths of characters are the locale's */
	shape_init(&s, out);
	shape_fit(&s, room);
	table = new_table(&s, room);
	for (size_t i = 0; table && r == 0 && i < out->n; i++) {
		struct libscols_line *line = scols_table_new_line(table, NULL);

		for (size_t k = 0; line && r == 0 && k < s.n; k++) {
			char *cell = text_cut(out->cells[i * n_columns + s.from[k]], s.width[k]);

			r = cell ? scols_line_refer_data(line, k, cell) : -ENOMEM;
		}
		r = line ? r : -ENOMEM;
	}
	if (table && r == 0)
		r = scols_print_table_to_string(table, &text);
	if (text)
		put_trimmed(text);
	free(text);
	scols_unref_table(table);
	return table ? r : -ENOMEM;
}

/* ---- every form ---- */

struct list_out *list_begin(const struct cli *c, const struct view *view)
{
	struct list_out *out = calloc(1, sizeof(*out));

	if (!out)
		return NULL;
	out->view = view;
	out->form = c->json ? FORM_JSON :
		c->quiet    ? FORM_NAMES :
		isatty(STDOUT_FILENO) ? FORM_TABLE : FORM_LINES;
	if (out->form == FORM_JSON)
		fputs("{\"items\": [", stdout);
	return out;
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
	int r;

	if (out->form == FORM_TABLE)
		return keep_cells(out, item);
	r = out->form == FORM_JSON ? json_item(out, item) : plain_line(out, item);
	out->n++;
	return r;
}

void list_drop(struct list_out **out)
{
	struct list_out *o = *out;
	size_t n = o->cells ? o->n * columns_of(o->view) : 0;

	for (size_t i = 0; i < n; i++)
		free(o->cells[i]);
	free(o->cells);
	free(o);
	*out = NULL;
}

int list_end(struct list_out **out, const char *next)
{
	struct list_out *o = *out;
	int r = 0;

	if (o->form == FORM_JSON) {
		fputs(o->n ? "\n], \"next\": " : "], \"next\": ", stdout);
		if (next)
			put_json_string(stdout, next);
		else
			fputs("null", stdout);
		fputs("}\n", stdout);
	}
	if (o->form == FORM_TABLE && o->n)
		r = print_table(o);
	list_drop(out);
	return r < 0 ? -ENOMEM : 0;
}
