/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The pool driver that misbehaves on demand: other tests stand on what it does. */
#include "tests/conformance/pool_env.h"

#include <signal.h>
#include <sys/wait.h>

#include "snap/base/clock.h"
#include "snap/remove.h"

static char file[128];

static void rules(const char *text)
{
	write_text(AT_FDCWD, file, text);
}

static int setup(void **state)
{
	snprintf(file, sizeof(file), "%s/rules", env.box->dir);
	unsetenv("FSD_FAULT");
	setenv("FSD_FAULT_FILE", file, 1);
	return env_setup(state);
}

static int teardown(void **state)
{
	unsetenv("FSD_FAULT_FILE");
	unsetenv("FSD_FAULT");
	unsetenv("FSD_FAULT_LOG");
	unlink(file);
	return env_teardown(state);
}

static int create(const char *name)
{
	err_clear(&env.err);
	return env.driver->tree_create(env.pool, (struct tree_at){env.one, name}, &env.err);
}

static void drop(const char *name)
{
	struct snap_ctx ctx = {0};

	assert_done(snap_remove(env.one, name, &ctx, &env.err));
}

static void test_fault__without_rules_is_the_copy_driver(void **state)
{
	(void)state;
	make_tree(env.one);
	copy_tree(env.one, env.two, 0);
}

static void test_fault__fails_the_nth_call_once(void **state)
{
	(void)state;
	rules("tree_create 2 error ENOSPC\n");
	assert_int_equal(create("a"), 0);
	assert_refused(create("b"), ENOSPC, "no_space");
	assert_int_equal(fd_exists(env.one, "b"), 0);
	assert_int_equal(create("b"), 0);
	drop("a");
	drop("b");
}

static void test_fault__fails_for_ever_until_the_rules_change(void **state)
{
	(void)state;
	rules("tree_create 1+ error EIO");
	for (int i = 0; i < 5; i++)
		assert_refused(create("a"), EIO, "io_error");
	rules("tree_create 2 error EROFS");
	assert_int_equal(create("a"), 0);
	assert_refused(create("b"), EROFS, "read_only");
	drop("a");
}

static void test_fault__fails_after_the_work_is_done(void **state)
{
	struct pool_made made = {0};

	(void)state;
	make_tree(env.one);
	rules("tree_copy 1 after EIO");
	assert_refused(env.driver->tree_copy(env.pool, at(env.one), at(env.two), 0, &env.ctx, &made,
		&env.err), EIO, "io_error");
	assert_int_equal(fd_exists(env.two, "tree"), 1);
}

static void test_fault__reads_rules_from_the_environment(void **state)
{
	(void)state;
	unsetenv("FSD_FAULT_FILE");
	setenv("FSD_FAULT", "tree_check 1 error EACCES; * 2 error EXDEV", 1);
	assert_int_equal(env.driver->tree_check(env.pool, at(env.one), NULL, &env.err), -EACCES);
	assert_int_equal(create("a"), -EXDEV);
	assert_int_equal(create("a"), 0);
	drop("a");
}

static void test_fault__delays(void **state)
{
	int64_t begun = clock_mono();

	(void)state;
	rules("tree_create 1 delay 30");
	assert_int_equal(create("a"), 0);
	assert_true(clock_mono() - begun >= 30 * NSEC_PER_MSEC);
	drop("a");
}

static void crash(const char *rule, bool done)
{
	int status;
	pid_t pid;

	rules(rule);
	pid = fork();
	if (pid == 0) {
		create("a");
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	assert_int_equal(fd_exists(env.one, "a"), done);
}

static void test_fault__crashes_before_and_after_the_work(void **state)
{
	(void)state;
	crash("tree_create 1 crash before", false);
	crash("tree_create 1 crash after", true);
	drop("a");
}

static void test_fault__refuses_rules_that_make_no_sense(void **state)
{
	static const char *const bad[] = {"tree_copy", "tree_copy 1 error", "tree_copy 0 error EIO",
		"tree_copy 1 error ENOSUCH", "tree_copy 1 explode now", "tree_copy x error EIO",
		"tree_copy 1 crash sometimes", "tree_copy 1 error EIO more"};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		rules(bad[i]);
		assert_refused(create("a"), EINVAL, "bad_fault");
	}
	rules("");
}

static void test_fault__logs_every_call(void **state)
{
	_cleanup_free_ char *text = NULL;
	char log[128];

	(void)state;
	snprintf(log, sizeof(log), "%s/log", env.box->dir);
	setenv("FSD_FAULT_LOG", log, 1);
	assert_int_equal(create("a"), 0);
	env.driver->tree_check(env.pool, at(env.one), NULL, &env.err);
	unsetenv("FSD_FAULT_LOG");
	assert_int_equal(fd_read_file(AT_FDCWD, log, 1000, &text, NULL), 0);
	assert_string_equal(text, "tree_create\ntree_check\n");
	drop("a");
}

static void test_fault__is_found_by_name_only(void **state)
{
	const struct pool_driver *chosen = NULL;
	_cleanup_free_ char *report = NULL;

	(void)state;
	assert_ptr_equal(pool_driver_find("fault"), &pool_driver_fault);
	assert_done(pool_driver_choose(env.root, "auto", NULL, &chosen, &report, &env.err));
	assert_string_not_equal(chosen->name, "fault");
	assert_null(strstr(report, "fault"));
}

#define FAULT_TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

static int body(const struct box *box)
{
	const struct CMUnitTest tests[] = {
		FAULT_TEST(test_fault__without_rules_is_the_copy_driver),
		FAULT_TEST(test_fault__fails_the_nth_call_once),
		FAULT_TEST(test_fault__fails_for_ever_until_the_rules_change),
		FAULT_TEST(test_fault__fails_after_the_work_is_done),
		FAULT_TEST(test_fault__reads_rules_from_the_environment),
		FAULT_TEST(test_fault__delays),
		FAULT_TEST(test_fault__crashes_before_and_after_the_work),
		FAULT_TEST(test_fault__refuses_rules_that_make_no_sense),
		FAULT_TEST(test_fault__logs_every_call),
		FAULT_TEST(test_fault__is_found_by_name_only),
	};

	env.box = box;
	return cmocka_run_group_tests(tests, NULL, NULL) ? 1 : 0;
}

int main(void)
{
	env.driver = &pool_driver_fault;
	return box_run("here", "", body);
}
