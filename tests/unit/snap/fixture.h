/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Scratch file systems and trees for the tests of the engine. Mounts are made in a mount namespace
 * of the test program's own and image files are unlinked at once, so nothing can be left behind.
 */
#ifndef TESTS_UNIT_SNAP_FIXTURE_H
#define TESTS_UNIT_SNAP_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* A test with a fresh directory of its own, `scratch`; open descriptors are counted around it. */
#define on_scratch(f) on_scratch_if(f, NULL)
/* The same, where `condition` (bool (void)) says that the file system has what it is about. */
#define on_scratch_if(f, condition) {#f, f, fixture_test_setup, fixture_test_teardown, condition}

/* The whole of main(): a scratch file system of the kind that argv[1] names ("ext4", "xfs",
 * "btrfs", "tmpfs", or "plain": whatever /tmp is), and the tests on it. 77, meson's code for
 * skipped, after printing why it cannot be had. */
#define fixture_main(argc, argv, tests)                                                            \
	fixture_run((argc) > 1 ? (argv)[1] : "plain", tests, sizeof(tests) / sizeof((tests)[0]))
int fixture_run(const char *kind, const struct CMUnitTest *tests, size_t n);
bool on_btrfs(void);
bool on_disk(void);
extern const char *fixture_kind;
extern int fixture_root; /* the mounted directory */

int fixture_test_setup(void **state);
int fixture_test_teardown(void **state);
extern int scratch;

int make_dir(int at, const char *name);
void make_file(int at, const char *name, const char *content);
void make_big(int at, const char *name, size_t size);
extern size_t large_size; /* of the files "large"; more than the engine reads at once */
/* One of everything a tree can hold (as far as this user and file system can make it). */
void make_one_of_each(int at);
bool is_root(void);
bool has_reflink(void);

/* Everything that a copy must keep, as text, one line an entry; the caller frees it. Written
 * without any of the engine's code. `links`: with link groups. */
char *manifest(int dir);
void assert_same_tree(int a, int b);
int count_fds(void);

#endif
