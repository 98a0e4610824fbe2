/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fsd/core/ini.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "snap/base/fd.h"

struct reader {
	ini_fn *fn;
	void *arg;
	char *section; /* points into the copy of the text; NULL before the first one */
	const char *why;
};

static char *trim(char *s)
{
	size_t len;

	s += strspn(s, " \t\r");
	len = strlen(s);
	while (len && strchr(" \t\r", s[len - 1]))
		s[--len] = '\0';
	return s;
}

static int bad(struct reader *r, const char *why)
{
	r->why = why;
	return -EINVAL;
}

static int read_section(struct reader *r, char *s)
{
	char *end = strchr(s, ']');

	if (!end)
		return bad(r, "a section's name must end with \"]\"");
	if (end[1])
		return bad(r, "nothing may stand behind a section's \"]\"");
	*end = '\0';
	r->section = trim(s + 1);
	return r->fn(r->arg, r->section, NULL, NULL);
}

static int read_line(struct reader *r, char *s)
{
	char *value;

	s = trim(s);
	if (*s == '\0' || *s == '#' || *s == ';')
		return 0;
	if (*s == '[')
		return read_section(r, s);
	value = strchr(s, '=');
	if (!value)
		return bad(r, "neither \"[section]\" nor \"key = value\"");
	*value++ = '\0';
	s = trim(s);
	if (*s == '\0')
		return bad(r, "no key before \"=\"");
	if (!r->section)
		return bad(r, "a key before the first \"[section]\"");
	return r->fn(r->arg, r->section, s, trim(value));
}

int ini_read(const char *text, size_t len, ini_fn *fn, void *arg, unsigned *line, const char **why)
{
	static const char bom[] = "\xEF\xBB\xBF";
	struct reader reader = {.fn = fn, .arg = arg};
	_cleanup_free_ char *copy = malloc(len + 1);
	char *s, *next;
	int r = 0;

	if (!copy)
		return -ENOMEM;
	memcpy(copy, text, len);
	copy[len] = '\0';
	s = strncmp(copy, bom, 3) == 0 ? copy + 3 : copy;
	for (*line = 1; r == 0 && s; (*line)++, s = next) {
		next = memchr(s, '\n', copy + len - s);
		if (memchr(s, '\0', (next ? next : copy + len) - s)) {
			r = bad(&reader, "a NUL byte");
			break;
		}
		if (next)
			*next++ = '\0';
		r = read_line(&reader, s);
		if (r != 0)
			break;
	}
	*why = reader.why;
	return r;
}
