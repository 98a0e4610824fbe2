/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fsd/op/publish.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fsd/op/ops.h"
#include "fsd/worker/housekeeping.h"
#include "fsd/worker/meta.h"
#include "snap/base/err.h"
#include "snap/base/fd.h"
#include "snap/settle.h"

/* ---- shared steps ---- */

/* meta.json of gen/N: set or clear the mark "retired by". */
static int mark(struct job *job, int site, int64_t number, bool retired, struct err *err)
{
	_cleanup_fd_ int wrapper = layout_open_generation(site, number);
	json_t *doc;
	int r;

	if (wrapper < 0)
		return err_sys(err, -wrapper, "open generation", job->site_name);
	r = meta_load(wrapper, META_WRAPPER, job->site_name, &doc, err);
	if (r < 0)
		return r;
	if (retired) {
		/* by the clock of ctimes: what is written from here on carries none before it */
		json_object_set_new(doc, "retired", json_integer(settle_now()));
		json_object_set_new(doc, "retired_by", json_string(job->text));
	} else {
		json_object_del(doc, "retired");
		json_object_del(doc, "retired_by");
	}
	r = meta_store(wrapper, META_WRAPPER, doc, err);
	json_decref(doc);
	if (r == 0 && (r = fd_sync(wrapper)) < 0)
		r = err_sys(err, -r, "fsync", job->site_name);
	return r;
}

static int check_tree(struct job *job, int site, int64_t number, struct err *err)
{
	_cleanup_fd_ int wrapper = layout_open_generation(site, number);
	struct tree_at tree = {wrapper, LAYOUT_TREE};
	int r;

	if (wrapper < 0)
		return err_sys(err, -wrapper, "open generation", job->site_name);
	r = job->pool->driver->tree_check(job->pool->handle, tree, NULL, err);
	if (r == 0)
		r = err_set(err, ENOENT, "bad_generation", job->site_name,
			"generation %" PRId64 " has no complete tree", number);
	return r < 0 ? r : 0;
}

/* Does the link name a generation that is there? Publishing is how a damaged one is mended. */
static bool live_stands(int site, int64_t *live)
{
	_cleanup_fd_ int wrapper = -1;

	if (layout_live(site, live) < 0)
		return false;
	wrapper = layout_open_generation(site, *live);
	return wrapper != -ENOENT;
}

int publish_generation(struct job *job, int site, int64_t number, struct err *err)
{
	int64_t live = 0;
	bool stands = live_stands(site, &live);
	int r = 0;

	if (stands && live == number)
		return err_set(err, EEXIST, "already_live", job->site_name,
			"generation %" PRId64 " is live", number);
	if (stands)
		r = mark(job, site, live, true, err);
	if (r == 0)
		r = check_tree(job, site, number, err);
	if (r < 0)
		return r;
	r = layout_publish(site, number, job->id);
	return r < 0 ? err_sys(err, -r, "publish", job->site_name) : 0;
}

/* The generation that this job retired, 0 when there is none. */
static int find_retired(struct job *job, int site, int64_t *number)
{
	_cleanup_free_ int64_t *numbers = NULL;
	unsigned n = 0;
	int r = layout_generations(site, &numbers, &n);

	*number = 0;
	for (unsigned i = 0; i < n && r == 0 && !*number; i++) {
		_cleanup_fd_ int wrapper = layout_open_generation(site, numbers[i]);

		r = op_doc_says(wrapper, META_WRAPPER, "retired_by", job->text);
		if (r == 1) {
			*number = numbers[i];
			r = 0;
		}
	}
	return r;
}

int publish_committed(struct job *job, int site, int64_t number)
{
	int64_t live, retired;
	int r = layout_live(site, &live);

	if (r < 0 || live != number) /* a damaged link waits to be mended */
		return r == -ENOENT || r == -EBADMSG ? 0 : r;
	if (json_is_true(json_object_get(job->intent, "mends")))
		return 1;
	r = find_retired(job, site, &retired);
	return r < 0 ? r : retired != 0;
}

int publish_revert(struct job *job, int site, struct err *err)
{
	int64_t retired;
	int r = find_retired(job, site, &retired);

	if (r < 0)
		return err_sys(err, -r, "list generations", job->site_name);
	layout_sweep_links(site, true);
	return retired ? mark(job, site, retired, false, err) : 0;
}

int publish_finish(struct fsd *f, struct job *job, int site, int64_t number, struct err *err)
{
	_cleanup_fd_ int wrapper = layout_open_generation(site, number);
	json_t *doc;
	bool marked;
	int r = op_doc_load(wrapper, META_WRAPPER, &doc);

	housekeeping_published(f, job->pool, job->site_name);
	if (r < 0)
		return err_sys(err, -r, "read meta.json", job->site_name);
	if (r == 0) { /* it serves nevertheless; `pool check` tells of it */
		job_warn(job, "generation %" PRId64 " has no meta.json that can be read", number);
		return 0;
	}
	marked = json_object_get(doc, "retired");
	json_decref(doc);
	return marked ? mark(job, site, number, false, err) : 0;
}

static int take_retired(const struct cat_generation *g, void *arg)
{
	int64_t *pair = arg; /* job, number */

	if (g->retired_by == pair[0])
		pair[1] = g->number;
	return 0;
}

int publish_record(struct fsd *f, struct job *job, int64_t number, struct err *err)
{
	int64_t pair[2] = {job->id, 0};
	struct cat_site site;
	int r = catalog_site_get(f->catalog, job->site_id, &site, err);

	if (r == 0)
		r = op_record_site(f, job, site.name, NULL, err);
	if (r == 0)
		r = catalog_generations(f->catalog, job->site_id, take_retired, pair, err);
	if (r < 0)
		return r;
	json_object_set_new(job->result, "generation", json_integer(number));
	json_object_set_new(job->result, "retired", pair[1] ? json_integer(pair[1]) : json_null());
	return 0;
}

/* ---- undo ---- */

struct undo_snapshot {
	int64_t generation;
	char name[CAT_NAME_SIZE];
};

static int take_undo_snapshot(const struct cat_snapshot *s, void *arg)
{
	struct undo_snapshot *u = arg;

	if (strcmp(s->kind, "undo") != 0 || s->generation != u->generation)
		return 0;
	strcpy(u->name, s->name);
	return 1;
}

static int undo_by_snapshot(struct fsd *f, const struct cat_job *done, int64_t number,
	struct request *request, struct err *err)
{
	struct cat_snapshot_filter filter = {.site = done->site, .newest_first = true};
	struct undo_snapshot u = {.generation = number};
	char source[2 * CAT_NAME_SIZE];
	int r = catalog_snapshots(f->catalog, &filter, take_undo_snapshot, &u, err);

	if (r < 0)
		return r;
	if (!*u.name)
		return err_set(err, ENOENT, "nothing_to_undo", done->site_name,
			"generation %" PRId64 ", which this job retired, is gone", number);
	snprintf(source, sizeof(source), "%s@%s", done->site, u.name);
	request_init(request, OP_RESTORE);
	return request_set_str(request, F_SOURCE, source);
}

int publish_undo(struct fsd *f, const struct cat_job *done, json_t *intent,
	struct request *request, struct err *err)
{
	json_t *result = done->result ? json_loads(done->result, 0, NULL) : NULL;
	int64_t number = json_integer_value(json_object_get(result, "retired"));
	struct cat_generation g;
	int r;

	(void)intent;
	json_decref(result);
	if (!number)
		return err_set(err, ENOENT, "nothing_to_undo", done->site_name,
			"this job retired no generation");
	r = catalog_generation_get(f->catalog, done->site, number, &g, err);
	if (r == -ENOENT)
		return undo_by_snapshot(f, done, number, request, err);
	if (r < 0)
		return r;
	request_init(request, OP_PUBLISH);
	r = request_set_str(request, F_SITE, done->site);
	return r == 0 ? request_set_int(request, F_GENERATION, number) : r;
}

/* ---- publish and rollback ---- */

/* By the pool, not the catalog: publishing is also how a damaged link is mended. */
static bool is_live(const struct job *job, const char *site, int64_t number)
{
	_cleanup_fd_ int dir = layout_open_site(job->pool, site);
	int64_t live;

	return dir >= 0 && layout_live(dir, &live) == 0 && live == number;
}

static bool link_damaged(const struct job *job, const char *site)
{
	_cleanup_fd_ int dir = layout_open_site(job->pool, site);
	int64_t live;

	return dir >= 0 && !live_stands(dir, &live);
}

static int plan_switch(struct fsd *f, struct job *job, const struct cat_site *site, int64_t number,
	struct err *err)
{
	char holder[JOB_ID_SIZE];
	struct cat_generation g;
	int r = catalog_generation_get(f->catalog, site->id, number, &g, err);

	if (r == -ENOENT) {
		err_set(err, ENOENT, "not_found", site->name,
			"there is no generation %" PRId64, number);
		err_hint(err, "fsctl generation list %s", site->name);
		return r;
	}
	if (r < 0)
		return r;
	if (link_damaged(job, site->name)) /* mending it retires nothing to know the job by */
		job_intend(job, "mends", json_true());
	else if (is_live(job, site->name, number) &&
		 !jobs_holds(f, "site", site->id, false, holder))
		return err_set(err, EEXIST, "already_live", site->name,
			"generation %" PRId64 " is live", number);
	job_intend_int(job, "generation", number);
	job_step(job, "publish %s:%" PRId64 " instead of %s:%" PRId64, site->name, number,
		site->name, site->live);
	return 0;
}

static int plan_publish(struct fsd *f, struct job *job, struct err *err)
{
	struct cat_site site;
	int r = op_plan_site(f, job, request_str(&job->request, F_SITE), true, &site, err);

	return r < 0 ? r
		     : plan_switch(f, job, &site, request_int(&job->request, F_GENERATION), err);
}

struct predecessor {
	int64_t live, number, retired;
};

static int newest_retired(const struct cat_generation *g, void *arg)
{
	struct predecessor *p = arg;

	if (g->number != p->live && g->retired > p->retired) {
		p->retired = g->retired;
		p->number = g->number;
	}
	return 0;
}

static int plan_rollback(struct fsd *f, struct job *job, struct err *err)
{
	struct predecessor p = {0};
	struct cat_site site;
	int r = op_plan_site(f, job, request_str(&job->request, F_SITE), true, &site, err);

	if (r < 0)
		return r;
	p.live = site.live;
	p.number = request_int(&job->request, F_GENERATION);
	if (!p.number)
		r = catalog_generations(f->catalog, site.id, newest_retired, &p, err);
	if (r < 0)
		return r;
	if (!p.number) {
		err_set(err, ENOENT, "nothing_to_roll_back", site.name,
			"no generation was live before %s:%" PRId64, site.name, site.live);
		err_hint(err, "fsctl snapshot list %s, then fsctl restore", site.name);
		return -ENOENT;
	}
	return plan_switch(f, job, &site, p.number, err);
}

static int run(struct fsd *f, struct job *job, struct err *err)
{
	_cleanup_fd_ int site = op_open_site(f, job, err);

	return site < 0 ? site : publish_generation(job, site, job_int(job, "generation"), err);
}

static int committed(struct fsd *f, struct job *job, struct err *err)
{
	_cleanup_fd_ int site = op_open_site(f, job, err);

	return site < 0 ? site : publish_committed(job, site, job_int(job, "generation"));
}

static int revert(struct fsd *f, struct job *job, struct err *err)
{
	_cleanup_fd_ int site = op_open_site(f, job, err);

	return site < 0 ? site : publish_revert(job, site, err);
}

static int finish(struct fsd *f, struct job *job, struct err *err)
{
	_cleanup_fd_ int site = op_open_site(f, job, err);

	return site < 0 ? site
			: publish_finish(f, job, site, job_int(job, "generation"), err);
}

static int record(struct fsd *f, struct job *job, struct err *err)
{
	return publish_record(f, job, job_int(job, "generation"), err);
}

const struct op_kind op_publish = {
	.op = OP_PUBLISH,
	.priority = PRIO_RESTORE,
	.plan = plan_publish,
	.run = run,
	.committed = committed,
	.revert = revert,
	.finish = finish,
	.record = record,
	.undo = publish_undo,
};

const struct op_kind op_rollback = {
	.op = OP_ROLLBACK,
	.priority = PRIO_RESTORE,
	.plan = plan_rollback,
	.run = run,
	.committed = committed,
	.revert = revert,
	.finish = finish,
	.record = record,
	.undo = publish_undo,
};
