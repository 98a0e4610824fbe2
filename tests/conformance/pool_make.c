/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Making trees: tree_create, tree_copy, tree_fill. */
#include "tests/conformance/pool_env.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/wait.h>

static void test_create__makes_an_empty_tree_of_mode_0755_whatever_the_umask(void **state)
{
	mode_t old = umask(077);
	struct stat st;
	_cleanup_fd_ int fd = -1;

	(void)state;
	assert_done(env.driver->tree_create(env.pool, at(env.one), &env.err));
	umask(old);
	fd = tree_of(env.one);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_mode, S_IFDIR | 0755);
	assert_int_equal(st.st_uid, geteuid());
	assert_empty(fd);
	write_text(fd, "file", "text");
	assert_int_equal(env.driver->tree_check(env.pool, at(env.one), NULL, &env.err), 1);
}

static void test_create__refuses_a_name_that_is_taken(void **state)
{
	(void)state;
	make_tree(env.one);
	assert_refused(env.driver->tree_create(env.pool, at(env.one), &env.err), EEXIST, "exists");
	assert_true(strlen(env.err.object) > 4);
}

static void test_copy__keeps_everything(void **state)
{
	_cleanup_fd_ int a = -1, b = -1;
	struct pool_made made = {0};

	(void)state;
	make_tree(env.one);
	assert_done(env.driver->tree_copy(env.pool, at(env.one), at(env.two), 0, &env.ctx, &made,
		&env.err));
	a = tree_of(env.one);
	b = tree_of(env.two);
	assert_trees_equal(a, b);
	assert_int_equal(made.copy.unsettled.total, 0);
	assert_int_equal(made.copy.reported.total, 0);
	if (has(POOL_CONSTANT_COST)) {
		assert_int_equal(made.method, POOL_METHOD_SNAPSHOT);
		assert_int_equal(made.copy.consistency, SNAP_ATOMIC);
	} else {
		assert_true(made.copy.entries > 200);
	}
	snap_copy_result_release(&made.copy);
}

static void test_copy__is_independent_of_its_source(void **state)
{
	_cleanup_fd_ int a = -1, b = -1;

	(void)state;
	make_tree(env.one);
	copy_tree(env.one, env.two, 0);
	a = tree_of(env.one);
	b = tree_of(env.two);
	write_text(a, "inline", "the source");
	write_text(b, "dir/large2", "the copy");
	assert_int_equal(unlinkat(b, "absolute", 0), 0);
	assert_int_equal(fd_exists(a, "absolute"), 1);
	assert_int_equal(faccessat(a, "dir/large2", F_OK, 0), -1);
	assert_int_equal(faccessat(b, "inline", F_OK, 0), 0);
	write_text(b, "inline", "mine");
	assert_text(a, "inline", "the source");
}

static void test_copy__read_only_is_enforced_where_the_driver_says_so(void **state)
{
	_cleanup_fd_ int b = -1;
	bool ro = !has(POOL_READ_ONLY);

	(void)state;
	make_tree(env.one);
	copy_tree(env.one, env.two, POOL_COPY_READ_ONLY);
	assert_int_equal(env.driver->tree_check(env.pool, at(env.two), &ro, &env.err), 1);
	assert_int_equal(ro, has(POOL_READ_ONLY));
	b = tree_of(env.two);
	if (has(POOL_READ_ONLY)) {
		assert_int_equal(openat(b, "new", O_WRONLY | O_CREAT, 0644), -1);
		assert_int_equal(errno, EROFS);
	}
	assert_int_equal(env.driver->tree_check(env.pool, at(env.one), &ro, &env.err), 1);
	assert_false(ro);
}

static void test_copy__of_a_read_only_copy_is_writable(void **state)
{
	_cleanup_fd_ int three = -1, b = -1;

	(void)state;
	make_tree(env.one);
	copy_tree(env.one, env.two, POOL_COPY_READ_ONLY);
	assert_int_equal(mkdirat(env.root, "three", 0755), 0);
	three = fd_open_dir(env.root, "three");
	copy_tree(env.two, three, 0);
	b = tree_of(three);
	write_text(b, "new", "x");
	assert_done(env.driver->tree_remove(env.pool, at(three), &env.ctx, &env.err));
	assert_int_equal(unlinkat(env.root, "three", AT_REMOVEDIR), 0);
}

static void test_copy__of_a_live_source_says_how_consistent_it_is(void **state)
{
	struct pool_made made = {0};
	_cleanup_fd_ int a = -1, b = -1;

	(void)state;
	make_tree(env.one);
	assert_done(env.driver->tree_copy(env.pool, at(env.one), at(env.two),
		POOL_COPY_READ_ONLY | POOL_COPY_LIVE, &env.ctx, &made, &env.err));
	assert_int_equal(made.copy.consistency,
		has(POOL_CONSTANT_COST) ? SNAP_ATOMIC : SNAP_SETTLED);
	snap_copy_result_release(&made.copy);
	a = tree_of(env.one);
	b = tree_of(env.two);
	assert_trees_equal(a, b);
}

static void test_copy__refuses_a_name_that_is_taken(void **state)
{
	struct pool_made made = {0};
	_cleanup_fd_ int b = -1;

	(void)state;
	make_tree(env.one);
	assert_done(env.driver->tree_create(env.pool, at(env.two), &env.err));
	b = tree_of(env.two);
	write_text(b, "mine", "untouched");
	assert_refused(env.driver->tree_copy(env.pool, at(env.one), at(env.two), 0, &env.ctx, &made,
		&env.err), EEXIST, "exists");
	assert_text(b, "mine", "untouched");
}

static void test_copy__of_nothing_leaves_nothing(void **state)
{
	struct pool_made made = {0};

	(void)state;
	assert_refused(env.driver->tree_copy(env.pool, at(env.one), at(env.two), 0, &env.ctx, &made,
		&env.err), ENOENT, "not_found");
	assert_empty(env.two);
}

static void test_copy__canceled_leaves_nothing(void **state)
{
	struct pool_made made = {0};

	(void)state;
	make_tree(env.one);
	env.ctx.cancel = true;
	assert_refused(env.driver->tree_copy(env.pool, at(env.one), at(env.two), 0, &env.ctx, &made,
		&env.err), ECANCELED, "canceled");
	assert_empty(env.two);
	assert_refused(env.driver->tree_fill(env.pool, env.one, at(env.two), 0, &env.ctx, &made,
		&env.err), ECANCELED, "canceled");
	assert_empty(env.two);
	env.ctx.cancel = false;
}

/* Beneath dir/empty, so that it is not found at the first look. */
static void test_copy__refuses_a_mount_inside_and_names_it(void **state)
{
	struct pool_made made = {0};
	char path[160];

	(void)state;
	make_tree(env.one);
	snprintf(path, sizeof(path), "%s/one/tree/dir/empty/a b", env.box->pool);
	assert_int_equal(mkdir(path, 0755), 0);
	assert_int_equal(mount("x", path, "tmpfs", 0, NULL), 0);
	assert_refused(env.driver->tree_copy(env.pool, at(env.one), at(env.two), 0, &env.ctx, &made,
		&env.err), EXDEV, "nested_filesystem");
	assert_string_equal(env.err.object, "dir/empty/a b");
	assert_empty(env.two);
	assert_int_equal(umount(path), 0);
}

static void test_copy__refuses_a_nested_subvolume_and_names_it(void **state)
{
	struct pool_made made = {0};

	(void)state;
	make_tree(env.one);
	box_shell("btrfs -q subvolume create '%s/one/tree/many/sub volume'", env.box->pool);
	assert_refused(env.driver->tree_copy(env.pool, at(env.one), at(env.two), 0, &env.ctx, &made,
		&env.err), EXDEV, "nested_filesystem");
	assert_string_equal(env.err.object, "many/sub volume");
	assert_empty(env.two);
	box_shell("rmdir '%s/one/tree/many/sub volume'", env.box->pool);
	copy_tree(env.one, env.two, 0);
}

static void fill_and_compare(int src, enum pool_method *method)
{
	struct pool_made made = {0};
	_cleanup_fd_ int b = -1;
	bool ro = true;

	assert_done(env.driver->tree_fill(env.pool, src, at(env.two), 0, &env.ctx, &made,
		&env.err));
	assert_int_equal(made.copy.reported.total, 0);
	*method = made.method;
	snap_copy_result_release(&made.copy);
	b = tree_of(env.two);
	assert_trees_equal(src, b);
	assert_int_equal(env.driver->tree_check(env.pool, at(env.two), &ro, &env.err), 1);
	assert_false(ro);
	write_text(b, "new", "writable");
	assert_int_equal(unlinkat(env.two, ".tree.work", 0), -1);
	assert_int_equal(errno, ENOENT);
}

static void test_fill__takes_a_directory_of_another_file_system(void **state)
{
	_cleanup_fd_ int other = open(env.box->other, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	_cleanup_fd_ int src = make_foreign(other, "site");
	enum pool_method method;

	(void)state;
	fill_and_compare(src, &method);
	assert_int_equal(method, POOL_METHOD_COPY);
	box_shell("rm -rf %s/site", env.box->other);
}

static void test_fill__shares_storage_where_the_driver_can(void **state)
{
	_cleanup_fd_ int src = make_foreign(env.root, "site");
	struct snap_usage usage = {0};
	enum pool_method method;

	(void)state;
	fill_and_compare(src, &method);
	box_shell("sync -f %s", env.box->pool);
	assert_done(env.driver->tree_usage(env.pool, at(env.two), &env.ctx, &usage, &env.err));
	if (has(POOL_SHARES)) {
		assert_int_equal(method, POOL_METHOD_REFLINK);
		assert_true(usage.shared > 700000);
	} else {
		assert_int_equal(method, POOL_METHOD_COPY);
		assert_int_equal(usage.shared, 0);
	}
	box_shell("rm -rf %s/site", env.box->pool);
}

static void test_fill__refuses_a_name_that_is_taken(void **state)
{
	struct pool_made made = {0};
	_cleanup_fd_ int a = -1;

	(void)state;
	make_tree(env.one);
	make_tree(env.two);
	a = tree_of(env.one);
	assert_refused(env.driver->tree_fill(env.pool, a, at(env.two), 0, &env.ctx, &made,
		&env.err), EEXIST, "exists");
}

static void test_fill__starts_afresh_over_what_a_crash_left(void **state)
{
	_cleanup_fd_ int src = -1;
	enum pool_method method;

	(void)state;
	assert_done(env.driver->tree_create(env.pool,
		(struct tree_at){env.two, ".tree.work"}, &env.err));
	box_shell("echo stale > %s/two/.tree.work/stale", env.box->pool);
	src = make_foreign(env.root, "site");
	fill_and_compare(src, &method);
	assert_int_equal(fd_exists(env.two, ".tree.work"), 0);
	box_shell("rm -rf %s/site", env.box->pool);
}

/* As much as is free, so that what follows has no room. */
static void fill_the_disk(int dir)
{
	_cleanup_fd_ int fd = openat(dir, "ballast", O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
	static char block[1 << 20];

	for (size_t i = 0; i < sizeof(block); i += 4096)
		block[i] = (char)i; /* no compression, no holes */
	while (write(fd, block, sizeof(block)) > 0)
		;
	assert_int_equal(errno, ENOSPC);
	fsync(fd);
}

static void test_fill__into_a_full_pool_says_no_space_and_leaves_nothing(void **state)
{
	_cleanup_fd_ int other = -1, src = -1;
	struct pool_made made = {0};

	(void)state;
	other = open(env.box->other, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(mkdirat(other, "big", 0755), 0);
	src = fd_open_dir(other, "big");
	box_shell("head -c 64M /dev/urandom > %s/big/file", env.box->other);
	fill_the_disk(env.root);
	assert_refused(env.driver->tree_fill(env.pool, src, at(env.two), 0, &env.ctx, &made,
		&env.err), ENOSPC, "no_space");
	assert_empty(env.two);
	assert_int_equal(unlinkat(env.root, "ballast", 0), 0);
	box_shell("rm -rf %s/big; sync -f %s", env.box->other, env.box->pool);
}

static void fill_in_child(int src)
{
	struct pool_made made = {0};
	struct snap_ctx ctx = {0};

	env.driver->tree_fill(env.pool, src, at(env.two), 0, &ctx, &made, NULL);
	_exit(0);
}

/* Wait until the child is at work, then kill it: at another place each time. */
static void kill_at_work(pid_t pid)
{
	int status;

	while (fd_exists(env.two, ".tree.work") == 0 && fd_exists(env.two, "tree") == 0 &&
		waitpid(pid, &status, WNOHANG) == 0)
		sched_yield();
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
}

static void test_fill__killed_leaves_a_whole_tree_or_none(void **state)
{
	_cleanup_fd_ int other = open(env.box->other, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	_cleanup_fd_ int src = make_foreign(other, "site");

	(void)state;
	for (int round = 0; round < 10; round++) {
		pid_t pid = fork();

		assert_true(pid >= 0);
		if (pid == 0)
			fill_in_child(src);
		kill_at_work(pid);
		if (env.driver->tree_check(env.pool, at(env.two), NULL, &env.err) == 1) {
			_cleanup_fd_ int b = tree_of(env.two);

			assert_trees_equal(src, b);
		}
		assert_done(env.driver->tree_remove(env.pool, at(env.two), &env.ctx, &env.err));
		assert_empty(env.two);
	}
	box_shell("rm -rf %s/site", env.box->other);
}

#define COPIES 8

static void *copy_to_own(void *arg)
{
	int *wrapper = arg;
	struct pool_made made = {0};
	struct snap_ctx ctx = {.threads = 1};
	int r = env.driver->tree_copy(env.pool, at(env.one), at(*wrapper), POOL_COPY_READ_ONLY,
		&ctx, &made, NULL);

	snap_copy_result_release(&made.copy);
	return (void *)(intptr_t)r;
}

static void test_copy__runs_many_times_at_once(void **state)
{
	pthread_t threads[COPIES];
	_cleanup_fd_ int a = -1;
	int wrappers[COPIES];
	char name[8];

	(void)state;
	make_tree(env.one);
	a = tree_of(env.one);
	for (int i = 0; i < COPIES; i++) {
		snprintf(name, sizeof(name), "c%d", i);
		assert_int_equal(mkdirat(env.root, name, 0755), 0);
		wrappers[i] = fd_open_dir(env.root, name);
		assert_int_equal(pthread_create(&threads[i], NULL, copy_to_own, &wrappers[i]), 0);
	}
	for (int i = 0; i < COPIES; i++) {
		_cleanup_fd_ int b = -1;
		void *r;

		pthread_join(threads[i], &r);
		assert_int_equal((intptr_t)r, 0);
		b = tree_of(wrappers[i]);
		assert_trees_equal(a, b);
		assert_done(env.driver->tree_remove(env.pool, at(wrappers[i]), &env.ctx,
			&env.err));
		close(wrappers[i]);
		snprintf(name, sizeof(name), "c%d", i);
		assert_int_equal(unlinkat(env.root, name, AT_REMOVEDIR), 0);
	}
}

const struct pool_test pool_make_tests[] = {
	POOL_TEST(test_create__makes_an_empty_tree_of_mode_0755_whatever_the_umask),
	POOL_TEST(test_create__refuses_a_name_that_is_taken),
	POOL_TEST(test_copy__keeps_everything),
	POOL_TEST(test_copy__is_independent_of_its_source),
	POOL_TEST(test_copy__read_only_is_enforced_where_the_driver_says_so),
	POOL_TEST(test_copy__of_a_read_only_copy_is_writable),
	POOL_TEST(test_copy__of_a_live_source_says_how_consistent_it_is),
	POOL_TEST(test_copy__refuses_a_name_that_is_taken),
	POOL_TEST(test_copy__of_nothing_leaves_nothing),
	POOL_TEST(test_copy__canceled_leaves_nothing),
	POOL_TEST_IF(test_copy__refuses_a_mount_inside_and_names_it, .box = BOX_MOUNTS),
	POOL_TEST_IF(test_copy__refuses_a_nested_subvolume_and_names_it, .box = BOX_SUBVOLUMES),
	POOL_TEST(test_copy__runs_many_times_at_once),
	POOL_TEST(test_fill__takes_a_directory_of_another_file_system),
	POOL_TEST(test_fill__shares_storage_where_the_driver_can),
	POOL_TEST(test_fill__refuses_a_name_that_is_taken),
	POOL_TEST(test_fill__starts_afresh_over_what_a_crash_left),
	POOL_TEST(test_fill__killed_leaves_a_whole_tree_or_none),
	POOL_TEST_IF(test_fill__into_a_full_pool_says_no_space_and_leaves_nothing,
		.box = BOX_MOUNTED),
};
const size_t n_pool_make_tests = sizeof(pool_make_tests) / sizeof(pool_make_tests[0]);
