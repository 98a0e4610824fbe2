/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The one suite that every pool driver passes on every file system it serves:
 *
 *	test_pool DRIVER FILESYSTEM [user|user-rm]
 *
 * FILESYSTEM is btrfs, ext4, xfs or tmpfs, made for the test and mounted where nobody else sees it
 * (root), or "here": a folder beneath TMPDIR. "user" and "user-rm": as an ordinary user (box.h).
 */
#include "tests/conformance/pool_env.h"

#define TESTS_MAX 100

/* What drivers promise where: a capability that got lost would take its tests along unnoticed. */
static const struct promise {
	const char *driver;
	bool user;
	unsigned caps;
} promises[] = {
	{"btrfs", false, POOL_CONSTANT_COST | POOL_READ_ONLY | POOL_SHARES | POOL_FREES_LATER},
	{"btrfs", true, POOL_CONSTANT_COST | POOL_READ_ONLY | POOL_SHARES},
	{"copy", false, 0},
	{"copy", true, 0},
};

static unsigned promised(void)
{
	for (size_t i = 0; i < sizeof(promises) / sizeof(promises[0]); i++) {
		if (strcmp(promises[i].driver, env.driver->name) == 0 &&
			promises[i].user == env.box->user)
			return promises[i].caps;
	}
	fail_msg("add what %s promises to the table", env.driver->name);
	return 0;
}

static void test_caps__are_what_the_driver_is_known_for(void **state)
{
	(void)state;
	assert_int_equal(env.caps, promised());
}

static int run(const char *name, const struct pool_test *tests, size_t n)
{
	struct CMUnitTest fit[TESTS_MAX];
	unsigned caps = promised(), can = box_can(env.box);
	size_t n_fit = 0;

	assert_true(n <= TESTS_MAX);
	for (size_t i = 0; i < n; i++) {
		if (!(tests[i].caps & ~caps) && !(tests[i].box & ~can))
			fit[n_fit++] = tests[i].test;
	}
	return n_fit ? _cmocka_run_group_tests(name, fit, n_fit, NULL, NULL) : 0;
}

static int body(const struct box *box)
{
	static const struct pool_test caps[] = {
		POOL_TEST(test_caps__are_what_the_driver_is_known_for),
	};
	int failed;

	env.box = box;
	failed = run("caps", caps, 1);
	failed += run("make", pool_make_tests, n_pool_make_tests);
	failed += run("keep", pool_keep_tests, n_pool_keep_tests);
	failed += run("diff", pool_diff_tests, n_pool_diff_tests);
	failed += run("cut", pool_cut_tests, n_pool_cut_tests);
	return failed ? 1 : 0;
}

int main(int argc, char **argv)
{
	if (argc < 3) {
		fprintf(stderr, "usage: test_pool DRIVER FILESYSTEM [user]\n");
		return 2;
	}
	env.driver = pool_driver_find(argv[1]);
	if (!env.driver) {
		fprintf(stderr, "no pool driver %s\n", argv[1]);
		return 2;
	}
	return box_run(argv[2], argc > 3 ? argv[3] : "", body);
}
