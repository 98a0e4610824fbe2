/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is told of pools while they come and go; the thread sanitizer is the judge of most of it. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "fsd/core/json.h"
#include "fsd/worker/present.h"
#include "fsd/worker/query.h"
#include "tests/unit/worker/harness.h"

#define READERS 3
#define ROUNDS 300

struct readers {
	struct harness *h;
	struct pools pools; /* looked at by all */
	atomic_bool stop;
	atomic_uint looks, bad;
	pthread_t threads[READERS];
};

/* What is shown of a pool belongs together: offline means that there is a reason. */
static void look(struct readers *r, struct catalog *c, struct pool_root *root)
{
	json_t *shown = present_pool(&r->h->fsd, c, root);
	struct err err = ERR_INIT;
	struct pool_root *found;

	if (json_is_false(json_object_get(shown, "online")) &&
		!json_string_value(json_object_get(shown, "reason")))
		atomic_fetch_add(&r->bad, 1);
	if (pools_require(&r->pools, root->config->name, &found, &err) < 0 &&
		strcmp(err.code, "pool_offline") != 0)
		atomic_fetch_add(&r->bad, 1);
	json_decref(shown);
	atomic_fetch_add(&r->looks, 1);
}

static void *reader(void *arg)
{
	struct readers *r = arg;
	struct catalog *c = NULL;

	if (catalog_open(r->h->config.catalog, CATALOG_READ_ONLY, &c, NULL) < 0)
		atomic_fetch_add(&r->bad, 1);
	while (c && !atomic_load(&r->stop))
		look(r, c, &r->pools.items[0]);
	catalog_close(&c);
	return NULL;
}

static void start_readers(struct readers *r)
{
	for (unsigned i = 0; i < READERS; i++)
		assert_int_equal(pthread_create(&r->threads[i], NULL, reader, r), 0);
}

static void end_readers(struct readers *r)
{
	while (!atomic_load(&r->looks) && !atomic_load(&r->bad))
		usleep(1000);
	atomic_store(&r->stop, true);
	for (unsigned i = 0; i < READERS; i++)
		pthread_join(r->threads[i], NULL);
	assert_int_equal(atomic_load(&r->bad), 0);
}

static void test_told__can_be_read_while_a_pool_is_tried_again(void **state)
{
	struct harness *h = *state;
	char path[256], name[] = "other", driver[] = "btrfs";
	struct config_pool pool = {.name = name, .path = path, .driver = driver, .jobs = 4};
	const struct config config = {.pools = &pool, .n_pools = 1};
	struct readers r = {.h = h};
	struct err err = ERR_INIT;

	snprintf(path, sizeof(path), "%s/other", h->dir);
	pthread_mutex_lock(&h->fsd.write_lock);
	assert_int_equal(pools_init(&r.pools, &config, h->fsd.catalog, &err), 0);
	pthread_mutex_unlock(&h->fsd.write_lock);
	if (pool_root_open(&r.pools.items[0], h->fsd.catalog, &h->fsd.write_lock, &err) == 0) {
		pools_release(&r.pools);
		skip(); /* /tmp lies on btrfs: it fits */
	}
	start_readers(&r);
	for (unsigned i = 0; i < ROUNDS; i++)
		assert_int_equal(pool_root_open(&r.pools.items[0], h->fsd.catalog,
			&h->fsd.write_lock, &err), -EOPNOTSUPP);
	end_readers(&r);
	assert_non_null(strstr(r.pools.items[0].told.report, "btrfs: no, "));
	assert_string_equal(r.pools.items[0].told.reason.code, "driver_unfit");
	pools_release(&r.pools);
}

static void test_told__can_be_read_while_a_pool_goes_away(void **state)
{
	struct harness *h = *state;
	struct readers r = {.h = h, .pools = h->fsd.pools};
	struct pool_root *root = &h->fsd.pools.items[0];
	char away[256];

	snprintf(away, sizeof(away), "%s.away", h->pool);
	assert_int_equal(rename(h->pool, away), 0);
	start_readers(&r);
	for (unsigned i = 0; i < ROUNDS; i++)
		assert_int_equal(pool_root_verify(root, NULL), -ENODEV);
	end_readers(&r);
	assert_int_equal(rename(away, h->pool), 0);
	assert_int_equal(pool_root_verify(root, NULL), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			test_told__can_be_read_while_a_pool_is_tried_again, harness_plain,
			harness_end),
		cmocka_unit_test_setup_teardown(
			test_told__can_be_read_while_a_pool_goes_away, harness_plain, harness_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
