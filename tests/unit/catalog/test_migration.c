/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Older catalogs become ours step by step, or stay what they were. */
#include "tests/unit/catalog/support.h"

static const char rebuild_holds[] =
	"CREATE TABLE holds_new(object TEXT NOT NULL, tag TEXT NOT NULL, reason TEXT NOT NULL,"
	"	created INTEGER NOT NULL, until INTEGER NOT NULL DEFAULT 0,"
	"	PRIMARY KEY(object, tag)) STRICT, WITHOUT ROWID;"
	"INSERT INTO holds_new SELECT object, tag, reason, created, 5 FROM holds;"
	"DROP TABLE holds;"
	"ALTER TABLE holds_new RENAME TO holds;";

#define OURS sql_steps[0], sql_steps[1], sql_steps[2], sql_steps[3]
_Static_assert(CATALOG_SCHEMA == 4, "OURS are all steps");

static void make(struct scratch *s)
{
	struct err err = ERR_INIT;

	assert_ok(catalog_open(s->path, CATALOG_CREATE, &s->c, &err), err);
	assert_ok(put_each(s->c, 1, &err), err);
	catalog_close(&s->c);
}

/* As the first fsd made it. */
static void make_first(struct scratch *s)
{
	struct err err = ERR_INIT;

	make(s);
	assert_ok(sql_open(s->path, 0, sql_steps, CATALOG_SCHEMA, &s->c, &err), err);
	assert_ok(sql_exec(s->c,
			  "DROP TABLE unsettled;"
			  "DROP INDEX snapshots_look;"
			  "ALTER TABLE snapshots DROP COLUMN look;"
			  "DROP INDEX sites_deleted_name;"
			  "PRAGMA user_version = 1",
			  &err),
		err);
	catalog_close(&s->c);
}

static int64_t ask(struct catalog *c, const char *sql)
{
	struct err err = ERR_INIT;
	int64_t n;

	assert_ok(sql_int(c, sql, NULL, &n, &err), err);
	return n;
}

static void test_migration__runs_the_missing_steps_in_order(void **state)
{
	const struct sql_step steps[] = {
		OURS, {rebuild_holds}, {"UPDATE holds SET until = until * 2 + 1"}};
	struct scratch *s = *state;
	struct err err = ERR_INIT;

	make(s);
	assert_ok(sql_open(s->path, 0, steps, CATALOG_SCHEMA + 2, &s->c, &err), err);
	assert_int_equal(ask(s->c, "PRAGMA user_version"), CATALOG_SCHEMA + 2);
	assert_int_equal(ask(s->c, "SELECT until FROM holds"), 11);
	assert_int_equal(ask(s->c, "PRAGMA foreign_keys"), 1);
	assert_int_equal(count_each(s->c, 1), EACH);
	catalog_close(&s->c);
	/* Once more: nothing to do. */
	assert_ok(sql_open(s->path, 0, steps, CATALOG_SCHEMA + 2, &s->c, &err), err);
	assert_int_equal(ask(s->c, "SELECT until FROM holds"), 11);
	catalog_close(&s->c);
	assert_fails(catalog_open(s->path, 0, &s->c, &err), EPROTO, "catalog_newer", err);
}

static void test_migration__to_todays_schema_keeps_everything(void **state)
{
	struct scratch *s = *state;
	struct err err = ERR_INIT;

	make_first(s);
	assert_ok(catalog_open(s->path, 0, &s->c, &err), err);
	assert_int_equal(ask(s->c, "PRAGMA user_version"), CATALOG_SCHEMA);
	assert_int_equal(count_each(s->c, 1), EACH - 1); /* what is unsettled came later */
	assert_ok(catalog_check(s->c, &err), err);
}

static void test_migration__that_fails_leaves_the_last_good_step(void **state)
{
	const struct sql_step steps[] = {OURS, {rebuild_holds},
		{"DELETE FROM holds; DROP TABLE labels; INSERT INTO no_such_table VALUES(1)"}};
	struct scratch *s = *state;
	struct err err = ERR_INIT;

	make(s);
	assert_int_equal(sql_open(s->path, 0, steps, CATALOG_SCHEMA + 2, &s->c, &err), -EUCLEAN);
	assert_non_null(strstr(err.reason, "no_such_table"));
	err = ERR_INIT;
	assert_ok(sql_open(s->path, 0, steps, CATALOG_SCHEMA + 1, &s->c, &err), err);
	assert_int_equal(ask(s->c, "SELECT until FROM holds"), 5);
	assert_int_equal(count_each(s->c, 1), EACH);
	assert_ok(catalog_check(s->c, &err), err);
}

static void test_migration__that_breaks_a_reference_is_rolled_back(void **state)
{
	const struct sql_step steps[] = {OURS, {"DELETE FROM pools"}};
	struct scratch *s = *state;
	struct err err;

	make(s);
	assert_fails(sql_open(s->path, 0, steps, CATALOG_SCHEMA + 1, &s->c, &err), EUCLEAN,
		"catalog_corrupt", err);
	err = ERR_INIT;
	assert_ok(catalog_open(s->path, 0, &s->c, &err), err);
	assert_int_equal(count_each(s->c, 1), EACH);
}

static void test_migration__is_not_a_readers_business(void **state)
{
	const struct sql_step steps[] = {OURS, {rebuild_holds}};
	struct scratch *s = *state;
	struct err err;

	make(s);
	assert_fails(sql_open(s->path, CATALOG_READ_ONLY, steps, CATALOG_SCHEMA + 1, &s->c, &err),
		EPROTO, "catalog_older", err);
	err = ERR_INIT;
	assert_ok(catalog_open(s->path, 0, &s->c, &err), err);
}

static void test_migration__of_a_new_catalog_that_fails_leaves_an_empty_one(void **state)
{
	const struct sql_step steps[] = {OURS, {"no SQL"}}, broken[] = {{"CREATE TABLE t(a); no"}};
	struct scratch *s = *state;
	struct err err = ERR_INIT;

	assert_int_equal(sql_open(s->path, CATALOG_CREATE, broken, 1, &s->c, &err), -EUCLEAN);
	assert_int_equal(sql_open(s->path, CATALOG_CREATE, steps, CATALOG_SCHEMA + 1, &s->c, &err),
		-EUCLEAN);
	err = ERR_INIT;
	assert_ok(catalog_open(s->path, 0, &s->c, &err), err);
	assert_ok(put_each(s->c, 1, &err), err);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST_BARE(test_migration__runs_the_missing_steps_in_order),
		TEST_BARE(test_migration__to_todays_schema_keeps_everything),
		TEST_BARE(test_migration__that_fails_leaves_the_last_good_step),
		TEST_BARE(test_migration__that_breaks_a_reference_is_rolled_back),
		TEST_BARE(test_migration__is_not_a_readers_business),
		TEST_BARE(test_migration__of_a_new_catalog_that_fails_leaves_an_empty_one),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
