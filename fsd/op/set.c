/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fsd/op/set.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fsd/core/json.h"
#include "fsd/op/common.h"
#include "fsd/op/ops.h"
#include "fsd/worker/meta.h"
#include "fsd/worker/present.h"
#include "fsd/worker/reflect.h"
#include "snap/base/clock.h"
#include "snap/base/err.h"
#include "snap/base/fd.h"

#define LABEL "label."
#define EACH_MAX 100 /* labels, and holds: documents stay far below META_SIZE_MAX */

/* ---- K=V to a change of the document ---- */

static int bad_value(const char *item, const char *what, struct err *err)
{
	return err_set(err, EINVAL, "bad_request", item, "%s", what);
}

static int plan_label(json_t *labels, const char *key, const char *value, const char *item,
	struct err *err)
{
	if (!*key || strlen(key) > SET_TEXT_MAX || (value && strlen(value) > SET_TEXT_MAX))
		return bad_value(item, "a label's key and value have 1 to 200 bytes", err);
	json_object_set_new(labels, key, value ? json_string(value) : json_null());
	return 0;
}

static int plan_expires(json_t *set, const char *value, struct err *err)
{
	int64_t when;
	int r = op_plan_expires(value, &when, err);

	if (r == 0)
		json_object_set_new(set, "expires", when ? json_integer(when) : json_null());
	return r;
}

static int plan_protected(json_t *set, const char *value, const char *item, struct err *err)
{
	if (!value || strcmp(value, "no") == 0)
		json_object_set_new(set, "protected", json_null());
	else if (strcmp(value, "yes") == 0)
		json_object_set_new(set, "protected", json_true());
	else
		return bad_value(item, "protected is yes or no", err);
	return 0;
}

/* One "K=V" or "K" into {"expires": ..., "protected": ..., "labels": {...}}; null removes. */
static int plan_item(struct job *job, json_t *set, const char *item, struct err *err)
{
	const char *eq = strchr(item, '='), *value = eq ? eq + 1 : NULL;
	size_t len = eq ? (size_t)(eq - item) : strlen(item);
	char key[SET_TEXT_MAX + 16];

	if (len >= sizeof(key))
		return bad_value(item, "the key is too long", err);
	memcpy(key, item, len);
	key[len] = '\0';
	if (strncmp(key, LABEL, strlen(LABEL)) == 0)
		return plan_label(json_object_get(set, "labels"), key + strlen(LABEL), value, item,
			err);
	if (strcmp(key, "expires") == 0)
		return plan_expires(set, value, err);
	if (strcmp(key, "protected") == 0 && job->request.op == OP_SITE_SET)
		return plan_protected(set, value, item, err);
	err_set(err, EINVAL, "bad_request", key, "there is no such property");
	err_hint(err, job->request.op == OP_SITE_SET ? "there are protected, expires and label.NAME"
						     : "there are expires and label.NAME");
	return -EINVAL;
}

/* An item without a value, as an undo has them, takes away: what that comes to. */
static void tell_item(struct job *job, const char *item)
{
	if (strchr(item, '='))
		job_step(job, "set %s", item);
	else if (strncmp(item, LABEL, strlen(LABEL)) == 0)
		job_step(job, "remove %s", item);
	else
		job_step(job, "set %s=%s", item, strcmp(item, "expires") == 0 ? "never" : "no");
}

static int plan_items(struct job *job, struct err *err)
{
	json_t *set = json_pack("{s:{}}", "labels");
	size_t n;
	char *const *items = request_list(&job->request, F_SET, &n);
	int r = n ? 0 : bad_value("set", "nothing to set", err);

	for (size_t i = 0; i < n && r == 0; i++) {
		r = plan_item(job, set, items[i], err);
		tell_item(job, items[i]);
	}
	job_intend(job, "set", set);
	return r;
}

/* ---- the document ---- */

static json_t *values_before(json_t *doc, json_t *set)
{
	json_t *before = json_pack("{s:{}}", "labels"), *v;
	json_t *labels = json_object_get(doc, "labels");
	const char *key;

	json_object_foreach(set, key, v) {
		json_t *old = json_object_get(doc, key);

		if (strcmp(key, "labels") != 0)
			json_object_set(before, key, old ? old : json_null());
	}
	json_object_foreach(json_object_get(set, "labels"), key, v) {
		json_t *old = json_object_get(labels, key);

		json_object_set(json_object_get(before, "labels"), key, old ? old : json_null());
	}
	return before;
}

static void put(json_t *object, const char *key, json_t *value)
{
	if (json_is_null(value))
		json_object_del(object, key);
	else
		json_object_set(object, key, value);
}

const char *set_object(const struct job *job, char out[2 * CAT_NAME_SIZE])
{
	bool site = job->request.op == OP_SITE_SET;

	snprintf(out, 2 * CAT_NAME_SIZE, "%s%s%s", job->site_name, site ? "" : "@",
		site ? "" : job_str(job, "name"));
	return out;
}

int set_refuse_many(const struct job *job, const char *what, size_t n, size_t after,
	struct err *err)
{
	char object[2 * CAT_NAME_SIZE];

	if (after <= EACH_MAX || after <= n)
		return 0;
	err_set(err, E2BIG, "too_large", set_object(job, object),
		"it would have %zu %s, and may have %d", after, what, EACH_MAX);
	err_hint(err, "take some away first: fsctl %s show %.200s lists them",
		job->request.op == OP_SITE_SET ? "site" : "snapshot", object);
	return -E2BIG;
}

static int refuse_many_labels(const struct job *job, json_t *doc, struct err *err)
{
	json_t *set = json_object_get(job->intent, "set"), *v;
	json_t *labels = json_object_get(doc, "labels");
	size_t n = json_object_size(labels), after = n;
	const char *key;

	json_object_foreach(json_object_get(set, "labels"), key, v) {
		if (json_is_null(v))
			after -= json_object_get(labels, key) != NULL;
		else
			after += json_object_get(labels, key) == NULL;
	}
	return set_refuse_many(job, "labels", n, after, err);
}

int set_note_before(struct fsd *f, struct job *job, json_t *before, struct err *err)
{
	if (!json_equal(before, json_object_get(job->intent, "before")))
		return job_note(f, job, "before", before, err);
	json_decref(before);
	return 0;
}

static int apply(struct fsd *f, int dirfd, const char *name, struct job *job, struct err *err)
{
	json_t *set = json_object_get(job->intent, "set"), *doc, *v;
	char object[2 * CAT_NAME_SIZE];
	const char *key;
	int r = meta_load(dirfd, name, set_object(job, object), &doc, err);

	if (r < 0)
		return r;
	r = refuse_many_labels(job, doc, err);
	if (r == 0)
		r = set_note_before(f, job, values_before(doc, set), err);
	if (r < 0) {
		json_decref(doc);
		return r;
	}
	if (!json_is_object(json_object_get(doc, "labels")))
		json_object_set_new(doc, "labels", json_object());
	json_object_foreach(set, key, v) {
		if (strcmp(key, "labels") != 0)
			put(doc, key, v);
	}
	json_object_foreach(json_object_get(set, "labels"), key, v)
		put(json_object_get(doc, "labels"), key, v);
	r = meta_store(dirfd, name, object, doc, err);
	json_decref(doc);
	if (r == 0 && (r = fd_sync(dirfd)) < 0)
		r = err_sys(err, -r, "fsync", object);
	return r;
}

static int expect_before(struct job *job, int dirfd, const char *name, struct err *err)
{
	json_t *doc;
	int r;

	if (dirfd < 0 || meta_load(dirfd, name, job->site_name, &doc, NULL) < 0)
		return 0;
	job_intend(job, "before", values_before(doc, json_object_get(job->intent, "set")));
	r = refuse_many_labels(job, doc, err);
	json_decref(doc);
	return r;
}

static int applied(int dirfd, const char *name, const struct job *job)
{
	json_t *set = json_object_get(job->intent, "set"), *doc, *now;
	int r = op_doc_load(dirfd, name, &doc);

	if (r != 1)
		return r;
	now = values_before(doc, set);
	r = json_equal(now, set);
	json_decref(now);
	json_decref(doc);
	return r;
}

/* ---- the result: what was set, from what to what ---- */

static json_t *shown(const char *key, json_t *value)
{
	if (strcmp(key, "protected") == 0)
		return json_string(json_is_true(value) ? "yes" : "no");
	if (strcmp(key, "expires") == 0)
		return json_time(json_integer_value(value));
	return json_is_string(value) ? json_incref(value) : json_null();
}

static void add_shown(json_t *list, const char *prefix, json_t *before, json_t *set)
{
	const char *key;
	json_t *v;

	json_object_foreach(set, key, v) {
		if (strcmp(key, "labels") != 0)
			json_array_append_new(list, json_pack("{s:o,s:o,s:o}", "key",
				json_sprintf("%s%s", prefix, key), "from",
				shown(key, json_object_get(before, key)), "to", shown(key, v)));
	}
}

static void put_settings(struct job *job)
{
	json_t *set = json_object_get(job->intent, "set"), *list = json_array();
	json_t *before = json_object_get(job->intent, "before");

	add_shown(list, "", before, set);
	add_shown(list, LABEL, json_object_get(before, "labels"), json_object_get(set, "labels"));
	json_object_set_new(job->result, "set", list);
}

/* ---- undo: set what was there before ---- */

static void add_setting(struct request *request, const char *prefix, const char *key, json_t *v)
{
	char item[2 * SET_TEXT_MAX + 32], text[32];
	const char *value = json_string_value(v);

	if (json_is_true(v))
		value = "yes";
	if (json_is_integer(v)) { /* expires: what is left of it */
		int64_t left = json_integer_value(v) - clock_real();

		snprintf(text, sizeof(text), "%" PRId64 "s", left / (int64_t)NSEC_PER_SEC + 1);
		value = text;
	}
	if (value)
		snprintf(item, sizeof(item), "%s%s=%s", prefix, key, value);
	else
		snprintf(item, sizeof(item), "%s%s", prefix, key);
	request_add(request, F_SET, item);
}

/* An undo that deletes, a snapshot even for good, is not what anybody means by it; and one that
 * left the time out would count as an undo of all. */
static int refuse_over(const struct cat_job *done, const char *noun, const char *object,
	json_t *before, struct err *err)
{
	int64_t expires = json_int_at(before, "expires");
	char when[TIME_TEXT_SIZE], job[JOB_ID_SIZE];

	if (!op_is_over(expires))
		return 0;
	err_set(err, EBUSY, "expired", object,
		"it was to expire at %s before, which is over: it would be deleted within a minute "
		"or so", time_format(expires, when));
	err_hint(err, "fsctl job show %s says what was there before, fsctl %s set %.100s KEY=VALUE "
		"sets it; if it is to go: fsctl %s delete %.100s", job_id_format(done->id, job),
		noun, object, noun, object);
	return -EBUSY;
}

static void add_settings(struct request *request, json_t *before)
{
	const char *key;
	json_t *v;

	json_object_foreach(before, key, v) {
		if (strcmp(key, "labels") != 0)
			add_setting(request, "", key, v);
	}
	json_object_foreach(json_object_get(before, "labels"), key, v)
		add_setting(request, LABEL, key, v);
}

/* ---- what was kept though its time was over ---- */

bool set_is_lost(const char *noun, const char *object, int64_t expires, char text[SET_LOST_SIZE])
{
	char when[TIME_TEXT_SIZE];

	snprintf(text, SET_LOST_SIZE,
		"it will be deleted within a minute or so: its time was over at %s; fsctl %s set "
		"%s expires=never keeps it", time_format(expires, when), noun, object);
	return op_is_over(expires);
}

/* Set as it will be, or (`set` is NULL) as it is. */
static bool is_lost_site(const struct cat_site *s, const json_t *set,
	char text[SET_LOST_SIZE])
{
	const json_t *protect = json_object_get(set, "protected");
	const json_t *expires = json_object_get(set, "expires");

	if (protect ? json_is_true(protect) : s->protect)
		return false;
	return set_is_lost("site", s->name, expires ? json_integer_value(expires) : s->expires,
		text);
}

/* ---- site set ---- */

static int plan_site(struct fsd *f, struct job *job, struct err *err)
{
	_cleanup_fd_ int dir = -1;
	char lost[SET_LOST_SIZE];
	struct cat_site site;
	int r = op_plan_site(f, job, request_str(&job->request, F_SITE), true, &site, err);

	if (r == 0)
		r = plan_items(job, err);
	if (r < 0)
		return r;
	if (is_lost_site(&site, json_object_get(job->intent, "set"), lost))
		job_step(job, "%s", lost);
	dir = layout_open_site(job->pool, site.name);
	return expect_before(job, dir, META_SITE, err);
}

static int run_site(struct fsd *f, struct job *job, struct err *err)
{
	_cleanup_fd_ int dir = op_open_site(f, job, err);

	return dir < 0 ? dir : apply(f, dir, META_SITE, job, err);
}

static int committed_site(struct fsd *f, struct job *job, struct err *err)
{
	_cleanup_fd_ int dir = op_open_site(f, job, err);

	return applied(dir, META_SITE, job);
}

static int record_site(struct fsd *f, struct job *job, struct err *err)
{
	struct cat_site site;
	char lost[SET_LOST_SIZE];
	int r = catalog_site_get(f->catalog, job->site_id, &site, err);

	put_settings(job);
	if (r == 0)
		r = op_record_site(f, job, site.name, &site, err);
	if (r == 0 && is_lost_site(&site, NULL, lost))
		job_warn(job, "%s", lost);
	return r;
}

static int undo_site(struct fsd *f, const struct cat_job *done, json_t *intent,
	struct request *request, struct err *err)
{
	json_t *before = json_object_get(intent, "before");
	int r = refuse_over(done, "site", done->site_name, before, err);

	(void)f;
	if (r < 0)
		return r;
	request_init(request, OP_SITE_SET);
	request_set_str(request, F_SITE, done->site);
	add_settings(request, before);
	return 0;
}

const struct op_kind op_site_set = {
	.op = OP_SITE_SET,
	.priority = PRIO_SNAPSHOT,
	.plan = plan_site,
	.run = run_site,
	.committed = committed_site,
	.record = record_site,
	.undo = undo_site,
};

/* ---- snapshot set ---- */

int set_plan_snapshot(struct fsd *f, struct job *job, struct resolved *s, struct err *err)
{
	int r = resolve_source(f, f->catalog, request_str(&job->request, F_SOURCE), s, err);

	if (r == 0 && s->kind != SOURCE_SNAPSHOT)
		r = err_set(err, EINVAL, "bad_source", request_str(&job->request, F_SOURCE),
			"this does not name a snapshot");
	if (r < 0)
		return r;
	job->pool = s->pool;
	strcpy(job->site_id, s->snapshot.site);
	strcpy(job->site_name, s->site.name);
	job_lock(job, "snapshot", s->snapshot.id, true);
	job_intend_str(job, "name", s->snapshot.name);
	return 0;
}

int set_open_snapshot(struct job *job, struct err *err)
{
	int fd = layout_open_snapshot(job->pool, job->site_id, job_str(job, "name"));

	return fd < 0 ? err_sys(err, -fd, "open snapshot", job_str(job, "name")) : fd;
}

static int plan_snapshot_set(struct fsd *f, struct job *job, struct err *err)
{
	_cleanup_fd_ int dir = -1;
	struct resolved s;
	int r = set_plan_snapshot(f, job, &s, err);

	if (r == 0)
		r = plan_items(job, err);
	if (r < 0)
		return r;
	dir = resolve_open(&s);
	return expect_before(job, dir, META_WRAPPER, err);
}

static int run_snapshot_set(struct fsd *f, struct job *job, struct err *err)
{
	_cleanup_fd_ int dir = set_open_snapshot(job, err);

	return dir < 0 ? dir : apply(f, dir, META_WRAPPER, job, err);
}

static int committed_snapshot_set(struct fsd *f, struct job *job, struct err *err)
{
	_cleanup_fd_ int dir = layout_open_snapshot(job->pool, job->site_id, job_str(job, "name"));

	(void)f;
	(void)err;
	return applied(dir, META_WRAPPER, job);
}

static void snapshot_text(const char *site, json_t *intent, char out[2 * CAT_NAME_SIZE])
{
	snprintf(out, 2 * CAT_NAME_SIZE, "%s@%s", site, json_str_at(intent, "name"));
}

void set_snapshot_source(const struct cat_job *done, json_t *intent, struct request *request)
{
	char source[2 * CAT_NAME_SIZE];

	snapshot_text(done->site, intent, source);
	request_set_str(request, F_SOURCE, source);
}

static int record_snapshot_set(struct fsd *f, struct job *job, struct err *err)
{
	put_settings(job);
	return op_record_snapshot(f, job, err);
}

static int undo_snapshot_set(struct fsd *f, const struct cat_job *done, json_t *intent,
	struct request *request, struct err *err)
{
	json_t *before = json_object_get(intent, "before");
	char object[2 * CAT_NAME_SIZE];
	int r;

	(void)f;
	snapshot_text(done->site_name, intent, object);
	r = refuse_over(done, "snapshot", object, before, err);
	if (r < 0)
		return r;
	request_init(request, OP_SNAPSHOT_SET);
	set_snapshot_source(done, intent, request);
	add_settings(request, before);
	return 0;
}

const struct op_kind op_snapshot_set = {
	.op = OP_SNAPSHOT_SET,
	.priority = PRIO_SNAPSHOT,
	.plan = plan_snapshot_set,
	.run = run_snapshot_set,
	.committed = committed_snapshot_set,
	.record = record_snapshot_set,
	.undo = undo_snapshot_set,
};
