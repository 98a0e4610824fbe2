/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fsd/worker/meta.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fsd/core/id.h"
#include "fsd/core/json.h"
#include "fsd/worker/step.h"
#include "snap/base/err.h"
#include "snap/base/fd.h"

static int not_json(int r, const char *name, const char *object, struct err *err)
{
	struct err e = ERR_INIT;

	if (!err)
		return r;
	e = *err;
	return err_set(err, e.num, e.code, object, "%s: %.200s", name, e.reason);
}

static int unreadable(int dirfd, const char *name, int r, struct err *err)
{
	char path[PATH_MAX];

	if (err && (r == -ENOENT || r == -EBADMSG || r == -EFBIG)) {
		fd_path(dirfd, name, path, sizeof(path));
		err_hint(err, "mend or put back %.300s, then fsctl pool scan", path);
	}
	return r;
}

int meta_load(int dirfd, const char *name, const char *object, json_t **doc, struct err *err)
{
	_cleanup_free_ char *text = NULL;
	size_t len;
	int r = fd_read_file(dirfd, name, META_SIZE_MAX, &text, &len);

	if (r < 0)
		return unreadable(dirfd, name, err_sys(err, -r, name, object), err);
	r = json_parse(text, len, name, doc, err);
	if (r < 0)
		return unreadable(dirfd, name, not_json(r, name, object, err), err);
	if (json_int_at(*doc, "format") > META_FORMAT) {
		json_decref(*doc);
		err_set(err, EPROTO, "newer_format", object, "%s was written by a newer fsd", name);
		err_hint(err, "start the fsd that wrote it");
		return -EPROTO;
	}
	return 0;
}

static int too_large(int dirfd, const char *name, size_t len, struct err *err)
{
	char path[PATH_MAX];

	fd_path(dirfd, name, path, sizeof(path));
	err_set(err, E2BIG, "too_large", path, "it would have %zu KiB, and may have %u", len >> 10,
		META_SIZE_MAX >> 10);
	err_hint(err, "nothing was changed; what makes it large are labels, holds or paths: take "
		"some away, or name fewer at once");
	return -E2BIG;
}

/* What of `object` it was, since the file's name alone tells nothing. */
static int failed(int r, const char *what, const char *name, const char *object, struct err *err)
{
	char op[64];

	snprintf(op, sizeof(op), "%s %s", what, name);
	return err_sys(err, -r, op, object);
}

int meta_store(int dirfd, const char *name, const char *object, json_t *doc, struct err *err)
{
	_cleanup_free_ char *text = json_dumps(doc, JSON_INDENT(1));
	size_t len = text ? strlen(text) : 0;
	int r;

	if (len > META_SIZE_MAX)
		return too_large(dirfd, name, len, err);
	r = text ? fd_write_file(dirfd, name, text, len, 0644) : -ENOMEM;
	step("meta.stored");
	return r < 0 ? failed(r, "write", name, object, err) : 0;
}

int meta_copy(int from, int to, const char *name, bool commit, const char *object,
	struct err *err)
{
	_cleanup_free_ char *text = NULL;
	size_t len;
	int r;

	if (commit && fd_clone_file(from, to, name, 0644) == 0)
		return 0;
	r = fd_read_file(from, name, META_SIZE_MAX, &text, &len);
	if (r == 0)
		r = fd_write_file(to, name, text, len, 0644);
	return r < 0 ? failed(r, "copy", name, object, err) : 0;
}

int meta_change(int dirfd, const char *name, const char *object, const char *key, json_t *value,
	struct err *err)
{
	json_t *doc;
	int r = meta_load(dirfd, name, object, &doc, err);

	if (r < 0) {
		json_decref(value);
		return r;
	}
	if (value)
		json_object_set_new(doc, key, value);
	else
		json_object_del(doc, key);
	r = meta_store(dirfd, name, object, doc, err);
	if (r == 0 && (r = fd_sync(dirfd)) < 0)
		err_sys(err, -r, "fsync", object);
	step("meta.synced");
	json_decref(doc);
	return r;
}

/* ---- fields: one table a document, both ways ---- */

enum meta_type { M_TEXT, M_INT, M_BOOL, M_JOB };

struct meta_field {
	const char *key;
	enum meta_type type;
	size_t offset, size;
	int required;
};

#define TEXT(rec, key, member, req) \
	{key, M_TEXT, offsetof(struct rec, member), sizeof(((struct rec *)0)->member), req}
#define INT(rec, key, member, req) {key, M_INT, offsetof(struct rec, member), 0, req}
#define BOOL(rec, key, member) {key, M_BOOL, offsetof(struct rec, member), 0, 0}
#define JOB(rec, key, member) {key, M_JOB, offsetof(struct rec, member), 0, 0}

static const struct meta_field site_fields[] = {
	TEXT(cat_site, "id", id, 1),
	INT(cat_site, "created", created, 1),
	INT(cat_site, "expires", expires, 0),
	BOOL(cat_site, "protected", protect),
	TEXT(cat_site, "linked", linked, 0),
	{0},
};

static const struct meta_field generation_fields[] = {
	INT(cat_generation, "number", number, 1),
	INT(cat_generation, "created", created, 1),
	TEXT(cat_generation, "method", method, 1),
	TEXT(cat_generation, "consistency", consistency, 1),
	TEXT(cat_generation, "origin", origin, 0),
	INT(cat_generation, "retired", retired, 0),
	JOB(cat_generation, "retired_by", retired_by),
	JOB(cat_generation, "job", job),
	{0},
};

static const struct meta_field snapshot_fields[] = {
	TEXT(cat_snapshot, "id", id, 1),
	TEXT(cat_snapshot, "site", site, 1),
	TEXT(cat_snapshot, "site_name", site_name, 1),
	TEXT(cat_snapshot, "name", name, 1),
	TEXT(cat_snapshot, "kind", kind, 1),
	INT(cat_snapshot, "time", created, 1),
	INT(cat_snapshot, "generation", generation, 1),
	TEXT(cat_snapshot, "method", method, 1),
	TEXT(cat_snapshot, "consistency", consistency, 1),
	INT(cat_snapshot, "gap_ns", gap_ns, 0),
	INT(cat_snapshot, "expires", expires, 0),
	JOB(cat_snapshot, "job", job),
	INT(cat_snapshot, "look", look, 0),
	{0},
};

static void field_write(json_t *doc, const struct meta_field *f, const char *at)
{
	char job[JOB_ID_SIZE];

	switch (f->type) {
	case M_TEXT:
		if (*at || f->required)
			json_object_set_new(doc, f->key, json_string(at));
		break;
	case M_INT:
		if (*(const int64_t *)at || f->required)
			json_object_set_new(doc, f->key, json_integer(*(const int64_t *)at));
		break;
	case M_BOOL:
		if (*(const int *)at)
			json_object_set_new(doc, f->key, json_true());
		break;
	case M_JOB:
		if (*(const int64_t *)at)
			json_object_set_new(doc, f->key,
				json_string(job_id_format(*(const int64_t *)at, job)));
		break;
	}
}

static json_t *doc_new(const void *rec, const struct meta_field *fields)
{
	json_t *doc = json_pack("{s:i}", "format", META_FORMAT);

	for (const struct meta_field *f = fields; doc && f->key; f++)
		field_write(doc, f, (const char *)rec + f->offset);
	return doc;
}

static int field_read(json_t *v, const struct meta_field *f, char *at)
{
	switch (f->type) {
	case M_TEXT:
		if (!json_is_string(v) || json_string_length(v) >= f->size)
			return -EBADMSG;
		memcpy(at, json_string_value(v), json_string_length(v) + 1);
		return 0;
	case M_INT:
		if (!json_is_integer(v))
			return -EBADMSG;
		*(int64_t *)at = json_integer_value(v);
		return 0;
	case M_BOOL:
		if (!json_is_boolean(v))
			return -EBADMSG;
		*(int *)at = json_is_true(v);
		return 0;
	case M_JOB:
		return json_is_string(v) && job_id_parse(json_string_value(v), (int64_t *)at) == 0
			? 0
			: -EBADMSG;
	}
	return -EBADMSG;
}

static void field_clear(const struct meta_field *f, char *at)
{
	if (f->type == M_TEXT)
		*at = '\0';
	else if (f->type == M_BOOL)
		*(int *)at = 0;
	else
		*(int64_t *)at = 0;
}

static int doc_read(json_t *doc, const char *object, void *rec, const struct meta_field *fields,
	struct err *err)
{
	for (const struct meta_field *f = fields; f->key; f++) {
		json_t *v = json_object_get(doc, f->key);
		char *at = (char *)rec + f->offset;

		if (!v && !f->required)
			field_clear(f, at);
		else if (!v || field_read(v, f, at) < 0)
			return err_set(err, EBADMSG, "bad_meta", object, "\"%s\" is %s", f->key,
				v ? "not of its type" : "missing");
	}
	return 0;
}

json_t *meta_site_new(const struct cat_site *s, json_t *labels)
{
	json_t *doc = doc_new(s, site_fields);

	json_object_set(doc, "labels", labels);
	return doc;
}

json_t *meta_generation_new(const struct cat_generation *g)
{
	return doc_new(g, generation_fields);
}

json_t *meta_snapshot_new(const struct cat_snapshot *s, json_t *labels)
{
	json_t *doc = doc_new(s, snapshot_fields);

	json_object_set(doc, "labels", labels);
	return doc;
}

int meta_site(json_t *doc, const char *object, struct cat_site *s, struct err *err)
{
	int r = doc_read(doc, object, s, site_fields, err);

	if (r == 0 && !id_valid(s->id))
		r = err_set(err, EBADMSG, "bad_meta", object, "\"id\" is not an id");
	return r;
}

int meta_generation(json_t *doc, const char *object, struct cat_generation *g, struct err *err)
{
	return doc_read(doc, object, g, generation_fields, err);
}

int meta_snapshot(json_t *doc, const char *object, struct cat_snapshot *s, struct err *err)
{
	int r = doc_read(doc, object, s, snapshot_fields, err);

	if (r == 0 && (!id_valid(s->id) || !id_valid(s->site)))
		r = err_set(err, EBADMSG, "bad_meta", object, "an id is not an id");
	return r;
}
