/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A tree in words: one line an entry with everything that a copy must keep, in path order. The
 * plainest possible code, so that the engine is judged by something else than itself.
 */
#ifndef TESTS_CONFORMANCE_FINGERPRINT_H
#define TESTS_CONFORMANCE_FINGERPRINT_H

#include <stdbool.h>
#include <stddef.h>

struct print_entry {
	char *path;	/* "" is the tree itself */
	char *content;	/* type, size, bytes (a checksum), link target, device number */
	char *metadata; /* mode, owner, mtime, extended attributes */
	char *link;	/* the first path of the same inode */
};

struct print {
	struct print_entry *items;
	size_t n;
};

/* Read the whole tree. Fails the test. */
void print_take(int dir, struct print *out);
void print_release(struct print *p);
/* Fail the test with the first difference. */
void print_assert_equal(const struct print *a, const struct print *b);
/* print_take of both and print_assert_equal. */
void assert_trees_equal(int a, int b);
/* NULL when there is no such path. */
const struct print_entry *print_find(const struct print *p, const char *path);

/* Fill `dir` with an entry of every kind this user may make. */
void make_sample(int dir);

#endif
