/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "snap/base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Keep the tail: the end of a path tells more than its beginning. */
static void set_object(struct err *e, const char *object)
{
	size_t len = object ? strlen(object) : 0;

	if (len < ERR_OBJECT_SIZE) {
		memcpy(e->object, object ? object : "", len + 1);
		return;
	}
	memcpy(e->object, "...", 3);
	memcpy(e->object + 3, object + len - (ERR_OBJECT_SIZE - 4), ERR_OBJECT_SIZE - 3);
}

int err_set(struct err *e, int num, const char *code, const char *object, const char *fmt, ...)
{
	va_list ap;

	if (!e)
		return -num;
	e->num = num;
	e->code = code;
	set_object(e, object);
	e->in_tree = false;
	va_start(ap, fmt);
	vsnprintf(e->reason, sizeof(e->reason), fmt, ap);
	va_end(ap);
	e->hint[0] = '\0';
	return -num;
}

void err_in_tree(struct err *e)
{
	if (e)
		e->in_tree = true;
}

static const char *code_of(int num)
{
	switch (num) {
	case ENOSPC:
	case EDQUOT:
		return "no_space";
	case EROFS:
		return "read_only";
	case EACCES:
	case EPERM:
		return "denied";
	case ENOENT:
		return "not_found";
	case ECANCELED:
		return "canceled";
	case ENOMEM:
		return "no_memory";
	default:
		return "io_error";
	}
}

int err_sys(struct err *e, int num, const char *op, const char *object)
{
	char text[128];
	const char *why = strerror_r(num, text, sizeof(text));

	/* Nothing else makes open(2) of a file say so, and its own words help nobody. */
	if (num == EWOULDBLOCK && strcmp(op, "open") == 0)
		why = "another process holds a lease on it and does not give it up; /proc/locks "
			"names the process, beside the file's inode";
	return err_set(e, num, code_of(num), object, "%s: %s", op, why);
}

void err_hint(struct err *e, const char *fmt, ...)
{
	va_list ap;

	if (!e)
		return;
	va_start(ap, fmt);
	vsnprintf(e->hint, sizeof(e->hint), fmt, ap);
	va_end(ap);
}

void err_clear(struct err *e)
{
	if (e)
		*e = ERR_INIT;
}
