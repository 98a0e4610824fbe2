/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A scratch folder for each test: made and entered before, removed with its content after. */
#ifndef TESTS_UNIT_CORE_SCRATCH_H
#define TESTS_UNIT_CORE_SCRATCH_H

#include <ftw.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* cmocka setup; *state is the folder's absolute path. */
static inline int scratch_begin(void **state)
{
	char path[] = "/tmp/fsd-test.XXXXXX";

	if (!mkdtemp(path) || chdir(path) < 0)
		return -1;
	*state = strdup(path);
	return *state ? 0 : -1;
}

static inline int scratch_remove_one(const char *path, const struct stat *st, int type,
	struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

/* cmocka teardown. */
static inline int scratch_end(void **state)
{
	int r = chdir("/");

	if (r == 0)
		r = nftw(*state, scratch_remove_one, 16, FTW_DEPTH | FTW_PHYS);
	free(*state);
	return r;
}

/* Write a file of the current folder. */
__attribute__((format(printf, 2, 3)))
static inline void scratch_file(const char *name, const char *fmt, ...)
{
	FILE *f = fopen(name, "we");
	va_list ap;

	if (!f)
		abort();
	va_start(ap, fmt);
	vfprintf(f, fmt, ap);
	va_end(ap);
	if (fclose(f) != 0)
		abort();
}

#define scratch_test(f) cmocka_unit_test_setup_teardown(f, scratch_begin, scratch_end)

#endif
