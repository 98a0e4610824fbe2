/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Taking, giving, removing, measuring trees; choosing a driver. */
#include "tests/conformance/pool_env.h"

#include <linux/magic.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/vfs.h>

/* What this driver can take over by a rename: a directory of its own kind. */
static int make_adoptable(const char *name)
{
	if (has(POOL_CONSTANT_COST))
		box_shell("btrfs -q subvolume create %s/%s", env.box->pool, name);
	else
		box_shell("mkdir %s/%s", env.box->pool, name);
	return fd_open_dir(env.root, name);
}

static void test_adopt__takes_the_directory_itself(void **state)
{
	_cleanup_fd_ int src = make_adoptable("site");
	_cleanup_fd_ int b = -1;
	struct stat before, after;

	(void)state;
	write_text(src, "index.php", "<?php");
	assert_int_equal(fstatat(src, "index.php", &before, 0), 0);
	assert_done(env.driver->tree_adopt(env.pool, (struct tree_at){env.root, "site"},
		at(env.one), &env.err));
	b = tree_of(env.one);
	assert_int_equal(fstatat(b, "index.php", &after, 0), 0);
	assert_int_equal(before.st_ino, after.st_ino);
	assert_int_equal(fd_exists(env.root, "site"), 0);
	assert_int_equal(env.driver->tree_check(env.pool, at(env.one), NULL, &env.err), 1);
}

static void test_adopt__refuses_another_file_system(void **state)
{
	_cleanup_fd_ int other = -1;

	(void)state;
	other = open(env.box->other, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(mkdirat(other, "site", 0755), 0);
	err_clear(&env.err);
	assert_true(env.driver->tree_adopt(env.pool, (struct tree_at){other, "site"},
		at(env.one), &env.err) < 0);
	assert_string_equal(env.err.code, "cannot_move");
	assert_int_equal(fd_exists(other, "site"), 1);
	assert_empty(env.one);
	assert_int_equal(unlinkat(other, "site", AT_REMOVEDIR), 0);
}

static void test_adopt__refuses_what_is_not_of_its_kind(void **state)
{
	(void)state;
	assert_int_equal(mkdirat(env.root, "plain", 0755), 0);
	assert_refused(env.driver->tree_adopt(env.pool, (struct tree_at){env.root, "plain"},
		at(env.one), &env.err), EOPNOTSUPP, "cannot_move");
	assert_int_equal(unlinkat(env.root, "plain", AT_REMOVEDIR), 0);
}

static void test_adopt__refuses_a_read_only_subvolume(void **state)
{
	(void)state;
	make_tree(env.two);
	box_shell("btrfs -q subvolume snapshot -r %s/two/tree %s/frozen", env.box->pool,
		env.box->pool);
	assert_refused(env.driver->tree_adopt(env.pool, (struct tree_at){env.root, "frozen"},
		at(env.one), &env.err), EOPNOTSUPP, "cannot_move");
	assert_done(env.driver->tree_remove(env.pool, (struct tree_at){env.root, "frozen"},
		&env.ctx, &env.err));
}

static void test_adopt__refuses_a_nested_subvolume(void **state)
{
	int fd;

	(void)state;
	fd = make_adoptable("site");
	close(fd);
	box_shell("btrfs -q subvolume create %s/site/inner", env.box->pool);
	assert_refused(env.driver->tree_adopt(env.pool, (struct tree_at){env.root, "site"},
		at(env.one), &env.err), EXDEV, "nested_filesystem");
	assert_empty(env.one);
	box_shell("rmdir %s/site/inner %s/site", env.box->pool, env.box->pool);
}

static void test_adopt__refuses_a_name_that_is_taken_and_what_is_missing(void **state)
{
	int fd = make_adoptable("site");

	(void)state;
	close(fd);
	make_tree(env.one);
	assert_refused(env.driver->tree_adopt(env.pool, (struct tree_at){env.root, "site"},
		at(env.one), &env.err), EEXIST, "exists");
	assert_int_equal(unlinkat(env.root, "site", AT_REMOVEDIR), 0);
	assert_refused(env.driver->tree_adopt(env.pool, (struct tree_at){env.root, "site"},
		at(env.two), &env.err), ENOENT, "not_found");
}

static void test_release__gives_a_plain_directory_or_says_that_it_cannot(void **state)
{
	const struct tree_at to = {env.root, "given"};
	struct print before, after;
	_cleanup_fd_ int a = -1;
	int r;

	(void)state;
	make_tree(env.one);
	a = tree_of(env.one);
	print_take(a, &before);
	r = env.driver->tree_release(env.pool, at(env.one), to, &env.err);
	if (r < 0) {
		assert_int_equal(r, -EOPNOTSUPP);
		assert_string_equal(env.err.code, "cannot_move");
		assert_int_equal(fd_exists(env.one, "tree"), 1);
	} else {
		assert_int_equal(fd_exists(env.one, "tree"), 0);
		print_take(a, &after);
		print_assert_equal(&before, &after);
		print_release(&after);
		box_shell("rm -rf %s/given", env.box->pool);
	}
	print_release(&before);
}

static int count_renames(enum snap_change change, const char *path, const char *from, void *arg)
{
	(void)path;
	(void)from;
	*(unsigned *)arg += change == SNAP_RENAMED;
	return 0;
}

/* As a generation becomes a snapshot: who holds a file open still writes to it. */
static void test_seal__a_tree_in_use_becomes_a_snapshot(void **state)
{
	_cleanup_fd_ int a = -1, held = -1;
	unsigned renames = 0;
	bool ro = false;

	(void)state;
	make_tree(env.one);
	copy_tree(env.one, env.two, POOL_COPY_READ_ONLY);
	a = tree_of(env.one);
	assert_int_equal(renameat(a, "dir/large", a, "dir/larger"), 0);
	held = openat(a, "log", O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
	assert_true(held >= 0);
	assert_done(env.driver->tree_seal(env.pool, at(env.one), &env.err));
	assert_done(env.driver->tree_seal(env.pool, at(env.one), &env.err));
	assert_int_equal(env.driver->tree_check(env.pool, at(env.one), &ro, &env.err), 1);
	assert_true(ro);
	assert_int_equal(openat(a, "new", O_WRONLY | O_CREAT | O_CLOEXEC, 0644), -1);
	assert_int_equal(errno, EROFS);
	assert_int_equal(write(held, "late", 4), 4);
	assert_int_equal(fsync(held), 0);
	assert_text(a, "log", "late");
	/* Both are frozen: the short way, which alone tells renames, needs no copy of either. */
	assert_done(env.driver->tree_diff(env.pool, at(env.two), at(env.one), -1,
		&(struct snap_diff_opts){0}, &env.ctx, count_renames, &renames, &env.err));
	assert_int_equal(renames, has(POOL_FREES_LATER) ? 1 : 0);
	assert_done(env.driver->tree_remove(env.pool, at(env.one), &env.ctx, &env.err));
	assert_empty(env.one);
}

static void test_seal__refuses_what_is_no_tree(void **state)
{
	(void)state;
	assert_int_equal(mkdirat(env.one, "tree", 0755), 0);
	assert_refused(env.driver->tree_seal(env.pool, at(env.one), &env.err), EINVAL,
		"not_a_tree");
	assert_int_equal(unlinkat(env.one, "tree", AT_REMOVEDIR), 0);
}

static void test_remove__of_a_missing_tree_is_success(void **state)
{
	(void)state;
	assert_done(env.driver->tree_remove(env.pool, at(env.one), &env.ctx, &env.err));
}

static void test_remove__takes_read_only_copies_and_leftovers(void **state)
{
	(void)state;
	make_tree(env.one);
	copy_tree(env.one, env.two, POOL_COPY_READ_ONLY);
	assert_done(env.driver->tree_create(env.pool,
		(struct tree_at){env.two, ".tree.work"}, &env.err));
	assert_done(env.driver->tree_remove(env.pool, at(env.two), &env.ctx, &env.err));
	assert_empty(env.two);
	assert_done(env.driver->tree_remove(env.pool, at(env.one), &env.ctx, &env.err));
	assert_empty(env.one);
}

static void test_remove__of_a_tree_in_use_works(void **state)
{
	_cleanup_fd_ int a = -1, file = -1;

	(void)state;
	make_tree(env.one);
	a = tree_of(env.one);
	file = openat(a, "dir/large", O_RDONLY | O_CLOEXEC);
	assert_true(file >= 0);
	assert_done(env.driver->tree_remove(env.pool, at(env.one), &env.ctx, &env.err));
	assert_empty(env.one);
}

/* Whoever may write in a tree may make them. One beside the tree is not in it. */
static void test_remove__takes_nested_subvolumes_along(void **state)
{
	(void)state;
	make_tree(env.one);
	box_shell("cd %s/one && make='btrfs -q subvolume' && $make create beside && "
		"cd tree/dir && $make create 'sub volume' && cd 'sub volume' && mkdir -p a/b && "
		"$make create a/b/in && mkdir a/b/in/c && echo text >a/b/in/c/file && "
		"$make create a/b/in/c/deep && $make snapshot -r a/b/in ../../frozen && "
		"$make create ../../last", env.box->pool);
	if (has(POOL_READ_ONLY))
		assert_done(env.driver->tree_seal(env.pool, at(env.one), &env.err));
	assert_done(env.driver->tree_remove(env.pool, at(env.one), &env.ctx, &env.err));
	assert_int_equal(unlinkat(env.one, "beside", AT_REMOVEDIR), 0);
	assert_empty(env.one);
}

static void test_remove__touches_nothing_where_something_is_mounted(void **state)
{
	_cleanup_fd_ int a = -1;
	char path[160];

	(void)state;
	make_tree(env.one);
	a = tree_of(env.one);
	snprintf(path, sizeof(path), "%s/one/tree/dir/empty/a b", env.box->pool);
	assert_int_equal(mkdir(path, 0755), 0);
	assert_int_equal(mount("x", path, "tmpfs", 0, NULL), 0);
	write_text(a, "new", "here");
	assert_refused(env.driver->tree_remove(env.pool, at(env.one), &env.ctx, &env.err), EXDEV,
		"nested_filesystem");
	assert_string_equal(env.err.object, path);
	assert_non_null(strstr(env.err.hint, path));
	assert_text(a, "new", "here");
	assert_int_equal(umount(path), 0);
	assert_done(env.driver->tree_remove(env.pool, at(env.one), &env.ctx, &env.err));
	assert_empty(env.one);
}

static void test_remove__leaves_what_a_link_points_to(void **state)
{
	(void)state;
	make_tree(env.one);
	assert_int_equal(symlinkat("../one/tree", env.two, "tree"), 0);
	assert_done(env.driver->tree_remove(env.pool, at(env.two), &env.ctx, &env.err));
	assert_empty(env.two);
	assert_int_equal(env.driver->tree_check(env.pool, at(env.one), NULL, &env.err), 1);
}

static void test_check__knows_a_tree_from_anything_else(void **state)
{
	const struct tree_at file = {env.one, "file"}, link = {env.one, "link"};

	(void)state;
	assert_int_equal(env.driver->tree_check(env.pool, at(env.one), NULL, &env.err), 0);
	write_text(env.one, "file", "x");
	assert_int_equal(env.driver->tree_check(env.pool, file, NULL, &env.err), 0);
	make_tree(env.one);
	assert_int_equal(symlinkat("tree", env.one, "link"), 0);
	assert_int_equal(env.driver->tree_check(env.pool, link, NULL, &env.err), 0);
	assert_int_equal(mkdirat(env.two, "tree", 0755), 0);
	assert_int_equal(env.driver->tree_check(env.pool, at(env.two), NULL, &env.err),
		!has(POOL_CONSTANT_COST));
}

static void test_open__refuses_a_link_in_place_of_a_tree(void **state)
{
	struct pool_made made = {0};
	struct snap_usage usage;

	(void)state;
	make_tree(env.one);
	assert_int_equal(symlinkat("../one/tree", env.two, "tree"), 0);
	assert_true(env.driver->tree_usage(env.pool, at(env.two), &env.ctx, &usage, &env.err) < 0);
	assert_true(env.driver->tree_copy(env.pool, at(env.two),
		(struct tree_at){env.two, "copy"}, 0, &env.ctx, &made, &env.err) < 0);
	assert_int_equal(fd_exists(env.two, "copy"), 0);
}

static void test_usage__counts_entries_and_bytes(void **state)
{
	struct snap_usage usage = {0};
	_cleanup_fd_ int a = -1;

	(void)state;
	assert_done(env.driver->tree_create(env.pool, at(env.one), &env.err));
	a = tree_of(env.one);
	assert_int_equal(mkdirat(a, "d", 0755), 0);
	box_shell("head -c 1M /dev/urandom > %s/one/tree/d/f", env.box->pool);
	assert_int_equal(linkat(a, "d/f", a, "g", 0), 0);
	box_shell("sync -f %s", env.box->pool);
	assert_done(env.driver->tree_usage(env.pool, at(env.one), &env.ctx, &usage, &env.err));
	assert_int_equal(usage.logical, 1 << 20);
	assert_true(usage.exclusive >= 1 << 20);
	assert_int_equal(usage.shared, 0);
	assert_true(usage.entries >= 3);
}

static void test_usage__tells_shared_from_exclusive(void **state)
{
	struct snap_usage usage = {0};

	(void)state;
	assert_done(env.driver->tree_create(env.pool, at(env.one), &env.err));
	box_shell("head -c 1M /dev/urandom > %s/one/tree/old", env.box->pool);
	copy_tree(env.one, env.two, 0);
	box_shell("head -c 256K /dev/urandom > %s/two/tree/new; sync -f %s", env.box->pool,
		env.box->pool);
	assert_done(env.driver->tree_usage(env.pool, at(env.two), &env.ctx, &usage, &env.err));
	assert_int_equal(usage.shared, has(POOL_SHARES) ? 1 << 20 : 0);
	assert_true(usage.exclusive >= 256 << 10);
}

/* Small files lie in the metadata: nobody can tell whether removing the tree frees them. */
static void test_usage__takes_what_lies_in_metadata_for_nobodys_own(void **state)
{
	struct snap_usage usage = {0};

	(void)state;
	assert_done(env.driver->tree_create(env.pool, at(env.one), &env.err));
	box_shell("cd %s/one/tree && for n in $(seq 300); do head -c 1500 /dev/urandom > $n; done; "
		"head -c 1M /dev/urandom > large; sync -f .", env.box->pool);
	assert_done(env.driver->tree_usage(env.pool, at(env.one), &env.ctx, &usage, &env.err));
	assert_int_equal(usage.logical, 300 * 1500 + (1 << 20));
	assert_in_range(usage.exclusive, 1 << 20, (1 << 20) + 100000);
	copy_tree(env.one, env.two, 0);
	assert_done(env.driver->tree_usage(env.pool, at(env.two), &env.ctx, &usage, &env.err));
	assert_int_equal(usage.logical, 300 * 1500 + (1 << 20));
	assert_int_equal(usage.exclusive, 0);
	assert_int_equal(usage.shared, 1 << 20);
}

static void test_usage__of_a_fresh_clone_is_shared(void **state)
{
	struct snap_usage usage = {0};
	_cleanup_fd_ int b = -1;

	(void)state;
	make_tree(env.one);
	copy_tree(env.one, env.two, 0);
	assert_done(env.driver->tree_usage(env.pool, at(env.two), &env.ctx, &usage, &env.err));
	assert_true(usage.allocated > 1000000);
	assert_in_range(usage.exclusive, 0, usage.allocated / 50);
	/* What the clone writes is its own. */
	b = tree_of(env.two);
	box_shell("head -c 2M /dev/urandom > %s/two/tree/own; sync -f %s", env.box->pool,
		env.box->pool);
	assert_done(env.driver->tree_usage(env.pool, at(env.two), &env.ctx, &usage, &env.err));
	assert_in_range(usage.exclusive, 2 << 20, (2 << 20) + 200000);
	/* Without its relative everything is. */
	assert_done(env.driver->tree_remove(env.pool, at(env.one), &env.ctx, &env.err));
	box_shell("btrfs -q filesystem sync %s && btrfs subvolume sync %s >/dev/null",
		env.box->pool, env.box->pool);
	assert_done(env.driver->tree_usage(env.pool, at(env.two), &env.ctx, &usage, &env.err));
	assert_int_equal(usage.shared, 0);
	assert_int_equal(usage.exclusive, usage.allocated);
}

static void test_sync__leaves_nothing_behind(void **state)
{
	_cleanup_fd_ int a = -1, dir = -1, trash = -1;

	(void)state;
	make_tree(env.one);
	a = tree_of(env.one);
	dir = fd_open_dir(a, "many");
	box_shell("mkdir -p %s/.fsd/trash", env.box->pool);
	trash = fd_open_beneath(env.root, ".fsd/trash", O_RDONLY | O_DIRECTORY);
	assert_done(env.driver->sync_dir(env.pool, dir, &env.ctx, &env.err));
	assert_empty(trash);
	assert_int_equal(unlinkat(env.root, ".fsd/trash", AT_REMOVEDIR), 0);
	assert_int_equal(unlinkat(env.root, ".fsd", AT_REMOVEDIR), 0);
	/* A pool that has no such folder yet. */
	assert_done(env.driver->sync_dir(env.pool, a, &env.ctx, &env.err));
	assert_int_equal(unlinkat(env.root, "one", AT_REMOVEDIR), -1);
	assert_int_equal(errno, ENOTEMPTY);
}

/* A site user can nest directories deeper than a process may hold descriptors. */
static void test_sync__goes_through_deep_trees(void **state)
{
	_cleanup_fd_ int a = -1;
	int dir;

	(void)state;
	assert_done(env.driver->tree_create(env.pool, at(env.one), &env.err));
	a = tree_of(env.one);
	dir = fd_reopen_dir(a);
	for (int i = 0; i < 1200; i++) {
		int next;

		assert_int_equal(mkdirat(dir, "d", 0755), 0);
		next = fd_open_dir(dir, "d");
		close(dir);
		dir = next;
	}
	write_text(dir, "deep", "x");
	close(dir);
	assert_done(env.driver->sync_dir(env.pool, a, &env.ctx, &env.err));
}

static void cancel(int sig)
{
	(void)sig;
	atomic_store(&env.ctx.cancel, true);
}

/* Where each file is opened to be flushed: not on btrfs. */
static void test_sync__waits_for_a_lease(void **state)
{
	_cleanup_fd_ int a = -1, file = -1;
	void (*before)(int) = signal(SIGIO, cancel); /* what the holder of a lease is sent */
	struct statfs fs;
	int r;

	(void)state;
	make_tree(env.one);
	a = tree_of(env.one);
	file = openat(a, "many/7", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	assert_int_equal(fcntl(file, F_SETLEASE, F_WRLCK), 0);
	r = env.driver->sync_dir(env.pool, a, &env.ctx, &env.err);
	signal(SIGIO, before);
	assert_int_equal(fstatfs(a, &fs), 0);
	assert_int_equal(r, fs.f_type == BTRFS_SUPER_MAGIC ? 0 : -ECANCELED);
	if (r == 0)
		return;
	assert_string_equal(env.err.code, "canceled");
	env.ctx = (struct snap_ctx){.lease_wait = 1};
	assert_int_equal(env.driver->sync_dir(env.pool, a, &env.ctx, &env.err), -EWOULDBLOCK);
	assert_non_null(strstr(env.err.object, "/one/tree/many/7"));
	assert_non_null(strstr(env.err.reason, "holds a lease on it"));
}

/* The ioctl behind "filesystem sync" wakes the cleaner, which else waits 30 s. */
static void wait_for_cleaner(void)
{
	box_shell("btrfs -q filesystem sync %s && btrfs subvolume sync %s >/dev/null",
		env.box->pool, env.box->pool);
}

static void test_pending__returns_to_zero_when_the_space_is_back(void **state)
{
	uint64_t trees = 99;
	int used;

	(void)state;
	make_tree(env.one);
	wait_for_cleaner();
	used = tree_of(env.one); /* nothing of it is freed while somebody is in there */
	assert_done(env.driver->tree_remove(env.pool, at(env.one), &env.ctx, &env.err));
	assert_done(env.driver->pending(env.pool, &trees, &env.err));
	assert_int_equal(trees, 1);
	close(used);
	wait_for_cleaner();
	assert_done(env.driver->pending(env.pool, &trees, &env.err));
	assert_int_equal(trees, 0);
}

static void test_choose__probes_every_driver_and_reports(void **state)
{
	const struct pool_driver *chosen = NULL;
	_cleanup_free_ char *report = NULL, *kept = NULL;
	bool btrfs = strcmp(env.box->fs, "btrfs") == 0;

	(void)state;
	assert_done(pool_driver_choose(env.root, "auto", NULL, &chosen, &report, &env.err));
	assert_string_equal(chosen->name, btrfs ? "btrfs" : "copy");
	assert_non_null(strstr(report, btrfs ? "btrfs: yes, " : "btrfs: no, not btrfs"));
	assert_non_null(strstr(report, "\ncopy: yes, "));
	assert_non_null(strstr(report, "chosen, the first that fits\n"));
	assert_done(pool_driver_choose(env.root, "copy", "btrfs", &chosen, NULL, &env.err));
	assert_string_equal(chosen->name, "copy");
	assert_done(pool_driver_choose(env.root, "auto", "copy", &chosen, &kept, &env.err));
	assert_string_equal(chosen->name, "copy");
	assert_non_null(strstr(kept, "\ncopy is kept, since it served the pool before; "));
	assert_memory_equal(kept, report, strstr(kept, "copy is kept") - kept);
	if (!btrfs)
		assert_refused(pool_driver_choose(env.root, "btrfs", NULL, &chosen, NULL, &env.err),
			EOPNOTSUPP, "driver_unfit");
	assert_refused(pool_driver_choose(env.root, "zfs", NULL, &chosen, NULL, &env.err),
		EINVAL, "unknown_driver");
}

static void remount(unsigned long flags)
{
	char path[96];

	snprintf(path, sizeof(path), "%s/mnt", env.box->dir);
	assert_int_equal(mount(NULL, path, NULL, MS_REMOUNT | flags, NULL), 0);
}

static void test_read_only__pool_serves_and_refuses_changes(void **state)
{
	const struct pool_driver *chosen = NULL;
	struct pool_made made = {0};
	_cleanup_fd_ int a = -1;

	(void)state;
	make_tree(env.one);
	remount(MS_RDONLY);
	assert_done(pool_driver_choose(env.root, "auto", NULL, &chosen, NULL, &env.err));
	assert_int_equal(env.driver->tree_check(env.pool, at(env.one), NULL, &env.err), 1);
	a = tree_of(env.one);
	assert_refused(env.driver->tree_create(env.pool, at(env.two), &env.err), EROFS,
		"read_only");
	assert_refused(env.driver->tree_copy(env.pool, at(env.one), at(env.two), 0, &env.ctx, &made,
		&env.err), EROFS, "read_only");
	assert_refused(env.driver->tree_fill(env.pool, a, at(env.two), 0, &env.ctx, &made,
		&env.err), EROFS, "read_only");
	assert_refused(env.driver->tree_remove(env.pool, at(env.one), &env.ctx, &env.err), EROFS,
		"read_only");
	remount(0);
	assert_empty(env.two);
}

const struct pool_test pool_keep_tests[] = {
	POOL_TEST(test_adopt__takes_the_directory_itself),
	POOL_TEST_IF(test_adopt__refuses_another_file_system, .box = BOX_MOUNTED),
	POOL_TEST_IF(test_adopt__refuses_what_is_not_of_its_kind, .caps = POOL_CONSTANT_COST),
	POOL_TEST_IF(test_adopt__refuses_a_read_only_subvolume, .caps = POOL_READ_ONLY),
	POOL_TEST_IF(test_adopt__refuses_a_nested_subvolume, .box = BOX_SUBVOLUMES),
	POOL_TEST(test_adopt__refuses_a_name_that_is_taken_and_what_is_missing),
	POOL_TEST(test_release__gives_a_plain_directory_or_says_that_it_cannot),
	POOL_TEST_IF(test_seal__a_tree_in_use_becomes_a_snapshot, .caps = POOL_READ_ONLY),
	POOL_TEST_IF(test_seal__refuses_what_is_no_tree, .caps = POOL_READ_ONLY),
	POOL_TEST(test_remove__of_a_missing_tree_is_success),
	POOL_TEST(test_remove__takes_read_only_copies_and_leftovers),
	POOL_TEST(test_remove__of_a_tree_in_use_works),
	POOL_TEST_IF(test_remove__takes_nested_subvolumes_along, .box = BOX_SUBVOLUMES),
	POOL_TEST_IF(test_remove__touches_nothing_where_something_is_mounted, .box = BOX_MOUNTS),
	POOL_TEST(test_remove__leaves_what_a_link_points_to),
	POOL_TEST(test_check__knows_a_tree_from_anything_else),
	POOL_TEST(test_open__refuses_a_link_in_place_of_a_tree),
	POOL_TEST(test_usage__counts_entries_and_bytes),
	POOL_TEST(test_usage__tells_shared_from_exclusive),
	POOL_TEST_IF(test_usage__takes_what_lies_in_metadata_for_nobodys_own, .caps = POOL_SHARES),
	POOL_TEST_IF(test_usage__of_a_fresh_clone_is_shared,
		.caps = POOL_CONSTANT_COST | POOL_FREES_LATER),
	POOL_TEST(test_sync__leaves_nothing_behind),
	POOL_TEST(test_sync__goes_through_deep_trees),
	POOL_TEST(test_sync__waits_for_a_lease),
	POOL_TEST_IF(test_pending__returns_to_zero_when_the_space_is_back,
		.caps = POOL_FREES_LATER),
	POOL_TEST_IF(test_read_only__pool_serves_and_refuses_changes, .box = BOX_MOUNTS),
	POOL_TEST_IF(test_choose__probes_every_driver_and_reports, .box = BOX_MOUNTED),
};
const size_t n_pool_keep_tests = sizeof(pool_keep_tests) / sizeof(pool_keep_tests[0]);
