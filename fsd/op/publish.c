/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fsd/op/publish.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fsd/core/json.h"
#include "fsd/op/generation.h"
#include "fsd/op/ops.h"
#include "fsd/op/told.h"
#include "fsd/worker/housekeeping.h"
#include "fsd/worker/meta.h"
#include "snap/base/err.h"
#include "snap/base/fd.h"
#include "snap/copy.h"
#include "snap/flush.h"
#include "snap/settle.h"

/* ---- shared steps ---- */

/*
 * Since when do ctimes tell of all that is written in what is still live? Writing out is begun
 * first, for who has files of it mapped: by the driver in one go where it can. Whatever fails here,
 * a full pool or a lease, makes the answer an earlier time, and keeps nobody from going back.
 */
static int64_t flush_live(struct job *job, int wrapper)
{
	const struct pool_driver *driver = job->pool->driver;
	_cleanup_fd_ int tree = fd_open_dir(wrapper, LAYOUT_TREE);
	int64_t now = settle_now();
	int r = -EOPNOTSUPP;

	if (tree < 0)
		return now;
	if (driver->tree_flush)
		r = driver->tree_flush(job->pool->handle, tree, &job->ctx);
	if (r == -EOPNOTSUPP)
		return snap_flush(tree, ".", &job->ctx);
	return r < 0 ? snap_dirty_since() : now;
}

/* meta.json of gen/N: set or clear the mark "retired by". */
static int mark(struct job *job, int site, int64_t number, bool retire, struct err *err)
{
	_cleanup_fd_ int wrapper = layout_open_generation(site, number);
	json_t *doc;
	int r;

	if (wrapper < 0)
		return err_sys(err, -wrapper, "open generation", job->site_name);
	r = meta_load(wrapper, META_WRAPPER, job->site_name, &doc, err);
	if (r < 0)
		return r;
	if (retire) {
		json_object_set_new(doc, "retired", json_integer(flush_live(job, wrapper)));
		if (snap_canceled(&job->ctx)) {
			json_decref(doc);
			return err_set(err, ECANCELED, "canceled", job->site_name, "canceled");
		}
		json_object_set_new(doc, "retired_by", json_string(job->text));
	} else {
		json_object_del(doc, "retired");
		json_object_del(doc, "retired_by");
	}
	r = meta_store(wrapper, META_WRAPPER, job->site_name, doc, err);
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

	if (wrapper == -ENOENT) {
		err_set(err, ENOENT, "bad_generation", job->site_name,
			"generation %" PRId64 " is not in pool %s", number,
			job->pool->config->name);
		err_hint(err, "fsctl generation list %.100s names those that are; if it names this "
			"one, fsctl pool scan %s", job->site_name, job->pool->config->name);
		return -ENOENT;
	}
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
	return wrapper < 0 ? wrapper != -ENOENT : fd_exists(wrapper, LAYOUT_TREE) != 0;
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
	if (json_true_at(job->intent, "mends"))
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
	layout_sweep_site(site, LEFT_ALL);
	return retired ? mark(job, site, retired, false, err) : 0;
}

int publish_finish(struct fsd *f, struct job *job, int site, int64_t number, struct err *err)
{
	_cleanup_fd_ int wrapper = layout_open_generation(site, number);
	json_t *doc;
	bool marked;
	int r = op_doc_load(wrapper, META_WRAPPER, &doc);

	housekeeping_published(f, job->site_id);
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

int publish_record(struct fsd *f, struct job *job, struct err *err)
{
	int64_t pair[2] = {job->id, 0};
	struct cat_site site;
	int r = catalog_site_get(f->catalog, job->site_id, &site, err);

	if (r == 0)
		r = op_record_site(f, job, site.name, &site, err);
	if (r == 0)
		r = catalog_generations(f->catalog, job->site_id, take_retired, pair, err);
	if (r < 0)
		return r;
	told_recall_generation(f, job, site.live);
	json_object_set_new(job->result, "generation", json_integer(site.live));
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

/* The undo snapshot that a retired generation has become; "" where there is none. */
static int find_undo_snapshot(struct fsd *f, const char *site, int64_t number,
	char name[CAT_NAME_SIZE], struct err *err)
{
	struct cat_snapshot_filter filter = {.site = site, .newest_first = true};
	struct undo_snapshot u = {.generation = number};
	int r = catalog_snapshots(f->catalog, &filter, take_undo_snapshot, &u, err);

	strcpy(name, u.name);
	return r < 0 ? r : 0;
}

static int undo_by_snapshot(struct fsd *f, const struct cat_job *done, int64_t number,
	struct request *request, struct err *err)
{
	char source[2 * CAT_NAME_SIZE], name[CAT_NAME_SIZE];
	int r = find_undo_snapshot(f, done->site, number, name, err);

	if (r < 0)
		return r;
	if (!*name)
		return err_set(err, ENOENT, "nothing_to_undo", done->site_name,
			"generation %" PRId64 ", which this job retired, is gone", number);
	snprintf(source, sizeof(source), "%s@%s", done->site, name);
	request_init(request, OP_RESTORE);
	return request_set_str(request, F_SOURCE, source);
}

/* A damaged link was mended: nothing was live before. */
bool publish_beyond_undo(const struct cat_job *done)
{
	json_t *result = done->result ? json_loads(done->result, 0, NULL) : NULL;
	bool nothing = json_is_null(json_object_get(result, "retired"));

	json_decref(result);
	return nothing;
}

int publish_undo(struct fsd *f, const struct cat_job *done, json_t *intent,
	struct request *request, struct err *err)
{
	json_t *result = done->result ? json_loads(done->result, 0, NULL) : NULL;
	int64_t number = json_int_at(result, "retired");
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

/* ---- planning ---- */

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

/* The undo snapshot that an unfinished job will make of the generation, as it says: 1, and the
 * job; 0: nothing makes one. */
static int find_retirement(struct fsd *f, int64_t number, struct resolved *undo,
	char job[JOB_ID_SIZE], struct err *err)
{
	char key[GENERATION_KEY_SIZE];
	struct cat_job row;
	json_t *intent;
	int64_t id;
	int r;

	if (!jobs_holds(f, "generation", generation_key(undo->site.id, number, key), true, job) ||
		job_id_parse(job, &id) < 0)
		return 0;
	r = catalog_job_get(f->catalog, id, &row, err);
	if (r < 0)
		return r;
	if (strcmp(row.kind, op_specs[OP_GENERATION_RETIRE].name) == 0) {
		intent = json_loads(row.intent ? row.intent : "{}", 0, NULL);
		snprintf(undo->snapshot.id, sizeof(undo->snapshot.id), "%s",
			json_str_at(intent, "snapshot") ?: "");
		snprintf(undo->snapshot.name, sizeof(undo->snapshot.name), "%s",
			json_str_at(intent, "name") ?: "");
		json_decref(intent);
	}
	cat_job_release(&row);
	return *undo->snapshot.name != '\0';
}

/*
 * A retirement of this generation that was asked for before comes first, and may fail. What there
 * is when it is this job's turn is published: the generation, or a copy of the snapshot that it has
 * become, whose number is reserved here.
 */
static int plan_number(struct fsd *f, struct job *job, const struct cat_site *site, int64_t number,
	struct err *err)
{
	struct resolved undo = {
		.kind = SOURCE_SNAPSHOT, .site = *site, .pool = job->pool, .generation = number};
	char holder[JOB_ID_SIZE];
	int r = find_retirement(f, number, &undo, holder, err);

	if (r == 0)
		job_intend_int(job, "generation", number);
	if (r == 1) {
		r = generation_reserve(f, job, site, err);
		job_intend_int(job, "retiring", number);
		snprintf(undo.text, sizeof(undo.text), "%s@%s", site->name, undo.snapshot.name);
		op_note_source(job, &undo);
		job_step(job, "or, where job %s has made %s of it by then, a copy of that", holder,
			undo.text);
	}
	return r;
}

static int no_generation(struct fsd *f, const struct cat_site *site, int64_t number,
	struct err *err)
{
	char undo[CAT_NAME_SIZE];
	int r = find_undo_snapshot(f, site->id, number, undo, err);

	if (r < 0)
		return r;
	err_set(err, ENOENT, "not_found", site->name, "there is no generation %" PRId64 "%s%s",
		number, *undo ? " any more: it has become the snapshot " : "", undo);
	if (*undo)
		err_hint(err, "fsctl restore %s@%s", site->name, undo);
	else
		err_hint(err, "fsctl generation list %s", site->name);
	return -ENOENT;
}

static int plan_switch(struct fsd *f, struct job *job, const struct cat_site *site, int64_t number,
	struct err *err)
{
	char holder[JOB_ID_SIZE];
	struct cat_generation g;
	int r = catalog_generation_get(f->catalog, site->id, number, &g, err);

	if (r == -ENOENT)
		return no_generation(f, site, number, err);
	if (r < 0)
		return r;
	if (link_damaged(job, site->name)) /* mending it retires nothing to know the job by */
		job_intend(job, "mends", json_true());
	else if (is_live(job, site->name, number) &&
		 !jobs_holds(f, "site", site->id, false, holder))
		return err_set(err, EEXIST, "already_live", site->name,
			"generation %" PRId64 " is live", number);
	job_step(job, "publish %s:%" PRId64 " instead of %s:%" PRId64, site->name, number,
		site->name, site->live);
	if (!g.retired && strcmp(g.consistency, snap_consistency_name(SNAP_FUZZY)) == 0)
		job_warn(job, "%s:%" PRId64 " is fuzzy: the job that made it says what kept "
			"changing", site->name, number);
	return plan_number(f, job, site, number, err);
}

static int plan_publish(struct fsd *f, struct job *job, struct err *err)
{
	struct cat_site site;
	int r = op_plan_site(f, job, request_str(&job->request, F_SITE), true, &site, err);

	return r < 0 ? r
		     : plan_switch(f, job, &site, request_int(&job->request, F_GENERATION), err);
}

/* ---- rollback: to a generation, or to the one that was live before ---- */

struct predecessor {
	int64_t live, number, retired, retired_by;
};

/* The one that was retired last; jobs count upwards, where one tick saw two. */
static void weigh(struct predecessor *p, const struct cat_generation *g)
{
	if (!g->retired || g->number == p->live || g->retired < p->retired ||
		(g->retired == p->retired && g->retired_by < p->retired_by))
		return;
	p->number = g->number;
	p->retired = g->retired;
	p->retired_by = g->retired_by;
}

static int weigh_known(const struct cat_generation *g, void *arg)
{
	weigh(arg, g);
	return 0;
}

static int nothing_before(const char *site, int64_t live, struct err *err)
{
	err_set(err, ENOENT, "nothing_to_roll_back", site,
		"no generation was live before %s:%" PRId64, site, live);
	err_hint(err, "fsctl snapshot list %s, then fsctl restore", site);
	return -ENOENT;
}

static int plan_rollback(struct fsd *f, struct job *job, struct err *err)
{
	char holder[JOB_ID_SIZE];
	struct predecessor p = {0};
	struct cat_site site;
	bool busy;
	int r = op_plan_site(f, job, request_str(&job->request, F_SITE), true, &site, err);

	if (r < 0)
		return r;
	if (request_has(&job->request, F_GENERATION))
		return plan_switch(f, job, &site, request_int(&job->request, F_GENERATION), err);
	p.live = site.live;
	r = catalog_generations(f->catalog, site.id, weigh_known, &p, err);
	/* Jobs before it may publish: what was live before is chosen when it runs. */
	busy = jobs_holds(f, "site", site.id, false, holder);
	if (r < 0 || (!p.number && !busy))
		return r < 0 ? r : nothing_before(site.name, site.live, err);
	if (link_damaged(job, site.name)) /* mending tells nothing of what was live: chosen now */
		return p.number ? plan_switch(f, job, &site, p.number, err)
				: nothing_before(site.name, site.live, err);
	if (p.number && !busy)
		job_step(job, "publish %s:%" PRId64 " instead of %s:%" PRId64, site.name, p.number,
			site.name, site.live);
	else
		job_step(job, "publish the generation of %s that was live before, once job %s has "
			"ended", site.name, holder);
	return 0;
}

/* By the pool, with the site in hand. */
static int choose_predecessor(struct job *job, int site, int64_t *number, struct err *err)
{
	_cleanup_free_ int64_t *numbers = NULL;
	struct predecessor p = {0};
	unsigned n = 0;
	int r = live_stands(site, &p.live) ? 0 : -EBADMSG;

	if (r == 0)
		r = layout_generations(site, &numbers, &n);
	for (unsigned i = 0; i < n && r == 0; i++) {
		_cleanup_fd_ int wrapper = layout_open_generation(site, numbers[i]);
		struct cat_generation g = {0};
		json_t *doc;

		r = op_doc_load(wrapper, META_WRAPPER, &doc);
		if (r == 1) {
			if (meta_generation(doc, job->site_name, &g, NULL) == 0)
				weigh(&p, &g);
			json_decref(doc);
			r = 0;
		}
	}
	if (r < 0)
		return err_sys(err, -r, "look for what was live before", job->site_name);
	*number = p.number;
	return p.number ? 0 : nothing_before(job->site_name, p.live, err);
}

/* ---- publish and rollback ---- */

/* The generation that was asked for; where that has been retired before, its copy; 0: the one that
 * was live before. */
static int target(const struct job *job, int site, int64_t *number, struct err *err)
{
	int64_t asked = job_int(job, "retiring");
	_cleanup_fd_ int wrapper = asked ? layout_open_generation(site, asked) : -ENOENT;

	if (wrapper < 0 && wrapper != -ENOENT)
		return err_sys(err, -wrapper, "open generation", job->site_name);
	*number = wrapper < 0 ? job_int(job, "generation") : asked;
	return 0;
}

static bool is_copy(const struct job *job, int64_t number)
{
	return job_int(job, "retiring") && job_int(job, "generation") == number;
}

static int run(struct fsd *f, struct job *job, struct err *err)
{
	_cleanup_fd_ int site = op_open_site(f, job, err);
	int64_t number;
	int r = site < 0 ? site : target(job, site, &number, err);

	if (r == 0 && !number)
		r = choose_predecessor(job, site, &number, err);
	if (r == 0 && is_copy(job, number))
		r = generation_build(f, job, site, err);
	return r == 0 ? publish_generation(job, site, number, err) : r;
}

static int committed(struct fsd *f, struct job *job, struct err *err)
{
	_cleanup_fd_ int site = op_open_site(f, job, err);
	int64_t number, retired, live;
	int r = site < 0 ? site : target(job, site, &number, err);

	if (r < 0 || number)
		return r < 0 ? r : publish_committed(job, site, number);
	/* The mark is set before the switch, and names what was live then. */
	r = find_retired(job, site, &retired);
	if (r == 0 && retired)
		r = layout_live(site, &live);
	return r < 0 ? r == -ENOENT || r == -EBADMSG ? 0 : r : retired && live != retired;
}

static int revert(struct fsd *f, struct job *job, struct err *err)
{
	_cleanup_fd_ int site = op_open_site(f, job, err);
	int r = site < 0 ? site : publish_revert(job, site, err);

	return r == 0 && job_int(job, "retiring") ? generation_discard(job, site, err) : r;
}

static int finish(struct fsd *f, struct job *job, struct err *err)
{
	_cleanup_fd_ int site = op_open_site(f, job, err);
	int64_t number;
	int r = site < 0 ? site : target(job, site, &number, err);

	if (r == 0 && !number)
		layout_live(site, &number); /* the one that was chosen */
	if (r == 0)
		r = publish_finish(f, job, site, number, err);
	if (r == 0 && is_copy(job, number))
		job_warn(job, "generation %" PRId64 " has become the snapshot %s meanwhile; "
			"generation %" PRId64 " is a copy of it", job_int(job, "retiring"),
			job_str(job, "source"), number);
	return r;
}

const struct op_kind op_publish = {
	.op = OP_PUBLISH,
	.priority = PRIO_RESTORE,
	.plan = plan_publish,
	.run = run,
	.committed = committed,
	.revert = revert,
	.finish = finish,
	.record = publish_record,
	.undo = publish_undo,
	.beyond_undo = publish_beyond_undo,
};

const struct op_kind op_rollback = {
	.op = OP_ROLLBACK,
	.priority = PRIO_RESTORE,
	.plan = plan_rollback,
	.run = run,
	.committed = committed,
	.revert = revert,
	.finish = finish,
	.record = publish_record,
	.undo = publish_undo,
	.beyond_undo = publish_beyond_undo,
};
