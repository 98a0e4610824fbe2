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

/* A scratch file system of this kind: "ext4", "xfs", "btrfs", "tmpfs", or "plain" (whatever /tmp
 * is). 0, or 77 after printing why it cannot be had (meson's code for skipped). */
int fixture_start(const char *kind, const char *size);
void fixture_stop(void);
extern const char *fixture_kind;
extern int fixture_root; /* the mounted directory */

/* A fresh directory of its own for each test; open descriptors are counted around it. */
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
