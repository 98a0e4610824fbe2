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

static int run(const char *name, const struct CMUnitTest *tests, size_t n)
{
	return _cmocka_run_group_tests(name, tests, n, NULL, NULL);
}

static int body(const struct box *box)
{
	int failed;

	env.box = box;
	failed = run("make", pool_make_tests, n_pool_make_tests);
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
