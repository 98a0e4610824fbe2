/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fsd/core/utf8.h"

/* The lengths and the bounds of the second byte: table 3-7 of the Unicode standard. */
static size_t lead(unsigned char c, unsigned char *low, unsigned char *high)
{
	*low = c == 0xe0 ? 0xa0 : c == 0xf0 ? 0x90 : 0x80;
	*high = c == 0xed ? 0x9f : c == 0xf4 ? 0x8f : 0xbf;
	if (c < 0x80)
		return c != 0;
	if (c < 0xc2 || c > 0xf4)
		return 0;
	return c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
}

size_t utf8_next(const char *s)
{
	const unsigned char *u = (const unsigned char *)s;
	unsigned char low, high;
	size_t len = lead(u[0], &low, &high);

	for (size_t i = 1; i < len; i++) {
		if (u[i] < (i == 1 ? low : 0x80) || u[i] > (i == 1 ? high : 0xbf))
			return 0;
	}
	return len;
}

bool utf8_valid(const char *s)
{
	for (size_t len; (len = utf8_next(s)) > 0; s += len)
		;
	return *s == '\0';
}
