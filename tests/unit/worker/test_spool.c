/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is kept of long results, and what makes room. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "fsd/worker/spool.h"

#define MIB (1u << 20)

static struct spools all;

static void keep(int64_t job, const char *line, unsigned times)
{
	struct spool *s = spool_new(&all, "/tmp/test_spool");

	assert_non_null(s);
	while (times--)
		assert_int_equal(spool_add(s, line), 0);
	assert_int_equal(spools_keep(job, s), 0);
	spool_free(&s);
}

static bool is_kept(int64_t job)
{
	uint64_t size;
	int fd = spools_open(&all, job, &size);

	if (fd == -ENOENT)
		return false;
	assert_true(fd >= 0);
	close(fd);
	return true;
}

static char *long_line(void)
{
	char *line = malloc(MIB);

	assert_non_null(line);
	memset(line, 'x', MIB - 1);
	line[MIB - 1] = '\0';
	return line;
}

static int begin(void **state)
{
	(void)state;
	spools_init(&all);
	return 0;
}

static int end(void **state)
{
	(void)state;
	spools_release(&all);
	return all.bytes ? -1 : 0;
}

static void test_spool__is_read_as_it_was_written(void **state)
{
	uint64_t size = 0;
	char text[16] = "";
	int fd;

	(void)state;
	keep(7, "line", 2);
	fd = spools_open(&all, 7, &size);
	assert_true(fd >= 0);
	assert_int_equal(size, 10);
	assert_int_equal(pread(fd, text, sizeof(text), 0), 10);
	assert_string_equal(text, "line\nline\n");
	close(fd);
	assert_false(is_kept(8));
}

static void test_spool__ends_at_its_size(void **state)
{
	struct spool *s = spool_new(&all, "/tmp/test_spool");
	char *line = long_line();

	(void)state;
	for (unsigned i = 0; i < SPOOL_MAX / MIB; i++)
		assert_int_equal(spool_add(s, line), 0);
	assert_int_equal(spool_add(s, ""), -EFBIG);
	free(line);
	spool_free(&s);
}

static void test_spools__newest_take_the_place_of_the_oldest(void **state)
{
	(void)state;
	for (int64_t job = 1; job <= SPOOLS + 1; job++)
		keep(job, "line", 1);
	assert_false(is_kept(1));
	assert_true(is_kept(2));
	assert_true(is_kept(SPOOLS + 1));
}

static void test_spools__are_no_larger_than_this_together(void **state)
{
	unsigned fit = SPOOLS_MAX / SPOOL_MAX;
	char *line = long_line();

	(void)state;
	for (unsigned i = 1; i <= fit + 1; i++)
		keep(i, line, SPOOL_MAX / MIB);
	assert_false(is_kept(1));
	assert_true(is_kept(2));
	assert_true(is_kept(fit + 1));
	free(line);
}

static void test_spools__count_while_they_are_written(void **state)
{
	struct spool *items[SPOOLS_MAX / SPOOL_MAX + 1];
	unsigned n = sizeof(items) / sizeof(*items);
	char *line = long_line();

	(void)state;
	keep(1, line, 1);
	for (unsigned i = 0; i < n; i++)
		assert_non_null(items[i] = spool_new(&all, "/tmp/test_spool"));
	for (unsigned i = 0; i < n - 1; i++) {
		for (unsigned m = 0; m < SPOOL_MAX / MIB; m++)
			assert_int_equal(spool_add(items[i], line), 0);
	}
	assert_false(is_kept(1)); /* it made room */
	assert_int_equal(spool_add(items[n - 1], line), -ENOSPC);
	spool_free(&items[0]);
	assert_int_equal(spool_add(items[n - 1], line), 0);
	for (unsigned i = 1; i < n; i++)
		spool_free(&items[i]);
	free(line);
}

static void test_spool__without_a_place_for_its_file_is_an_error(void **state)
{
	struct spool *s = spool_new(&all, "/nonexistent/test_spool");

	(void)state;
	assert_int_equal(spool_add(s, "line"), 0);
	assert_int_equal(spools_keep(1, s), -ENOENT);
	assert_false(is_kept(1));
	spool_free(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_spool__is_read_as_it_was_written, begin, end),
		cmocka_unit_test_setup_teardown(test_spool__ends_at_its_size, begin, end),
		cmocka_unit_test_setup_teardown(test_spools__newest_take_the_place_of_the_oldest,
			begin, end),
		cmocka_unit_test_setup_teardown(test_spools__are_no_larger_than_this_together,
			begin, end),
		cmocka_unit_test_setup_teardown(
			test_spools__count_while_they_are_written, begin, end),
		cmocka_unit_test_setup_teardown(
			test_spool__without_a_place_for_its_file_is_an_error, begin, end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
