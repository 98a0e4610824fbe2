/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tools/fsctl/text.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>
#include <wchar.h>

/* ---- characters ---- */

/* The character at s and its bytes; 0 where it is not UTF-8. */
static size_t decode(const char *text, uint32_t *out)
{
	const unsigned char *s = (const unsigned char *)text;
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	size_t n = s[0] < 0x80 ? 1 : s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : s[0] >= 0xc0 ? 2 : 0;
	uint32_t c;

	if (n == 1)
		*out = s[0];
	if (n < 2 || s[0] > 0xf4)
		return n == 1;
	c = s[0] & (0x7fu >> n);
	for (size_t i = 1; i < n; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (s[i] & 0x3f);
	}
	if (c < least[n] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
		return 0;
	*out = c;
	return n;
}

/* Controls (C0, DEL, C1), line and paragraph separators, and what turns the direction of text. */
static bool acts(uint32_t c)
{
	return c < 0x20 || (c >= 0x7f && c < 0xa0) || c == 0x061c || c == 0x200e || c == 0x200f ||
		(c >= 0x2028 && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069) || c == 0xfeff ||
		(c >= 0xe0000 && c <= 0xe007f);
}

void put_safe(FILE *f, const char *s)
{
	uint32_t c = 0;

	while (s && *s) {
		size_t n = decode(s, &c);

		if (n && !acts(c)) {
			fwrite(s, 1, n, f);
		} else if (n && c > 0xff) {
			fprintf(f, "\\u%04x", c);
		} else {
			fprintf(f, "\\x%02x", n ? c : (unsigned char)*s);
		}
		s += n ? n : 1;
	}
}

char *safe_text(const char *s)
{
	char *out = NULL;
	size_t len;
	FILE *f = open_memstream(&out, &len);

	if (!f)
		return NULL;
	put_safe(f, s);
	if (fclose(f) == 0)
		return out;
	free(out);
	return NULL;
}

static bool plain(const char *s)
{
	uint32_t c = 0;

	while (*s) {
		size_t n = decode(s, &c);

		if (!n || acts(c) || c == '"' || c == '\\')
			return false;
		s += n;
	}
	return true;
}

void put_quoted(FILE *f, const char *s)
{
	uint32_t c = 0;

	if (plain(s)) {
		fputs(s, f);
		return;
	}
	fputc('"', f);
	while (*s) {
		size_t n = decode(s, &c);

		if (*s == '"' || *s == '\\')
			fprintf(f, "\\%c", *s);
		else if (*s == '\n' || *s == '\t')
			fputs(*s == '\n' ? "\\n" : "\\t", f);
		else if (n && !acts(c))
			fwrite(s, 1, n, f);
		else
			for (size_t i = 0; i < (n ? n : 1); i++)
				fprintf(f, "\\%03o", (unsigned char)s[i]);
		s += n ? n : 1;
	}
	fputc('"', f);
}

void put_json_string(FILE *f, const char *s)
{
	uint32_t c = 0;

	fputc('"', f);
	while (*s) {
		size_t n = decode(s, &c);

		if (*s == '"' || *s == '\\')
			fprintf(f, "\\%c", *s);
		else if (!n)
			fputs("\\ufffd", f);
		else if (c < 0x10000 && acts(c))
			fprintf(f, "\\u%04x", c);
		else
			fwrite(s, 1, n, f);
		s += n ? n : 1;
	}
	fputc('"', f);
}

/* ---- widths ---- */

size_t terminal_width(int fd)
{
	struct winsize ws;

	return ioctl(fd, TIOCGWINSZ, &ws) == 0 && ws.ws_col > 0 ? ws.ws_col : 80;
}

/* The bytes of the character at s, and its columns. */
static size_t measure(const char *s, size_t *columns)
{
	mbstate_t state = {0};
	wchar_t c;
	size_t n = mbrtowc(&c, s, MB_CUR_MAX, &state);
	int width = (ssize_t)n > 0 ? wcwidth(c) : 4; /* "\\xNN" */

	*columns = width > 0 ? (size_t)width : 0;
	return (ssize_t)n > 0 ? n : 1;
}

size_t text_width(const char *s)
{
	size_t width = 0, columns;

	while (*s) {
		s += measure(s, &columns);
		width += columns;
	}
	return width;
}

const char *text_more(void)
{
	return MB_CUR_MAX > 1 ? "\u2026" : "~";
}

char *text_cut(const char *s, size_t width)
{
	size_t at = 0, taken = 0;
	char *out;

	if (text_width(s) <= width)
		return strdup(s);
	while (s[at]) {
		size_t columns, bytes = measure(s + at, &columns);

		if (taken + columns >= width)
			break;
		at += bytes;
		taken += columns;
	}
	if (asprintf(&out, "%.*s%s", (int)at, s, text_more()) < 0)
		return NULL;
	return out;
}

void put_wrapped(FILE *f, const char *words, size_t at, size_t indent, size_t width)
{
	bool first = true; /* on its line */

	while (*words) {
		size_t bytes = strcspn(words, " "), columns = bytes;

		if (!first && at + 1 + columns > width) {
			fprintf(f, "\n%*s", (int)indent, "");
			at = indent;
			first = true;
		}
		fprintf(f, "%s%.*s", first ? "" : " ", (int)bytes, words);
		at += !first + columns;
		first = false;
		words += bytes + strspn(words + bytes, " ");
	}
	fputc('\n', f);
}

/* ---- numbers ---- */

const char *size_text(int64_t bytes, char out[SIZE_TEXT])
{
	static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
	double n = (double)bytes;
	int unit = 0;

	/* 1023.7 would be printed as 1024 */
	while (n >= 1023.5 && unit < 6) {
		n /= 1024;
		unit++;
	}
	snprintf(out, SIZE_TEXT, unit && n < 99.95 ? "%.1f %s" : "%.0f %s", n, units[unit]);
	return out;
}

const char *count_text(int64_t n, char out[SIZE_TEXT])
{
	char digits[SIZE_TEXT];
	int len = snprintf(digits, sizeof(digits), "%lld", (long long)n);
	char *p = out;

	for (int i = 0; i < len; i++) {
		if (i && (len - i) % 3 == 0 && digits[i - 1] != '-')
			*p++ = ',';
		*p++ = digits[i];
	}
	*p = '\0';
	return out;
}

const char *entries_text(int64_t n, char out[SIZE_TEXT])
{
	count_text(n, out);
	return strcat(out, n == 1 ? " entry" : " entries");
}

const char *seconds_text(double seconds, char out[SIZE_TEXT])
{
	long long s = seconds < 1e15 ? (long long)seconds : 0;

	if (seconds < 1)
		snprintf(out, SIZE_TEXT, "%.0f ms", seconds * 1000);
	else if (seconds < 60)
		snprintf(out, SIZE_TEXT, "%.1f s", seconds);
	else if (s < 3600)
		snprintf(out, SIZE_TEXT, "%lld:%02lld", s / 60, s % 60);
	else
		snprintf(out, SIZE_TEXT, "%lld:%02lld:%02lld", s / 3600, s / 60 % 60, s % 60);
	return out;
}

/* ---- times ---- */

/* "2026-11-22T03:00:05": date and clock, T, t or a blank between them. Where the clock, or its
 * seconds, are missing, it is the end of the day, or minute. What follows, or NULL. */
static const char *parse_clock(const char *s, struct tm *tm)
{
	struct tm day;
	int used = 0;

	*tm = (struct tm){.tm_hour = 23, .tm_min = 59, .tm_sec = 59};
	for (int i = 0; i < 10; i++) {
		if (i == 4 || i == 7 ? s[i] != '-' : !isdigit((unsigned char)s[i]))
			return NULL;
	}
	sscanf(s, "%4d-%2d-%2d%n", &tm->tm_year, &tm->tm_mon, &tm->tm_mday, &used);
	s += used;
	tm->tm_year -= 1900;
	tm->tm_mon -= 1;
	day = *tm;
	timegm(&day);
	if (day.tm_mon != tm->tm_mon) /* the 31st of November */
		return NULL;
	if (*s == 'T' || *s == 't' || *s == ' ') {
		used = 0;
		sscanf(s + 1, "%2d:%2d%n", &tm->tm_hour, &tm->tm_min, &used);
		if (used != 5)
			return NULL;
		s += 6;
		used = 0;
		sscanf(s, ":%2d%n", &tm->tm_sec, &used);
		s += used == 3 ? 3 : 0;
	}
	return tm->tm_hour > 23 || tm->tm_min > 59 || tm->tm_sec > 60 ? NULL : s;
}

const char *local_time(const char *text, char out[SIZE_TEXT])
{
	struct tm tm;
	const char *rest = text ? parse_clock(text, &tm) : NULL;
	time_t t;

	if (rest && *rest == '.')
		rest += 1 + strspn(rest + 1, "0123456789");
	if (!rest || strcmp(rest, "Z") != 0) {
		snprintf(out, SIZE_TEXT, "%s", text ? text : "");
		return out;
	}
	t = timegm(&tm);
	localtime_r(&t, &tm);
	strftime(out, SIZE_TEXT, "%Y-%m-%d %H:%M:%S", &tm);
	return out;
}

char *source_absolute(const char *source)
{
	const char *at = strchr(source, '@'), *rest;
	char fraction[16] = "", time_text[SIZE_TEXT];
	struct tm tm, utc;
	char *out;
	time_t t;

	rest = at ? parse_clock(at + 1, &tm) : NULL;
	if (rest && *rest == '.') {
		size_t len = 1 + strspn(rest + 1, "0123456789");

		if (len > 1 && len < sizeof(fraction)) {
			memcpy(fraction, rest, len);
			fraction[len] = '\0';
			rest += len;
		}
	}
	if (!rest || *rest || tm.tm_year < 70)
		return strdup(source); /* no time, or one with a zone, or one that fsd refuses */
	tm.tm_isdst = -1;
	t = mktime(&tm);
	gmtime_r(&t, &utc);
	strftime(time_text, sizeof(time_text), "%Y-%m-%dT%H:%M:%S", &utc);
	return asprintf(&out, "%.*s@%s%sZ", (int)(at - source), source, time_text, fraction) < 0 ?
		NULL :
		out;
}

/* ---- paths ---- */

/* Is ".." one of the components? */
static bool goes_up(const char *path)
{
	for (const char *p = path; (p = strstr(p, "..")); p += 2) {
		if ((p == path || p[-1] == '/') && (p[2] == '/' || p[2] == '\0'))
			return true;
	}
	return false;
}

/* Append the components of `path` but the empty ones and ".". */
static char *append_components(char *out, const char *path)
{
	while (*path) {
		size_t len = strcspn(path, "/");

		if (len && !(len == 1 && *path == '.')) {
			if (out[-1] != '/')
				*out++ = '/';
			memcpy(out, path, len);
			out += len;
		}
		path += len + (path[len] == '/');
	}
	*out = '\0';
	return out;
}

/* What ".." leads to only the file system knows. The last component stays as it is: it may not
 * exist yet, and a symlink is for fsd to judge. */
static char *resolve(const char *path)
{
	char *copy = strdup(path), *slash, *folder = NULL, *out = NULL;
	size_t len = strlen(path);

	while (copy && len > 1 && copy[len - 1] == '/')
		copy[--len] = '\0';
	slash = copy ? strrchr(copy, '/') : NULL;
	if (copy && (!slash || strcmp(slash, "/..") == 0 || strcmp(slash, "/.") == 0)) {
		out = realpath(copy, NULL);
	} else if (copy) {
		*slash = '\0';
		folder = realpath(copy, NULL);
		if (folder && asprintf(&out, "%s/%s", strcmp(folder, "/") == 0 ? "" : folder,
				      slash + 1) < 0)
			out = NULL;
	}
	free(folder);
	free(copy);
	return out;
}

char *path_absolute(const char *path)
{
	char cwd[PATH_MAX], *out;

	if (*path == '/')
		return strdup(path);
	if (goes_up(path))
		return resolve(path);
	if (!getcwd(cwd, sizeof(cwd)))
		return NULL;
	out = malloc(strlen(cwd) + strlen(path) + 2);
	if (out)
		append_components(stpcpy(out, cwd), path);
	return out;
}
