/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Texts for people. Whatever comes from outside is escaped before it is printed: control and
 * formatting characters as \xNN or \uNNNN, so that no name or path can drive a terminal.
 */
#ifndef FSCTL_TEXT_H
#define FSCTL_TEXT_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* Without anything that acts on a terminal. */
void put_safe(FILE *f, const char *s);
/* The same, malloc'd; NULL without memory. */
char *safe_text(const char *s);
/* A path in a line of its own: as it is, or as a C string in double quotes where it holds anything
 * but plain characters. */
void put_quoted(FILE *f, const char *bytes);
/* A JSON string. Bytes that are not UTF-8 become U+FFFD. */
void put_json_string(FILE *f, const char *s);

/* Columns of the terminal on `fd`; 80 where there is none. */
size_t terminal_width(int fd);
/* Columns that a text takes, by the locale; control characters are not in it. */
size_t text_width(const char *s);
/* One column: something was left out. */
const char *text_more(void);
/* The text, or what of it takes one column less than `width` and a mark that it was cut: what looks
 * like a path must not be another one. malloc'd; NULL without memory. */
char *text_cut(const char *s, size_t width);
/* Words, broken into lines that end before column `width`; the first line begins at column `at`,
 * the others are indented by `indent`. Ends the last line. */
void put_wrapped(FILE *f, const char *words, size_t at, size_t indent, size_t width);

#define SIZE_TEXT 40
/* "1.2 GiB": powers of 1024, as everywhere in fsd. */
const char *size_text(int64_t bytes, char out[SIZE_TEXT]);
/* "12,345" */
const char *count_text(int64_t n, char out[SIZE_TEXT]);
/* "1 entry", "12,345 entries" */
const char *entries_text(int64_t n, char out[SIZE_TEXT]);
/* "3 ms", "1.2 s", "2:05", "1:02:05" */
const char *seconds_text(double seconds, char out[SIZE_TEXT]);
/* RFC 3339 in UTC as the local "2026-11-22 03:00:05"; what is no such time stays as it is. */
const char *local_time(const char *rfc3339, char out[SIZE_TEXT]);

/*
 * SITE@TIME where TIME has no zone: with the time made absolute by this machine's zone, to the last
 * second of a day or minute; everything else as it is. malloc'd; NULL without memory.
 */
char *source_absolute(const char *source);
/* A relative path made absolute by the working directory, symlinks left alone. malloc'd; NULL with
 * errno. */
char *path_absolute(const char *path);

#endif
