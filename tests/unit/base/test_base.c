/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* snap/base: errors, buffers, times, small files. */
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

#include "snap/base/buf.h"
#include "snap/base/clock.h"
#include "snap/base/err.h"
#include "snap/base/fd.h"

static int scratch(void **state)
{
	char path[] = "/tmp/test_base.XXXXXX";
	int fd = mkdtemp(path) ? open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;

	*state = (void *)(intptr_t)fd;
	return fd < 0 ? -1 : chdir(path);
}

static int scratch_end(void **state)
{
	char path[64] = "/proc/self/fd/", real[128];
	int fd = (intptr_t)*state;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	n = readlink(path, real, sizeof(real) - 1);
	if (n < 0)
		return -1;
	real[n] = '\0';
	close(fd);
	return chdir("/") || rmdir(real);
}

static void test_err__keeps_the_tail_of_a_long_object(void **state)
{
	struct err e = ERR_INIT;
	char path[2000];

	(void)state;
	memset(path, 'a', sizeof(path) - 1);
	path[sizeof(path) - 2] = 'z';
	path[sizeof(path) - 1] = '\0';
	assert_int_equal(err_sys(&e, ENOSPC, "write", path), -ENOSPC);
	assert_string_equal(e.code, "no_space");
	assert_int_equal(strlen(e.object), ERR_OBJECT_SIZE - 1);
	assert_memory_equal(e.object, "...", 3);
	assert_int_equal(e.object[ERR_OBJECT_SIZE - 2], 'z');
	assert_string_equal(e.reason, "write: No space left on device");
}

static void test_buf__grows_and_terminates(void **state)
{
	struct buf b = BUF_INIT;
	char *text;

	(void)state;
	assert_string_equal(buf_str(&b), "");
	for (int i = 0; i < 1000; i++)
		buf_printf(&b, "%03d,", i);
	assert_int_equal(b.len, 4000);
	assert_int_equal(strlen(buf_str(&b)), 4000);
	assert_int_equal(buf_error(&b), 0);
	text = buf_steal(&b);
	assert_memory_equal(text + 3996, "999,", 5);
	free(text);
	assert_null(b.data);
}

static void test_time__parses_what_it_formats_and_prefixes(void **state)
{
	static const struct {
		const char *text;
		int64_t end; /* ns */
	} good[] = {
		{"2026-11-22", 1795392000 * NSEC_PER_SEC},
		{"2026-11-22T03:00", 1795316460 * NSEC_PER_SEC},
		{"2026-11-22 03:00:07Z", 1795316408 * NSEC_PER_SEC},
		{"2026-11-22T03:00:00+01:00", 1795312801 * NSEC_PER_SEC},
		{"1970-01-01t00:00z", 60 * NSEC_PER_SEC},
		{"2026-11-22T03:00:07.1", 1795316407200000000},
		{"2026-11-22T03:00:07.19Z", 1795316407200000000},
		{"2026-11-22T03:00:07.123456789Z", 1795316407123456790},
		{"2026-11-22T03:00:07.1234567899+01:00", 1795312807123456790},
	};
	static const char *const bad[] = {"", "2026", "2026-11", "2026-13-01", "2026-02-30",
		"2026-11-22T", "2026-11-22T3:00", "2026-11-22T24:00", "2026-11-22T03:00:00.",
		"2026-11-22x", "2026-11-22T03:00+0100", "1969-12-31", "20261122t030000z"};
	char text[TIME_TEXT_SIZE];
	int64_t ns;

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		assert_int_equal(time_parse_last(good[i].text, &ns), 0);
		assert_int_equal(ns, good[i].end - 1);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(time_parse_last(bad[i], &ns), -EINVAL);
	assert_int_equal(time_parse_last(time_format(1795316407123456789, text), &ns), 0);
	assert_int_equal(ns, 1795316407123999999);
	assert_string_equal(time_name(1795316407123456789, text), "20261122t030007z");
}

static void test_duration__knows_units_and_overflow(void **state)
{
	char text[TIME_TEXT_SIZE];
	int64_t ns;

	(void)state;
	assert_int_equal(duration_parse("0", &ns), 0);
	assert_int_equal(ns, 0);
	assert_int_equal(duration_parse("90", &ns), -EINVAL);
	assert_int_equal(duration_parse("90s", &ns), 0);
	assert_int_equal(ns, 90 * NSEC_PER_SEC);
	assert_int_equal(duration_parse("2w", &ns), 0);
	assert_int_equal(ns, 14 * 86400 * NSEC_PER_SEC);
	assert_int_equal(duration_parse("1y", &ns), -EINVAL);
	assert_int_equal(duration_parse("-1", &ns), -EINVAL);
	assert_int_equal(duration_parse("1d2", &ns), -EINVAL);
	assert_int_equal(duration_parse("99999999999w", &ns), -ERANGE);
	assert_string_equal(duration_format(7 * 86400 * NSEC_PER_SEC, text), "7d");
	assert_string_equal(duration_format(36 * 3600 * NSEC_PER_SEC, text), "36h");
	assert_string_equal(duration_format(90 * NSEC_PER_SEC, text), "90s");
	assert_string_equal(duration_format(0, text), "0s");
}

static void test_fd__replaces_a_file_and_refuses_a_symlink(void **state)
{
	int dir = (intptr_t)*state;
	char *data;
	size_t len;

	assert_int_equal(fd_write_file(dir, "f", "one", 3, 0640), 0);
	assert_int_equal(fd_write_file(dir, "f", "three", 5, 0640), 0);
	assert_int_equal(fd_read_file(dir, "f", 5, &data, &len), 0);
	assert_int_equal(len, 5);
	assert_string_equal(data, "three");
	free(data);
	assert_int_equal(fd_read_file(dir, "f", 4, &data, &len), -EFBIG);
	assert_int_equal(symlinkat("f", dir, "l"), 0);
	assert_int_equal(fd_read_file(dir, "l", 5, &data, &len), -ELOOP);
	assert_int_equal(fd_read_file(dir, "nothing", 5, &data, &len), -ENOENT);
	assert_int_equal(unlinkat(dir, "f", 0) | unlinkat(dir, "l", 0), 0);
}

static void test_fd__beneath_does_not_follow_or_escape(void **state)
{
	int dir = (intptr_t)*state, fd;

	assert_int_equal(mkdirat(dir, "d", 0700) | mkdirat(dir, "d/e", 0700), 0);
	assert_int_equal(symlinkat("/etc", dir, "d/l"), 0);
	fd = fd_open_beneath(dir, "d/e", O_RDONLY | O_DIRECTORY);
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(fd_open_beneath(dir, "d/l", O_RDONLY), -ELOOP);
	assert_int_equal(fd_open_beneath(dir, "d/../../etc", O_RDONLY), -EXDEV);
	assert_int_equal(fd_open_beneath(dir, "/etc", O_RDONLY), -EXDEV);
	assert_int_equal(unlinkat(dir, "d/l", 0), 0);
	assert_int_equal(unlinkat(dir, "d/e", AT_REMOVEDIR) | unlinkat(dir, "d", AT_REMOVEDIR), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_err__keeps_the_tail_of_a_long_object),
		cmocka_unit_test(test_buf__grows_and_terminates),
		cmocka_unit_test(test_time__parses_what_it_formats_and_prefixes),
		cmocka_unit_test(test_duration__knows_units_and_overflow),
		cmocka_unit_test_setup_teardown(test_fd__replaces_a_file_and_refuses_a_symlink,
			scratch, scratch_end),
		cmocka_unit_test_setup_teardown(test_fd__beneath_does_not_follow_or_escape,
			scratch, scratch_end),
	};

	return cmocka_run_group_tests_name("base", tests, NULL, NULL);
}
