/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Broken, locked, full and read-only: the right code each, and nothing half written. */
#include "tests/unit/catalog/support.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static void make(struct scratch *s, unsigned n)
{
	struct err err = ERR_INIT;

	assert_ok(catalog_open(s->path, CATALOG_CREATE, &s->c, &err), err);
	assert_ok(catalog_begin(s->c, &err), err);
	for (unsigned i = 0; i < n; i++)
		assert_ok(put_each(s->c, i, &err), err);
	assert_ok(catalog_commit(s->c, &err), err);
}

static void test_not_a_database__is_corrupt(void **state)
{
	struct scratch *s = *state;
	FILE *f = fopen(s->path, "w");
	struct err err;

	for (int i = 0; i < 1000; i++)
		fputs("not a database\n", f);
	fclose(f);
	assert_fails(catalog_open(s->path, CATALOG_CREATE, &s->c, &err), EUCLEAN, "catalog_corrupt",
		err);
	assert_string_not_equal(err.hint, "");
	assert_fails(catalog_open(s->path, CATALOG_READ_ONLY, &s->c, &err), EUCLEAN,
		"catalog_corrupt", err);
}

static void test_truncated__is_corrupt(void **state)
{
	struct scratch *s = *state;
	struct err err;
	struct stat st;

	make(s, 200);
	catalog_close(&s->c);
	assert_int_equal(stat(s->path, &st), 0);
	assert_int_equal(truncate(s->path, st.st_size / 2), 0);
	assert_fails(catalog_open(s->path, 0, &s->c, &err), EUCLEAN, "catalog_corrupt", err);
}

/* Opening does not read the whole file: damage inside is found by the check, or when met. */
static void test_damaged_pages__are_found_by_the_check_and_when_met(void **state)
{
	struct scratch *s = *state;
	struct err err = ERR_INIT;
	struct cat_site site;
	int64_t page;
	int fd, r = 0;
	char sql[128];

	make(s, 400);
	snprintf(sql, sizeof(sql), "SELECT rootpage FROM sqlite_schema WHERE name = 'sites'");
	assert_ok(sql_int(s->c, sql, NULL, &page, &err), err);
	catalog_close(&s->c);
	fd = open(s->path, O_WRONLY | O_CLOEXEC);
	assert_int_equal(pwrite(fd, "garbage, garbage", 16, (page - 1) * 4096), 16);
	close(fd);

	assert_ok(catalog_open(s->path, 0, &s->c, &err), err);
	assert_fails(catalog_check(s->c, &err), EUCLEAN, "catalog_corrupt", err);
	err = ERR_INIT;
	r = catalog_site_get(s->c, "site-000007", &site, &err);
	assert_int_equal(r, -EUCLEAN);
	assert_string_equal(err.code, "catalog_corrupt");
}

static void test_check__finds_an_index_that_disagrees(void **state)
{
	struct scratch *s = *state;
	struct err err = ERR_INIT;

	make(s, 3);
	sqlite3_db_config(s->c->db, SQLITE_DBCONFIG_DEFENSIVE, 0, NULL);
	assert_ok(sql_exec(s->c,
			  "PRAGMA writable_schema = 1; UPDATE sqlite_schema SET sql = 'CREATE "
			  "UNIQUE INDEX sites_in_use ON sites(id) WHERE deleted = 0' WHERE name = "
			  "'sites_in_use'",
			  &err),
		err);
	catalog_close(&s->c);
	assert_ok(catalog_open(s->path, 0, &s->c, &err), err);
	assert_fails(catalog_check(s->c, &err), EUCLEAN, "catalog_corrupt", err);
}

static void test_check__finds_a_reference_to_nothing(void **state)
{
	struct scratch *s = *state;
	struct err err = ERR_INIT;

	make(s, 3);
	assert_ok(sql_exec(s->c, "PRAGMA foreign_keys = 0; DELETE FROM sites; "
		"PRAGMA foreign_keys = 1", &err), err);
	assert_fails(catalog_check(s->c, &err), EUCLEAN, "catalog_corrupt", err);
}

static void test_missing_table__is_corrupt(void **state)
{
	struct scratch *s = *state;
	struct cat_hold hold = {.object = "x", .tag = "y"};
	struct err err = ERR_INIT;

	make(s, 1);
	assert_ok(sql_exec(s->c, "DROP TABLE holds", &err), err);
	assert_fails(catalog_hold_put(s->c, &hold, &err), EUCLEAN, "catalog_corrupt", err);
}

static void test_too_long_value__is_corrupt(void **state)
{
	struct scratch *s = *state;
	struct cat_site site;
	struct err err = ERR_INIT;

	make(s, 1);
	assert_ok(sql_exec(s->c, "UPDATE sites SET name = printf('%0201d', 1)", &err), err);
	err = ERR_INIT;
	assert_int_equal(catalog_site_get(s->c, "00000000-0000-7000-8000-007300000000", &site,
				 &err), -EUCLEAN);
	assert_string_equal(err.code, "catalog_corrupt");
}

static void test_locked__is_said_after_the_timeout(void **state)
{
	struct scratch *s = *state;
	struct cat_pool pool = sample_pool(0);
	struct catalog *other = NULL;
	struct err err = ERR_INIT;

	make(s, 1);
	assert_ok(catalog_open(s->path, 0, &other, &err), err);
	assert_ok(catalog_begin(other, &err), err);
	sqlite3_busy_timeout(s->c->db, 20); /* the default is checked where it is set */
	assert_fails(catalog_begin(s->c, &err), EBUSY, "catalog_locked", err);
	assert_string_not_equal(err.hint, "");
	assert_fails(catalog_pool_put(s->c, &pool, &err), EBUSY, "catalog_locked", err);
	assert_int_equal(count_each(s->c, 0), EACH); /* readers do not wait */
	catalog_rollback(other);
	err = ERR_INIT;
	assert_ok(catalog_pool_put(s->c, &pool, &err), err);
	catalog_close(&other);
}

/* Fill until an error; it must be no_space, the transaction lost whole, and all fine again when
 * there is space. */
static void fill_up(struct scratch *s, unsigned from)
{
	struct err err = ERR_INIT, again = ERR_INIT;
	int r = 0;

	assert_ok(catalog_begin(s->c, &err), err);
	for (unsigned i = from; r == 0 && i < from + 100000; i++)
		r = put_each(s->c, i, &err);
	assert_int_equal(r, -ENOSPC);
	assert_string_equal(err.code, "no_space");
	/* SQLite has rolled back: what follows must not commit by itself. */
	assert_int_equal(put_each(s->c, from, &again), -ENOSPC);
	assert_string_equal(again.code, "no_space");
	assert_fails(catalog_commit(s->c, &again), ENOSPC, "no_space", again);
	assert_int_equal(count_each(s->c, from), 0);
	assert_int_equal(count_each(s->c, 0), EACH);
}

static void test_file_size_limit__is_no_space(void **state)
{
	struct scratch *s = *state;
	struct rlimit old, small = {600 << 10, RLIM_INFINITY};
	void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
	struct err err = ERR_INIT;

	make(s, 1);
	getrlimit(RLIMIT_FSIZE, &old);
	setrlimit(RLIMIT_FSIZE, &small);
	fill_up(s, 1);
	setrlimit(RLIMIT_FSIZE, &old);
	signal(SIGXFSZ, handler);
	assert_ok(put_each(s->c, 1, &err), err);
	assert_ok(catalog_check(s->c, &err), err);
}

/* ---- mounts of our own, seen by nobody else and gone with this process ---- */

static bool mounts;

/* Keep this user's numbers in a user namespace: files of unmapped ones cannot be made. */
static bool map_user(uid_t uid, gid_t gid)
{
	char text[64];
	int fd, ok;

	fd = open("/proc/self/setgroups", O_WRONLY | O_CLOEXEC);
	ok = fd >= 0 && write(fd, "deny", 4) == 4;
	close(fd);
	snprintf(text, sizeof(text), "%u %u 1", uid, uid);
	fd = open("/proc/self/uid_map", O_WRONLY | O_CLOEXEC);
	ok = ok && fd >= 0 && write(fd, text, strlen(text)) > 0;
	close(fd);
	snprintf(text, sizeof(text), "%u %u 1", gid, gid);
	fd = open("/proc/self/gid_map", O_WRONLY | O_CLOEXEC);
	ok = ok && fd >= 0 && write(fd, text, strlen(text)) > 0;
	close(fd);
	return ok;
}

static int private_mounts(void **state)
{
	uid_t uid = getuid();
	gid_t gid = getgid();

	(void)state;
	if (unshare(CLONE_NEWNS) < 0 &&
		(unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0 || !map_user(uid, gid)))
		return 0;
	mounts = mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0;
	return 0;
}

static void need_tmpfs(struct scratch *s, const char *options)
{
	if (!mounts || mount("fsd-test", s->dir, "tmpfs", 0, options) < 0) {
		print_message("skipped: may not mount a tmpfs in a mount namespace\n");
		skip();
	}
}

static int unmount_end(void **state)
{
	struct scratch *s = *state;

	catalog_close(&s->c);
	umount2(s->dir, MNT_DETACH);
	return scratch_end(state);
}

static void test_full_disk__is_no_space(void **state)
{
	struct scratch *s = *state;
	struct err err = ERR_INIT;

	need_tmpfs(s, "size=1m");
	make(s, 1);
	fill_up(s, 1);
	assert_ok(catalog_check(s->c, &err), err);
	assert_int_equal(mount("none", s->dir, NULL, MS_REMOUNT, "size=8m"), 0);
	assert_ok(put_each(s->c, 1, &err), err);
	assert_ok(catalog_check(s->c, &err), err);
}

static void test_full_disk__cannot_make_a_catalog(void **state)
{
	struct scratch *s = *state;
	struct err err;

	need_tmpfs(s, "size=16k");
	assert_fails(catalog_open(s->path, CATALOG_CREATE, &s->c, &err), ENOSPC, "no_space", err);
	assert_int_equal(mount("none", s->dir, NULL, MS_REMOUNT, "size=8m"), 0);
	err = ERR_INIT;
	assert_ok(catalog_open(s->path, CATALOG_CREATE, &s->c, &err), err);
	assert_ok(put_each(s->c, 1, &err), err);
}

static void test_read_only_file_system__is_said(void **state)
{
	struct scratch *s = *state;
	struct err err = ERR_INIT;

	need_tmpfs(s, "size=8m");
	make(s, 1);
	catalog_close(&s->c);
	assert_int_equal(mount("none", s->dir, NULL, MS_REMOUNT | MS_RDONLY, NULL), 0);
	assert_fails(catalog_open(s->path, CATALOG_CREATE, &s->c, &err), EROFS, "read_only", err);
	assert_int_equal(mount("none", s->dir, NULL, MS_REMOUNT, NULL), 0);
	err = ERR_INIT;
	assert_ok(catalog_open(s->path, 0, &s->c, &err), err);
	assert_int_equal(count_each(s->c, 0), EACH);
}

#define TEST_MOUNT(name) cmocka_unit_test_setup_teardown(name, scratch_setup, unmount_end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST_BARE(test_not_a_database__is_corrupt),
		TEST_BARE(test_truncated__is_corrupt),
		TEST_BARE(test_damaged_pages__are_found_by_the_check_and_when_met),
		TEST_BARE(test_check__finds_an_index_that_disagrees),
		TEST_BARE(test_check__finds_a_reference_to_nothing),
		TEST_BARE(test_missing_table__is_corrupt),
		TEST_BARE(test_too_long_value__is_corrupt),
		TEST_BARE(test_locked__is_said_after_the_timeout),
		TEST_BARE(test_file_size_limit__is_no_space),
		TEST_MOUNT(test_full_disk__is_no_space),
		TEST_MOUNT(test_full_disk__cannot_make_a_catalog),
		TEST_MOUNT(test_read_only_file_system__is_said),
	};

	return cmocka_run_group_tests(tests, private_mounts, NULL);
}
