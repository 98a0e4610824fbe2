/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A scratch folder for each test, and records to put into a catalog. */
#ifndef TESTS_UNIT_CATALOG_SUPPORT_H
#define TESTS_UNIT_CATALOG_SUPPORT_H

#include <errno.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "backends/catalog/sqlite_internal.h"
#include "snap/base/err.h"

struct scratch {
	char dir[64];
	char path[96]; /* dir/catalog.db */
	struct catalog *c;
};

/* cmocka fixtures. scratch_catalog opens (and makes) the catalog; the end closes and removes. */
int scratch_setup(void **state);
int scratch_catalog(void **state);
int scratch_end(void **state);

#define TEST(name) cmocka_unit_test_setup_teardown(name, scratch_catalog, scratch_end)
#define TEST_BARE(name) cmocka_unit_test_setup_teardown(name, scratch_setup, scratch_end)

#define assert_ok(expr, err_)                                                                      \
	do {                                                                                       \
		int r_ = (expr);                                                                   \
		if (r_ != 0)                                                                       \
			fail_msg("%s: %d %s: %s: %s", #expr, r_, (err_).code, (err_).object,       \
				(err_).reason);                                                    \
	} while (0)

#define assert_fails(expr, num_, code_, err_)                                                      \
	do {                                                                                       \
		(err_) = ERR_INIT;                                                                 \
		assert_int_equal(expr, -(num_));                                                   \
		assert_int_equal((err_).num, num_);                                                \
		assert_string_equal((err_).code, code_);                                           \
		assert_string_not_equal((err_).reason, "");                                        \
	} while (0)

/* "00000000-0000-7000-8000-PREFIX_and_i": ids ascend with i. */
const char *sample_id(char kind, unsigned i, char out[CAT_ID_SIZE]);
struct cat_pool sample_pool(unsigned i);
struct cat_site sample_site(unsigned i);	 /* in pool 0 */
struct cat_snapshot sample_snapshot(unsigned i); /* of site 0, created at 1000 + i */
struct cat_job sample_job(int64_t id);

/* One of each record, about site i in pool i, in the caller's transaction. Stops at an error. */
int put_each(struct catalog *c, unsigned i, struct err *err);
/* How many of put_each()'s eight kinds of records are there: 8 or 0 if writes are atomic. */
int count_each(struct catalog *c, unsigned i);
#define EACH 9

#endif
