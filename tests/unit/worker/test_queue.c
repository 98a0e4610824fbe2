/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* How many jobs may wait, and of whom. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fsd/op/ops.h"
#include "fsd/worker/jobs.h"
#include "tests/unit/worker/harness.h"

#define ANNA 71001
#define OTTO 71002
#define EACH 5000 /* as docs/api.md says */
#define ALL 10000

static int setup(void **state)
{
	*state = harness_new("plain");
	return 0;
}

static int teardown(void **state)
{
	struct harness *h = *state;

	if (h)
		harness_free(&h);
	return 0;
}

/* Jobs that wait as if they had been asked for, without their rows in the catalog. */
static void fill(struct harness *h, unsigned n, uid_t uid)
{
	for (unsigned i = 0; i < n; i++) {
		struct job *job = calloc(1, sizeof(*job));

		assert_non_null(job);
		job->kind = &op_snapshot_create;
		job->pool = &h->fsd.pools.items[0];
		snprintf(job->actor, sizeof(job->actor), "uid:%u", uid);
		jobs_enqueue(&h->fsd, job);
	}
}

static void ask(struct harness *h, uid_t uid, const char *code)
{
	json_t *v;

	h->uid = uid;
	v = harness_job(h, "snapshot", "site", "shop", "dry_run", "1", NULL);
	assert_string_equal(harness_text(v, "code"), ""); /* a look is no job */
	json_decref(v);
	if (!*code) {
		harness_submit(h, "snapshot", "site", "shop", NULL);
		return;
	}
	v = harness_job(h, "snapshot", "site", "shop", NULL);
	assert_string_equal(harness_text(v, "code"), code);
	assert_true(*harness_text(v, "reason") && *harness_text(v, "hint"));
	json_decref(v);
}

static void test_queue__of_one_user_leaves_room_for_others(void **state)
{
	struct harness *h = *state;
	uid_t admin = h->uid;

	json_decref(harness_done(h, "site-create", "name", "shop", NULL));
	harness_let_run(h, 0);
	fill(h, EACH - 1, ANNA);
	ask(h, ANNA, "");
	ask(h, ANNA, "too_many");
	ask(h, OTTO, "");
	ask(h, admin, "");
	fill(h, ALL - EACH - 2, admin);
	ask(h, OTTO, "too_many");
	ask(h, admin, "too_many");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			test_queue__of_one_user_leaves_room_for_others, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
