/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* How many jobs may wait, and of whom; how they end. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "fsd/op/ops.h"
#include "fsd/worker/expire.h"
#include "fsd/worker/jobs.h"
#include "snap/base/clock.h"
#include "snap/base/err.h"
#include "tests/unit/worker/harness.h"

#define ANNA 71001
#define OTTO 71002
#define EACH 5000 /* as docs/api.md says */
#define ALL 10000

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

/* ---- what time asks for ---- */

static int count(const struct cat_job *row, void *arg)
{
	if (strcmp(row->kind, "snapshot-delete") == 0)
		++*(unsigned *)arg;
	return 0;
}

/* How many deletions has housekeeping asked for, ever, after a look `minutes` from now? */
static unsigned asked_for(struct harness *h, json_t *asked, unsigned minutes)
{
	struct cat_job_filter all = {0};
	struct snap_ctx ctx = {0};
	struct catalog *c;
	unsigned n = 0;

	assert_int_equal(catalog_open(h->config.catalog, CATALOG_READ_ONLY, &c, NULL), 0);
	expire_look(&h->fsd, c, clock_real() + minutes * 60 * NSEC_PER_SEC, asked, &ctx);
	assert_int_equal(catalog_jobs(c, &all, count, &n, NULL), 0);
	catalog_close(&c);
	return n;
}

static int refuse_to_run(struct fsd *f, struct job *job, struct err *err)
{
	(void)f;
	return err_set(err, EIO, "io_error", job->site_name, "it fails each time");
}

static void test_expiry__is_asked_for_once_and_later_each_time_it_fails(void **state)
{
	struct harness *h = *state;
	const struct op_kind *kinds[OP_COUNT], *const *real = h->fsd.jobs.kinds;
	struct op_kind failing = op_snapshot_delete;
	json_t *asked = json_object();

	failing.run = refuse_to_run;
	memcpy(kinds, real, sizeof(kinds));
	kinds[OP_SNAPSHOT_DELETE] = &failing;
	json_decref(harness_done(h, "site-create", "name", "shop", NULL));
	json_decref(
		harness_done(h, "snapshot", "site", "shop", "name", "a", "expires", "1s", NULL));
	for (int64_t end = clock_real() + NSEC_PER_SEC; clock_real() <= end;)
		nanosleep(&(struct timespec){.tv_nsec = NSEC_PER_MSEC}, NULL);
	h->fsd.jobs.kinds = kinds;
	harness_let_run(h, 0);
	assert_int_equal(asked_for(h, asked, 0), 1);
	assert_int_equal(asked_for(h, asked, 90), 1); /* it still waits */
	harness_let_run(h, 1);
	harness_wait_event(h);
	assert_int_equal(asked_for(h, asked, 0), 1); /* failed just now */
	assert_int_equal(asked_for(h, asked, 1), 2);
	harness_wait_event(h);
	assert_int_equal(asked_for(h, asked, 2), 2); /* two minutes after that */
	assert_int_equal(asked_for(h, asked, 3), 3);
	harness_wait_event(h);
	h->fsd.jobs.kinds = real;
	assert_int_equal(asked_for(h, asked, 60), 4);
	harness_wait_event(h);
	assert_int_equal(asked_for(h, asked, 600), 4);
	assert_int_equal(json_object_size(asked), 0);
	json_decref(asked);
}

static int count_job(const struct cat_job *row, void *arg)
{
	(void)row;
	++*(unsigned *)arg;
	return 0;
}

static int count_event(const struct cat_event *row, void *arg)
{
	(void)row;
	++*(unsigned *)arg;
	return 0;
}

/* So many jobs and events are left after a look `after` from now. */
static void expect_history(struct harness *h, int64_t after, unsigned jobs, unsigned events)
{
	struct cat_event_filter all_events = {0};
	struct cat_job_filter all_jobs = {0};
	unsigned n_jobs = 0, n_events = 0;
	json_t *asked = json_object();
	struct snap_ctx ctx = {0};
	struct catalog *c;

	assert_int_equal(catalog_open(h->config.catalog, CATALOG_READ_ONLY, &c, NULL), 0);
	expire_look(&h->fsd, c, clock_real() + after, asked, &ctx);
	assert_int_equal(catalog_jobs(c, &all_jobs, count_job, &n_jobs, NULL), 0);
	assert_int_equal(catalog_events(c, &all_events, count_event, &n_events, NULL), 0);
	catalog_close(&c);
	json_decref(asked);
	assert_int_equal(n_jobs, jobs);
	assert_int_equal(n_events, events);
}

static void test_history__goes_when_job_keep_is_over(void **state)
{
	struct harness *h = *state;
	int64_t keep = h->config.job_keep;

	json_decref(harness_done(h, "site-create", "name", "shop", NULL));
	json_decref(harness_done(h, "site-set", "site", "shop", "set", "label.a=b", NULL));
	harness_let_run(h, 0);
	harness_submit(h, "snapshot", "site", "shop", NULL);
	expect_history(h, keep - 3600 * NSEC_PER_SEC, 3, 5);
	expect_history(h, keep + 1, 1, 0); /* one waits still */
	harness_let_run(h, 1);
	harness_wait_event(h);
	expect_history(h, 0, 1, 1);
}

/* ---- ends ---- */

static int cancel_silently(struct fsd *f, struct job *job, struct err *err)
{
	(void)f;
	(void)err;
	job->was_canceled = true;
	return -ECANCELED;
}

static int fail_silently(struct fsd *f, struct job *job, struct err *err)
{
	(void)f;
	(void)job;
	(void)err;
	return -EIO;
}

static json_t *check_that(struct harness *h, int (*run)(struct fsd *, struct job *, struct err *))
{
	const struct op_kind *kinds[OP_COUNT];
	struct op_kind kind = op_pool_check;
	json_t *v;

	memcpy(kinds, ops, sizeof(kinds));
	kinds[OP_POOL_CHECK] = &kind;
	kind.run = run;
	h->fsd.jobs.kinds = kinds;
	v = harness_job(h, "pool-check", "pool", "main", NULL);
	h->fsd.jobs.kinds = ops;
	return v;
}

static void test_job__that_ends_without_a_word_ends_as_its_errno_says(void **state)
{
	json_t *v = check_that(*state, cancel_silently);

	assert_string_equal(harness_text(v, "state"), "canceled");
	json_decref(v);
	v = check_that(*state, fail_silently);
	assert_string_equal(harness_text(v, "state"), "failed");
	assert_true(*harness_text(v, "error.reason"));
	json_decref(v);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			test_expiry__is_asked_for_once_and_later_each_time_it_fails, harness_plain,
			harness_end),
		cmocka_unit_test_setup_teardown(test_history__goes_when_job_keep_is_over,
			harness_plain, harness_end),
		cmocka_unit_test_setup_teardown(
			test_queue__of_one_user_leaves_room_for_others, harness_plain, harness_end),
		cmocka_unit_test_setup_teardown(
			test_job__that_ends_without_a_word_ends_as_its_errno_says, harness_plain,
			harness_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
