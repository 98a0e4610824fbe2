/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The engine's parts that need no file system: maps, crews, the learning of depth. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "snap/crew.h"
#include "snap/depth.h"
#include "snap/idmap.h"
#include "snap/io.h"
#include "snap/skip.h"
#include "snap/walk.h"

static void test_idmap__finds_all_it_was_given(void **state)
{
	struct idmap m = {0};

	(void)state;
	assert_null(idmap_get(&m, 1, 1));
	for (uint64_t i = 0; i < 10000; i++)
		assert_int_equal(idmap_set(&m, i % 7, i, i + 1), 0);
	assert_int_equal(idmap_set(&m, 3, 3, 99), 0);
	assert_int_equal(m.n, 10000);
	for (uint64_t i = 0; i < 10000; i++)
		assert_int_equal(*idmap_get(&m, i % 7, i), i == 3 ? 99 : i + 1);
	assert_null(idmap_get(&m, 0, 1));
	idmap_release(&m);
}

static atomic_uint done[1000];

static void do_one(void *arg, size_t i)
{
	(void)arg;
	atomic_fetch_add(&done[i], 1);
}

static void test_crew__does_every_item_once(void **state)
{
	struct crew *crew;

	(void)state;
	assert_int_equal(crew_new(&crew), 0);
	memset(done, 0, sizeof(done));
	for (unsigned round = 0; round < 200; round++)
		crew_run(crew, 1 + round % 20, do_one, NULL, round % 3 ? 1000 : 2);
	for (int i = 0; i < 1000; i++)
		assert_int_equal(done[i], i < 2 ? 200 : 133);
	crew_run(crew, 8, do_one, NULL, 0);
	crew_free(&crew);
	assert_null(crew);
}

/* Batches of 64 on a place where each call takes `cpu` and waits for `wait` ns, and where no more
 * than `lanes` can wait at once. Returns the depth it ends with. */
static unsigned learn(struct depth *d, int batches, uint64_t cpu, uint64_t wait, unsigned lanes)
{
	for (int i = 0; i < batches; i++) {
		unsigned depth = depth_for(d, 64), width = depth < lanes ? depth : lanes;

		depth_learn(d, depth, 64, 64 * cpu + 64 * wait / width, 64 * cpu);
	}
	return d->now;
}

static void test_depth__stays_serial_while_calls_cost_processor_time(void **state)
{
	struct depth d;

	(void)state;
	depth_init(&d, 16);
	assert_int_equal(learn(&d, 1000, 10000, 500, 16), 1);
}

static void test_depth__goes_as_deep_as_waiting_pays(void **state)
{
	struct depth d;

	(void)state;
	depth_init(&d, 16);
	assert_int_equal(learn(&d, 100, 5000, 200000, 16), 16);
	depth_init(&d, 16);
	assert_int_equal(learn(&d, 100, 5000, 200000, 4), 4);
	depth_init(&d, 3);
	assert_int_equal(learn(&d, 100, 5000, 200000, 16), 3);
	depth_init(&d, 1);
	assert_int_equal(learn(&d, 100, 5000, 200000, 16), 1);
}

static void test_depth__gives_up_where_calls_wait_for_each_other(void **state)
{
	struct depth d;

	(void)state;
	depth_init(&d, 16);
	assert_int_equal(learn(&d, 100, 5000, 20000, 1), 1);
}

static void test_depth__comes_back_when_the_cache_is_warm(void **state)
{
	struct depth d;

	(void)state;
	depth_init(&d, 16);
	learn(&d, 100, 5000, 200000, 16);
	assert_int_equal(learn(&d, DEPTH_RECHECK + 1, 5000, 0, 16), 1);
}

static void test_depth__says_nothing_about_small_batches(void **state)
{
	struct depth d;

	(void)state;
	depth_init(&d, 16);
	learn(&d, 100, 5000, 200000, 16);
	assert_int_equal(depth_for(&d, DEPTH_BATCH - 1), 1);
}

static void test_skip__knows_names_of_fsd_and_of_nfs(void **state)
{
	(void)state;
	assert_true(snap_is_work_name(".fsd-1m8c7azcv"));
	assert_true(snap_is_work_name(".fsd-gone-1m8c7azcv"));
	assert_true(snap_is_work_name(".fsd-1m8c7azcv/below"));
	assert_false(snap_is_work_name("a/b/.fsd-1m8c7azcv"));
	assert_false(snap_is_work_name(".fsd-1"));
	assert_false(snap_is_work_name(".fsd-1m8c7azcu"));
	assert_false(snap_is_work_name(".fsd-cache-of-mine"));
	assert_false(snap_is_work_name(".fsd-00000000000000"));
	assert_false(snap_is_work_name(".fsd"));
	assert_false(snap_is_work_name("x.fsd-1m8c7azcv"));
	assert_true(snap_is_silly_name(".nfs0000000000a1b2c300000001"));
	assert_false(snap_is_silly_name(".nfs0000000000a1b2c30000001"));
	assert_false(snap_is_silly_name(".nfs0000000000a1b2c3000000012"));
	assert_false(snap_is_silly_name(".nfs0000000000A1B2C300000001"));
	assert_false(snap_is_silly_name(".nfsrc"));
	assert_false(snap_is_silly_name(".nfs"));
}

static void test_xattrs__come_out_as_they_went_in(void **state)
{
	struct buf packed = BUF_INIT;
	struct io_xattr x;
	size_t pos = 0;

	(void)state;
	io_xattr_add(&packed, "user.a", "\0\1\2", 3);
	io_xattr_add(&packed, "user.empty", "", 0);
	assert_true(io_xattr_next(&packed, &pos, &x));
	assert_string_equal(x.name, "user.a");
	assert_int_equal(x.len, 3);
	assert_memory_equal(x.value, "\0\1\2", 3);
	assert_true(io_xattr_next(&packed, &pos, &x));
	assert_string_equal(x.name, "user.empty");
	assert_int_equal(x.len, 0);
	assert_false(io_xattr_next(&packed, &pos, &x));
	buf_release(&packed);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_idmap__finds_all_it_was_given),
		cmocka_unit_test(test_crew__does_every_item_once),
		cmocka_unit_test(test_depth__stays_serial_while_calls_cost_processor_time),
		cmocka_unit_test(test_depth__goes_as_deep_as_waiting_pays),
		cmocka_unit_test(test_depth__gives_up_where_calls_wait_for_each_other),
		cmocka_unit_test(test_depth__comes_back_when_the_cache_is_warm),
		cmocka_unit_test(test_depth__says_nothing_about_small_batches),
		cmocka_unit_test(test_skip__knows_names_of_fsd_and_of_nfs),
		cmocka_unit_test(test_xattrs__come_out_as_they_went_in),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
