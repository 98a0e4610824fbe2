/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fsd/api/route.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "fsd/core/json.h"
#include "snap/base/err.h"

#define VALUE_MAX 4096

void route_release(struct route *r)
{
	request_release(&r->request);
	*r = ROUTE_INIT;
}

static int bad(struct err *err, const char *object, const char *fault)
{
	return err_set(err, EBADMSG, "bad_request", object, "%s", fault);
}

/* ---- percent-decoding: RFC 3986, and '+' is a space in a query as forms have it ---- */

static int hex(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static int decode(const char *s, size_t len, bool plus, char out[VALUE_MAX + 1])
{
	size_t n = 0;

	for (size_t i = 0; i < len; i++) {
		char c = plus && s[i] == '+' ? ' ' : s[i];

		if (c == '%') {
			int high = i + 2 < len ? hex(s[i + 1]) : -1;
			int low = high < 0 ? -1 : hex(s[i + 2]);

			if (low < 0 || (high | low) == 0)
				return -EBADMSG;
			c = high << 4 | low;
			i += 2;
		}
		if (n == VALUE_MAX)
			return -E2BIG;
		out[n++] = c;
	}
	out[n] = '\0';
	return 0;
}

static int decode_error(int r, struct err *err, const char *object)
{
	return bad(err, object, r == -E2BIG ? "it is too long" : "its percent-encoding is wrong");
}

/* ---- setting fields from text ---- */

static int number(const char *s, int64_t *out)
{
	int64_t n = 0;

	if (*s == '\0')
		return -EINVAL;
	for (; *s; s++) {
		if (*s < '0' || *s > '9' || __builtin_mul_overflow(n, 10, &n) ||
			__builtin_add_overflow(n, *s - '0', &n))
			return -EINVAL;
	}
	*out = n;
	return 0;
}

static int boolean(const char *s, int64_t *out)
{
	if (strcmp(s, "true") != 0 && strcmp(s, "false") != 0)
		return -EINVAL;
	*out = *s == 't';
	return 0;
}

static int set_text(struct request *r, enum field f, const char *text, struct err *err)
{
	const char *name = field_specs[f].name;
	int64_t n = 0;
	int ret;

	switch (field_specs[f].type) {
	case T_STRING:
		ret = request_set_str(r, f, text);
		break;
	case T_INT:
		if (number(text, &n) < 0)
			return bad(err, name, "it is not a whole number");
		ret = request_set_int(r, f, n);
		break;
	case T_BOOL:
		if (boolean(text, &n) < 0)
			return bad(err, name, "it is neither true nor false");
		ret = request_set_int(r, f, n);
		break;
	default:
		return bad(err, name, "it cannot stand in a query");
	}
	if (ret == -EEXIST)
		return bad(err, name, "it is given twice");
	return ret < 0 ? err_sys(err, -ret, "read the request", name) : 0;
}

static enum field field_by_name(const char *name, size_t len)
{
	for (int f = F_NONE + 1; f < F_COUNT; f++) {
		if (strlen(field_specs[f].name) == len &&
			strncmp(field_specs[f].name, name, len) == 0)
			return f;
	}
	return F_NONE;
}

/* ---- paths ---- */

/* Does the path (up to `len`) have the template's shape? Its words must be equal as they stand:
 * none of them has anything to encode. */
static bool matches(const char *template, const char *path, size_t len)
{
	const char *end = path + len;

	while (*template && path < end) {
		if (*template == '{') {
			size_t n = 0;

			while (path + n < end && path[n] != '/')
				n++;
			if (n == 0)
				return false;
			path += n;
			template = strchr(template, '}') + 1;
		} else if (*template++ != *path++) {
			return false;
		}
	}
	return *template == '\0' && path == end;
}

static int path_fields(struct request *r, const char *template, const char *path, size_t len,
	struct err *err)
{
	const char *end = path + len;
	char value[VALUE_MAX + 1];

	for (; *template; template++, path++) {
		size_t n = 0, name;
		enum field f;
		int ret;

		if (*template != '{')
			continue;
		while (path + n < end && path[n] != '/')
			n++;
		name = strcspn(++template, "}");
		f = field_by_name(template, name);
		ret = decode(path, n, false, value);
		if (ret < 0)
			return decode_error(ret, err, field_specs[f].name);
		ret = set_text(r, f, value, err);
		if (ret < 0)
			return ret;
		template += name;
		path += n - 1;
	}
	return 0;
}

/* ---- queries ---- */

/* A job's fields stand in its body; the query only says how long to wait. */
static bool in_query(const struct route *r, const char *template, enum field f)
{
	char name[40];

	if (r->jobs)
		return f == F_WAIT;
	if (f == F_NONE || !op_takes(r->request.op, f))
		return false;
	if (strlen(field_specs[f].name) + 3 > sizeof(name))
		return false;
	stpcpy(stpcpy(stpcpy(name, "{"), field_specs[f].name), "}");
	return !strstr(template, name);
}

static int query_pair(struct route *r, const char *template, const char *pair, size_t len,
	struct err *err)
{
	const char *eq = memchr(pair, '=', len);
	size_t name_len = eq ? (size_t)(eq - pair) : len;
	char name[VALUE_MAX + 1], value[VALUE_MAX + 1];
	enum field f;
	int ret = decode(pair, name_len, true, name);

	if (ret < 0)
		return decode_error(ret, err, "query");
	f = field_by_name(name, strlen(name));
	if (!in_query(r, template, f))
		return bad(err, name, "it is not known here");
	if (!eq)
		return bad(err, name, "it has no value");
	ret = decode(eq + 1, len - name_len - 1, true, value);
	if (ret < 0)
		return decode_error(ret, err, name);
	return set_text(&r->request, f, value, err);
}

static int query_fields(struct route *r, const char *template, const char *query, struct err *err)
{
	int ret = 0;

	while (ret == 0 && *query) {
		size_t len = strcspn(query, "&");

		ret = query_pair(r, template, query, len, err);
		query += len;
		if (*query == '&')
			query++;
	}
	return ret;
}

/* ---- routing ---- */

#define JOBS_PATH "/v1/jobs"

struct found {
	enum op get, post; /* OP_NONE: no such method */
	bool jobs;
	const char *template;
};

static struct found find(const char *path, size_t len)
{
	struct found out = {.jobs = len == strlen(JOBS_PATH) && strncmp(path, JOBS_PATH, len) == 0};

	if (out.jobs)
		out.template = JOBS_PATH;
	for (int op = OP_NONE + 1; op < OP_COUNT; op++) {
		if (!op_specs[op].path || !matches(op_specs[op].path, path, len))
			continue;
		out.template = op_specs[op].path;
		if (strcmp(op_specs[op].method, "GET") == 0)
			out.get = op;
		else
			out.post = op;
	}
	return out;
}

static const char *allow(const struct found *f)
{
	if (f->get && (f->post || f->jobs))
		return "GET, HEAD, POST";
	return f->get ? "GET, HEAD" : "POST";
}

int route_target(const char *method, const char *target, struct route *out, struct err *err)
{
	size_t len = strcspn(target, "?");
	struct found f;
	int ret;

	*out = ROUTE_INIT;
	if (target[0] != '/')
		return bad(err, NULL, "the target is not a path");
	f = find(target, len);
	if (!f.template)
		return err_set(err, ENOENT, "not_found", target, "there is nothing of this path");
	out->allow = allow(&f);
	out->body = strcmp(method, "POST") == 0 && (f.post || f.jobs);
	out->jobs = out->body && f.jobs;
	if (out->body)
		out->request.op = f.post;
	else if (strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0)
		out->request.op = f.get;
	if (!out->body && !out->request.op)
		return err_set(err, EOPNOTSUPP, "method_not_allowed", method, "this path takes: %s",
			out->allow);
	ret = path_fields(&out->request, f.template, target, len, err);
	if (ret == 0 && target[len])
		ret = query_fields(out, f.template, target + len + 1, err);
	return ret;
}

/* ---- bodies ---- */

/* "application/json", with any parameter but another charset. */
static bool is_json(const char *type)
{
	static const char json[] = "application/json";
	const char *rest = type ? type + strlen(json) : NULL;

	if (!type || strncasecmp(type, json, strlen(json)) != 0)
		return false;
	rest += strspn(rest, " \t");
	if (*rest == '\0')
		return true;
	if (*rest++ != ';')
		return false;
	rest += strspn(rest, " \t");
	return strcasecmp(rest, "charset=utf-8") == 0 || strcasecmp(rest, "charset=\"utf-8\"") == 0;
}

static int find_kind(struct route *r, const json_t *object, struct err *err)
{
	const json_t *kind = json_object_get(object, "kind");

	if (!kind)
		return bad(err, "kind", "it is missing");
	if (!json_is_string(kind))
		return bad(err, "kind", "it is not a string");
	r->request.op = op_by_kind(json_string_value(kind));
	return r->request.op ? 0 : bad(err, "kind", "there is no such kind of job");
}

static int from_object(struct route *r, const json_t *object, struct err *err)
{
	int ret = 0;

	if (!json_is_object(object))
		return bad(err, "body", "it is not a JSON object");
	if (r->jobs)
		ret = find_kind(r, object, err);
	else if (json_object_get(object, "kind"))
		ret = bad(err, "kind", "it is not known here");
	return ret < 0 ? ret : request_set_json(&r->request, object, err);
}

static int parse(struct route *r, const char *type, const char *body, size_t len, struct err *err)
{
	json_t *object = NULL;
	int ret;

	if (!is_json(type))
		return err_set(err, EINVAL, "bad_content_type", type,
			"the body must be application/json");
	ret = json_parse(body, len, "body", &object, err);
	if (ret == -EBADMSG && err)
		err->code = "bad_request"; /* here it is the client's fault */
	if (ret == 0)
		ret = from_object(r, object, err);
	json_decref(object);
	return ret;
}

int route_body(struct route *r, const char *type, const char *body, size_t len, struct err *err)
{
	int ret = 0;

	if (len && !r->body)
		return bad(err, "body", "this request takes none");
	if (len)
		ret = parse(r, type, body, len, err);
	else if (r->jobs)
		ret = bad(err, "body", "it is missing");
	return ret < 0 ? ret : request_validate(&r->request, err);
}
