/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Hold and release: the holds of a snapshot, in its document and in the catalog (set.h). */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "fsd/core/json.h"
#include "fsd/op/common.h"
#include "fsd/op/ops.h"
#include "fsd/op/set.h"
#include "fsd/worker/meta.h"
#include "snap/base/err.h"
#include "snap/base/fd.h"

struct held_by {
	const char *tag;
	bool found, others;
};

static int look_for_tag(const struct cat_hold *h, void *arg)
{
	struct held_by *by = arg;

	*(strcmp(h->tag, by->tag) == 0 ? &by->found : &by->others) = true;
	return 0;
}

/* Who releases the wrong tag must not believe that the snapshot may be deleted now. */
static int require_held(struct fsd *f, const struct resolved *s, const char *tag, struct err *err)
{
	struct held_by by = {.tag = tag};
	char holder[JOB_ID_SIZE];
	int r = catalog_holds(f->catalog, s->snapshot.id, look_for_tag, &by, err);

	/* What waits for the snapshot may be about to hold it. */
	if (r < 0 || by.found || jobs_holds(f, "snapshot", s->snapshot.id, false, holder))
		return r;
	err_set(err, ENOENT, "not_found", s->text, "no hold of it has the tag %s", tag);
	err_hint(err, "fsctl snapshot show %s lists its holds", s->text);
	return -ENOENT;
}

static bool has_tag(const json_t *hold, const char *tag)
{
	const char *its = json_str_at(hold, "tag");

	return its && strcmp(its, tag) == 0;
}

/* The hold that this job changes, or null: a new reference. */
static json_t *hold_before(const struct job *job, const json_t *holds)
{
	json_t *hold;
	size_t i;

	json_array_foreach(holds, i, hold) {
		if (has_tag(hold, job_str(job, "tag")))
			return json_incref(hold);
	}
	return json_null();
}

static int refuse_many_holds(const struct job *job, const json_t *holds, const json_t *before,
	struct err *err)
{
	bool more = json_true_at(job->intent, "hold") && json_is_null(before);
	size_t n = json_array_size(holds);

	return set_refuse_many(job, "holds", n, n + more, err);
}

static int expect_hold(struct job *job, const struct resolved *s, struct err *err)
{
	_cleanup_fd_ int dir = resolve_open(s);
	json_t *doc, *holds;
	int r;

	if (dir < 0 || meta_load(dir, META_WRAPPER, s->snapshot.name, &doc, NULL) < 0)
		return 0;
	holds = json_object_get(doc, "holds");
	job_intend(job, "before", hold_before(job, holds));
	r = refuse_many_holds(job, holds, json_object_get(job->intent, "before"), err);
	json_decref(doc);
	return r;
}

/* Does the release, planned or done, leave the snapshot with nothing to keep it? */
static bool is_lost_snapshot(struct fsd *f, const struct job *job, const struct cat_snapshot *s,
	char text[SET_LOST_SIZE])
{
	struct held_by by = {.tag = job_str(job, "tag")};
	char word[CAT_NAME_SIZE], object[2 * CAT_NAME_SIZE];

	if (json_true_at(job->intent, "hold") ||
		catalog_holds(f->catalog, s->id, look_for_tag, &by, NULL) < 0 || by.others)
		return false;
	resolve_word(f->catalog, s, word);
	snprintf(object, sizeof(object), "%s@%s", word, s->name);
	return set_is_lost("snapshot", object, s->expires, text);
}

static int plan_hold(struct fsd *f, struct job *job, struct err *err)
{
	const char *tag = request_str(&job->request, F_TAG);
	bool hold = request_bool(&job->request, F_HOLD);
	char lost[SET_LOST_SIZE];
	struct resolved s;
	int r = set_plan_snapshot(f, job, &s, err);

	if (r < 0)
		return r;
	if (tag && (!*tag || strlen(tag) > SET_TEXT_MAX))
		return err_set(err, EINVAL, "bad_request", tag, "a tag has 1 to 200 bytes");
	tag = tag ? tag : "default";
	r = hold ? 0 : require_held(f, &s, tag, err);
	if (r < 0)
		return r;
	job_intend_str(job, "tag", tag);
	job_intend(job, "hold", json_boolean(hold));
	job_step(job, "%s %s (%s)", hold ? "hold" : "release", s.text, job_str(job, "tag"));
	if (is_lost_snapshot(f, job, &s.snapshot, lost))
		job_step(job, "%s", lost);
	return expect_hold(job, &s, err);
}

static void change_holds(struct job *job, json_t *holds)
{
	const char *tag = job_str(job, "tag"), *note = request_str(&job->request, F_NOTE);

	for (size_t i = json_array_size(holds); i-- > 0;) {
		if (has_tag(json_array_get(holds, i), tag))
			json_array_remove(holds, i);
	}
	if (json_true_at(job->intent, "hold"))
		json_array_append_new(holds, json_pack("{s:s,s:o,s:I}", "tag", tag, "reason",
			json_string(note ? note : ""), "created", (json_int_t)job->created));
}

static int run_hold(struct fsd *f, struct job *job, struct err *err)
{
	_cleanup_fd_ int dir = set_open_snapshot(job, err);
	char object[2 * CAT_NAME_SIZE];
	json_t *doc, *holds, *before;
	int r;

	if (dir < 0)
		return dir;
	r = meta_load(dir, META_WRAPPER, set_object(job, object), &doc, err);
	if (r < 0)
		return r;
	holds = json_deep_copy(json_object_get(doc, "holds"));
	json_decref(doc);
	if (!holds)
		holds = json_array();
	before = hold_before(job, holds);
	r = refuse_many_holds(job, holds, before, err);
	if (r == 0)
		r = set_note_before(f, job, before, err);
	else
		json_decref(before);
	if (r < 0) {
		json_decref(holds);
		return r;
	}
	change_holds(job, holds);
	return meta_change(dir, META_WRAPPER, object, "holds", holds, err);
}

/* Is it held as this job would hold it, or not held by this tag? */
static int committed_hold(struct fsd *f, struct job *job, struct err *err)
{
	_cleanup_fd_ int dir = layout_open_snapshot(job->pool, job->site_id, job_str(job, "name"));
	json_t *doc, *holds, *wanted;
	int r = op_doc_load(dir, META_WRAPPER, &doc);

	(void)f;
	(void)err;
	if (r != 1)
		return r;
	holds = json_object_get(doc, "holds");
	wanted = holds ? json_deep_copy(holds) : json_array();
	change_holds(job, wanted);
	r = json_equal(wanted, holds) || json_array_size(wanted) + json_array_size(holds) == 0;
	json_decref(wanted);
	json_decref(doc);
	return r;
}

static int record_hold(struct fsd *f, struct job *job, struct err *err)
{
	struct cat_snapshot s;
	char lost[SET_LOST_SIZE];
	int r = op_record_snapshot(f, job, err);

	if (r == 0)
		r = catalog_snapshot_get(f->catalog, job->site_id, job_str(job, "name"), &s, err);
	if (r == 0 && is_lost_snapshot(f, job, &s, lost))
		job_warn(job, "%s", lost);
	return r;
}

static int undo_hold(struct fsd *f, const struct cat_job *done, json_t *intent,
	struct request *request, struct err *err)
{
	json_t *before = json_object_get(intent, "before");
	const char *reason = json_str_at(before, "reason");

	(void)f;
	(void)err;
	request_init(request, OP_SNAPSHOT_HOLD);
	set_snapshot_source(done, intent, request);
	request_set_int(request, F_HOLD, json_is_object(before));
	if (reason && *reason)
		request_set_str(request, F_NOTE, reason);
	return request_set_str(request, F_TAG, json_str_at(intent, "tag"));
}

const struct op_kind op_snapshot_hold = {
	.op = OP_SNAPSHOT_HOLD,
	.priority = PRIO_RESTORE, /* a hold asked for before a deletion must come first */
	.plan = plan_hold,
	.run = run_hold,
	.committed = committed_hold,
	.record = record_hold,
	.undo = undo_hold,
};
