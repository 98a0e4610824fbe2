/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fsd/op/common.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fsd/core/json.h"
#include "fsd/op/compare.h"
#include "fsd/op/late.h"
#include "fsd/op/outside.h"
#include "fsd/op/told.h"
#include "fsd/worker/meta.h"
#include "fsd/worker/present.h"
#include "fsd/worker/reflect.h"
#include "fsd/worker/room.h"
#include "fsd/worker/step.h"
#include "fsd/worker/work.h"
#include "snap/base/clock.h"
#include "snap/base/err.h"
#include "snap/base/fd.h"
#include "snap/remove.h"
#include "snap/settle.h"

#define PATHS_TOLD 20 /* in warnings of one kind */

/* ---- planning ---- */

int op_plan_site(struct fsd *f, struct job *job, const char *ref, bool exclusive,
	struct cat_site *out, struct err *err)
{
	int r = resolve_site(f, f->catalog, ref, out, &job->pool, err);

	if (r < 0)
		return r;
	snprintf(job->site_id, sizeof(job->site_id), "%s", out->id);
	snprintf(job->site_name, sizeof(job->site_name), "%s", out->name);
	job_lock(job, "site", out->id, exclusive);
	return 0;
}

/* Of what visitors have written to since it was made, that says nothing any more. */
static void note_consistency(struct fsd *f, struct job *job, const struct resolved *source)
{
	const char *consistency = source->snapshot.consistency; /* "" of others */
	struct cat_generation g;

	if (source->kind == SOURCE_GENERATION && source->generation != source->site.live &&
		catalog_generation_get(f->catalog, source->site.id, source->generation, &g,
			NULL) == 0 && !g.retired)
		consistency = g.consistency;
	job_intend_str(job, "source_consistency", consistency);
}

int op_plan_source(struct fsd *f, struct job *job, const char *text, struct resolved *out,
	struct err *err)
{
	int r = resolve_source(f, f->catalog, text, out, err);

	if (r < 0)
		return r;
	op_note_source(job, out);
	note_consistency(f, job, out);
	if (strcmp(job_str(job, "source_consistency"), snap_consistency_name(SNAP_FUZZY)) != 0)
		return 0;
	if (out->kind == SOURCE_SNAPSHOT)
		job_warn(job, "%s is fuzzy: fsctl snapshot show %s lists what kept changing while "
			"it was taken", out->text, out->text);
	else
		job_warn(job, "%s is fuzzy: the job that made it says what kept changing",
			out->text);
	return 0;
}

void op_note_source(struct job *job, const struct resolved *source)
{
	if (source->kind == SOURCE_SNAPSHOT)
		job_lock(job, "snapshot", source->snapshot.id, false);
	else if (strcmp(job->site_id, source->site.id) != 0) /* its own site is locked already */
		job_lock(job, "site", source->site.id, false);
	job_intend_str(job, "source", source->text);
	job_intend_str(job, "source_site", source->site.id);
	job_intend_str(job, "source_snapshot", source->snapshot.name);
	if (source->kind != SOURCE_LIVE)
		job_intend_int(job, "source_generation", source->generation);
}

static int name_taken(const char *name, const char *by, struct err *err)
{
	err_set(err, EEXIST, "name_taken", name, "a %s of this name exists", by);
	err_hint(err, "choose another name; fsctl %s list shows which are taken", by);
	return -EEXIST;
}

/* In any pool: after a lost catalog a second site of one name could not be taken in. */
static int refuse_unknown(struct fsd *f, const char *name, struct err *err)
{
	for (unsigned i = 0; i < f->pools.n; i++) {
		const struct pool_root *p = &f->pools.items[i];

		if (!atomic_load(&p->online) || fd_exists(p->sites, name) != 1)
			continue;
		if (layout_has_site(p, name) == 0) {
			err_set(err, EEXIST, "exists", name, "pool %s has a symlink of this name",
				p->config->name);
			err_hint(err, "rm %.300s/sites/%s, when nothing leads through it any more",
				p->config->path, name);
			return -EEXIST;
		}
		err_set(err, EEXIST, "exists", name,
			"pool %s has a directory of this name that the catalog does not know",
			p->config->name);
		err_hint(err, "fsctl pool scan %s", p->config->name);
		return -EEXIST;
	}
	return 0;
}

int op_plan_name(struct fsd *f, struct job *job, const char *name, struct err *err)
{
	char holder[JOB_ID_SIZE];
	struct cat_site other;
	int r = name_check(name, err);

	if (r < 0)
		return r;
	r = catalog_site_get(f->catalog, name, &other, err);
	if (r < 0 && r != -ENOENT)
		return r;
	if (r == 0 && !other.deleted)
		return name_taken(name, "site", err);
	if (pools_find(&f->pools, name))
		return name_taken(name, "pool", err);
	/* What a job has made and not recorded yet is refused by who looks at all of the names. */
	r = jobs_holds(f, "name", name, true, holder) ? 0 : refuse_unknown(f, name, err);
	if (r == 0)
		job_lock(job, "name", name, true);
	return r;
}

int op_plan_expires(const char *text, int64_t *when, struct err *err)
{
	int64_t after;

	*when = 0;
	if (!text || strcmp(text, "never") == 0)
		return 0;
	if (duration_parse(text, &after) < 0 || after <= 0)
		return err_set(err, EINVAL, "bad_request", text,
			"expires takes a duration (90m, 24h, 3d, 2w) or \"never\"");
	*when = clock_real() + after;
	return 0;
}

static int highest(const struct cat_generation *g, void *arg)
{
	int64_t *max = arg;

	if (g->number > *max)
		*max = g->number;
	return 0;
}

int op_plan_parts(struct job *job, struct err *err)
{
	size_t n;
	char *const *only = request_list(&job->request, F_ONLY, &n);

	for (size_t i = 0; i < n; i++) {
		if (strcmp(only[i], "code") != 0)
			return err_set(err, EINVAL, "no_such_part", only[i],
				"the site has no such part; its only part is code");
	}
	return 0;
}

bool op_is_over(int64_t expires)
{
	return expires && expires <= clock_real();
}

int op_require_expired(const struct job *job, const char *name, int64_t expires, struct err *err)
{
	if (strcmp(job->actor, JOB_ACTOR_FSD) != 0 || op_is_over(expires))
		return 0;
	return err_set(err, EBUSY, "not_expired", name, "its time is not over (any more)");
}

int op_require_deletable(const struct job *job, const struct cat_site *site, struct err *err)
{
	if (!site->protect)
		return op_require_expired(job, site->name, site->expires, err);
	err_set(err, EPERM, "protected", site->name, "the site is protected");
	err_hint(err, "fsctl site set %s protected=no", site->name);
	return -EPERM;
}

int op_next_generation(struct fsd *f, const struct pool_root *pool, const struct cat_site *site,
	int64_t *number, struct err *err)
{
	_cleanup_fd_ int dir = layout_open_site(pool, site->name);
	int64_t max = site->live, last;
	json_t *doc;
	int r;

	if (dir < 0)
		return err_sys(err, -dir, "open site", site->name);
	r = meta_load(dir, META_SITE, site->name, &doc, err);
	if (r < 0)
		return r;
	last = json_int_at(doc, "last_generation");
	json_decref(doc);
	r = catalog_generations(f->catalog, site->id, highest, &max, err);
	*number = (last > max ? last : max) + 1;
	return r;
}

bool op_constant_cost(const struct pool_root *from, const struct pool_root *to)
{
	return from == to && to->driver->caps(to->handle) & POOL_CONSTANT_COST;
}

/* "" and none: nothing is said of it. An unknown word, a newer fsd's, promises nothing. */
static enum snap_consistency consistency_of(const char *name)
{
	if (!name || !*name)
		return SNAP_ATOMIC;
	for (int c = SNAP_ATOMIC; c < SNAP_FUZZY; c++) {
		if (strcmp(name, snap_consistency_name((enum snap_consistency)c)) == 0)
			return (enum snap_consistency)c;
	}
	return SNAP_FUZZY;
}

void op_weaken(struct job *job, const char *consistency)
{
	enum snap_consistency now = consistency_of(job->consistency);
	enum snap_consistency other = consistency_of(consistency);

	job->consistency = snap_consistency_name(other > now ? other : now);
}

void op_expect_consistency(struct job *job, enum snap_consistency c)
{
	job->consistency = snap_consistency_name(c);
	op_weaken(job, job_str(job, "source_consistency"));
}

bool op_expect_method(struct job *job, const struct pool_root *from, bool live)
{
	bool constant = op_constant_cost(from, job->pool);

	job->method = pool_method_name(constant ? POOL_METHOD_SNAPSHOT : POOL_METHOD_COPY);
	op_expect_consistency(job, constant || !live ? SNAP_ATOMIC : SNAP_SETTLED);
	return constant;
}

void op_expect_copy(struct fsd *f, struct job *job, const struct pool_root *from,
	const struct cat_site *site, bool live)
{
	/* A snapshot is not as large as its site was when that was measured. */
	if (op_expect_method(job, from, live) || !live)
		return;
	job->planned = site->usage;
	if (outside_method(job->pool, from->fd) == POOL_METHOD_COPY)
		room_warn(f, job);
}

bool op_snapshot_name_free(struct fsd *f, const struct pool_root *pool, const char *site_id,
	const char *name)
{
	_cleanup_fd_ int folder = fd_open_dir(pool->snapshots, site_id);
	char key[2 * NAME_SIZE], holder[JOB_ID_SIZE];
	struct cat_snapshot s;

	snprintf(key, sizeof(key), "%.36s@%s", site_id, name);
	return (folder < 0 || fd_exists(folder, name) != 1) &&
	       catalog_snapshot_get(f->catalog, site_id, name, &s, NULL) == -ENOENT &&
	       !jobs_holds(f, "name", key, true, holder);
}

/* ---- running ---- */

int op_site_now(struct fsd *f, const char *site_id, struct cat_site *out, struct err *err)
{
	struct cat_site s;
	int r;

	pthread_mutex_lock(&f->write_lock);
	r = catalog_site_get(f->catalog, site_id, &s, err);
	pthread_mutex_unlock(&f->write_lock);
	if (r == -ENOENT || (r == 0 && s.deleted))
		return err_set(err, ENOENT, "site_deleted", site_id, "the site is gone meanwhile");
	if (r == 0)
		*out = s;
	return r;
}

int op_site_name(struct fsd *f, const char *site_id, char name[NAME_SIZE], struct err *err)
{
	struct cat_site s;
	int r = op_site_now(f, site_id, &s, err);

	if (r == 0)
		snprintf(name, NAME_SIZE, "%s", s.name);
	return r;
}

/* Other hands may have put another site's directory in its place. */
static int check_id(int dir, const char *id, const char *name, struct err *err)
{
	const char *found;
	json_t *doc;
	bool same;

	if (op_doc_load(dir, META_SITE, &doc) != 1)
		return 0; /* told by who needs it */
	found = json_str_at(doc, "id");
	same = !found || strcmp(found, id) == 0;
	json_decref(doc);
	if (same)
		return 0;
	err_set(err, EBADMSG, "other_id", name, "its directory in the pool is another site's");
	err_hint(err, "fsctl status");
	return -EBADMSG;
}

int op_open_site(struct fsd *f, struct job *job, struct err *err)
{
	char name[NAME_SIZE];
	int fd, r = op_site_name(f, job->site_id, name, err);

	if (r < 0)
		return r;
	fd = layout_open_site(job->pool, name);
	if (fd == -ENOENT) {
		err_set(err, ENOENT, "site_missing", name, "its directory is not in pool %s",
			job->pool->config->name);
		err_hint(err, "fsctl pool scan %s", job->pool->config->name);
		return -ENOENT;
	}
	if (fd < 0)
		return err_sys(err, -fd, "open site", name);
	r = check_id(fd, job->site_id, name, err);
	if (r < 0)
		fd_close(&fd);
	return r < 0 ? r : fd;
}

/* Its own pool; before it is recorded, that of its site, which may be deleted. */
static int snapshot_now(struct fsd *f, const char *site_id, const char *snapshot,
	const char *text, struct cat_site *out, struct err *err)
{
	struct cat_snapshot s;
	int r;

	pthread_mutex_lock(&f->write_lock);
	r = catalog_snapshot_get(f->catalog, site_id, snapshot, &s, err);
	if (r == 0)
		snprintf(out->pool, sizeof(out->pool), "%s", s.pool);
	else if (r == -ENOENT)
		r = catalog_site_get(f->catalog, site_id, out, err);
	pthread_mutex_unlock(&f->write_lock);
	return r == -ENOENT ? err_sys(err, ENOENT, "open", text) : r;
}

int op_open_noted(struct fsd *f, const char *site_id, const char *snapshot, const char *text,
	struct pool_root **pool, int64_t *number, struct err *err)
{
	struct cat_site now;
	int dir, r;

	r = *snapshot ? snapshot_now(f, site_id, snapshot, text, &now, err)
		      : op_site_now(f, site_id, &now, err);
	if (r == 0)
		r = pools_require(&f->pools, now.pool, pool, err);
	if (r < 0)
		return r;
	dir = *snapshot ? layout_open_snapshot(*pool, site_id, snapshot)
			: layout_open_site(*pool, now.name);
	if (dir < 0)
		return err_sys(err, -dir, "open", text);
	if (!*number) {
		_cleanup_fd_ int live = layout_open_live(dir, *snapshot ? text : now.name, number,
			err);

		if (live < 0)
			fd_close(&dir);
		return live < 0 ? live : dir;
	}
	return dir;
}

int op_find_source(struct fsd *f, struct job *job, struct pool_root **pool, int64_t *number,
	struct err *err)
{
	*number = job_int(job, "source_generation");
	return op_open_noted(f, job_str(job, "source_site"), job_str(job, "source_snapshot"),
		job_str(job, "source"), pool, number, err);
}

int op_require_tree(int dir, int64_t number, const char *text, struct err *err)
{
	_cleanup_fd_ int tree = layout_open_tree(dir, number);

	if (tree == -ENOENT) {
		err_set(err, EBADMSG, "no_tree", text, "its generation %" PRId64 " has no tree",
			number);
		err_hint(err, "fsctl check %.300s says what is wrong with it", text);
		return -EBADMSG;
	}
	return tree < 0 ? err_sys(err, -tree, "open", text) : 0;
}

int op_open_source(struct fsd *f, struct job *job, struct pool_root **pool, int64_t *number,
	struct err *err)
{
	int dir = op_find_source(f, job, pool, number, err);
	int r = dir < 0 ? dir : op_require_tree(dir, *number, job_str(job, "source"), err);

	if (r < 0)
		fd_close(&dir);
	return r < 0 ? r : dir;
}

static void warn_of_paths(struct job *job, const char *what, const struct paths *p, bool reasons)
{
	for (size_t i = 0; i < p->n && i < PATHS_TOLD; i++) {
		const char *path = *p->items[i].path ? p->items[i].path : "."; /* the tree's root */

		if (reasons)
			job_warn(job, "%s: %s (%s)", what, path, p->items[i].reason);
		else
			job_warn(job, "%s: %s", what, path);
	}
	if (p->total > PATHS_TOLD)
		job_warn(job, "%s: %" PRIu64 " more", what, p->total - PATHS_TOLD);
}

void op_count_copy(struct job *job, struct pool_made *made)
{
	const struct snap_copy_result *c = &made->copy;

	job->method = pool_method_name(made->method);
	op_weaken(job, snap_consistency_name(c->consistency));
	op_weaken(job, job_str(job, "source_consistency"));
	job->bytes_cloned += c->bytes_cloned;
	job->copied_entries += c->entries;
	job->copied_bytes = snap_add(job->copied_bytes, c->bytes);
	if (c->consistency == SNAP_FUZZY) {
		warn_of_paths(job, "kept changing while it was copied", &c->unsettled, false);
		json_decref(job->unsettled);
		job->unsettled = present_paths(&c->unsettled);
	}
	warn_of_paths(job, "not carried over", &c->reported, true);
	snap_copy_result_release(&made->copy);
}

void op_count_walked(struct job *job, struct snap_copy_result *copied)
{
	struct pool_made made = {.copy = *copied,
		.method = copied->bytes_cloned ? POOL_METHOD_REFLINK : POOL_METHOD_COPY};

	op_count_copy(job, &made);
}

/* Work of changes in place that the source carried along. */
static int drop_work(int wrapper, struct job *job, struct err *err)
{
	_cleanup_fd_ int tree = fd_open_dir(wrapper, LAYOUT_TREE);

	return tree < 0 ? err_sys(err, -tree, "open", job->site_name)
			: work_drop(tree, &job->ctx, err);
}

int op_copy_tree(struct job *job, struct pool_root *from_pool, int from_wrapper, int wrapper,
	unsigned flags, struct err *err)
{
	struct tree_at from = {from_wrapper, LAYOUT_TREE}, to = {wrapper, LAYOUT_TREE};
	struct pool_root *p = job->pool;
	struct pool_made made = {0};
	int r;

	if (from_pool == p) {
		r = p->driver->tree_copy(p->handle, from, to, flags, &job->ctx, &made, err);
	} else {
		_cleanup_fd_ int src = fd_open_dir(from_wrapper, LAYOUT_TREE);

		r = src < 0 ? err_sys(err, -src, "open", job_str(job, "source"))
			    : p->driver->tree_fill(p->handle, src, to, flags & POOL_COPY_LIVE,
				      &job->ctx, &made, err);
	}
	step("tree.made");
	if (r == 0)
		op_count_copy(job, &made);
	else
		snap_copy_result_release(&made.copy);
	return r == 0 && !(flags & POOL_COPY_READ_ONLY) ? drop_work(wrapper, job, err) : r;
}

static int store_generation(struct job *job, int wrapper, struct cat_generation *g, int64_t as_of,
	struct err *err)
{
	json_t *doc;
	int r;

	snprintf(g->method, sizeof(g->method), "%s", job->method);
	snprintf(g->consistency, sizeof(g->consistency), "%s", job->consistency);
	doc = meta_generation_new(g);
	json_object_set_new(doc, "as_of", json_integer(as_of));
	r = meta_store(wrapper, META_WRAPPER, job->site_name, doc, err);
	json_decref(doc);
	return r;
}

int op_make_generation(struct fsd *f, struct job *job, int stage, int wrapper,
	struct cat_generation *g, struct err *err)
{
	_cleanup_compare_side_ struct compare_side from = COMPARE_SIDE_INIT;
	struct pool_root *from_pool;
	bool live = !*job_str(job, "source_snapshot"), at_once;
	int64_t number, as_of;
	int r;

	_cleanup_fd_ int dir = op_open_source(f, job, &from_pool, &number, err);
	if (dir < 0)
		return dir;
	r = compare_open(from_pool, dir, number, &from);
	if (r < 0)
		return err_sys(err, -r, "open generation", job_str(job, "source"));
	at_once = op_expect_method(job, from_pool, live);
	as_of = from.made == INT64_MAX ? from.as_of : settle_now();
	g->created = settle_now();
	/* A snapshot's commit makes what was written before it durable at no extra cost. */
	r = at_once ? store_generation(job, wrapper, g, as_of, err) : 0;
	if (r == 0 && stage >= 0 &&
	    (r = layout_stage_live_like(stage, g->number, from.wrapper)) < 0)
		r = err_sys(err, -r, "link live", job->site_name);
	if (r == 0)
		r = op_copy_tree(job, from_pool, from.wrapper, wrapper,
			live ? POOL_COPY_LIVE : 0, err);
	if (r < 0 || at_once)
		return r;
	g->created = late_now();
	return store_generation(job, wrapper, g, as_of, err);
}

int op_store_snapshot(struct job *job, int stage, const char *kind, int64_t generation,
	int64_t look, json_t *labels, struct err *err)
{
	struct cat_snapshot s = {
		.created = job->started, /* before any copying, also when it is stored again */
		.generation = generation,
		.expires = job_int(job, "expires"),
		.job = job->id,
		.look = look,
	};
	char object[2 * NAME_SIZE];
	json_t *doc;
	int r;

	snprintf(s.kind, sizeof(s.kind), "%s", kind);
	snprintf(s.id, sizeof(s.id), "%s", job_str(job, "snapshot"));
	snprintf(s.site, sizeof(s.site), "%s", job->site_id);
	snprintf(s.site_name, sizeof(s.site_name), "%s", job->site_name);
	snprintf(s.name, sizeof(s.name), "%s", job_str(job, "name"));
	snprintf(s.method, sizeof(s.method), "%s", job->method);
	snprintf(s.consistency, sizeof(s.consistency), "%s", job->consistency);
	doc = meta_snapshot_new(&s, labels);
	if (job->unsettled)
		json_object_set(doc, "unsettled", job->unsettled);
	snprintf(object, sizeof(object), "%s@%s", s.site_name, s.name);
	r = meta_store(stage, META_WRAPPER, object, doc, err);
	json_decref(doc);
	return r;
}

int op_commit_snapshot(struct job *job, struct err *err)
{
	_cleanup_fd_ int folder = layout_snapshot_folder(job->pool, job->site_id);
	int r = folder < 0 ? folder
			   : layout_commit(job->pool, job->id, folder, job_str(job, "name"));

	return r < 0 ? err_sys(err, -r, "rename into snapshots", job_str(job, "name")) : 0;
}

int op_snapshot_committed(struct job *job)
{
	_cleanup_fd_ int dir = layout_open_snapshot(job->pool, job->site_id, job_str(job, "name"));

	return op_doc_says(dir, META_WRAPPER, "id", job_str(job, "snapshot"));
}

/* ---- recording ---- */

int op_record_snapshot(struct fsd *f, struct job *job, struct err *err)
{
	struct cat_snapshot s;
	int r = reflect_snapshot(f, job->pool, job->site_id, job_str(job, "name"), &s, err);

	if (r < 0)
		return r;
	told_recall_made(job, s.method, s.consistency);
	json_object_set_new(job->result, "snapshot", present_snapshot(f, f->catalog, &s));
	return 0;
}

int64_t op_deleted_at(const struct job *job)
{
	_cleanup_fd_ int dir = fd_open_dir(job->pool->deleted, job->site_id);
	int64_t when = 0;
	json_t *doc;

	if (op_doc_load(dir, META_SITE, &doc) == 1) {
		when = json_int_at(doc, "deleted");
		json_decref(doc);
	}
	return when >= job->created ? when : job->finished; /* not of a deletion before this one */
}

int op_record_site(struct fsd *f, struct job *job, const char *name, struct cat_site *out,
	struct err *err)
{
	struct cat_site site;
	int r = reflect_site(f, job->pool, name, &site, err);

	if (r < 0)
		return r;
	pthread_mutex_lock(&f->jobs.lock); /* jobs may be listed meanwhile */
	snprintf(job->site_name, sizeof(job->site_name), "%s", site.name);
	pthread_mutex_unlock(&f->jobs.lock);
	json_object_set_new(job->result, "site", present_site(f, f->catalog, &site));
	if (out)
		*out = site;
	return 0;
}

int op_doc_load(int dirfd, const char *name, json_t **doc)
{
	static const int not_ours[] = {ENOENT, ENOTDIR, ELOOP, EINVAL, EFBIG, EBADMSG, EPROTO};
	int r = dirfd < 0 ? dirfd : meta_load(dirfd, name, name, doc, NULL);

	for (size_t i = 0; i < sizeof(not_ours) / sizeof(not_ours[0]); i++) {
		if (r == -not_ours[i])
			return 0;
	}
	return r < 0 ? r : 1;
}

int op_doc_says(int dirfd, const char *name, const char *key, const char *text)
{
	const char *value;
	json_t *doc;
	int r = op_doc_load(dirfd, name, &doc);

	if (r != 1)
		return r;
	value = json_str_at(doc, key);
	r = value && strcmp(value, text) == 0;
	json_decref(doc);
	return r;
}
