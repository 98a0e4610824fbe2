/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Ids, names and the SOURCE of the command line. Names are checked here by their bytes only;
 * whether something of that name exists is the catalog's business.
 */
#include "fsd/core/id.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "snap/base/clock.h"
#include "snap/base/err.h"

/* getrandom(2) cannot fail for so few bytes once the kernel's pool is up; before, it blocks. */
static void random_bytes(void *out, size_t len)
{
	while (getrandom(out, len, 0) != (ssize_t)len) {
		if (errno != EINTR)
			abort();
	}
}

void id_new(char out[ID_SIZE])
{
	static const char digits[] = "0123456789abcdef";
	uint64_t ms = clock_real() / NSEC_PER_MSEC;
	unsigned char b[16];

	random_bytes(b, sizeof(b));
	for (int i = 0; i < 6; i++)
		b[i] = ms >> (40 - 8 * i);
	b[6] = 0x70 | (b[6] & 0x0f); /* version 7 */
	b[8] = 0x80 | (b[8] & 0x3f); /* variant 10 */
	for (int i = 0; i < 16; i++) {
		if (i == 4 || i == 6 || i == 8 || i == 10)
			*out++ = '-';
		*out++ = digits[b[i] >> 4];
		*out++ = digits[b[i] & 15];
	}
	*out = '\0';
}

bool id_valid(const char *s)
{
	for (int i = 0; i < ID_SIZE - 1; i++) {
		bool dash = i == 8 || i == 13 || i == 18 || i == 23;
		bool hex = (s[i] >= '0' && s[i] <= '9') || (s[i] >= 'a' && s[i] <= 'f');

		if (dash ? s[i] != '-' : !hex)
			return false;
	}
	return s[ID_SIZE - 1] == '\0';
}

int64_t id_next(int64_t last)
{
	int64_t now = clock_real() / NSEC_PER_MSEC;

	return last >= now ? last + 1 : now;
}

/* ---- jobs ---- */

static const char crockford[] = "0123456789abcdefghjkmnpqrstvwxyz";

const char *job_id_format(int64_t id, char out[JOB_ID_SIZE])
{
	char digits[JOB_ID_SIZE];
	int n = 0;

	do {
		digits[n++] = crockford[id & 31];
		id >>= 5;
	} while (id > 0);
	for (int i = 0; i < n; i++)
		out[i] = digits[n - 1 - i];
	out[n] = '\0';
	return out;
}

int job_id_parse(const char *s, int64_t *id)
{
	int64_t n = 0;

	if (*s == '\0' || *s == '0')
		return -EINVAL;
	for (; *s; s++) {
		char c = *s >= 'A' && *s <= 'Z' ? *s - 'A' + 'a' : *s;
		const char *digit = strchr(crockford, c);

		if (!digit || n > INT64_MAX >> 5)
			return -EINVAL;
		n = n << 5 | (digit - crockford);
	}
	*id = n;
	return 0;
}

/* ---- names ---- */

const char names_reserved[] =
	"backup balancer cancel check clone compact create delete diff doctor eject event "
	"export follow generation help history hold import init job key latest list log migrate "
	"node path platform policy pool prune publish recover refresh release rename restore "
	"rollback run scan set show site snapshot status store token undelete undo unlock "
	"verify version wait";

static bool is_alnum(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

/* What is wrong with the bytes of a name, or NULL. */
static const char *name_fault(const char *name)
{
	size_t len = strnlen(name, NAME_SIZE);

	if (len == 0)
		return "a name is missing";
	if (len == NAME_SIZE)
		return "a name has at most 200 bytes";
	if (!is_alnum(name[0]))
		return "a name begins with a lower-case letter or a digit";
	for (const char *s = name; *s; s++) {
		if (!is_alnum(*s) && *s != '.' && *s != '_' && *s != '-')
			return "a name has only lower-case letters, digits, '.', '_' and '-'";
	}
	if (strstr(name, ".."))
		return "a name has no two dots in a row";
	if (name[len - 1] == '.')
		return "a name does not end in a dot";
	return NULL;
}

bool name_valid(const char *name)
{
	return name_fault(name) == NULL;
}

static bool is_reserved(const char *name)
{
	size_t len = strlen(name);

	for (const char *w = names_reserved; *w; w += strcspn(w, " "), w += *w == ' ') {
		if (strncmp(w, name, len) == 0 && (w[len] == ' ' || w[len] == '\0'))
			return true;
	}
	return false;
}

/* Was it meant as a time, even one that there is not? */
static bool is_dated(const char *name)
{
	static const char shape[] = "dddd-dd-dd";

	for (size_t i = 0; shape[i]; i++) {
		if (shape[i] == 'd' ? name[i] < '0' || name[i] > '9' : name[i] != shape[i])
			return false;
	}
	return strchr("Tt ", name[sizeof(shape) - 1]); /* or the end */
}

int name_check(const char *name, struct err *err)
{
	const char *fault = name_fault(name);

	if (fault)
		return err_set(err, EINVAL, "bad_name", name, "%s", fault);
	if (id_valid(name))
		return err_set(err, EINVAL, "bad_name", name, "a name may not look like an id");
	if (is_dated(name)) {
		err_set(err, EINVAL, "reserved_name", name, "a name may not look like a date");
		err_hint(err, "begin it with a letter");
		return -EINVAL;
	}
	if (is_reserved(name)) {
		err_set(err, EINVAL, "reserved_name", name,
			"this word is reserved for the command line");
		err_hint(err, "add something to it, as in %s-1; fsctl(1) lists these words", name);
		return -EINVAL;
	}
	return 0;
}

/* ---- SOURCE ---- */

static int bad_source(const char *text, struct err *err, const char *fault)
{
	return err_set(err, EINVAL, "bad_source", text, "%s", fault);
}

static int parse_snapshot(const char *text, const char *name, struct source *s, struct err *err)
{
	const char *fault;

	if (*name == '\0')
		return bad_source(text, err, "nothing stands behind the '@'");
	if (strcmp(name, "latest") == 0) {
		s->kind = SOURCE_LATEST;
		return 0;
	}
	if (time_parse_last(name, &s->time) == 0) {
		s->kind = SOURCE_TIME;
		return 0;
	}
	if (is_dated(name))
		return bad_source(text, err, "there is no such time; one is written 2026-11-22, "
			"2026-11-22T03:00 or 2026-11-22T03:00:00+01:00");
	fault = name_fault(name);
	if (fault)
		return bad_source(text, err, fault);
	s->kind = SOURCE_SNAPSHOT;
	snprintf(s->name, sizeof(s->name), "%s", name); /* fits: name_fault() */
	return 0;
}

static int parse_generation(const char *text, const char *number, struct source *s,
	struct err *err)
{
	int64_t n = 0;

	if (*number < '1' || *number > '9')
		return bad_source(text, err, "behind the ':' stands the number of a generation");
	for (; *number; number++) {
		if (*number < '0' || *number > '9' || __builtin_mul_overflow(n, 10, &n) ||
			__builtin_add_overflow(n, *number - '0', &n))
			return bad_source(text, err,
				"behind the ':' stands the number of a generation");
	}
	s->kind = SOURCE_GENERATION;
	s->generation = n;
	return 0;
}

int source_parse(const char *text, struct source *out, struct err *err)
{
	size_t len = strcspn(text, "@:");
	struct source s = {.kind = SOURCE_LIVE};
	const char *fault;
	int r = 0;

	if (len >= NAME_SIZE)
		return bad_source(text, err, "a name has at most 200 bytes");
	memcpy(s.site, text, len);
	fault = name_fault(s.site);
	if (fault) {
		bad_source(text, err, len ? fault : "a site's name is missing");
		if (strchr(s.site, '/'))
			err_hint(err, "fsctl site import NEW DIR makes a site of a directory");
		return -EINVAL;
	}
	if (text[len] == '@')
		r = parse_snapshot(text, text + len + 1, &s, err);
	else if (text[len] == ':')
		r = parse_generation(text, text + len + 1, &s, err);
	if (r == 0)
		*out = s;
	return r;
}
