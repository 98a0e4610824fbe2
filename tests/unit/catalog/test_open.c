/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Opening: what is made, with which settings, and what is refused and left as it was. */
#include "tests/unit/catalog/support.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

static void test_open__makes_a_private_file_and_finds_it_again(void **state)
{
	struct scratch *s = *state;
	mode_t mask = umask(0);
	struct err err = ERR_INIT;
	struct stat st;

	assert_fails(catalog_open(s->path, 0, &s->c, &err), ENOENT, "catalog_missing", err);
	err = ERR_INIT;
	assert_ok(catalog_open(s->path, CATALOG_CREATE, &s->c, &err), err);
	assert_ok(put_each(s->c, 1, &err), err);
	for (const char *const *suffix = (const char *const[]){"", "-wal", "-shm", NULL}; *suffix;
		suffix++) {
		char path[128];

		snprintf(path, sizeof(path), "%s%s", s->path, *suffix);
		assert_int_equal(stat(path, &st), 0);
		assert_int_equal(st.st_mode, S_IFREG | 0600);
	}
	umask(mask);
	catalog_close(&s->c);
	assert_ok(catalog_open(s->path, 0, &s->c, &err), err);
	assert_int_equal(count_each(s->c, 1), EACH);
	assert_ok(catalog_check(s->c, &err), err);
}

static void assert_pragma(struct catalog *c, const char *sql, int64_t want)
{
	struct err err = ERR_INIT;
	int64_t got;

	assert_ok(sql_int(c, sql, NULL, &got, &err), err);
	if (got != want)
		fail_msg("%s is %lld, not %lld", sql, (long long)got, (long long)want);
}

static void test_open__sets_what_it_promises(void **state)
{
	struct scratch *s = *state;
	struct err err = ERR_INIT;
	int on;

	assert_ok(catalog_open(s->path, CATALOG_CREATE, &s->c, &err), err);
	assert_pragma(s->c, "PRAGMA synchronous", 2);
	assert_pragma(s->c, "PRAGMA foreign_keys", 1);
	assert_pragma(s->c, "PRAGMA trusted_schema", 0);
	assert_pragma(s->c, "PRAGMA busy_timeout", 5000);
	assert_pragma(s->c, "PRAGMA user_version", CATALOG_SCHEMA);
	assert_pragma(s->c, "PRAGMA application_id", SQL_APPLICATION_ID);
	assert_pragma(s->c, "SELECT journal_mode = 'wal' FROM pragma_journal_mode", 1);
	assert_int_equal(sqlite3_db_config(s->c->db, SQLITE_DBCONFIG_DEFENSIVE, -1, &on), 0);
	assert_int_equal(on, 1);
	assert_int_equal(catalog_commits(s->c), 0); /* the schema is not an operation's */
}

static void test_open__resolves_its_folder(void **state)
{
	struct scratch *s = *state;
	char folder[128], link[128], path[192];
	struct err err = ERR_INIT;

	snprintf(folder, sizeof(folder), "%s/real", s->dir);
	snprintf(link, sizeof(link), "%s/link", s->dir);
	snprintf(path, sizeof(path), "%s/catalog.db", link);
	assert_int_equal(mkdir(folder, 0700), 0);
	assert_int_equal(symlink("real", link), 0);
	assert_ok(catalog_open(path, CATALOG_CREATE, &s->c, &err), err);
	assert_true(strstr(s->c->path, "/real/catalog.db") != NULL);
	catalog_close(&s->c);
	snprintf(path, sizeof(path), "%s/catalog.db", folder);
	assert_int_equal(unlink(path), 0);
}

static void test_open__refuses_a_path_that_names_no_file(void **state)
{
	struct scratch *s = *state;
	struct err err;
	char path[128];

	assert_fails(catalog_open("catalog.db", CATALOG_CREATE, &s->c, &err), EINVAL, "bad_path",
		err);
	snprintf(path, sizeof(path), "%s/", s->dir);
	assert_fails(catalog_open(path, CATALOG_CREATE, &s->c, &err), EINVAL, "bad_path", err);
	snprintf(path, sizeof(path), "%s/..", s->dir);
	assert_fails(catalog_open(path, CATALOG_CREATE, &s->c, &err), EINVAL, "bad_path", err);
	snprintf(path, sizeof(path), "%s/none/catalog.db", s->dir);
	assert_fails(catalog_open(path, CATALOG_CREATE, &s->c, &err), ENOENT, "catalog_missing",
		err);
	assert_fails(catalog_open(s->dir, CATALOG_CREATE, &s->c, &err), EUCLEAN, "catalog_corrupt",
		err);
}

static void test_open__refuses_planted_symlinks(void **state)
{
	static const char *const suffixes[] = {"", "-wal", "-shm", "-journal"};
	struct scratch *s = *state;
	char link[128], target[128];
	struct err err;

	snprintf(target, sizeof(target), "%s/victim", s->dir);
	for (size_t i = 0; i < 4; i++) {
		snprintf(link, sizeof(link), "%s%s", s->path, suffixes[i]);
		assert_int_equal(symlink(target, link), 0);
		assert_fails(catalog_open(s->path, CATALOG_CREATE, &s->c, &err), ELOOP,
			"catalog_symlink", err);
		assert_string_equal(err.object, link);
		assert_int_equal(access(target, F_OK), -1);
		assert_int_equal(unlink(link), 0);
	}
}

static void test_open__refuses_a_catalog_that_others_can_write(void **state)
{
	struct scratch *s = *state;
	char log[128];
	struct err err = ERR_INIT;

	assert_ok(catalog_open(s->path, CATALOG_CREATE, &s->c, &err), err);
	catalog_close(&s->c);
	assert_int_equal(chmod(s->path, 0620), 0);
	assert_fails(catalog_open(s->path, CATALOG_CREATE, &s->c, &err), EPERM, "catalog_exposed",
		err);
	assert_string_equal(err.object, s->path);
	assert_int_equal(chmod(s->path, 0644), 0);
	snprintf(log, sizeof(log), "%s-wal", s->path);
	close(open(log, O_CREAT | O_WRONLY, 0600));
	assert_int_equal(chmod(log, 0666), 0);
	assert_fails(catalog_open(s->path, CATALOG_CREATE, &s->c, &err), EPERM, "catalog_exposed",
		err);
	assert_int_equal(unlink(log), 0);
	assert_ok(catalog_open(s->path, CATALOG_CREATE, &s->c, &err), err);
	catalog_close(&s->c);
	if (geteuid() == 0) {
		assert_int_equal(chown(s->path, 1000, 0), 0);
		assert_fails(catalog_open(s->path, CATALOG_CREATE, &s->c, &err), EPERM,
			"catalog_exposed", err);
	}
}

/* The window between the look and SQLite's open: SQLite itself must not follow. It opens the log
 * at the first read, so a bare handle stands for one that was opened just before the planting. */
static void test_open__lets_sqlite_follow_no_symlink(void **state)
{
	struct scratch *s = *state;
	struct catalog bare = {.path = s->path};
	struct cat_pool pool = sample_pool(0);
	struct err err = ERR_INIT;
	char wal[128], target[128];

	snprintf(wal, sizeof(wal), "%s-wal", s->path);
	snprintf(target, sizeof(target), "%s/victim", s->dir);
	assert_ok(catalog_open(s->path, CATALOG_CREATE, &s->c, &err), err);
	catalog_close(&s->c);
	assert_int_equal(sqlite3_open_v2(s->path, &bare.db,
				 SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOFOLLOW |
					 SQLITE_OPEN_EXRESCODE,
				 NULL),
		SQLITE_OK);
	assert_int_equal(symlink(target, wal), 0);
	assert_fails(catalog_pool_put(&bare, &pool, &err), ELOOP, "catalog_symlink", err);
	assert_int_equal(bare.n_statements, 0);
	sqlite3_close(bare.db);
	assert_int_equal(access(target, F_OK), -1);
}

static void test_read_only__reads_and_cannot_write(void **state)
{
	struct scratch *s = *state;
	struct cat_pool pool = sample_pool(7);
	struct catalog *reader;
	struct err err = ERR_INIT;

	assert_fails(catalog_open(s->path, CATALOG_CREATE | CATALOG_READ_ONLY, &reader, &err),
		ENOENT, "catalog_missing", err);
	err = ERR_INIT;
	assert_ok(catalog_open(s->path, CATALOG_CREATE, &s->c, &err), err);
	assert_ok(put_each(s->c, 1, &err), err);
	assert_ok(catalog_open(s->path, CATALOG_READ_ONLY, &reader, &err), err);
	assert_int_equal(count_each(reader, 1), EACH);
	assert_fails(catalog_pool_put(reader, &pool, &err), EROFS, "read_only", err);
	assert_ok(catalog_check(reader, &err), err);
	catalog_close(&reader);
	/* Alone: after a clean stop there is neither log nor index. */
	catalog_close(&s->c);
	assert_ok(catalog_open(s->path, CATALOG_READ_ONLY, &reader, &err), err);
	assert_int_equal(count_each(reader, 1), EACH);
	catalog_close(&reader);
}

static char *slurp(const char *path, size_t *len)
{
	FILE *f = fopen(path, "rb");
	char *data = calloc(1, 1 << 20);

	*len = f ? fread(data, 1, 1 << 20, f) : 0;
	if (f)
		fclose(f);
	return data;
}

static void raw_exec(const char *path, const char *sql, bool checkpoint)
{
	sqlite3 *db;

	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	sqlite3_db_config(db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, !checkpoint, NULL);
	if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK)
		fail_msg("%s: %s", sql, sqlite3_errmsg(db));
	sqlite3_close(db);
}

static void test_open__refuses_a_newer_catalog_and_leaves_it_untouched(void **state)
{
	struct scratch *s = *state;
	struct err err = ERR_INIT;
	size_t len, wal_len, after_len;
	char wal[128], *before, *before_wal, *after;

	snprintf(wal, sizeof(wal), "%s-wal", s->path);
	assert_ok(catalog_open(s->path, CATALOG_CREATE, &s->c, &err), err);
	catalog_close(&s->c);
	raw_exec(s->path, "PRAGMA user_version = 99", false);
	before = slurp(s->path, &len);
	before_wal = slurp(wal, &wal_len);
	assert_true(wal_len > 0);

	assert_fails(catalog_open(s->path, CATALOG_CREATE, &s->c, &err), EPROTO, "catalog_newer",
		err);
	assert_fails(catalog_open(s->path, CATALOG_READ_ONLY, &s->c, &err), EPROTO, "catalog_newer",
		err);
	after = slurp(s->path, &after_len);
	assert_int_equal(after_len, len);
	assert_memory_equal(after, before, len);
	free(after);
	after = slurp(wal, &after_len);
	assert_int_equal(after_len, wal_len);
	assert_memory_equal(after, before_wal, wal_len);
	free(after);
	free(before);
	free(before_wal);
}

static void test_open__refuses_another_programs_database(void **state)
{
	struct scratch *s = *state;
	struct err err;

	raw_exec(s->path, "CREATE TABLE bookmarks(url)", true);
	assert_fails(catalog_open(s->path, CATALOG_CREATE, &s->c, &err), EUCLEAN, "catalog_corrupt",
		err);
	raw_exec(s->path, "PRAGMA application_id = 7; PRAGMA user_version = 1", true);
	assert_fails(catalog_open(s->path, CATALOG_CREATE, &s->c, &err), EUCLEAN, "catalog_corrupt",
		err);
}

static void test_open__runs_no_trigger_of_a_planted_schema(void **state)
{
	struct scratch *s = *state;
	struct err err = ERR_INIT;
	struct cat_pool pool = sample_pool(0);
	int64_t n;

	assert_ok(catalog_open(s->path, CATALOG_CREATE, &s->c, &err), err);
	catalog_close(&s->c);
	raw_exec(s->path,
		"CREATE TABLE loot(x); CREATE TRIGGER t AFTER INSERT ON pools BEGIN INSERT INTO "
		"loot VALUES(1); END",
		true);
	assert_ok(catalog_open(s->path, 0, &s->c, &err), err);
	assert_ok(catalog_pool_put(s->c, &pool, &err), err);
	assert_ok(sql_int(s->c, "SELECT count(*) FROM loot", NULL, &n, &err), err);
	assert_int_equal(n, 0);
}

static void test_open__takes_an_empty_file_for_a_new_catalog(void **state)
{
	struct scratch *s = *state;
	struct err err = ERR_INIT;

	close(open(s->path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
	assert_fails(catalog_open(s->path, 0, &s->c, &err), ENOENT, "catalog_missing", err);
	err = ERR_INIT;
	assert_ok(catalog_open(s->path, CATALOG_CREATE, &s->c, &err), err);
	assert_ok(put_each(s->c, 1, &err), err);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST_BARE(test_open__makes_a_private_file_and_finds_it_again),
		TEST_BARE(test_open__sets_what_it_promises),
		TEST_BARE(test_open__resolves_its_folder),
		TEST_BARE(test_open__refuses_a_path_that_names_no_file),
		TEST_BARE(test_open__refuses_planted_symlinks),
		TEST_BARE(test_open__refuses_a_catalog_that_others_can_write),
		TEST_BARE(test_open__lets_sqlite_follow_no_symlink),
		TEST_BARE(test_read_only__reads_and_cannot_write),
		TEST_BARE(test_open__refuses_a_newer_catalog_and_leaves_it_untouched),
		TEST_BARE(test_open__refuses_another_programs_database),
		TEST_BARE(test_open__runs_no_trigger_of_a_planted_schema),
		TEST_BARE(test_open__takes_an_empty_file_for_a_new_catalog),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
