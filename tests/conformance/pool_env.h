/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What every test of a pool driver starts from: an open pool in a box and two empty wrappers. The
 * tests know the driver by its capabilities only.
 */
#ifndef TESTS_CONFORMANCE_POOL_ENV_H
#define TESTS_CONFORMANCE_POOL_ENV_H

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "backends/pool/pool.h"
#include "snap/base/err.h"
#include "snap/base/fd.h"
#include "tests/conformance/box.h"
#include "tests/conformance/fingerprint.h"

struct env {
	const struct box *box;
	const struct pool_driver *driver;
	struct pool *pool;
	unsigned caps;
	int root, one, two; /* the pool's root and two wrappers in it, "one" and "two" */
	int fds;
	struct snap_ctx ctx;
	struct err err;
};

extern struct env env;

int env_setup(void **state);
int env_teardown(void **state);

#define POOL_UNIT_TEST(f) cmocka_unit_test_setup_teardown(f, env_setup, env_teardown)

/* A test, and what it is about: it does not exist for a driver or in a box without that. */
struct pool_test {
	struct CMUnitTest test;
	unsigned caps; /* enum pool_cap */
	unsigned box;  /* enum box_can */
};

#define POOL_TEST(f) {.test = POOL_UNIT_TEST(f)}
#define POOL_TEST_IF(f, ...) {.test = POOL_UNIT_TEST(f), __VA_ARGS__}

static inline bool has(enum pool_cap cap)
{
	return env.caps & cap;
}

static inline struct tree_at at(int wrapper)
{
	return (struct tree_at){wrapper, "tree"};
}

/* Calls that must succeed, with the driver's own words where they do not. */
#define assert_done(call) do {							\
	int done_ = (call);							\
	if (done_ < 0)								\
		fail_msg("%s: %d %s: %s (%s)", #call, done_, env.err.code,	\
			env.err.reason, env.err.object);			\
} while (0)

/* A refusal: its number and its code; nothing of it may be left in `wrapper`. */
#define assert_refused(call, number, word) do {					\
	err_clear(&env.err);							\
	assert_int_equal((call), -(number));					\
	assert_string_equal(env.err.code, word);				\
	assert_int_equal(env.err.num, number);					\
} while (0)

void assert_empty(int wrapper);
/* Open one's or two's tree; the caller closes it. */
int tree_of(int wrapper);
/* A tree with a sample in it. */
void make_tree(int wrapper);
void copy_tree(int from, int to, unsigned flags);
void write_text(int dir, const char *path, const char *text);
void assert_text(int dir, const char *path, const char *text);
/* Make a plain directory with a sample beneath `parent`; its descriptor, the caller's. */
int make_foreign(int parent, const char *name);

extern const struct pool_test pool_make_tests[], pool_keep_tests[], pool_diff_tests[],
	pool_cut_tests[];
extern const size_t n_pool_make_tests, n_pool_keep_tests, n_pool_diff_tests, n_pool_cut_tests;

#endif
