/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Statements kept for reuse, and records in and out of them by their tables of columns. */
#include "backends/catalog/sqlite_internal.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

/* ---- statements ---- */

static sqlite3_stmt *to_front(struct catalog *c, unsigned i)
{
	sqlite3_stmt *s = c->statements[i];

	memmove(c->statements + 1, c->statements, i * sizeof(*c->statements));
	c->statements[0] = s;
	return s;
}

/* A slot at the front for a new statement: the least recently used idle one makes room. */
static int make_room(struct catalog *c)
{
	unsigned i = c->n_statements;

	if (i == SQL_STATEMENTS) {
		do {
			if (i-- == 0)
				return -EMFILE;
		} while (sqlite3_stmt_busy(c->statements[i]));
		sqlite3_finalize(c->statements[i]);
		c->n_statements--;
	}
	memmove(c->statements + 1, c->statements, i * sizeof(*c->statements));
	c->statements[0] = NULL;
	c->n_statements++;
	return 0;
}

static void drop_front(struct catalog *c)
{
	c->n_statements--;
	memmove(c->statements, c->statements + 1, c->n_statements * sizeof(*c->statements));
}

int sql_statement(struct catalog *c, const char *sql, sqlite3_stmt **out, struct err *err)
{
	int rc;

	for (unsigned i = 0; i < c->n_statements; i++) {
		/* A busy one belongs to a list whose callback asks the same question again. */
		if (strcmp(sqlite3_sql(c->statements[i]), sql) == 0 &&
			!sqlite3_stmt_busy(c->statements[i])) {
			*out = to_front(c, i);
			return 0;
		}
	}
	if (make_room(c) < 0)
		return err_set(err, EMFILE, "too_many", c->path, "too many nested lists");
	rc = sqlite3_prepare_v3(c->db, sql, -1, SQLITE_PREPARE_PERSISTENT, &c->statements[0], NULL);
	if (rc != SQLITE_OK) {
		drop_front(c);
		return sql_error(c, rc, NULL, err);
	}
	*out = c->statements[0];
	return 0;
}

void sql_done(sqlite3_stmt *s)
{
	sqlite3_reset(s);
	sqlite3_clear_bindings(s); /* they point to the caller's memory */
}

int sql_exec(struct catalog *c, const char *sql, struct err *err)
{
	int rc = sqlite3_exec(c->db, sql, NULL, NULL, NULL);

	return rc == SQLITE_OK ? 0 : sql_error(c, rc, NULL, err);
}

int sql_int(struct catalog *c, const char *sql, const char *arg, int64_t *out, struct err *err)
{
	sqlite3_stmt *s;
	int rc, r = sql_statement(c, sql, &s, err);

	if (r < 0)
		return r;
	if (arg)
		sqlite3_bind_text(s, 1, arg, -1, SQLITE_STATIC);
	rc = sqlite3_step(s);
	if (rc == SQLITE_ROW)
		*out = sqlite3_column_int64(s, 0);
	else if (rc == SQLITE_DONE)
		*out = 0;
	else
		r = sql_error(c, rc, NULL, err);
	sql_done(s);
	return r;
}

/* ---- records in ---- */

static int bind_column(sqlite3_stmt *s, int i, const struct column *col, const void *record)
{
	const void *at = (const char *)record + col->offset;

	switch (col->type) {
	case COLUMN_INT:
		return sqlite3_bind_int64(s, i, *(const int64_t *)at);
	case COLUMN_BOOL:
		return sqlite3_bind_int(s, i, *(const int *)at != 0);
	case COLUMN_TEXT:
		return sqlite3_bind_text(s, i, at, strnlen(at, col->size), SQLITE_STATIC);
	case COLUMN_LONG:
		return sqlite3_bind_text(s, i, *(const char *const *)at, -1, SQLITE_STATIC);
	}
	assert(false);
}

/* Every text must be terminated within its field. */
static int check_texts(const struct record *rec, const void *record, struct err *err)
{
	for (unsigned i = 0; i < rec->n_columns; i++) {
		const struct column *col = &rec->columns[i];
		const char *at = (const char *)record + col->offset;

		if (col->type == COLUMN_TEXT && strnlen(at, col->size) == col->size)
			return err_set(err, ENAMETOOLONG, "too_long", col->name,
				"%s.%s is longer than %zu bytes", rec->table, col->name,
				col->size - 1);
	}
	return 0;
}

static bool is_key(const struct record *rec, const char *column)
{
	size_t len = strlen(column);

	for (const char *at = rec->key; (at = strstr(at, column)); at += len) {
		if ((at == rec->key || at[-1] == ' ') && (at[len] == '\0' || at[len] == ','))
			return true;
	}
	return false;
}

static void add_columns(struct buf *b, const struct record *rec)
{
	for (unsigned i = 0; i < rec->n_columns; i++) {
		buf_adds(b, i ? ", " : "");
		buf_adds(b, rec->columns[i].name);
	}
}

/* INSERT INTO t(a, b) VALUES(?, ?) ON CONFLICT(a) DO UPDATE SET b = excluded.b */
static void put_text(struct buf *b, const struct record *rec)
{
	const char *separator = "";

	buf_printf(b, "INSERT INTO %s(", rec->table);
	add_columns(b, rec);
	buf_adds(b, ") VALUES(");
	for (unsigned i = 0; i < rec->n_columns; i++)
		buf_adds(b, i ? ", ?" : "?");
	buf_printf(b, ") ON CONFLICT(%s) DO UPDATE SET ", rec->key);
	for (unsigned i = 0; i < rec->n_columns; i++) {
		const char *name = rec->columns[i].name;

		if (is_key(rec, name))
			continue;
		buf_printf(b, "%s%s = excluded.%s", separator, name, name);
		separator = ", ";
	}
}

int sql_put(struct catalog *c, const struct record *rec, const void *record, struct err *err)
{
	const char *name = (const char *)record + rec->name;
	_cleanup_buf_ struct buf sql = BUF_INIT;
	sqlite3_stmt *s;
	int rc, r = check_texts(rec, record, err);

	if (r < 0)
		return r;
	put_text(&sql, rec);
	if (buf_error(&sql))
		return err_sys(err, ENOMEM, "write a record", name);
	r = sql_statement(c, buf_str(&sql), &s, err);
	if (r < 0)
		return r;
	for (unsigned i = 0; i < rec->n_columns; i++) {
		rc = bind_column(s, i + 1, &rec->columns[i], record);
		if (rc != SQLITE_OK) {
			r = sql_error(c, rc, name, err);
			sql_done(s);
			return r;
		}
	}
	r = sql_write(c, s, name, err);
	return r == -EEXIST ? err_set(err, EEXIST, rec->code, name, "%s is taken", name) : r;
}

/* ---- queries ---- */

void query_init(struct query *q, const struct record *rec)
{
	*q = (struct query){.record = rec, .sql = BUF_INIT};
	buf_adds(&q->sql, "SELECT ");
	add_columns(&q->sql, rec);
	buf_adds(&q->sql, " FROM ");
	buf_adds(&q->sql, rec->table);
}

void query_release(struct query *q)
{
	if (q->statement)
		sql_done(q->statement);
	q->statement = NULL;
	buf_release(&q->sql);
}

void query_where(struct query *q, const char *term)
{
	buf_adds(&q->sql, q->n_terms++ ? " AND " : " WHERE ");
	buf_adds(&q->sql, term);
}

static void add_arg(struct query *q, const char *text, int64_t n)
{
	assert(q->n_args < QUERY_ARGS);
	q->args[q->n_args].text = text;
	q->args[q->n_args++].n = n;
}

void query_arg_text(struct query *q, const char *value)
{
	add_arg(q, value, strlen(value));
}

void query_where_text(struct query *q, const char *term, const char *value)
{
	query_where(q, term);
	query_arg_text(q, value);
}

void query_where_int(struct query *q, const char *term, int64_t value)
{
	query_where(q, term);
	add_arg(q, NULL, value);
}

void query_where_label(struct query *q, const char *label)
{
	const char *equals = strchr(label, '=');

	if (!equals) {
		query_where_text(q, "id IN (SELECT object FROM labels WHERE key = ?)", label);
		return;
	}
	query_where(q, "id IN (SELECT object FROM labels WHERE key = ? AND value = ?)");
	add_arg(q, label, equals - label);
	query_arg_text(q, equals + 1);
}

void query_order(struct query *q, const char *order, unsigned limit)
{
	buf_adds(&q->sql, " ORDER BY ");
	buf_adds(&q->sql, order);
	buf_adds(&q->sql, " LIMIT ?");
	add_arg(q, NULL, limit ? (int64_t)limit : -1);
}

static int bind_args(struct query *q)
{
	int rc = SQLITE_OK;

	for (unsigned i = 0; rc == SQLITE_OK && i < q->n_args; i++) {
		rc = q->args[i].text ? sqlite3_bind_text(q->statement, i + 1, q->args[i].text,
					       q->args[i].n, SQLITE_STATIC)
				     : sqlite3_bind_int64(q->statement, i + 1, q->args[i].n);
	}
	return rc;
}

static int query_start(struct catalog *c, struct query *q, struct err *err)
{
	int rc, r;

	if (buf_error(&q->sql))
		return err_sys(err, ENOMEM, "ask the catalog", c->path);
	r = sql_statement(c, buf_str(&q->sql), &q->statement, err);
	if (r < 0)
		return r;
	rc = bind_args(q);
	return rc == SQLITE_OK ? 0 : sql_error(c, rc, NULL, err);
}

static int read_text(sqlite3_stmt *s, int i, const struct column *col, char *to)
{
	const unsigned char *text = sqlite3_column_text(s, i);
	size_t len = sqlite3_column_bytes(s, i);

	if (!text)
		return -ENOMEM; /* the columns are NOT NULL */
	if (len >= col->size)
		return -EUCLEAN;
	memcpy(to, text, len);
	to[len] = '\0';
	return 0;
}

static int read_column(sqlite3_stmt *s, int i, const struct column *col, void *record)
{
	void *at = (char *)record + col->offset;

	switch (col->type) {
	case COLUMN_INT:
		*(int64_t *)at = sqlite3_column_int64(s, i);
		return 0;
	case COLUMN_BOOL:
		*(int *)at = sqlite3_column_int(s, i) != 0;
		return 0;
	case COLUMN_TEXT:
		return read_text(s, i, col, at);
	case COLUMN_LONG:
		*(const char **)at = (const char *)sqlite3_column_text(s, i);
		return 0;
	}
	assert(false);
}

static int read_record(struct catalog *c, const struct query *q, void *record, struct err *err)
{
	for (unsigned i = 0; i < q->record->n_columns; i++) {
		const struct column *col = &q->record->columns[i];
		int r = read_column(q->statement, i, col, record);

		if (r == -EUCLEAN)
			return err_set(err, EUCLEAN, "catalog_corrupt", c->path,
				"a value of %s.%s is too long", q->record->table, col->name);
		if (r < 0)
			return err_sys(err, -r, "read a record", c->path);
	}
	return 1;
}

int query_next(struct catalog *c, struct query *q, void *record, struct err *err)
{
	int rc, r = q->statement ? 0 : query_start(c, q, err);

	if (r < 0)
		return r;
	rc = sqlite3_step(q->statement);
	if (rc == SQLITE_ROW)
		return read_record(c, q, record, err);
	return rc == SQLITE_DONE ? 0 : sql_error(c, rc, NULL, err);
}

int query_one(struct catalog *c, struct query *q, void *record, struct err *err)
{
	int r = query_next(c, q, record, err);

	return r > 0 ? 0 : r == 0 ? -ENOENT : r;
}
