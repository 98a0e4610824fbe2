/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Ids, names, SOURCEs. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "fsd/core/id.h"
#include "snap/base/clock.h"
#include "snap/base/err.h"

#define N(a) (sizeof(a) / sizeof((a)[0]))

static void test_id__is_a_version_7_uuid_that_sorts_by_time(void **state)
{
	int64_t before = clock_real() / NSEC_PER_MSEC, after;
	char a[ID_SIZE], b[ID_SIZE];
	unsigned long long high, low;

	(void)state;
	id_new(a);
	id_new(b);
	after = clock_real() / NSEC_PER_MSEC;
	assert_true(id_valid(a) && id_valid(b));
	assert_string_not_equal(a, b);
	assert_int_equal(a[14], '7');
	assert_non_null(strchr("89ab", a[19]));
	assert_int_equal(sscanf(a, "%8llx-%4llx", &high, &low), 2);
	assert_in_range(high << 16 | low, before, after);
}

static void test_id__of_another_shape_is_refused(void **state)
{
	static const char *const bad[] = {"", "x", "0190b3a4-7c1d-7abc-8def-0123456789a",
		"0190b3a4-7c1d-7abc-8def-0123456789abc", "0190B3A4-7c1d-7abc-8def-0123456789ab",
		"0190b3a4_7c1d-7abc-8def-0123456789ab", "0190b3a4-7c1d-7abc-8def-0123456789ag"};

	(void)state;
	for (size_t i = 0; i < N(bad); i++)
		assert_false(id_valid(bad[i]));
}

static void test_job_id__counts_upwards_and_reads_back(void **state)
{
	int64_t first = id_next(0), id;
	char text[JOB_ID_SIZE];

	(void)state;
	assert_true(first >= 1700000000000);
	assert_int_equal(id_next(first + 100000), first + 100001);
	assert_int_equal(strlen(job_id_format(first, text)), 9);
	assert_int_equal(job_id_parse(text, &id), 0);
	assert_int_equal(id, first);
	assert_string_equal(job_id_format(1795316407123, text), "1m80k4ptk");
	assert_int_equal(job_id_parse("1M80K4PTK", &id), 0);
	assert_int_equal(id, 1795316407123);
	job_id_format(INT64_MAX, text);
	assert_int_equal(job_id_parse(text, &id), 0);
	assert_int_equal(id, INT64_MAX);
}

static void test_job_id__refuses_other_text(void **state)
{
	static const char *const bad[] = {"", "0", "01m7", "1l", "1i", "1o", "1u", "1-2", " 1",
		"1 ", "8000000000000", "zzzzzzzzzzzzzzzz"};
	int64_t id = -1;

	(void)state;
	for (size_t i = 0; i < N(bad); i++) {
		assert_int_equal(job_id_parse(bad[i], &id), -EINVAL);
		assert_int_equal(id, -1);
	}
}

static void test_name__allows_what_sites_and_snapshots_are_called(void **state)
{
	static const char *const good[] = {"a", "7", "www.example.org", "shop_2", "a-b",
		"20261122t030000z", "20261122t030000z-2", "2026-11", "snapshots", "latest-1",
		"auto-20261122t030000z"};
	char longest[NAME_SIZE];

	(void)state;
	memset(longest, 'a', NAME_SIZE - 1);
	longest[NAME_SIZE - 1] = '\0';
	for (size_t i = 0; i < N(good); i++)
		assert_int_equal(name_check(good[i], NULL), 0);
	assert_int_equal(name_check(longest, NULL), 0);
}

static void test_name__refuses_bad_bytes_and_says_why(void **state)
{
	static const char *const bad[] = {"", "A", "aB", "-a", ".a", "_a", "a b", "a/b", "a@b",
		"a:1", "a..b", "a.", "..", ".", "\xc3\xa4", "a\n",
		"0190b3a4-7c1d-7abc-8def-0123456789ab"};
	char too_long[NAME_SIZE + 1];

	(void)state;
	memset(too_long, 'a', NAME_SIZE);
	too_long[NAME_SIZE] = '\0';
	for (size_t i = 0; i < N(bad); i++) {
		struct err e = ERR_INIT;

		assert_int_equal(name_check(bad[i], &e), -EINVAL);
		assert_string_equal(e.code, "bad_name");
		assert_string_equal(e.object, bad[i]);
		assert_true(e.reason[0] != '\0');
	}
	assert_int_equal(name_check(too_long, NULL), -EINVAL);
}

static void test_name__refuses_words_of_the_command_line_and_dates(void **state)
{
	static const char *const bad[] = {"latest", "2026-11-22", "2026-11-31", "snapshot", "clone",
		"restore", "publish", "rollback", "undo", "refresh", "diff", "history", "path",
		"check", "status", "doctor", "backup", "prune", "recover", "migrate", "site",
		"generation", "job", "pool", "store", "policy", "node", "export", "token",
		"platform", "balancer", "event", "create", "import", "eject", "list", "show", "set",
		"rename", "delete", "hold", "release", "scan", "wait", "log", "cancel", "verify",
		"init", "compact", "unlock", "key", "run", "help", "version"};
	static const char *const good[] = {"stor", "store-1", "stores", "node.js", "2026"};

	(void)state;
	for (size_t i = 0; i < N(bad); i++) {
		struct err e = ERR_INIT;

		assert_int_equal(name_check(bad[i], &e), -EINVAL);
		assert_string_equal(e.code, "reserved_name");
		assert_true(e.hint[0] != '\0');
		assert_true(name_valid(bad[i]));
	}
	for (size_t i = 0; i < N(good); i++)
		assert_int_equal(name_check(good[i], NULL), 0);
}

static void test_source__is_taken_apart(void **state)
{
	static const struct {
		const char *text;
		struct source want;
	} cases[] = {
		{"shop", {SOURCE_LIVE, "shop", "", 0, 0}},
		{"shop@before-update", {SOURCE_SNAPSHOT, "shop", "before-update", 0, 0}},
		{"shop@20261122t030000z", {SOURCE_SNAPSHOT, "shop", "20261122t030000z", 0, 0}},
		{"shop@latest", {SOURCE_LATEST, "shop", "", 0, 0}},
		{"shop@2026-11-22", {SOURCE_TIME, "shop", "", 1795392000 * NSEC_PER_SEC - 1, 0}},
		{"shop@2026-11-22T03:00:07Z",
			{SOURCE_TIME, "shop", "", 1795316408 * NSEC_PER_SEC - 1, 0}},
		{"shop@2026-11-22T03:00+01:00",
			{SOURCE_TIME, "shop", "", 1795312860 * NSEC_PER_SEC - 1, 0}},
		{"shop:7", {SOURCE_GENERATION, "shop", "", 0, 7}},
		{"0190b3a4-7c1d-7abc-8def-0123456789ab:9223372036854775807",
			{SOURCE_GENERATION, "0190b3a4-7c1d-7abc-8def-0123456789ab", "", 0,
				INT64_MAX}},
	};

	(void)state;
	for (size_t i = 0; i < N(cases); i++) {
		struct source s;

		assert_int_equal(source_parse(cases[i].text, &s, NULL), 0);
		assert_int_equal(s.kind, cases[i].want.kind);
		assert_string_equal(s.site, cases[i].want.site);
		assert_string_equal(s.name, cases[i].want.name);
		assert_int_equal(s.time, cases[i].want.time);
		assert_int_equal(s.generation, cases[i].want.generation);
	}
}

static void test_source__refuses_what_is_incomplete(void **state)
{
	static const char *const bad[] = {"", "@", "@a", ":1", "shop@", "shop:", "shop:0",
		"shop:07", "shop:-1", "shop:1x", "shop:9223372036854775808", "shop@a@b", "Shop",
		"shop@A", "shop@2026-13-01T00:00Z", "shop@2026-11-31", "shop@2026-11-30t25:00",
		"shop@../x", "../x", "shop/x", "shop@a:1",
		"shop:1@a"};
	char longest[3 * NAME_SIZE];

	(void)state;
	for (size_t i = 0; i < N(bad); i++) {
		struct err e = ERR_INIT;
		struct source s;

		assert_int_equal(source_parse(bad[i], &s, &e), -EINVAL);
		assert_string_equal(e.code, "bad_source");
		assert_true(e.reason[0] != '\0');
	}
	memset(longest, 'a', sizeof(longest));
	longest[sizeof(longest) - 1] = '\0';
	assert_int_equal(source_parse(longest, &(struct source){0}, NULL), -EINVAL);
	longest[1] = '@';
	assert_int_equal(source_parse(longest, &(struct source){0}, NULL), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_id__is_a_version_7_uuid_that_sorts_by_time),
		cmocka_unit_test(test_id__of_another_shape_is_refused),
		cmocka_unit_test(test_job_id__counts_upwards_and_reads_back),
		cmocka_unit_test(test_job_id__refuses_other_text),
		cmocka_unit_test(test_name__allows_what_sites_and_snapshots_are_called),
		cmocka_unit_test(test_name__refuses_bad_bytes_and_says_why),
		cmocka_unit_test(test_name__refuses_words_of_the_command_line_and_dates),
		cmocka_unit_test(test_source__is_taken_apart),
		cmocka_unit_test(test_source__refuses_what_is_incomplete),
	};

	return cmocka_run_group_tests_name("id", tests, NULL, NULL);
}
