/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Texts for people: the progress line, sizes, times and paths. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/fsctl/progress.h"
#include "tools/fsctl/text.h"

/* ---- the progress line ---- */

static struct fsc_progress part(uint64_t entries, uint64_t mib)
{
	return (struct fsc_progress){.entries_done = entries, .entries_total = 6400,
		.bytes_done = mib << 20, .bytes_total = 100 << 20};
}

static void line_is(const struct progress *p, struct fsc_progress now, int width, const char *want)
{
	char out[512];

	progress_line(p, &now, width, out, sizeof(out));
	assert_string_equal(out, want);
}

/* An entry counts as 16 KiB: 6,400 as much as 100 MiB. */
static void test_progress__goes_by_entries_and_bytes_together(void **state)
{
	struct progress p = {.label = "clone shop", .entries.rate = 32, .bytes.rate = 1 << 20};
	struct fsc_progress now;

	(void)state;
	/* One large file, of which no entry is done yet. */
	line_is(&p, part(0, 50), 79,
		"clone shop   25%  0/6,400 entries  50.0 MiB/100 MiB  1.0 MiB/s  1:41 left");
	line_is(&p, part(3200, 0), 75,
		"clone shop   25%  3,200/6,400 entries  0 B/100 MiB  32/s  1:41 left");
	line_is(&p, part(6399, 100), 60,
		"clone shop   99%  100 MiB/100 MiB  1.0 MiB/s  1.0 s left");
	line_is(&p, part(6400, 100), 50, "clone shop  100%  100 MiB/100 MiB  1.0 MiB/s");
	/* Where only the entries are counted. */
	now = (struct fsc_progress){.entries_done = 64, .entries_total = 128};
	line_is(&p, now, 60, "clone shop   50%  64/128 entries  32/s  3.0 s left");
}

static void test_progress__says_no_more_than_is_known(void **state)
{
	struct progress p = {.label = "clone shop", .entries.rate = 32, .bytes.rate = 1 << 20};
	struct fsc_progress now = {.entries_done = 500, .bytes_done = 20 << 20};

	(void)state;
	line_is(&p, now, 79, "clone shop  500 entries  20.0 MiB  1.0 MiB/s");
}

static void measure(struct progress *p, uint64_t entries, uint64_t mib, double t)
{
	struct fsc_progress now = part(entries, mib);

	progress_measure(p, &now, t);
}

static void test_progress__measures_the_pace_of_the_work_alone(void **state)
{
	struct progress p = {.label = "clone shop"}, late = p;

	(void)state;
	/* Waiting and counting take no part in it. */
	measure(&p, 0, 0, 100);
	measure(&p, 0, 0, 200);
	measure(&p, 64, 1, 201);
	line_is(&p, part(64, 1), 60, "clone shop    1%  1.0 MiB/100 MiB  1.0 MiB/s  1:40 left");
	/* One second that is ten times as fast does not make it ten times as fast. */
	measure(&p, 128, 2, 202);
	measure(&p, 192, 3, 203);
	measure(&p, 832, 13, 204);
	assert_true(p.bytes.rate > 3.2 * (1 << 20) && p.bytes.rate < 3.3 * (1 << 20));
	for (int i = 1; i <= 40; i++)
		measure(&p, 832 + 64 * i, 13 + i, 204 + i);
	assert_true(p.bytes.rate > (1 << 20) && p.bytes.rate < 1.01 * (1 << 20));
	/* Nor does what was done before anybody looked. */
	measure(&late, 3200, 50, 100);
	measure(&late, 3264, 51, 101);
	line_is(&late, part(3264, 51), 60,
		"clone shop   51%  51.0 MiB/100 MiB  1.0 MiB/s  50.0 s left");
}

/* ---- sizes, times, paths ---- */

static void test_text__sizes_counts_and_durations(void **state)
{
	char text[SIZE_TEXT];

	(void)state;
	assert_string_equal(size_text(0, text), "0 B");
	assert_string_equal(size_text(999, text), "999 B");
	assert_string_equal(size_text(1024, text), "1.0 KiB");
	assert_string_equal(size_text(1023 * 1024, text), "1023 KiB");
	assert_string_equal(size_text(1024 * 1024 - 1, text), "1.0 MiB");
	assert_string_equal(size_text(1234567890123LL, text), "1.1 TiB");
	assert_string_equal(count_text(0, text), "0");
	assert_string_equal(count_text(1234567, text), "1,234,567");
	assert_string_equal(count_text(-1234, text), "-1,234");
	assert_string_equal(entries_text(1, text), "1 entry");
	assert_string_equal(entries_text(1234, text), "1,234 entries");
	assert_string_equal(entries_text(INT64_MIN, text), "-9,223,372,036,854,775,808 entries");
	assert_string_equal(seconds_text(0.0031, text), "3 ms");
	assert_string_equal(seconds_text(12.34, text), "12.3 s");
	assert_string_equal(seconds_text(125, text), "2:05");
	assert_string_equal(seconds_text(3725, text), "1:02:05");
}

static void source_is(const char *text, const char *want)
{
	char *out = source_absolute(text);

	assert_string_equal(out, want);
	free(out);
}

static void test_text__times_without_a_zone_are_this_machines(void **state)
{
	(void)state;
	setenv("TZ", "Europe/Berlin", 1);
	source_is("shop@2026-11-22T03:00", "shop@2026-11-22T02:00:59Z");
	source_is("shop@2026-07-22T03:00:05.25", "shop@2026-07-22T01:00:05.25Z");
	source_is("shop@2026-11-22 03:00", "shop@2026-11-22T02:00:59Z");
	source_is("shop@2026-11-22 03:00:00", "shop@2026-11-22T02:00:00Z");
	source_is("shop@2026-11-22", "shop@2026-11-22T22:59:59Z");
	/* These have one, or are none. */
	source_is("shop@2026-11-22T03:00Z", "shop@2026-11-22T03:00Z");
	source_is("shop@2026-11-22T03:00+02:00", "shop@2026-11-22T03:00+02:00");
	source_is("shop@20261122t030000z", "shop@20261122t030000z");
	source_is("shop@2026-11-22-before", "shop@2026-11-22-before");
	source_is("shop@2026-13-22", "shop@2026-13-22");
	source_is("shop@2026-11-31", "shop@2026-11-31");
	source_is("shop@0000-01-01", "shop@0000-01-01");
	source_is("shop@2027-02-29T03:00", "shop@2027-02-29T03:00");
	source_is("shop@latest", "shop@latest");
	source_is("shop:7", "shop:7");
	source_is("shop", "shop");
}

static void path_is(const char *text, const char *want)
{
	char *out = path_absolute(text);

	if (want)
		assert_string_equal(out, want);
	else
		assert_null(out);
	free(out);
}

static void test_text__relative_directories_are_made_absolute(void **state)
{
	char dir[] = "/tmp/fsctl-XXXXXX", want[64], typed[64];

	(void)state;
	assert_non_null(mkdtemp(dir));
	assert_int_equal(chdir(dir), 0);
	path_is("/a/../b", "/a/../b");
	snprintf(want, sizeof(want), "%s/new/x", dir);
	path_is("./new//x/", want);
	path_is(".", dir);
	path_is("..", "/tmp");
	path_is("../", "/tmp");
	path_is("../new", "/tmp/new");
	path_is("../../new/", "/new");
	path_is("missing/../new", NULL);
	/* Not where the link leads. */
	assert_int_equal(symlink("/etc", "link"), 0);
	snprintf(typed, sizeof(typed), "../%s/link", dir + strlen("/tmp/"));
	snprintf(want, sizeof(want), "%s/link", dir);
	path_is(typed, want);
	assert_int_equal(unlink("link"), 0);
	assert_int_equal(chdir("/"), 0);
	assert_int_equal(rmdir(dir), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_progress__goes_by_entries_and_bytes_together),
		cmocka_unit_test(test_progress__says_no_more_than_is_known),
		cmocka_unit_test(test_progress__measures_the_pace_of_the_work_alone),
		cmocka_unit_test(test_text__sizes_counts_and_durations),
		cmocka_unit_test(test_text__relative_directories_are_made_absolute),
		cmocka_unit_test(test_text__times_without_a_zone_are_this_machines),
	};

	return cmocka_run_group_tests_name("text", tests, NULL, NULL);
}
