/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * INI text, strictly: "[section]", "key = value", comments (# or ;) on lines of their own, blanks
 * around everything ignored. No quotes, escapes, continuation lines or inline comments: a value is
 * what stands behind the first "=". Meaning is left to the caller.
 */
#ifndef FSD_CORE_INI_H
#define FSD_CORE_INI_H

#include <stddef.h>

/* `key` NULL: the section begins. The texts are borrowed for the call. Other than 0 ends the
 * reading and is its result. */
typedef int ini_fn(void *arg, const char *section, const char *key, const char *value);

/*
 * Read `len` bytes of text. *line is the line being read (from 1), also within `fn`. 0, what `fn`
 * answered, -ENOMEM, or -EINVAL with *why, static storage, when the text is not INI.
 */
int ini_read(const char *text, size_t len, ini_fn *fn, void *arg, unsigned *line, const char **why);

#endif
