/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the files of the SQLite catalog share. A record family is a table of columns (struct
 * record): writing, reading and the lists work from it, so a family adds its columns, its
 * conditions and nothing else. Statements are kept by their text, most recently used first.
 */
#ifndef BACKENDS_CATALOG_SQLITE_INTERNAL_H
#define BACKENDS_CATALOG_SQLITE_INTERNAL_H

#include <sqlite3.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backends/catalog/catalog.h"
#include "snap/base/buf.h"
#include "snap/base/err.h"

#define SQL_APPLICATION_ID 0x66736463 /* "fsdc", in the header of the file */
#define SQL_BUSY_MS 5000
#define SQL_STATEMENTS 48 /* kept for one handle */

struct catalog {
	sqlite3 *db;
	char *path;
	sqlite3_stmt *statements[SQL_STATEMENTS]; /* most recently used first */
	unsigned n_statements;
	unsigned long commits;
	sqlite3_int64 changes; /* of the handle when the transaction began */
	bool begun;	       /* between begin and commit or rollback */
	struct err lost;       /* why SQLite rolled it back by itself; num 0: it did not */
};

/* ---- errors ---- */

/* Fill err from a result code of SQLite and the handle's last error; -errno. `object` NULL: the
 * catalog's path. If it cost the open transaction, the first such error is kept in c->lost. */
int sql_error(struct catalog *c, int rc, const char *object, struct err *err);

/* ---- schema ---- */

/* Makes schema N from N - 1, where N - 1 is its index. */
struct sql_step {
	const char *sql;
};
extern const struct sql_step sql_steps[CATALOG_SCHEMA];

/* catalog_open with another list of steps: tests of migrations. */
int sql_open(const char *path, unsigned flags, const struct sql_step *steps, int n_steps,
	struct catalog **out, struct err *err);

/* ---- statements ---- */

/* The statement of this text, not in use by anybody, reset and without bindings. Borrowed: reset
 * it with sql_done() before the next one is asked for. */
int sql_statement(struct catalog *c, const char *sql, sqlite3_stmt **out, struct err *err);
void sql_done(sqlite3_stmt *s);
/* Statements without results or bindings, one after the other. */
int sql_exec(struct catalog *c, const char *sql, struct err *err);
/* The integer in the first row (0: no row) of a statement with one binding `arg` or none (NULL). */
int sql_int(struct catalog *c, const char *sql, const char *arg, int64_t *out, struct err *err);

/* Has SQLite rolled back by itself the transaction that the caller believes is open? */
bool sql_lost(const struct catalog *c);

/* Run `s` as a write of its own or of the open transaction, and release it. */
int sql_write(struct catalog *c, sqlite3_stmt *s, const char *object, struct err *err);
/* "DELETE ..." or "UPDATE ..." with at most two text parameters (NULL: absent). */
int sql_change(struct catalog *c, const char *sql, const char *a, const char *b, struct err *err);

/* For what takes several writes: joins the open transaction (*own false), or begins one. */
int sql_begin_nested(struct catalog *c, bool *own, struct err *err);
/* `r` 0 commits, an error rolls back; nothing of it when not own. Returns the outcome. */
int sql_end_nested(struct catalog *c, bool own, int r, struct err *err);

/* ---- records ---- */

enum column_type {
	COLUMN_INT,  /* int64_t */
	COLUMN_BOOL, /* int, 0 or 1 */
	COLUMN_TEXT, /* char [size] */
	COLUMN_LONG, /* const char *, NULL when absent; read: borrowed from the statement */
};

struct column {
	const char *name;
	enum column_type type;
	size_t offset, size;
};

struct record {
	const char *table;
	const char *key;  /* the primary key's columns */
	const char *code; /* of the error when a unique name is taken */
	size_t name;	  /* offset of the text that names a record in errors */
	const struct column *columns;
	unsigned n_columns;
};

#define COLUMN_AS(name_, type_, record_, field_)                                                   \
	{                                                                                          \
		.name = name_, .type = COLUMN_##type_,                                             \
		.offset = offsetof(struct record_, field_),                                        \
		.size = sizeof(((struct record_ *)0)->field_)                                      \
	}
#define COLUMN(type_, record_, field_) COLUMN_AS(#field_, type_, record_, field_)
/* of its struct cat_usage */
#define USAGE_COLUMNS(record_)                                                                     \
	COLUMN_AS("measured", INT, record_, usage.measured),                                       \
	COLUMN_AS("logical", INT, record_, usage.logical),                                         \
	COLUMN_AS("shared", INT, record_, usage.shared),                                           \
	COLUMN_AS("exclusive", INT, record_, usage.exclusive),                                     \
	COLUMN_AS("entries", INT, record_, usage.entries)
#define COLUMNS(array_) .columns = array_, .n_columns = sizeof(array_) / sizeof((array_)[0])

/* Insert, or replace what has the same key. */
int sql_put(struct catalog *c, const struct record *record, const void *from, struct err *err);

/* ---- queries: SELECT the record's columns WHERE ... ---- */

#define QUERY_ARGS 10

struct query {
	const struct record *record;
	struct buf sql;
	struct {
		const char *text; /* NULL: an integer */
		int64_t n;	  /* the integer, or the text's length */
	} args[QUERY_ARGS];
	unsigned n_args, n_terms;
	sqlite3_stmt *statement; /* once it runs */
};

void query_init(struct query *q, const struct record *record);
void query_release(struct query *q);
#define _cleanup_query_ __attribute__((cleanup(query_release)))

/* Add a condition with no, one text or one integer parameter; texts are borrowed. */
void query_where(struct query *q, const char *term);
void query_where_text(struct query *q, const char *term, const char *value);
void query_where_int(struct query *q, const char *term, int64_t value);
/* One more parameter of the condition added last. */
void query_arg_text(struct query *q, const char *value);
/* The object with this id has the label "K=V" or "K". */
void query_where_label(struct query *q, const char *label);
/* Last. `limit` 0: none. */
void query_order(struct query *q, const char *order, unsigned limit);

/* The next record: 1, 0 after the last, -errno. Long texts are borrowed until the next call. */
int query_next(struct catalog *c, struct query *q, void *record, struct err *err);
/* The only record: 0, -ENOENT without filling err, -errno. */
int query_one(struct catalog *c, struct query *q, void *record, struct err *err);

#endif
