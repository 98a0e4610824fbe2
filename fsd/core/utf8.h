/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* UTF-8 as RFC 3629 has it: no overlong forms, no surrogates, nothing above U+10FFFF. */
#ifndef FSD_CORE_UTF8_H
#define FSD_CORE_UTF8_H

#include <stdbool.h>
#include <stddef.h>

/* Bytes of the character that `s` begins with, 1 to 4; 0 at the end and where there is none. */
size_t utf8_next(const char *s);
bool utf8_valid(const char *s);

#endif
