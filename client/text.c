/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Texts on their way: bytes that are not UTF-8 in JSON (docs/api.md: a leading U+FFFD, then \xNN
 * and \\), and percent-encoding in paths of the API (RFC 3986).
 */
#include "client/internal.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MARK "\xef\xbf\xbd" /* U+FFFD */

static bool tail(const unsigned char *s, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return false;
	}
	return true;
}

/* Bytes of the character at s, 0 where it is not UTF-8 (overlong forms, surrogates and values
 * beyond U+10FFFF included). */
static size_t utf8_len(const unsigned char *s)
{
	if (*s < 0x80)
		return 1;
	if (*s >= 0xc2 && *s <= 0xdf)
		return tail(s + 1, 1) ? 2 : 0;
	if ((*s & 0xf0) == 0xe0) {
		if ((*s == 0xe0 && s[1] < 0xa0) || (*s == 0xed && s[1] > 0x9f))
			return 0;
		return tail(s + 1, 2) ? 3 : 0;
	}
	if (*s >= 0xf0 && *s <= 0xf4) {
		if ((*s == 0xf0 && s[1] < 0x90) || (*s == 0xf4 && s[1] > 0x8f))
			return 0;
		return tail(s + 1, 3) ? 4 : 0;
	}
	return 0;
}

static bool is_plain(const char *bytes)
{
	const unsigned char *s = (const unsigned char *)bytes;

	if (strncmp(bytes, MARK, 3) == 0)
		return false;
	while (*s) {
		size_t n = utf8_len(s);

		if (!n)
			return false;
		s += n;
	}
	return true;
}

char *fsc_text_encode(const char *bytes)
{
	const unsigned char *s = (const unsigned char *)bytes;
	char *out, *p;

	if (is_plain(bytes))
		return strdup(bytes);
	out = malloc(strlen(bytes) * 4 + 4);
	if (!out)
		return NULL;
	p = stpcpy(out, MARK);
	while (*s) {
		size_t n = utf8_len(s);

		if (!n) {
			p += snprintf(p, 5, "\\x%02x", *s++);
		} else if (*s == '\\') {
			p = stpcpy(p, "\\\\");
			s++;
		} else {
			memcpy(p, s, n);
			p += n;
			s += n;
		}
	}
	*p = '\0';
	return out;
}

static int hex(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = (char)tolower((unsigned char)c);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* What is not a proper escape stands for itself; so does \x00, which no name can hold. */
char *fsc_text_decode(const char *text)
{
	char *out = malloc(strlen(text) + 1), *p = out;

	if (!out)
		return NULL;
	if (strncmp(text, MARK, 3) != 0)
		return memcpy(out, text, strlen(text) + 1);
	for (text += 3; *text;) {
		if (text[0] == '\\' && text[1] == '\\') {
			*p++ = '\\';
			text += 2;
		} else if (text[0] == '\\' && text[1] == 'x' && hex(text[2]) >= 0 &&
			hex(text[3]) >= 0 && hex(text[2]) + hex(text[3]) > 0) {
			*p++ = (char)(hex(text[2]) * 16 + hex(text[3]));
			text += 4;
		} else {
			*p++ = *text++;
		}
	}
	*p = '\0';
	return out;
}

static char *put_percent(char *p, const char *s)
{
	static const char digits[] = "0123456789ABCDEF";

	for (; *s; s++) {
		unsigned char c = (unsigned char)*s;

		if (isalnum(c) || strchr("-._~", c)) {
			*p++ = (char)c;
			continue;
		}
		*p++ = '%';
		*p++ = digits[c >> 4];
		*p++ = digits[c & 15];
	}
	*p = '\0';
	return p;
}

/* One pass to measure (p NULL), one to write. -1: a conversion that is not offered. */
static ssize_t format(char *p, const char *fmt, va_list ap)
{
	char number[32];
	size_t len = 0;

	for (; *fmt; fmt++) {
		const char *piece = number;
		bool encode = false;

		number[0] = *fmt;
		number[1] = '\0';
		if (*fmt == '%') {
			fmt++;
			if (*fmt == 's') {
				piece = va_arg(ap, const char *);
				encode = true;
			} else if (*fmt == 'd') {
				snprintf(number, sizeof(number), "%d", va_arg(ap, int));
			} else if (strncmp(fmt, "lld", 3) == 0) {
				snprintf(number, sizeof(number), "%lld", va_arg(ap, long long));
				fmt += 2;
			} else if (*fmt != '%') {
				return -1;
			}
		}
		len += strlen(piece) * (encode ? 3 : 1);
		if (p)
			p = encode ? put_percent(p, piece) : stpcpy(p, piece);
	}
	return (ssize_t)len;
}

char *fsc_path(const char *fmt, ...)
{
	char *out = NULL;
	ssize_t len;
	va_list ap;

	va_start(ap, fmt);
	len = format(NULL, fmt, ap);
	va_end(ap);
	if (len >= 0)
		out = malloc((size_t)len + 1);
	if (!out)
		return NULL;
	*out = '\0';
	va_start(ap, fmt);
	format(out, fmt, ap);
	va_end(ap);
	return out;
}

int fsc_path_add(char **path, const char *key, const char *value)
{
	size_t len = strlen(*path);
	char *p;

	if (!value)
		return 0;
	p = realloc(*path, len + strlen(key) * 3 + strlen(value) * 3 + 3);
	if (!p)
		return -ENOMEM;
	*path = p;
	p[len] = strchr(p, '?') ? '&' : '?';
	p = put_percent(p + len + 1, key);
	*p++ = '=';
	put_percent(p, value);
	return 0;
}
