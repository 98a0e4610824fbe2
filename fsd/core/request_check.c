/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a value of each field may look like. Whether it makes sense today (the site exists, the
 * directory may be imported from) is decided by the operation.
 */
#include "fsd/core/request.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "fsd/core/id.h"
#include "fsd/core/utf8.h"
#include "snap/base/clock.h"
#include "snap/base/err.h"

#define NOTE_MAX 511  /* what the catalog keeps of one */
#define KEY_MAX 200   /* of an idempotency key, a label's key, a label's value */
#define TEXT_MAX 1024 /* of anything that has no limit of its own */

static int bad(enum field f, struct err *err, const char *fault)
{
	return err_set(err, EBADMSG, "bad_request", field_specs[f].name, "%s", fault);
}

/* ---- words and ranges ---- */

const char *field_words(enum field f)
{
	switch (f) {
	case F_MODE:
		return "copy move link";
	case F_METHOD:
		return "snapshot reflink hardlink copy";
	case F_IF_EXISTS:
		return "fail refresh";
	case F_STATE:
		return "queued running done failed canceled";
	case F_ONLY:
		return "code data config";
	default:
		return NULL;
	}
}

static int check_words(enum field f, const char *s, struct err *err)
{
	const char *words = field_words(f);
	size_t len = strlen(s);

	for (const char *w = words; *w; w += strcspn(w, " "), w += *w == ' ') {
		if (len && strncmp(w, s, len) == 0 && (w[len] == ' ' || w[len] == '\0'))
			return 0;
	}
	return err_set(err, EBADMSG, "bad_request", field_specs[f].name, "it is one of: %s", words);
}

bool field_range(enum field f, int64_t *min, int64_t *max)
{
	static const struct {
		enum field f;
		int64_t min, max;
	} ranges[] = {
		{F_GENERATION, 1, INT64_MAX},
		{F_LIMIT, 1, 1000},
		{F_AFTER, 0, INT64_MAX},
		{F_WAIT, 0, 60},
	};

	for (size_t i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++) {
		if (ranges[i].f == f) {
			*min = ranges[i].min;
			*max = ranges[i].max;
			return true;
		}
	}
	return false;
}

static int check_number(enum field f, int64_t n, struct err *err)
{
	int64_t min, max;

	if (!field_range(f, &min, &max) || (n >= min && n <= max))
		return 0;
	return err_set(err, EBADMSG, "bad_request", field_specs[f].name,
		"it is a number from %lld to %lld", (long long)min, (long long)max);
}

/* ---- strings ---- */

static int check_existing(const char *name, struct err *err)
{
	return name_valid(name) ? 0
				: err_set(err, EINVAL, "bad_name", name,
					  "nothing can have this name");
}

static int check_site(const char *name, struct err *err)
{
	struct source s;

	if (name_valid(name) || source_parse(name, &s, NULL) < 0)
		return check_existing(name, err);
	err_set(err, EINVAL, "bad_name", name,
		"a site's name is expected, not a snapshot or generation of it");
	err_hint(err, "the site is %s", s.site);
	return -EINVAL;
}

/* A snapshot's name, "latest" or a time: what may stand behind the '@' of a SOURCE. */
static int check_snapshot(const char *site, const char *name, struct err *err)
{
	char text[2 * NAME_SIZE + 2];
	struct source s;

	if (strlen(name) >= NAME_SIZE || !site)
		return check_existing(name, err);
	snprintf(text, sizeof(text), "%s@%s", site, name); /* fits: the site was checked before */
	return source_parse(text, &s, err);
}

static int check_expires(const char *s, struct err *err)
{
	int64_t ns;

	if (strcmp(s, "never") == 0 || duration_parse(s, &ns) == 0)
		return 0;
	return bad(F_EXPIRES, err, "it is a number with its unit (90s, 24h, 7d), or \"never\"");
}

static int check_dir(const char *s, struct err *err)
{
	if (s[0] != '/')
		return bad(F_DIR, err, "it is not an absolute path");
	return strlen(s) < PATH_MAX ? 0 : bad(F_DIR, err, "the path is too long");
}

/* "K" or "K=V". */
static int check_pair(enum field f, const char *s, struct err *err)
{
	size_t key = strcspn(s, "="), max = f == F_SET ? KEY_MAX + strlen("label.") : KEY_MAX;

	if (key == 0)
		return bad(f, err, "a key is empty");
	if (key > max)
		return bad(f, err, "a key has at most 200 bytes");
	if (s[key] && strlen(s + key + 1) > KEY_MAX)
		return bad(f, err, "a value has at most 200 bytes");
	return 0;
}

static int check_job(const char *s, struct err *err)
{
	int64_t id;

	if (job_id_parse(s, &id) == 0)
		return 0;
	err_set(err, EBADMSG, "bad_request", s, "this is not the id of a job");
	err_hint(err, "fsctl job list shows them");
	return -EBADMSG;
}

static int check_len(enum field f, const char *s, size_t max, struct err *err)
{
	if (*s == '\0')
		return bad(f, err, "it is empty");
	return strlen(s) <= max ? 0 : bad(f, err, "it is too long");
}

static int check_form(const struct request *r, enum field f, const char *s, struct err *err)
{
	struct source source;

	switch (f) {
	case F_SITE:
		return check_site(s, err);
	case F_POOL:
	case F_TAG:
		return check_existing(s, err);
	case F_NAME:
		return name_check(s, err);
	case F_SOURCE:
	case F_FROM:
	case F_A:
	case F_B:
		return source_parse(s, &source, err);
	case F_SNAPSHOT:
		return check_snapshot(request_str(r, F_SITE), s, err);
	case F_JOB:
		return check_job(s, err);
	case F_DIR:
		return check_dir(s, err);
	case F_EXPIRES:
		return check_expires(s, err);
	case F_LABEL:
		return check_pair(f, s, err);
	case F_MODE:
	case F_METHOD:
	case F_IF_EXISTS:
	case F_STATE:
		return check_words(f, s, err);
	case F_NOTE:
		return check_len(f, s, NOTE_MAX, err);
	case F_KEY:
		return check_len(f, s, KEY_MAX, err);
	default:
		return check_len(f, s, TEXT_MAX, err);
	}
}

static int check_word(const struct request *r, enum field f, const char *s, struct err *err)
{
	int ret = check_form(r, f, s, err);

	if (ret < 0 && err && *s == '\0') /* the object would be nothing */
		snprintf(err->object, sizeof(err->object), "%s", field_specs[f].name);
	return ret;
}

/* Paths are bytes; all other text is UTF-8 that can be shown on one line. */
static int check_text(enum field f, const char *s, struct err *err)
{
	if (f == F_DIR || f == F_PATHS)
		return 0;
	if (!utf8_valid(s))
		return bad(f, err, "it is not UTF-8");
	for (; *s; s++) {
		if ((unsigned char)*s < 0x20 || *s == 0x7f)
			return bad(f, err, "it has control characters");
	}
	return 0;
}

/* ---- lists ---- */

static int bad_path(const char *path, struct err *err)
{
	err_set(err, EBADMSG, "bad_request", "paths",
		"'%s' is not a relative path without empty parts, '.' and '..'", path);
	err_hint(err, "write it from the root of the tree, as in wp-content/uploads");
	return -EBADMSG;
}

static int check_path(const char *path, struct err *err)
{
	if (strlen(path) >= PATH_MAX)
		return bad(F_PATHS, err, "a path is too long");
	for (const char *s = path;;) {
		size_t len = strcspn(s, "/");

		if (len == 0 || strncmp(s, ".", len) == 0 ||
			(len == 2 && strncmp(s, "..", len) == 0))
			return bad_path(path, err);
		if (s[len] == '\0')
			return 0;
		s += len + 1;
	}
}

static int check_item(enum field f, const char *s, struct err *err)
{
	switch (f) {
	case F_PATHS:
		return check_path(s, err);
	case F_ONLY:
		return check_words(f, s, err);
	default:
		return check_pair(f, s, err);
	}
}

/* ---- requests ---- */

static int check_value(const struct request *r, enum field f, struct err *err)
{
	const struct request_value *v = &r->values[f];
	int ret = 0;

	switch (field_specs[f].type) {
	case T_STRING:
		ret = check_text(f, v->text, err);
		return ret < 0 ? ret : check_word(r, f, v->text, err);
	case T_BOOL:
		return 0;
	case T_INT:
		return check_number(f, v->number, err);
	case T_LIST:
	case T_MAP:
		for (size_t i = 0; ret == 0 && i < v->n; i++) {
			ret = check_text(f, v->items[i], err);
			if (ret == 0)
				ret = check_item(f, v->items[i], err);
		}
	}
	return ret;
}

int request_validate(const struct request *r, struct err *err)
{
	int ret = 0;

	if (r->op <= OP_NONE || r->op >= OP_COUNT)
		return err_set(err, EBADMSG, "bad_request", NULL,
			"nothing of this kind can be asked");
	if (r->actor.n_gids > REQUEST_GROUPS_MAX)
		return err_set(err, EBADMSG, "bad_request", NULL, "too many groups");
	for (int i = 0; i < OP_FIELDS_MAX && op_specs[r->op].fields[i]; i++) {
		unsigned spec = op_specs[r->op].fields[i];

		if ((spec & OP_REQUIRED) && !request_has(r, spec & ~OP_REQUIRED))
			return bad(spec & ~OP_REQUIRED, err, "it is missing");
	}
	for (int f = F_NONE + 1; ret == 0 && f < F_COUNT; f++) {
		if (!request_has(r, f))
			continue;
		ret = op_takes(r->op, f) ? check_value(r, f, err)
					 : bad(f, err, "it is not known here");
	}
	return ret;
}
