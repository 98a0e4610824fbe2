/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* How long one job waits for who keeps his leases. */
#include "tests/unit/snap/fixture.h"

#include "snap/base/clock.h"
#include "snap/ctx.h"
#include "snap/lease.h"

static bool waits_to_the_end(struct snap_ctx *ctx)
{
	int64_t since = 0;
	bool waited = false;

	while (lease_wait(ctx, &since))
		waited = true;
	return waited;
}

static void test_lease_wait__of_all_files_together_ends(void **state)
{
	struct snap_ctx ctx = {.lease_waited = SNAP_LEASE_WAIT - 50 * NSEC_PER_MSEC};

	(void)state;
	assert_true(waits_to_the_end(&ctx));
	assert_false(waits_to_the_end(&ctx)); /* another file */
}

/* So that many files of a file server that answers do not use up what there is. */
static void test_lease_wait__does_not_count_a_short_one_of_a_file(void **state)
{
	struct snap_ctx ctx = {.lease_wait = 50 * NSEC_PER_MSEC};

	(void)state;
	for (int file = 0; file < 50; file++) {
		int64_t since = 0;

		assert_true(lease_wait(&ctx, &since));
	}
	assert_int_equal(ctx.lease_waited, 0);
	assert_true(waits_to_the_end(&ctx));
	assert_true(ctx.lease_waited >= ctx.lease_wait);
}

static void test_lease_wait__ends_when_canceled(void **state)
{
	struct snap_ctx ctx = {.cancel = true, .lease_wait = 1000 * NSEC_PER_SEC};

	(void)state;
	assert_false(waits_to_the_end(&ctx));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lease_wait__of_all_files_together_ends),
		cmocka_unit_test(test_lease_wait__does_not_count_a_short_one_of_a_file),
		cmocka_unit_test(test_lease_wait__ends_when_canceled),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
