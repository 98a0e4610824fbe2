/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Power cuts: the contract is that a tree survives with everything in it once the caller has synced
 * the directories that lead to it. The disk is frozen right after that.
 */
#include "tests/conformance/pool_env.h"

/* What every caller does with a new wrapper. */
static void sync_names(int wrapper)
{
	assert_int_equal(fsync(wrapper), 0);
	assert_int_equal(fsync(env.root), 0);
}

static int open_after_cut(const char *wrapper)
{
	char path[160];
	int fd;

	box_cut(env.box);
	snprintf(path, sizeof(path), "%s/pool/%s/tree", env.box->cut, wrapper);
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		fail_msg("%s is not there after the cut", path);
	return fd;
}

static void assert_survives(const char *wrapper, const struct print *expected)
{
	int fd = open_after_cut(wrapper);
	struct print found;

	print_take(fd, &found);
	print_assert_equal(expected, &found);
	print_release(&found);
	close(fd);
	box_cut_end(env.box);
}

static void test_cut__a_created_tree_is_there(void **state)
{
	struct stat st;
	int fd;

	(void)state;
	assert_done(env.driver->tree_create(env.pool, at(env.one), &env.err));
	sync_names(env.one);
	fd = open_after_cut("one");
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_mode, S_IFDIR | 0755);
	close(fd);
	box_cut_end(env.box);
}

static void cut_copy(unsigned flags)
{
	_cleanup_fd_ int a = -1;
	struct print before;

	make_tree(env.one);
	a = tree_of(env.one);
	print_take(a, &before);
	/* Nothing of the source was ever synced: it is dirty when the copy is made. */
	copy_tree(env.one, env.two, flags);
	sync_names(env.two);
	assert_survives("two", &before);
	print_release(&before);
}

static void test_cut__a_copy_is_whole(void **state)
{
	(void)state;
	cut_copy(0);
}

static void test_cut__a_read_only_copy_of_a_live_tree_is_whole(void **state)
{
	(void)state;
	cut_copy(POOL_COPY_READ_ONLY | POOL_COPY_LIVE);
}

static void cut_fill(int src)
{
	struct pool_made made = {0};
	struct print before;

	print_take(src, &before);
	assert_done(env.driver->tree_fill(env.pool, src, at(env.two), 0, &env.ctx, &made,
		&env.err));
	snap_copy_result_release(&made.copy);
	sync_names(env.two);
	assert_survives("two", &before);
	print_release(&before);
}

static void test_cut__a_filled_tree_is_whole(void **state)
{
	_cleanup_fd_ int other = -1, far = -1, near = -1;

	(void)state;
	other = open(env.box->other, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	far = make_foreign(other, "site");
	cut_fill(far);
	assert_done(env.driver->tree_remove(env.pool, at(env.two), &env.ctx, &env.err));
	/* Of the same file system, and dirty: what a reflink shares must be on disk as well. */
	near = make_foreign(env.root, "site");
	cut_fill(near);
	box_shell("rm -rf %s/site %s/site", env.box->other, env.box->pool);
}

static void test_cut__an_adopted_tree_is_whole(void **state)
{
	const struct tree_at site = {env.root, "site"};
	_cleanup_fd_ int src = -1;
	struct print before;

	(void)state;
	assert_done(env.driver->tree_create(env.pool, site, &env.err));
	src = fd_open_dir(env.root, "site");
	make_sample(src);
	print_take(src, &before);
	assert_done(env.driver->tree_adopt(env.pool, site, at(env.two), &env.err));
	sync_names(env.two);
	assert_survives("two", &before);
	print_release(&before);
}

static void test_cut__synced_changes_in_place_are_there(void **state)
{
	_cleanup_fd_ int a = -1, dir = -1;
	struct print before;

	(void)state;
	assert_done(env.driver->tree_create(env.pool, at(env.one), &env.err));
	a = tree_of(env.one);
	assert_int_equal(mkdirat(a, "uploads", 0755), 0);
	sync_names(env.one);
	box_shell("sync -f %s", env.box->pool);
	dir = fd_open_dir(a, "uploads");
	make_sample(dir);
	assert_int_equal(renameat(dir, "many/file-007.php", dir, "dir/renamed"), 0);
	assert_done(env.driver->sync_dir(env.pool, dir, &env.ctx, &env.err));
	print_take(a, &before);
	assert_survives("one", &before);
	print_release(&before);
}

static void test_cut__a_removed_tree_stays_removed(void **state)
{
	char path[160];

	(void)state;
	make_tree(env.one);
	copy_tree(env.one, env.two, POOL_COPY_READ_ONLY);
	assert_done(env.driver->tree_remove(env.pool, at(env.two), &env.ctx, &env.err));
	sync_names(env.two);
	box_cut(env.box);
	snprintf(path, sizeof(path), "%s/pool/two/tree", env.box->cut);
	assert_int_equal(access(path, F_OK), -1);
	box_cut_end(env.box);
}

const struct pool_test pool_cut_tests[] = {
	POOL_TEST_IF(test_cut__a_created_tree_is_there, .box = BOX_CUTS),
	POOL_TEST_IF(test_cut__a_copy_is_whole, .box = BOX_CUTS),
	POOL_TEST_IF(test_cut__a_read_only_copy_of_a_live_tree_is_whole, .box = BOX_CUTS),
	POOL_TEST_IF(test_cut__a_filled_tree_is_whole, .box = BOX_CUTS),
	POOL_TEST_IF(test_cut__an_adopted_tree_is_whole, .box = BOX_CUTS),
	POOL_TEST_IF(test_cut__synced_changes_in_place_are_there, .box = BOX_CUTS),
	POOL_TEST_IF(test_cut__a_removed_tree_stays_removed, .box = BOX_CUTS),
};
const size_t n_pool_cut_tests = sizeof(pool_cut_tests) / sizeof(pool_cut_tests[0]);
