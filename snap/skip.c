/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "snap/skip.h"

#include <ctype.h>
#include <string.h>

#define DIGITS "0123456789abcdefghjkmnpqrstvwxyz"

static const char *after(const char *s, const char *prefix)
{
	size_t len = strlen(prefix);

	return strncmp(s, prefix, len) == 0 ? s + len : NULL;
}

bool snap_is_work(const char *path)
{
	const char *id = after(path, SNAP_WORK_GONE);
	size_t len;

	if (!id)
		id = after(path, SNAP_WORK_PREFIX);
	if (!id)
		return false;
	len = strspn(id, DIGITS);
	return len >= 8 && len <= 13 && (id[len] == '\0' || id[len] == '/');
}

static bool silly_rename(const char *name)
{
	size_t n = 0;

	if (strncmp(name, ".nfs", 4) != 0)
		return false;
	for (name += 4; isxdigit((unsigned char)name[n]); n++)
		;
	return n && name[n] == '\0';
}

bool snap_skip(const char *path)
{
	const char *slash = strrchr(path, '/');

	return snap_is_work(path) || silly_rename(slash ? slash + 1 : path);
}
