/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* How errors are filled: the library's own, and the problem objects of fsd. */
#include "client/internal.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* A text that was cut must not end within a character. */
static void trim_utf8(char *s, size_t len)
{
	size_t i = len;

	while (i > 0 && ((unsigned char)s[i - 1] & 0xc0) == 0x80 && len - i < 3)
		i--;
	if (i > 0 && ((unsigned char)s[i - 1] & 0xc0) == 0xc0)
		s[i - 1] = '\0';
}

static void put(char *out, size_t size, const char *text)
{
	size_t len = text ? strlen(text) : 0;

	if (len < size) {
		memcpy(out, text ? text : "", len + 1);
		return;
	}
	memcpy(out, text, size - 1);
	out[size - 1] = '\0';
	trim_utf8(out, size - 1);
}

#define PUT(field, text) put(field, sizeof(field), text)

int fsc_fail(struct fsc_error *err, int num, enum fsc_exit exit_code, const char *code,
	const char *object, const char *fmt, ...)
{
	va_list ap;
	int len;

	if (!err)
		return -num;
	memset(err, 0, sizeof(*err));
	err->num = num;
	err->exit = exit_code;
	PUT(err->code, code);
	PUT(err->title, code);
	for (char *p = err->title; *p; p++) {
		if (*p == '_')
			*p = ' ';
	}
	PUT(err->object, object);
	va_start(ap, fmt);
	len = vsnprintf(err->reason, sizeof(err->reason), fmt, ap);
	va_end(ap);
	if (len >= (int)sizeof(err->reason))
		trim_utf8(err->reason, sizeof(err->reason) - 1);
	return -num;
}

void fsc_hint(struct fsc_error *err, const char *hint)
{
	if (err)
		PUT(err->hint, hint);
}

int fsc_no_memory(struct fsc_error *err)
{
	return fsc_fail(err, ENOMEM, FSC_EXIT_FAILED, "no_memory", NULL, "out of memory");
}

static enum fsc_exit exit_of(int status)
{
	switch (status) {
	case 400:
	case 405:
	case 413:
	case 414:
	case 415:
	case 428:
	case 431:
		return FSC_EXIT_USAGE;
	case 401:
	case 403:
		return FSC_EXIT_NOT_ALLOWED;
	case 404:
		return FSC_EXIT_NOT_FOUND;
	case 409:
		return FSC_EXIT_IN_THE_WAY;
	case 429:
	case 507:
		return FSC_EXIT_LIMIT;
	default:
		return FSC_EXIT_FAILED;
	}
}

static int num_of(int status, const char *code)
{
	switch (exit_of(status)) {
	case FSC_EXIT_USAGE:
		return status == 428 ? EAGAIN : status == 413 ? E2BIG : EINVAL;
	case FSC_EXIT_NOT_ALLOWED:
		return EACCES;
	case FSC_EXIT_NOT_FOUND:
		return ENOENT;
	case FSC_EXIT_IN_THE_WAY:
		return strcmp(code, "exists") == 0 || strcmp(code, "name_taken") == 0 ? EEXIST :
											EBUSY;
	case FSC_EXIT_LIMIT:
		return status == 429 ? EUSERS : ENOSPC;
	default:
		return EIO;
	}
}

static const char *text_of(const json_t *problem, const char *key)
{
	const char *s = json_string_value(json_object_get(problem, key));

	return s ? s : "";
}

int fsc_problem(const json_t *problem, int status, struct fsc_error *err)
{
	json_t *own = json_object_get(problem, "status");
	const char *code = text_of(problem, "code");
	int num;

	if (json_is_integer(own) && json_integer_value(own) >= 400 && json_integer_value(own) < 600)
		status = (int)json_integer_value(own);
	num = num_of(status, code);
	if (!err)
		return -num;
	memset(err, 0, sizeof(*err));
	err->num = num;
	err->http = status;
	err->exit = exit_of(status);
	PUT(err->code, *code ? code : "unknown");
	PUT(err->title, text_of(problem, "title"));
	PUT(err->object, text_of(problem, "object"));
	PUT(err->reason, text_of(problem, "reason"));
	PUT(err->hint, text_of(problem, "hint"));
	if (!err->reason[0])
		PUT(err->reason, err->title[0] ? err->title : err->code);
	return -num;
}
