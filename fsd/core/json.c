/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fsd/core/json.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fsd/core/utf8.h"
#include "snap/base/buf.h"
#include "snap/base/clock.h"
#include "snap/base/err.h"
#include "snap/base/fd.h"

#define MARK "\xef\xbf\xbd" /* U+FFFD */
#define MARK_LEN 3

/* ---- writing ---- */

static int add_piece(const char *text, size_t len, void *arg)
{
	buf_add(arg, text, len);
	return buf_error(arg);
}

void json_add(struct buf *out, const json_t *v)
{
	/* All values are made by us: what cannot be written was cut short for want of memory. */
	if (json_dump_callback(v, add_piece, out, JSON_COMPACT | JSON_ENCODE_ANY) < 0)
		out->error = -ENOMEM;
}

/* ---- text ---- */

json_t *json_text(const char *bytes)
{
	_cleanup_buf_ struct buf out = BUF_INIT;
	const char *s = bytes;

	if (strncmp(s, MARK, MARK_LEN) != 0 && utf8_valid(s))
		return json_string(s);
	buf_adds(&out, MARK);
	while (*s) {
		size_t len = utf8_next(s);

		if (len == 0)
			buf_printf(&out, "\\x%02x", (unsigned char)*s++);
		else if (*s == '\\')
			buf_adds(&out, "\\\\"), s++;
		else
			buf_add(&out, s, len), s += len;
	}
	return buf_error(&out) < 0 ? NULL : json_stringn(buf_str(&out), out.len);
}

static int hex(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* One "\\" or "\xNN" at *s; only bytes that cannot stand for themselves may be written so. */
static int unescape(const char **s, struct buf *out)
{
	int high, low;
	char c;

	if ((*s)[1] == '\\') {
		buf_add(out, "\\", 1);
		*s += 2;
		return 0;
	}
	if ((*s)[1] != 'x')
		return -EBADMSG;
	high = hex((*s)[2]);
	low = high < 0 ? -1 : hex((*s)[3]);
	if (high < 8 || low < 0)
		return -EBADMSG;
	c = high << 4 | low;
	buf_add(out, &c, 1);
	*s += 4;
	return 0;
}

int json_text_decode(const char *text, char **bytes)
{
	_cleanup_buf_ struct buf out = BUF_INIT;
	bool escaped = strncmp(text, MARK, MARK_LEN) == 0;
	const char *s = escaped ? text + MARK_LEN : text;
	char *data;

	while (*s) {
		if (escaped && *s == '\\') {
			if (unescape(&s, &out) < 0)
				return -EBADMSG;
		} else {
			buf_add(&out, s++, 1);
		}
	}
	data = buf_steal(&out);
	if (!data)
		return -ENOMEM;
	*bytes = data;
	return 0;
}

json_t *json_time(int64_t real_ns)
{
	char text[TIME_TEXT_SIZE];

	return real_ns ? json_string(time_format(real_ns, text)) : json_null();
}

/* ---- problems ---- */

static const struct {
	const char *code;
	int status;
} statuses[] = {
	{"bad_name", 400},
	{"bad_request", 400},
	{"bad_source", 400},
	{"reserved_name", 400},
	{"denied", 403},
	{"forbidden", 403},
	{"not_found", 404},
	{"method_not_allowed", 405},
	{"busy", 409},
	{"exists", 409},
	{"has_dependents", 409},
	{"held", 409},
	{"job_ended", 409},
	{"key_reused", 409},
	{"name_taken", 409},
	{"nested_filesystem", 409},
	{"protected", 409},
	{"too_large", 413},
	{"bad_content_type", 415},
	{"confirmation_needed", 428},
	{"too_many", 429},
	{"io_error", 500},
	{"read_only", 500},
	{"not_implemented", 501},
	{"catalog_locked", 503},
	{"no_memory", 503},
	{"pool_not_configured", 503},
	{"pool_offline", 503},
	{"starting", 503},
	{"worker_silent", 503},
	{"below_min_free", 507},
	{"no_space", 507},
};

/* For codes that the table does not name. */
static int status_of_errno(int num)
{
	switch (num) {
	case EINVAL:
	case ENAMETOOLONG:
	case ERANGE:
		return 400;
	case EACCES:
	case EPERM:
		return 403;
	case ENOENT:
		return 404;
	case EBUSY:
	case EEXIST:
	case ENOTEMPTY:
	case EOPNOTSUPP:
		return 409;
	case E2BIG:
	case EFBIG:
	case EMSGSIZE:
		return 413;
	case EAGAIN:
	case ENOMEM:
	case ETIMEDOUT:
		return 503;
	case ENOSPC:
	case EDQUOT:
		return 507;
	default:
		return 500;
	}
}

int json_problem_status(const struct err *err)
{
	for (size_t i = 0; err->code && i < sizeof(statuses) / sizeof(statuses[0]); i++) {
		if (strcmp(statuses[i].code, err->code) == 0)
			return statuses[i].status;
	}
	return status_of_errno(err->num);
}

/* "name_taken" is "Name taken" to people. */
static json_t *title(const char *code)
{
	char text[64];

	snprintf(text, sizeof(text), "%s", code);
	for (char *s = text; *s; s++) {
		if (*s == '_')
			*s = ' ';
	}
	if (text[0] >= 'a' && text[0] <= 'z')
		text[0] += 'A' - 'a';
	return json_string(text);
}

json_t *json_prose(const char *s)
{
	_cleanup_buf_ struct buf out = BUF_INIT;

	if (*s == '\0')
		return json_null();
	while (*s) {
		size_t len = utf8_next(s);

		if (len == 0)
			buf_adds(&out, MARK), s++;
		else
			buf_add(&out, s, len), s += len;
	}
	return buf_error(&out) < 0 ? NULL : json_stringn(buf_str(&out), out.len);
}

json_t *json_problem(const struct err *err, int status)
{
	const char *code = err->code ? err->code : "io_error";

	return json_pack("{s:s, s:o, s:i, s:o, s:o, s:o}", "code", code, "title", title(code),
		"status", status, "object", err->object[0] ? json_text(err->object) : json_null(),
		"reason", json_prose(err->reason), "hint", json_prose(err->hint));
}

/* ---- parsing ---- */

#define DOCUMENT_MAX (1u << 20)
#define DEPTH_MAX 16

/* jansson recurses for each level and allows 2,048 of them: refuse before it starts. */
static bool too_deep(const char *text, size_t len)
{
	unsigned depth = 0;
	bool string = false;

	for (size_t i = 0; i < len; i++) {
		if (string) {
			if (text[i] == '\\')
				i++;
			else if (text[i] == '"')
				string = false;
		} else if (text[i] == '"') {
			string = true;
		} else if (text[i] == '{' || text[i] == '[') {
			if (++depth > DEPTH_MAX)
				return true;
		} else if (text[i] == '}' || text[i] == ']') {
			depth -= depth > 0;
		}
	}
	return false;
}

int json_parse(const char *text, size_t len, const char *object, json_t **out, struct err *err)
{
	json_error_t e;
	json_t *root;

	if (len > DOCUMENT_MAX)
		return err_set(err, EFBIG, "too_large", object, "JSON of more than 1 MiB");
	if (too_deep(text, len))
		return err_set(err, EBADMSG, "bad_json", object,
			"JSON nested deeper than %d levels", DEPTH_MAX);
	root = json_loadb(text, len, JSON_REJECT_DUPLICATES, &e);
	if (!root && json_error_code(&e) == json_error_out_of_memory)
		return err_sys(err, ENOMEM, "parse JSON", object);
	if (!root)
		return err_set(err, EBADMSG, "bad_json", object, "line %d, column %d: %s", e.line,
			e.column, json_error_code(&e) == json_error_null_character
				? "a string holds a NUL byte" : e.text);
	*out = root;
	return 0;
}
