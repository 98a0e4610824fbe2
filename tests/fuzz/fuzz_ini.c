/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The configuration's reader: any bytes end in 0 or an error with a reason and a line of theirs. */
#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "fsd/core/ini.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int on_line(void *arg, const char *section, const char *key, const char *value)
{
	size_t *bytes = arg;

	assert(section && !key == !value);
	*bytes += strlen(section) + (key ? strlen(key) + strlen(value) : 0);
	assert(!key || *key);
	return *bytes > 1 << 20 ? 1 : 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *why = NULL;
	unsigned line = 0, lines = 1;
	size_t bytes = 0;
	int r = ini_read((const char *)data, size, on_line, &bytes, &line, &why);

	for (size_t i = 0; i < size; i++)
		lines += data[i] == '\n';
	assert((r == -EINVAL) == (why != NULL));
	assert(line >= 1 && line <= lines + (r == 0));
	return 0;
}
