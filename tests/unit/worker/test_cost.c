/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What an operation on btrfs may cost: flushes in the pool, and commits of the catalog. They are
 * nearly all of an operation's time, and unlike it they are the same on every machine.
 *
 * A flush is counted where the linker finds its call (--wrap): fsync and its kin, and the snapshot
 * ioctl, which commits the file system's transaction. SQLite's own are in a shared library and are
 * not among them; catalog_commits() counts those.
 */
#include <btrfsutil.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/worker/harness.h"

/* ---- counting ---- */

static atomic_int flushes, whole; /* whole: of the file system */

int __real_fsync(int fd);
int __real_fdatasync(int fd);
int __real_syncfs(int fd);
enum btrfs_util_error __real_btrfs_util_create_snapshot_fd2(int fd, int parent, const char *name,
	int flags, uint64_t *transid, struct btrfs_util_qgroup_inherit *inherit);
int __wrap_fsync(int fd);
int __wrap_fdatasync(int fd);
int __wrap_syncfs(int fd);
enum btrfs_util_error __wrap_btrfs_util_create_snapshot_fd2(int fd, int parent, const char *name,
	int flags, uint64_t *transid, struct btrfs_util_qgroup_inherit *inherit);

int __wrap_fsync(int fd)
{
	flushes++;
	return __real_fsync(fd);
}

int __wrap_fdatasync(int fd)
{
	flushes++;
	return __real_fdatasync(fd);
}

/* It would wait for what every neighbour has written. */
int __wrap_syncfs(int fd)
{
	flushes++;
	whole++;
	return __real_syncfs(fd);
}

enum btrfs_util_error __wrap_btrfs_util_create_snapshot_fd2(int fd, int parent, const char *name,
	int flags, uint64_t *transid, struct btrfs_util_qgroup_inherit *inherit)
{
	flushes++;
	return __real_btrfs_util_create_snapshot_fd2(fd, parent, name, flags, transid, inherit);
}

/* ---- the operations ---- */

static int setup(void **state)
{
	struct harness *h = harness_new("btrfs");

	*state = h;
	if (!h)
		return 0;
	json_decref(harness_done(h, "site-create", "name", "shop", NULL));
	harness_write(h, "shop", "index.php", "one");
	json_decref(harness_done(h, "snapshot", "site", "shop", "name", "first", NULL));
	flushes = whole = 0;
	return 0;
}

/* Takes the view of a job that was the only one since the last call. */
static void cost(json_t *view, int most)
{
	print_message("%s: %d flushes\n", harness_text(view, "kind"), flushes);
	assert_in_range(flushes, 1, most);
	assert_int_equal(whole, 0);
	assert_int_equal(harness_int(view, "stats.syncs"), flushes);
	assert_int_equal(harness_int(view, "stats.commits"), 2);
	json_decref(view);
	flushes = 0;
}

static void test_cost__of_a_snapshot(void **state)
{
	HARNESS(h);
	cost(harness_done(h, "snapshot", "site", "shop", "name", "second", NULL), 8);
	/* the first one of a site makes its folder besides */
	cost(harness_done(h, "site-create", "name", "blog", NULL), 8);
	cost(harness_done(h, "snapshot", "site", "blog", "name", "first", NULL), 8);
}

static void test_cost__of_a_clone(void **state)
{
	HARNESS(h);
	cost(harness_done(h, "clone", "source", "shop", "name", "copy", NULL), 8);
	cost(harness_done(h, "clone", "source", "shop@first", "name", "old", NULL), 8);
}

static void test_cost__of_going_back_and_forth(void **state)
{
	HARNESS(h);
	json_t *restored;

	cost(harness_done(h, "generation-create", "site", "shop", NULL), 8);
	cost(harness_done(h, "publish", "site", "shop", "generation", "2", NULL), 8);
	cost(harness_done(h, "rollback", "site", "shop", NULL), 8);
	restored = harness_done(h, "restore", "source", "shop@first", "confirm", "1", NULL);
	cost(json_incref(restored), 8);
	cost(harness_done(h, "undo", "job", harness_text(restored, "id"), NULL), 8);
	json_decref(restored);
}

static void test_cost__of_restored_paths(void **state)
{
	HARNESS(h);
	harness_write(h, "shop", "index.php", "two");
	cost(harness_done(h, "restore", "source", "shop@first", "paths", "index.php", NULL), 8);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_cost__of_a_snapshot, setup, harness_end),
		cmocka_unit_test_setup_teardown(test_cost__of_a_clone, setup, harness_end),
		cmocka_unit_test_setup_teardown(
			test_cost__of_going_back_and_forth, setup, harness_end),
		cmocka_unit_test_setup_teardown(test_cost__of_restored_paths, setup, harness_end),
	};

	return cmocka_run_group_tests_name("cost", tests, NULL, NULL);
}
