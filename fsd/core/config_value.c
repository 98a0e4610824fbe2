/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fsd/core/config_value.h"

#include <ctype.h>
#include <errno.h>
#include <grp.h>
#include <limits.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <syslog.h>
#include <unistd.h>

#include "fsd/core/config.h"
#include "snap/base/clock.h"
#include "snap/base/err.h"
#include "snap/base/fd.h"

__attribute__((format(printf, 2, 3)))
static int bad(const struct config_set *s, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(s->why, ERR_TEXT_SIZE, fmt, ap);
	va_end(ap);
	return -EINVAL;
}

static int set_string(char **field, const char *value)
{
	char *copy = strdup(value);

	if (!copy)
		return -ENOMEM;
	free(*field);
	*field = copy;
	return 0;
}

int config_set_word(void *field, const char *value, const struct config_set *s)
{
	if (strcspn(value, " \t") != strlen(value))
		return bad(s, "one word is expected");
	return set_string(field, value);
}

/* Copy the absolute path with single slashes and none at its end. */
static int normalise(const char *value, char out[PATH_MAX], const struct config_set *s)
{
	size_t len = 0;

	if (value[0] != '/')
		return bad(s, "a path must be absolute");
	for (const char *p = value; *p;) {
		size_t n;

		p += strspn(p, "/");
		n = strcspn(p, "/");
		if (n == 0)
			break;
		if ((n == 1 && p[0] == '.') || (n == 2 && p[0] == '.' && p[1] == '.'))
			return bad(s, "a path may not contain \".\" or \"..\"");
		if (len + 1 + n >= PATH_MAX)
			return bad(s, "the path is too long");
		out[len++] = '/';
		memcpy(out + len, p, n);
		len += n;
		p += n;
	}
	out[len] = '\0';
	for (size_t i = 0; i < len; i++) {
		if (iscntrl((unsigned char)out[i]))
			return bad(s, "a path may not contain control characters");
	}
	return len ? 0 : bad(s, "\"/\" cannot be used here");
}

int config_set_path(void *field, const char *value, const struct config_set *s)
{
	char path[PATH_MAX];
	int r = normalise(value, path, s);

	return r < 0 ? r : set_string(field, path);
}

int config_set_socket(void *field, const char *value, const struct config_set *s)
{
	size_t max = sizeof(((struct sockaddr_un *)NULL)->sun_path) - 1;
	char path[PATH_MAX];
	int r = normalise(value, path, s);

	if (r < 0)
		return r;
	if (strlen(path) > max)
		return bad(s, "a socket's path has at most %zu bytes", max);
	return set_string(field, path);
}

static int add_dir(struct config *c, const char *path)
{
	char **dirs = realloc(c->import_from, (c->n_import_from + 1) * sizeof(*dirs));

	if (!dirs)
		return -ENOMEM;
	c->import_from = dirs;
	dirs[c->n_import_from] = strdup(path);
	return dirs[c->n_import_from] ? (c->n_import_from++, 0) : -ENOMEM;
}

int config_set_dirs(void *field, const char *value, const struct config_set *s)
{
	_cleanup_free_ char *copy = strdup(value);
	char path[PATH_MAX], *save = NULL;
	int r = 0;

	(void)field;
	if (!copy)
		return -ENOMEM;
	if (*value == '\0') {
		while (s->c->n_import_from)
			free(s->c->import_from[--s->c->n_import_from]);
		return 0;
	}
	for (char *t = strtok_r(copy, ":", &save); t && r == 0; t = strtok_r(NULL, ":", &save)) {
		r = normalise(t, path, s);
		if (r == 0)
			r = add_dir(s->c, path);
	}
	return r;
}

static int find_group(const char *name, gid_t *gid, const struct config_set *s)
{
	struct group grp, *found = NULL;
	size_t size = 16384;
	char *data = NULL;
	int r;

	do {
		free(data);
		size *= 2;
		data = malloc(size);
		if (!data)
			return -ENOMEM;
		r = getgrnam_r(name, &grp, data, size, &found);
	} while (r == ERANGE && size < (64u << 20));
	if (found)
		*gid = found->gr_gid;
	free(data);
	if (found)
		return 0;
	return bad(s, "there is no such group (groupadd --system %s)", name);
}

int config_set_group(void *field, const char *value, const struct config_set *s)
{
	struct config *c = s->c;
	gid_t *gid = field == &c->admin_group	   ? &c->admin_gid
		     : field == &c->operator_group ? &c->operator_gid
						   : &c->viewer_gid;
	int r = find_group(value, gid, s);

	return r < 0 ? r : set_string(field, value);
}

static int parse_uint(const char *text, uint64_t *out, const char **end)
{
	unsigned long long n;
	char *e;

	if (!isdigit((unsigned char)*text))
		return -EINVAL;
	errno = 0;
	n = strtoull(text, &e, 10);
	if (errno)
		return -ERANGE;
	*out = n;
	*end = e;
	return 0;
}

int config_set_min_free(void *field, const char *value, const struct config_set *s)
{
	static const char units[] = "KMGTP";
	const char *end, *unit;
	uint64_t n;

	(void)field;
	if (parse_uint(value, &n, &end) < 0)
		return bad(s, "a percentage (10%%) or a size (20G) is expected");
	if (strcmp(end, "%") == 0) {
		if (n > 99)
			return bad(s, "a percentage must be between 0 and 99");
		s->c->min_free_percent = n;
		s->c->min_free_bytes = 0;
		return 0;
	}
	unit = *end ? strchr(units, *end) : NULL;
	if (*end ? !unit || end[1] : n != 0) /* a "%" that was forgotten would mean a few bytes */
		return bad(s, "a percentage (10%%) or a size (20G; K, M, G, T, P) is expected");
	for (long i = unit ? unit - units + 1 : 0; i > 0; i--) {
		if (__builtin_mul_overflow(n, 1024, &n))
			return bad(s, "the size is too large");
	}
	s->c->min_free_percent = 0;
	s->c->min_free_bytes = n;
	return 0;
}

int config_set_duration(void *field, const char *value, const struct config_set *s)
{
	int r = duration_parse(value, field);

	if (r == -EINVAL && *value && !value[strspn(value, "0123456789")])
		return bad(s, "its unit is missing: 90s, 15m, 24h, 7d, 4w");
	if (r == -ERANGE)
		return bad(s, "the duration is too long");
	return r < 0 ? bad(s, "a duration is expected: 90s, 15m, 24h, 7d, 4w") : 0;
}

int config_set_number(void *field, const char *value, const struct config_set *s)
{
	const char *end;
	uint64_t n;

	if (parse_uint(value, &n, &end) < 0 || *end || n < (uint64_t)s->min || n > (uint64_t)s->max)
		return bad(s, "a number between %lld and %lld is expected", (long long)s->min,
			(long long)s->max);
	*(unsigned *)field = n;
	return 0;
}

int config_set_level(void *field, const char *value, const struct config_set *s)
{
	static const struct {
		const char *name;
		unsigned level;
	} levels[] = {
		{"error", LOG_ERR},
		{"warning", LOG_WARNING},
		{"info", LOG_INFO},
		{"debug", LOG_DEBUG},
	};

	for (size_t i = 0; i < sizeof(levels) / sizeof(levels[0]); i++) {
		if (strcmp(levels[i].name, value) == 0) {
			*(unsigned *)field = levels[i].level;
			return 0;
		}
	}
	return bad(s, "error, warning, info or debug is expected");
}

bool config_path_beneath(const char *path, const char *dir)
{
	size_t len = dir ? strlen(dir) : 0;

	return path && dir && strncmp(path, dir, len) == 0 && (path[len] == '/' || !path[len]);
}
