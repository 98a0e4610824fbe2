/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Writing: single writes and transactions. SQLite rolls a transaction back by itself after some
 * errors (full disk, I/O, memory; https://www.sqlite.org/lang_transaction.html); what came next
 * would then commit on its own. So the first such error is kept, and every call up to the commit
 * or rollback repeats it.
 */
#include "backends/catalog/sqlite_internal.h"

#include <assert.h>
#include <errno.h>

bool sql_lost(const struct catalog *c)
{
	return c->begun && sqlite3_get_autocommit(c->db);
}

static int repeat_loss(struct catalog *c, struct err *err)
{
	assert(c->lost.num); /* sql_error() saw what caused it */
	if (err)
		*err = c->lost;
	return -c->lost.num;
}

int catalog_begin(struct catalog *c, struct err *err)
{
	int r;

	assert(!c->begun);
	/* IMMEDIATE: waits for the lock here, where nothing is lost by giving up. */
	r = sql_exec(c, "BEGIN IMMEDIATE", err);
	if (r < 0)
		return r;
	c->begun = true;
	c->lost = ERR_INIT;
	c->changes = sqlite3_total_changes64(c->db);
	return 0;
}

int catalog_commit(struct catalog *c, struct err *err)
{
	int r;

	assert(c->begun);
	if (sql_lost(c)) {
		r = repeat_loss(c, err);
	} else {
		r = sql_exec(c, "COMMIT", err);
		if (r == 0 && sqlite3_total_changes64(c->db) != c->changes)
			c->commits++;
	}
	if (r < 0)
		catalog_rollback(c);
	c->begun = false;
	return r;
}

void catalog_rollback(struct catalog *c)
{
	/* Fails only where SQLite has rolled back already. */
	if (c->begun && !sqlite3_get_autocommit(c->db))
		sqlite3_exec(c->db, "ROLLBACK", NULL, NULL, NULL);
	c->begun = false;
}

unsigned long catalog_commits(const struct catalog *c)
{
	return c->commits;
}

int sql_write(struct catalog *c, sqlite3_stmt *s, const char *object, struct err *err)
{
	sqlite3_int64 changes = sqlite3_total_changes64(c->db);
	int rc, r = 0;

	if (sql_lost(c)) {
		sql_done(s);
		return repeat_loss(c, err);
	}
	rc = sqlite3_step(s);
	assert(rc != SQLITE_ROW);
	if (rc != SQLITE_DONE)
		r = sql_error(c, rc, object, err);
	sql_done(s);
	if (r == 0 && !c->begun && sqlite3_total_changes64(c->db) != changes)
		c->commits++;
	return r;
}

int sql_change(struct catalog *c, const char *sql, const char *a, const char *b, struct err *err)
{
	sqlite3_stmt *s;
	int r = sql_statement(c, sql, &s, err);

	if (r < 0)
		return r;
	/* SQLITE_STATIC: binding does not allocate and cannot fail. */
	if (a)
		sqlite3_bind_text(s, 1, a, -1, SQLITE_STATIC);
	if (b)
		sqlite3_bind_text(s, 2, b, -1, SQLITE_STATIC);
	return sql_write(c, s, a, err);
}

int sql_begin_nested(struct catalog *c, bool *own, struct err *err)
{
	*own = !c->begun;
	return *own ? catalog_begin(c, err) : 0;
}

int sql_end_nested(struct catalog *c, bool own, int r, struct err *err)
{
	if (!own)
		return r;
	if (r == 0)
		return catalog_commit(c, err);
	catalog_rollback(c);
	return r;
}
