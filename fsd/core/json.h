/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * JSON as the API writes it (jansson underneath).
 */
#ifndef FSD_CORE_JSON_H
#define FSD_CORE_JSON_H

#include <stdbool.h>
#include <stdint.h>

#include <jansson.h>

struct buf;
struct err;

/* Append the text of any value, without blanks. NULL (there was no memory) or no memory now makes
 * it the buffer's error. */
void json_add(struct buf *out, const json_t *v);

/*
 * A JSON string of any bytes. Valid UTF-8 without control of our own stands as it is. Bytes that
 * are not UTF-8 (JSON cannot carry them) make the string an escaped one: it begins with U+FFFD,
 * each offending byte is written \xNN and each backslash \\ (here as in C); a valid string that
 * itself begins with U+FFFD is escaped too, so the form is unambiguous. NULL without memory.
 */
json_t *json_text(const char *bytes);
/* The inverse, malloc'd. -EBADMSG or -ENOMEM. */
int json_text_decode(const char *text, char **bytes);

/* Prose: what is not UTF-8 (a name inside, a sentence that was cut) becomes U+FFFD; "" is null. */
json_t *json_prose(const char *s);

/* The member `key` of an object; 0, NULL, false: it is not there, of another type, or `o` is no
 * object. The string is the object's. */
static inline int64_t json_int_at(const json_t *o, const char *key)
{
	return json_integer_value(json_object_get(o, key));
}

static inline const char *json_str_at(const json_t *o, const char *key)
{
	return json_string_value(json_object_get(o, key));
}

static inline bool json_true_at(const json_t *o, const char *key)
{
	return json_is_true(json_object_get(o, key));
}

/* Times and sizes: RFC 3339 UTC, or null for 0. */
json_t *json_time(int64_t real_ns);

/* The problem object of an error (RFC 9457): code, title, object, reason, hint, status. */
json_t *json_problem(const struct err *err, int status);
/* The HTTP status that goes with an error's errno and code. */
int json_problem_status(const struct err *err);

/* Parse a document of the pools (site.json, meta.json): at most 1 MiB, depth 16, no duplicates. */
int json_parse(const char *text, size_t len, const char *object, json_t **out, struct err *err);

#endif
