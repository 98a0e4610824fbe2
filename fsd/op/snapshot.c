/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Snapshots: made in the site's own shape in staging, the rename into .fsd/snapshots/SITE-ID is
 * the commit point; deleted by one rename into the trash.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "fsd/core/json.h"
#include "fsd/op/common.h"
#include "fsd/op/ops.h"
#include "fsd/worker/housekeeping.h"
#include "fsd/worker/meta.h"
#include "fsd/worker/present.h"
#include "fsd/worker/reflect.h"
#include "fsd/worker/retired.h"
#include "fsd/worker/room.h"
#include "fsd/worker/step.h"
#include "snap/base/clock.h"
#include "snap/base/err.h"
#include "snap/base/fd.h"

/* ---- create ---- */

/* The time, and -2, -3... when two fall into one second. */
static void default_name(struct fsd *f, const struct job *job, char out[NAME_SIZE])
{
	char text[TIME_TEXT_SIZE];

	time_name(clock_real(), text);
	strcpy(out, text);
	for (int n = 2; !op_snapshot_name_free(f, job->pool, job->site_id, out); n++)
		snprintf(out, NAME_SIZE, "%s-%d", text, n);
}

static int choose_name(struct fsd *f, struct job *job, char out[NAME_SIZE], struct err *err)
{
	const char *wanted = request_str(&job->request, F_NAME);
	int r;

	if (!wanted) {
		default_name(f, job, out);
		return 0;
	}
	r = name_check(wanted, err);
	if (r < 0)
		return r;
	strcpy(out, wanted);
	if (op_snapshot_name_free(f, job->pool, job->site_id, wanted))
		return 0;
	err_set(err, EEXIST, "name_taken", wanted, "%s has a snapshot of this name",
		job->site_name);
	err_hint(err, "choose another, or delete it: fsctl snapshot delete %s@%s", job->site_name,
		wanted);
	return -EEXIST;
}

static int plan_create(struct fsd *f, struct job *job, struct err *err)
{
	char name[NAME_SIZE], key[2 * NAME_SIZE], id[ID_SIZE];
	struct cat_site site;
	int64_t expires;
	int r;

	r = op_plan_expires(request_str(&job->request, F_EXPIRES), &expires, err);
	if (r == 0)
		r = op_plan_site(f, job, request_str(&job->request, F_SITE), false, &site, err);
	if (r == 0)
		r = choose_name(f, job, name, err);
	if (r == 0)
		r = room_plan(f, job, err);
	if (r < 0)
		return r;
	snprintf(key, sizeof(key), "%s@%s", site.id, name);
	job_lock(job, "name", key, true);
	id_new(id);
	op_expect_copy(f, job, job->pool, &site, true);
	job_intend_str(job, "snapshot", id);
	job_intend_str(job, "name", name);
	job_intend_int(job, "expires", expires);
	job_step(job, "snapshot %s:%" PRId64 " as %s@%s by method %s", site.name, site.live,
		site.name, name, job->method);
	return 0;
}

/* The snapshot's own document, with the labels that the site has. */
static int store_meta(struct job *job, int site, int stage, int64_t generation, struct err *err)
{
	json_t *doc, *labels;
	int r = meta_load(site, META_SITE, job->site_name, &doc, err);

	if (r < 0)
		return r;
	labels = json_incref(json_object_get(doc, "labels"));
	if (!labels)
		labels = json_object();
	r = op_store_snapshot(job, stage, "user", generation, 0, labels, err);
	json_decref(labels);
	json_decref(doc);
	return r;
}

/* site.json and the generation's meta.json, of their own: people and disks change files in place. A
 * tree that is copied at once is copied by a commit of the file system. */
static int copy_documents(struct job *job, int site, int from, int stage, int wrapper, bool at_once,
	struct err *err)
{
	int r = meta_copy(from, wrapper, META_WRAPPER, at_once, job->site_name, err);

	if (r == 0)
		r = meta_copy(site, stage, META_SITE, at_once, job->site_name, err);
	step("snapshot.copied");
	return r;
}

static int build(struct job *job, int site, int stage, int from, int64_t live, struct err *err)
{
	_cleanup_fd_ int wrapper = layout_stage_generation(stage, live);
	const char *method, *consistency;
	bool at_once;
	int r;

	if (wrapper < 0)
		return err_sys(err, -wrapper, "stage", job->site_name);
	at_once = op_expect_method(job, job->pool, true);
	method = job->method;
	consistency = job->consistency;
	r = store_meta(job, site, stage, live, err);
	if (r == 0)
		r = copy_documents(job, site, from, stage, wrapper, at_once, err);
	if (r == 0 && (r = layout_stage_live_like(stage, live, from)) < 0)
		r = err_sys(err, -r, "link live", job->site_name);
	if (r == 0)
		r = op_copy_tree(job, job->pool, from, wrapper,
			POOL_COPY_READ_ONLY | POOL_COPY_LIVE, err);
	if (r == 0 && (method != job->method || consistency != job->consistency))
		r = store_meta(job, site, stage, live, err);
	if (r == 0 && (r = layout_stage_sync(stage, live)) < 0)
		r = err_sys(err, -r, "stage", job->site_name);
	return r;
}

static int run_create(struct fsd *f, struct job *job, struct err *err)
{
	_cleanup_fd_ int site = op_open_site(f, job, err);
	_cleanup_fd_ int stage = -1, from = -1;
	int64_t live;
	int r;

	if (site < 0)
		return site;
	from = layout_open_live(site, job->site_name, &live, err);
	if (from < 0)
		return from;
	stage = layout_stage(job->pool, job->id);
	if (stage < 0)
		return err_sys(err, -stage, "stage", job->site_name);
	r = build(job, site, stage, from, live, err);
	return r == 0 ? op_commit_snapshot(job, err) : r;
}

static int committed_create(struct fsd *f, struct job *job, struct err *err)
{
	(void)f;
	(void)err;
	return op_snapshot_committed(job);
}

const struct op_kind op_snapshot_create = {
	.op = OP_SNAPSHOT_CREATE,
	.priority = PRIO_SNAPSHOT,
	.plan = plan_create,
	.run = run_create,
	.committed = committed_create,
	.record = op_record_snapshot,
	.why_not = "delete the snapshot instead: fsctl snapshot delete",
};

/* ---- delete ---- */

struct tags {
	char text[256], one[CAT_NAME_SIZE];
	size_t len;
};

static int add_tag(const struct cat_hold *h, void *arg)
{
	struct tags *t = arg;
	int n = snprintf(t->text + t->len, sizeof(t->text) - t->len, "%s%s", t->len ? ", " : "",
		h->tag);

	strcpy(t->one, h->tag);
	if (n > 0 && t->len + (size_t)n < sizeof(t->text))
		t->len += (size_t)n;
	return 0;
}

static int refuse_held(struct fsd *f, const struct resolved *s, struct err *err)
{
	struct tags tags = {0};
	char holder[JOB_ID_SIZE];
	int r = catalog_holds(f->catalog, s->snapshot.id, add_tag, &tags, err);

	if (r < 0)
		return r;
	if (tags.len) {
		err_set(err, EBUSY, "held", s->text, "the snapshot is held: %s", tags.text);
		err_hint(err, "fsctl snapshot release %s --tag %s", s->text, tags.one);
		return -EBUSY;
	}
	if (jobs_holds(f, "snapshot", s->snapshot.id, true, holder)) {
		err_set(err, EBUSY, "has_dependents", s->text, "job %s needs it", holder);
		err_hint(err, "wait for it: fsctl job wait %s", holder);
		return -EBUSY;
	}
	return 0;
}

static int plan_delete(struct fsd *f, struct job *job, struct err *err)
{
	const char *text = request_str(&job->request, F_SOURCE);
	struct source source;
	struct resolved s;
	int r = source_parse(text, &source, err);

	if (r == 0 && source.kind != SOURCE_SNAPSHOT)
		return err_set(err, EINVAL, "bad_source", text,
			"only SITE@SNAPSHOT, the snapshot's own name, can be deleted");
	if (r == 0)
		r = resolve_source(f, f->catalog, text, &s, err);
	if (r == 0)
		r = refuse_held(f, &s, err);
	if (r == 0) /* and it stays so until it runs: nothing in front of it has the snapshot */
		r = op_require_expired(job, s.text, s.snapshot.expires, err);
	if (r < 0)
		return r;
	job->pool = s.pool;
	strcpy(job->site_id, s.snapshot.site);
	strcpy(job->site_name, s.site.name);
	job_lock(job, "snapshot", s.snapshot.id, true);
	job_intend_str(job, "snapshot", s.snapshot.id);
	job_intend_str(job, "name", s.snapshot.name);
	job_intend(job, "view", present_snapshot(f, f->catalog, &s.snapshot));
	job_step(job, "delete %s for good", s.text);
	snprintf(job->confirm, sizeof(job->confirm),
		"Delete the snapshot %.300s? This cannot be undone.", s.text);
	return 0;
}

static int run_delete(struct fsd *f, struct job *job, struct err *err)
{
	_cleanup_fd_ int folder = fd_open_dir(job->pool->snapshots, job->site_id);
	int r = 0;

	if (strcmp(job->actor, JOB_ACTOR_FSD) == 0)
		r = retired_look_again(f, job->pool, job_str(job, "snapshot"), &job->ctx, err);
	if (r < 0)
		return r;
	r = folder < 0 ? folder : layout_discard(job->pool, job->id, folder, job_str(job, "name"));
	return r < 0 ? err_sys(err, -r, "rename into trash", job_str(job, "name")) : 0;
}

static int committed_delete(struct fsd *f, struct job *job, struct err *err)
{
	_cleanup_fd_ int dir = layout_open_snapshot(job->pool, job->site_id, job_str(job, "name"));
	json_t *doc;
	int r;

	(void)f;
	(void)err;
	if (dir < 0)
		return dir == -ENOENT ? 1 : dir;
	r = op_doc_load(dir, META_WRAPPER, &doc);
	if (r != 1) /* what cannot be read stands all the same */
		return r;
	r = strcmp(json_str_at(doc, "id") ?: "", job_str(job, "snapshot")) != 0;
	json_decref(doc);
	return r;
}

static int finish_delete(struct fsd *f, struct job *job, struct err *err)
{
	(void)job;
	(void)err;
	housekeeping_wake(f);
	return 0;
}

static int record_delete(struct fsd *f, struct job *job, struct err *err)
{
	json_object_set(job->result, "snapshot", json_object_get(job->intent, "view"));
	return reflect_snapshot(f, job->pool, job->site_id, job_str(job, "name"), NULL, err);
}

const struct op_kind op_snapshot_delete = {
	.op = OP_SNAPSHOT_DELETE,
	.priority = PRIO_SNAPSHOT,
	.plan = plan_delete,
	.run = run_delete,
	.committed = committed_delete,
	.finish = finish_delete,
	.record = record_delete,
	.why_not = "a deleted snapshot is gone",
};
