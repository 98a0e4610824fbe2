/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tree_diff: what a person would call the changes, however the driver finds them. */
#include "tests/conformance/pool_env.h"

#include <sys/xattr.h>

#include "snap/base/buf.h"
#include "snap/base/clock.h"
#include "snap/send_paths.h"

struct record {
	struct buf text;
	char last[4096];
	bool sorted;
	bool renames; /* the driver told one */
};

static int note(enum snap_change change, const char *path, const char *from, void *arg)
{
	struct record *r = arg;

	if (strcmp(path, ".") != 0) {
		r->sorted &= send_path_cmp(r->last, path) <= 0;
		snprintf(r->last, sizeof(r->last), "%s", path);
	}
	r->renames |= change == SNAP_RENAMED;
	buf_printf(&r->text, "%c%s", (char)change, path);
	if (from)
		buf_printf(&r->text, "<%s", from);
	buf_adds(&r->text, " ");
	return 0;
}

static struct snap_diff_opts opts; /* of the test at hand */

static char *diff_text(int from, int to, bool *renames)
{
	struct record r = {.sorted = true};
	_cleanup_fd_ int scratch = -1;

	assert_int_equal(mkdirat(env.root, "scratch", 0755), 0);
	scratch = fd_open_dir(env.root, "scratch");
	assert_done(env.driver->tree_diff(env.pool, at(from), at(to), scratch, &opts, &env.ctx,
		note, &r, &env.err));
	assert_true(r.sorted);
	assert_empty(scratch);
	assert_int_equal(unlinkat(env.root, "scratch", AT_REMOVEDIR), 0);
	if (renames)
		*renames = r.renames;
	return r.text.data ? buf_steal(&r.text) : strdup("");
}

#define assert_diff(from, to, expected) do {					\
	_cleanup_free_ char *text_ = diff_text(from, to, NULL);			\
	assert_string_equal(text_, expected);					\
} while (0)

static void keep_dir_times(int dir)
{
	static const struct timespec times[2] = {{5, 0}, {5, 0}};

	assert_int_equal(futimens(dir, times), 0);
	utimensat(dir, "dir", times, 0);
	utimensat(dir, "many", times, 0);
}

/* Two equal trees; their descriptors. */
static void make_pair(int *a, int *b)
{
	make_tree(env.one);
	*a = tree_of(env.one);
	keep_dir_times(*a);
	copy_tree(env.one, env.two, 0);
	*b = tree_of(env.two);
}

static void test_diff__of_equal_trees_is_empty(void **state)
{
	_cleanup_fd_ int a = -1, b = -1;

	(void)state;
	make_pair(&a, &b);
	assert_diff(env.one, env.two, "");
	assert_diff(env.two, env.one, "");
	assert_diff(env.one, env.one, "");
}

static void test_diff__tells_content_from_metadata(void **state)
{
	_cleanup_fd_ int a = -1, b = -1;
	static const struct timespec times[2] = {{7, 0}, {7, 0}};
	char link[64];

	(void)state;
	make_pair(&a, &b);
	write_text(b, "setuid", "other content");
	assert_int_equal(fchmodat(b, "many/file-001.php", 0600, 0), 0);
	assert_int_equal(utimensat(b, "many/file-002.php", times, 0), 0);
	snprintf(link, sizeof(link), "/proc/self/fd/%d/xattr", b);
	if (setxattr(link, "user.fsd.more", "x", 1, 0) < 0) {
		assert_int_equal(errno, EOPNOTSUPP);
		fchmodat(b, "xattr", 0600, 0);
	}
	assert_int_equal(unlinkat(b, "absolute", 0), 0);
	assert_int_equal(symlinkat("/elsewhere", b, "absolute"), 0);
	keep_dir_times(b);
	assert_diff(env.one, env.two,
		"Mabsolute mmany/file-001.php mmany/file-002.php Msetuid mxattr ");
}

static void test_diff__sees_a_change_of_the_same_size(void **state)
{
	_cleanup_fd_ int a = -1, b = -1, f = -1;

	(void)state;
	make_pair(&a, &b);
	f = openat(b, "dir/large", O_RDWR | O_CLOEXEC);
	if (f < 0) { /* mode 0444, and not root */
		assert_int_equal(fchmodat(b, "dir/large", 0644, 0), 0);
		f = openat(b, "dir/large", O_RDWR | O_CLOEXEC);
	}
	assert_int_equal(pwrite(f, "XYZ", 3, 500000), 3);
	keep_dir_times(b);
	assert_diff(env.one, env.two, "Mdir/large ");
}

static int64_t ctime_of(int dir, const char *path)
{
	struct stat st;

	assert_int_equal(fstatat(dir, path, &st, 0), 0);
	return st.st_ctim.tv_sec * NSEC_PER_SEC + st.st_ctim.tv_nsec;
}

/* Another byte in its place, with the times it had: but that gives it a new ctime. */
static void change_secretly(int dir, const char *path)
{
	_cleanup_fd_ int f = openat(dir, path, O_WRONLY | O_CLOEXEC);
	int64_t before = ctime_of(dir, path);
	struct stat st;

	assert_int_equal(fstat(f, &st), 0);
	do {
		struct timespec times[2] = {st.st_atim, st.st_mtim};

		assert_int_equal(pwrite(f, "X", 1, 0), 1);
		assert_int_equal(futimens(f, times), 0);
	} while (ctime_of(dir, path) <= before); /* the clock has ticks */
}

static void test_diff__sees_a_change_that_left_size_and_times(void **state)
{
	_cleanup_fd_ int a = -1, b = -1;

	(void)state;
	make_pair(&a, &b);
	opts.trusted_until[1] = ctime_of(b, "many/file-001.php");
	change_secretly(b, "many/file-001.php");
	assert_diff(env.one, env.two, "Mmany/file-001.php ");
	opts = (struct snap_diff_opts){.trusted_until = {opts.trusted_until[1]}};
	assert_diff(env.two, env.one, "Mmany/file-001.php ");
	opts = (struct snap_diff_opts){0};
}

static void test_diff__written_again_with_the_same_bytes_is_metadata(void **state)
{
	_cleanup_fd_ int a = -1, b = -1, f = -1;
	char data[4096];

	(void)state;
	make_pair(&a, &b);
	f = openat(b, "setuid", O_RDWR | O_CLOEXEC);
	assert_int_equal(pread(f, data, sizeof(data), 0), sizeof(data));
	assert_int_equal(pwrite(f, data, sizeof(data), 0), sizeof(data));
	assert_diff(env.one, env.two, "msetuid ");
}

static void test_diff__lists_what_comes_and_goes_with_a_directory(void **state)
{
	_cleanup_fd_ int a = -1, b = -1;

	(void)state;
	make_pair(&a, &b);
	assert_int_equal(mkdirat(b, "new", 0755), 0);
	assert_int_equal(mkdirat(b, "new/sub", 0755), 0);
	write_text(b, "new/sub/file", "x");
	write_text(b, "new.txt", "x");
	assert_int_equal(unlinkat(b, "dir/empty", AT_REMOVEDIR), 0);
	keep_dir_times(b);
	assert_diff(env.one, env.two, "-dir/empty +new +new/sub +new/sub/file +new.txt ");
	assert_diff(env.two, env.one, "+dir/empty -new -new/sub -new/sub/file -new.txt ");
}

static void test_diff__every_name_of_a_changed_file_has_changed(void **state)
{
	_cleanup_fd_ int a = -1, b = -1;

	(void)state;
	make_pair(&a, &b);
	write_text(b, "inline", "changed");
	assert_int_equal(linkat(b, "inline", b, "third", 0), 0);
	keep_dir_times(b);
	assert_diff(env.one, env.two, "Mdir/second-name Minline +third ");
}

static void test_diff__a_rename_is_told_or_is_a_removal_and_an_addition(void **state)
{
	_cleanup_fd_ int a = -1, b = -1;
	_cleanup_free_ char *text = NULL;
	bool renames = false;

	(void)state;
	make_pair(&a, &b);
	assert_int_equal(renameat(b, "setuid", b, "many/moved"), 0);
	assert_int_equal(renameat(b, "dir/empty", b, "z"), 0);
	keep_dir_times(b);
	text = diff_text(env.one, env.two, &renames);
	if (renames)
		assert_string_equal(text, "Rmany/moved<setuid Rz<dir/empty ");
	else
		assert_string_equal(text, "-dir/empty +many/moved -setuid +z ");
	/* A driver that shares inodes with its copies can know. As an ordinary user it may not. */
	assert_int_equal(renames, has(POOL_CONSTANT_COST) && has(POOL_FREES_LATER));
}

/* Counted, not timed: what is looked at follows the change where the driver says it can. */
static void test_diff__looks_at_what_changed_only(void **state)
{
	_cleanup_fd_ int a = -1, b = -1;

	(void)state;
	make_pair(&a, &b);
	write_text(b, "many/file-100.php", "<?php");
	keep_dir_times(b);
	env.ctx.entries_done = 0;
	assert_diff(env.one, env.two, "Mmany/file-100.php ");
	assert_true(env.ctx.entries_done < 10);
}

static void test_diff__of_read_only_copies(void **state)
{
	_cleanup_fd_ int a = -1;

	(void)state;
	make_tree(env.one);
	copy_tree(env.one, env.two, POOL_COPY_READ_ONLY);
	a = tree_of(env.one);
	write_text(a, "many/file-000.php", "<?php");
	assert_int_equal(utimensat(a, "many", NULL, 0), 0);
	assert_diff(env.two, env.one, "mmany Mmany/file-000.php ");
}

static void test_diff__names_the_root_by_a_dot(void **state)
{
	_cleanup_fd_ int a = -1, b = -1;

	(void)state;
	make_pair(&a, &b);
	assert_int_equal(fchmod(b, 0700), 0);
	write_text(b, "-", "sorts before the dot");
	assert_diff(env.one, env.two, "m. +- ");
}

static void test_diff__leaves_out_what_copies_leave_out(void **state)
{
	_cleanup_fd_ int a = -1, b = -1;

	(void)state;
	make_pair(&a, &b);
	assert_int_equal(mkdirat(b, ".fsd-1m8c7azcv", 0700), 0);
	write_text(b, ".fsd-1m8c7azcv/plan", "x");
	write_text(b, ".fsd-1m8c7azcv/.fsd-work", "");
	write_text(b, "many/.nfs0000000000a1b2c300000001", "x");
	keep_dir_times(b);
	assert_diff(env.one, env.two, "");
	/* What is only called so is the tree's own. */
	assert_int_equal(mkdirat(b, ".fsd-packages", 0700), 0);
	write_text(b, "many/.nfs0000000000a1b2c3", "x");
	keep_dir_times(b);
	assert_diff(env.one, env.two, "+.fsd-packages +many/.nfs0000000000a1b2c3 ");
	assert_int_equal(unlinkat(b, ".fsd-packages", AT_REMOVEDIR), 0);
	assert_int_equal(unlinkat(b, "many/.nfs0000000000a1b2c3", 0), 0);
	/* Out of hiding: added with all it holds. */
	assert_int_equal(renameat(b, ".fsd-1m8c7azcv", b, "seen"), 0);
	keep_dir_times(b);
	assert_diff(env.one, env.two, "+seen +seen/.fsd-work +seen/plan ");
	copy_tree(env.two, env.root, 0);
	assert_int_equal(renameat(b, "seen", b, ".fsd-gone-1m8c7azcv"), 0);
	keep_dir_times(b);
	assert_diff(env.root, env.two, "-seen -seen/.fsd-work -seen/plan ");
	assert_done(env.driver->tree_remove(env.pool, at(env.root), &env.ctx, &env.err));
}

/* Two trees of one content that never had to do with each other. */
static void test_diff__of_strangers_walks(void **state)
{
	_cleanup_fd_ int a = -1, b = -1;
	static const struct timespec times[2] = {{9, 0}, {9, 0}};

	(void)state;
	assert_done(env.driver->tree_create(env.pool, at(env.one), &env.err));
	assert_done(env.driver->tree_create(env.pool, at(env.two), &env.err));
	a = tree_of(env.one);
	b = tree_of(env.two);
	write_text(a, "first", "same");
	write_text(b, "other", "one more");
	write_text(b, "first", "same");
	write_text(b, "second", "not");
	utimensat(a, "first", times, 0);
	utimensat(b, "first", times, 0);
	futimens(a, times);
	futimens(b, times);
	assert_diff(env.one, env.two, "+other +second ");
}

static int stop_at_second(enum snap_change change, const char *path, const char *from, void *arg)
{
	int *n = arg;

	(void)change;
	(void)path;
	(void)from;
	return ++*n == 2 ? 42 : 0;
}

static void test_diff__stops_when_it_is_told_to(void **state)
{
	_cleanup_fd_ int a = -1, b = -1;
	int n = 0;

	(void)state;
	make_pair(&a, &b);
	for (int i = 0; i < 5; i++) {
		char name[16];

		snprintf(name, sizeof(name), "new%d", i);
		write_text(b, name, "x");
	}
	assert_int_equal(env.driver->tree_diff(env.pool, at(env.one), at(env.two), env.root,
		&opts, &env.ctx, stop_at_second, &n, &env.err), 42);
	assert_int_equal(n, 2);
	env.ctx.cancel = true;
	assert_refused(env.driver->tree_diff(env.pool, at(env.one), at(env.two), env.root,
		&opts, &env.ctx, stop_at_second, &n, &env.err), ECANCELED, "canceled");
	env.ctx.cancel = false;
}

const struct pool_test pool_diff_tests[] = {
	POOL_TEST(test_diff__of_equal_trees_is_empty),
	POOL_TEST(test_diff__tells_content_from_metadata),
	POOL_TEST(test_diff__sees_a_change_of_the_same_size),
	POOL_TEST(test_diff__sees_a_change_that_left_size_and_times),
	POOL_TEST(test_diff__written_again_with_the_same_bytes_is_metadata),
	POOL_TEST(test_diff__lists_what_comes_and_goes_with_a_directory),
	POOL_TEST(test_diff__every_name_of_a_changed_file_has_changed),
	POOL_TEST(test_diff__a_rename_is_told_or_is_a_removal_and_an_addition),
	POOL_TEST_IF(test_diff__looks_at_what_changed_only,
		.caps = POOL_CONSTANT_COST | POOL_FREES_LATER),
	POOL_TEST(test_diff__of_read_only_copies),
	POOL_TEST(test_diff__names_the_root_by_a_dot),
	POOL_TEST(test_diff__leaves_out_what_copies_leave_out),
	POOL_TEST(test_diff__of_strangers_walks),
	POOL_TEST(test_diff__stops_when_it_is_told_to),
};
const size_t n_pool_diff_tests = sizeof(pool_diff_tests) / sizeof(pool_diff_tests[0]);
