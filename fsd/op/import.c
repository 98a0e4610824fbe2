/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A directory becomes a site. By copy: the site is built in staging, the rename into sites/ is the
 * commit point. By move, where a rename can do it: a site without its tree stands in sites/ first
 * and the directory itself is renamed into it, which is the commit point; so what is the user's
 * never lies where recovery sweeps. Elsewhere a move is a copy, a comparison of every byte, and the
 * directory put aside. By link: a copy, then the directory is exchanged for a symlink.
 *
 * What was written into the directory while it was copied is brought over (late.h). It is kept
 * aside for undo_keep, since who still holds it may go on writing there, and is swept then
 * (site.json "parked", worker/work.h). What follows the commit point stands in site.json until it
 * is done: "import" {"path", "job", "since", "until", "keep"}.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "fsd/core/json.h"
#include "fsd/core/utf8.h"
#include "fsd/op/common.h"
#include "fsd/op/late.h"
#include "fsd/op/ops.h"
#include "fsd/op/outside.h"
#include "fsd/op/told.h"
#include "fsd/worker/housekeeping.h"
#include "fsd/worker/meta.h"
#include "fsd/worker/room.h"
#include "fsd/worker/step.h"
#include "fsd/worker/work.h"
#include "snap/base/clock.h"
#include "snap/base/err.h"
#include "snap/base/fd.h"
#include "snap/settle.h"

static bool mode_is(const struct job *job, const char *mode)
{
	const char *asked = request_str(&job->request, F_MODE);

	return strcmp(asked ? asked : "copy", mode) == 0;
}

/* ---- plan ---- */

static int choose_pool(struct fsd *f, struct job *job, struct err *err)
{
	const char *name = request_str(&job->request, F_POOL);

	return name ? pools_require(&f->pools, name, &job->pool, err)
		    : pools_default(&f->pools, &job->pool, err);
}

static int check_dir(struct fsd *f, struct job *job, struct outside *o, struct err *err)
{
	bool copy = mode_is(job, "copy");
	int r = outside_plan(f, job, request_str(&job->request, F_DIR), o, err);

	if (r == 0)
		r = outside_require_dir(o, err);
	if (r == 0)
		r = outside_refuse(f, o, o->dir, copy, err);
	if (r == 0 && !copy)
		r = outside_refuse_mount(o, err);
	if (r == 0 && mode_is(job, "link") && !utf8_valid(o->path))
		r = err_set(err, EINVAL, "bad_path", o->path,
			"a path that is not UTF-8 cannot be linked");
	return r;
}

static void show_steps(struct fsd *f, struct job *job, const struct outside *o)
{
	const char *root = job->pool->config->path;
	char keep[TIME_TEXT_SIZE];

	bool renames = mode_is(job, "move") && outside_same_mount(o->parent, job->pool->sites);

	if (renames)
		job_step(job, "move %s into pool %s, by rename if it can be a tree there", o->path,
			job->pool->config->name);
	job_step(job, "%scopy %s into pool %s by method %s%s", renames ? "otherwise " : "", o->path,
		job->pool->config->name, job->method,
		mode_is(job, "move") ? ", and compare every byte" : "");
	job_step(job, "publish it as %s/sites/%s/live", root, job->site_name);
	if (mode_is(job, "link"))
		job_step(job, "exchange %s for a symbolic link to %s/sites/%s/live", o->path, root,
			job->site_name);
	if (mode_is(job, "copy"))
		return;
	duration_format(fsd_config(f)->undo_keep, keep);
	job_step(job, "keep what was copied as %s.fsd-JOB for %s, then delete it", o->path, keep);
}

/* Work directories came with a copy of a live tree: made by hand, or carried here from another fsd.
 * How many? Each with a warning, unless `job` is NULL. */
static size_t find_work(struct job *job, const struct outside *o)
{
	json_t *names = work_list(o->dir), *name;
	size_t i, n = json_array_size(names);

	json_array_foreach(names, i, name) {
		if (job)
			job_warn(job, "%s is no part of the site: a work directory of fsd, kept "
				"for undo", json_string_value(name));
	}
	json_decref(names);
	return n;
}

static int plan(struct fsd *f, struct job *job, struct err *err)
{
	_cleanup_outside_ struct outside o = OUTSIDE_INIT;
	const char *name = request_str(&job->request, F_NAME);
	char id[ID_SIZE];
	int r = choose_pool(f, job, err);

	if (r == 0)
		r = op_plan_name(f, job, name, err);
	if (r == 0)
		r = check_dir(f, job, &o, err);
	if (r == 0)
		r = room_plan(f, job, err);
	if (r < 0)
		return r;
	id_new(id);
	strcpy(job->site_id, id);
	strcpy(job->site_name, name);
	job_lock(job, "site", id, true);
	job_intend_int(job, "ino", (int64_t)o.st.st_ino);
	job_intend_int(job, "created", clock_real());
	job->method = pool_method_name(outside_method(job->pool, o.dir));
	job->consistency = snap_consistency_name(SNAP_SETTLED);
	show_steps(f, job, &o);
	find_work(job, &o);
	return 0;
}

/* ---- the documents of the new site ---- */

static int store_site(struct job *job, int stage, json_t *info, struct err *err)
{
	struct cat_site site = {.created = job_int(job, "created")};
	json_t *labels = json_object(), *doc;
	int r;

	strcpy(site.id, job->site_id);
	doc = meta_site_new(&site, labels);
	json_decref(labels);
	if (info)
		json_object_set(doc, "import", info);
	r = meta_store(stage, META_SITE, job->site_name, doc, err);
	json_decref(doc);
	return r;
}

static int store_generation(struct job *job, int wrapper, const struct outside *o, struct err *err)
{
	struct cat_generation g = {
		.number = 1,
		.created = job_int(job, "created"),
		.job = job->id,
	};
	json_t *doc;
	int r;

	snprintf(g.method, sizeof(g.method), "%s", job->method);
	snprintf(g.consistency, sizeof(g.consistency), "%s", job->consistency);
	snprintf(g.origin, sizeof(g.origin), "%s",
		utf8_valid(o->path) && strlen(o->path) < sizeof(g.origin) ? o->path : "import");
	doc = meta_generation_new(&g);
	r = meta_store(wrapper, META_WRAPPER, job->site_name, doc, err);
	json_decref(doc);
	return r;
}

/* The documents, the link `live` owned like the tree, and all of it durable. */
static int furnish(struct job *job, int stage, int wrapper, const struct outside *o, json_t *info,
	struct err *err)
{
	int r = store_site(job, stage, info, err);

	if (r == 0)
		r = store_generation(job, wrapper, o, err);
	if (r < 0)
		return r;
	if (symlinkat("gen/1/" LAYOUT_TREE, stage, "live") < 0 ||
		(fchownat(stage, "live", o->st.st_uid, o->st.st_gid, AT_SYMLINK_NOFOLLOW) < 0 &&
			geteuid() == 0))
		return err_sys(err, errno, "link live", job->site_name);
	r = layout_stage_sync(stage, 1);
	return r < 0 ? err_sys(err, -r, "stage", job->site_name) : 0;
}

static int open_stage(struct job *job, int *stage, int *wrapper, struct err *err)
{
	*stage = layout_stage(job->pool, job->id);
	if (*stage < 0)
		return err_sys(err, -*stage, "stage", job->site_name);
	*wrapper = layout_stage_generation(*stage, 1);
	return *wrapper < 0 ? err_sys(err, -*wrapper, "stage", job->site_name) : 0;
}

static int commit(struct job *job, struct err *err)
{
	int r = layout_commit(job->pool, job->id, job->pool->sites, job->site_name);

	return r < 0 ? err_sys(err, -r, "rename into sites", job->site_name) : 0;
}

/* ---- by rename ---- */

/* A site without a tree goes away: into the trash under a name that nothing else has. */
static int discard_shell(struct job *job, struct err *err)
{
	char id[ID_SIZE];
	int r;

	id_new(id);
	r = layout_move(job->pool->sites, job->site_name, job->pool->trash, id);
	return r < 0 ? err_sys(err, -r, "rename into trash", job->site_name) : 0;
}

/* By name, so it may be another one by now: that goes back. */
static int check_adopted(const struct outside *o, int wrapper, struct err *err)
{
	struct stat st;

	if (fstatat(wrapper, LAYOUT_TREE, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
		st.st_ino == o->st.st_ino && st.st_dev == o->st.st_dev)
		return 0;
	renameat2(wrapper, LAYOUT_TREE, o->parent, o->name, RENAME_NOREPLACE);
	return err_set(err, EBUSY, "source_changed", o->path,
		"another directory stands in its place by now");
}

/* The commit point: DIR becomes the tree. */
static int adopt_into(struct job *job, const struct outside *o, struct err *err)
{
	_cleanup_fd_ int site = layout_open_site(job->pool, job->site_name);
	_cleanup_fd_ int wrapper = site < 0 ? site : layout_open_generation(site, 1);
	struct tree_at from = {o->parent, o->name}, to = {wrapper, LAYOUT_TREE};
	int r;

	if (wrapper < 0)
		return err_sys(err, -wrapper, "open generation", job->site_name);
	step("import.adopting");
	r = job->pool->driver->tree_adopt(job->pool->handle, from, to, err);
	step("import.adopted");
	if (r == 0)
		r = check_adopted(o, wrapper, err);
	if (r < 0)
		return r;
	if ((r = fd_sync(wrapper)) < 0 || (r = fd_sync(o->parent)) < 0)
		return err_sys(err, -r, "fsync", o->path);
	return 0;
}

/* 1: done; 0: only a copy can do it, nothing is left. */
static int adopt(struct job *job, const struct outside *o, struct err *err)
{
	_cleanup_fd_ int stage = -1, wrapper = -1;
	struct err flush = ERR_INIT;
	int r;

	if (!outside_same_mount(o->parent, job->pool->sites))
		return 0;
	/* Most of the waiting is done before a site without a tree can be seen. */
	if (!(job->pool->driver->caps(job->pool->handle) & POOL_CONSTANT_COST))
		job->pool->driver->sync_dir(job->pool->handle, o->dir, &job->ctx, &flush);
	if (snap_canceled(&job->ctx))
		return err_sys(err, ECANCELED, "import", o->path);
	job->method = METHOD_MOVE;
	job->consistency = snap_consistency_name(SNAP_ATOMIC);
	r = open_stage(job, &stage, &wrapper, err);
	if (r == 0)
		r = furnish(job, stage, wrapper, o, NULL, err);
	if (r == 0)
		r = commit(job, err);
	if (r == 0)
		r = adopt_into(job, o, err);
	if (r == 0)
		return 1;
	if (strcmp(err->code, "cannot_move") != 0)
		return r;
	err_clear(err);
	return discard_shell(job, err);
}

/* ---- by copy ---- */

static int fill(struct job *job, const struct outside *o, int wrapper, bool *lost, struct err *err)
{
	struct tree_at to = {wrapper, LAYOUT_TREE};
	struct pool_root *p = job->pool;
	struct pool_made made = {0};
	/* What leaves nothing in DIR has to have all of it. */
	unsigned flags = POOL_COPY_LIVE | (mode_is(job, "copy") ? 0 : POOL_COPY_OWNERS);
	int r = p->driver->tree_fill(p->handle, o->dir, to, flags, &job->ctx, &made, err);

	step("tree.made");
	if (r < 0)
		return r;
	*lost = made.copy.reported.total || find_work(NULL, o);
	op_count_copy(job, &made);
	return 0;
}

static int verify(struct job *job, const struct outside *o, int wrapper, int64_t since,
	struct err *err)
{
	_cleanup_fd_ int tree = fd_open_dir(wrapper, LAYOUT_TREE);
	struct late l = {.job = job, .ctx = &job->ctx, .from = o->dir, .to = tree, .since = since};

	return tree < 0 ? err_sys(err, -tree, "open", job->site_name) : late_verify(&l, err);
}

/* Refuse what cannot be copied before anything is, and count the work: a move reads all twice. */
static int survey(struct job *job, const struct outside *o, struct err *err)
{
	uint64_t entries, bytes;
	int r = snap_survey(o->dir, &job->ctx, &entries, &bytes, err);

	if (r < 0)
		return r;
	if (mode_is(job, "move")) {
		entries *= 2;
		bytes = snap_add(bytes, bytes);
	}
	atomic_store(&job->ctx.entries_total, entries);
	atomic_store(&job->ctx.bytes_total, bytes);
	return 0;
}

static int copy(struct job *job, const struct outside *o, struct err *err)
{
	_cleanup_fd_ int stage = -1, wrapper = -1;
	int64_t since = settle_now();
	bool lost = false;
	json_t *info;
	int r = survey(job, o, err);

	if (r == 0)
		r = open_stage(job, &stage, &wrapper, err);
	if (r == 0)
		r = fill(job, o, wrapper, &lost, err);
	if (r == 0 && mode_is(job, "move"))
		r = verify(job, o, wrapper, since, err);
	if (r < 0)
		return r;
	info = mode_is(job, "copy") ? NULL
				    : json_pack("{s:o,s:s,s:I,s:I,s:b}", "path",
					      json_text(o->path), "job", job->text, "since",
					      (json_int_t)since, "until", (json_int_t)late_now(),
					      "keep", (int)lost);
	r = furnish(job, stage, wrapper, o, info, err);
	json_decref(info);
	return r == 0 ? commit(job, err) : r;
}

static int run(struct fsd *f, struct job *job, struct err *err)
{
	_cleanup_outside_ struct outside o = OUTSIDE_INIT;
	int r = outside_open(job, &o, err);

	(void)f;
	if (r == 0)
		r = outside_require_dir(&o, err);
	if (r == 0 && (int64_t)o.st.st_ino != job_int(job, "ino"))
		r = err_set(err, EBUSY, "source_changed", o.path,
			"another directory stands in its place by now");
	if (r == 0 && mode_is(job, "move")) {
		r = adopt(job, &o, err);
		if (r)
			return r < 0 ? r : 0;
	}
	return r == 0 ? copy(job, &o, err) : r;
}

/* ---- recovery ---- */

static int committed(struct fsd *f, struct job *job, struct err *err)
{
	_cleanup_fd_ int site = layout_open_site(job->pool, job->site_name);
	_cleanup_fd_ int wrapper = -1;
	struct tree_at tree;
	int r = op_doc_says(site, META_SITE, "id", job->site_id);

	(void)f;
	if (r != 1)
		return r;
	wrapper = layout_open_generation(site, 1);
	if (wrapper < 0)
		return wrapper == -ENOENT ? 0 : wrapper;
	tree = (struct tree_at){wrapper, LAYOUT_TREE};
	return job->pool->driver->tree_check(job->pool->handle, tree, NULL, err);
}

/* What stands in sites/ may go only if there is surely no tree in it. */
static int revert(struct fsd *f, struct job *job, struct err *err)
{
	_cleanup_fd_ int site = layout_open_site(job->pool, job->site_name);
	_cleanup_fd_ int wrapper = -1;

	(void)f;
	if (op_doc_says(site, META_SITE, "id", job->site_id) != 1)
		return 0;
	wrapper = layout_open_generation(site, 1);
	return wrapper >= 0 && fd_exists(wrapper, LAYOUT_TREE) == 0 ? discard_shell(job, err) : 0;
}

/* ---- after the commit point ---- */

struct after {
	struct job *job;
	int site;
	json_t *info;
	struct outside o;
	char side[NAME_MAX + 1];
	char aside[PATH_MAX + NAME_MAX + 2]; /* its path, without symlinks on the way */
	struct snap_ctx ctx; /* not to be canceled any more */
};

static bool is_source(const struct after *a, const struct stat *st)
{
	return S_ISDIR(st->st_mode) && (int64_t)st->st_ino == job_int(a->job, "ino");
}

/* The directory that was put aside. The fd, or -errno. */
static int open_side(const struct after *a)
{
	int fd = fd_open_dir(a->o.parent, a->side);
	struct stat st;

	if (fd < 0)
		return fd == -ENOTDIR || fd == -ELOOP ? -ENOENT : fd;
	if (fstat(fd, &st) == 0 && is_source(a, &st))
		return fd;
	close(fd);
	return -ENOENT;
}

/* Bring late writes over. -ENOTEMPTY: the old directory has what the site has not, and stays. */
static int merge(struct after *a, int from, struct err *err)
{
	_cleanup_fd_ int to = layout_open_tree(a->site, 1);
	struct late l = {
		.job = a->job,
		.ctx = &a->ctx,
		.from = from,
		.to = to,
		.since = json_int_at(a->info, "since"),
		.until = json_int_at(a->info, "until"),
		.reflink = a->job->pool->driver->caps(a->job->pool->handle) & POOL_SHARES,
		.old_name = a->aside,
	};
	int r = to < 0 ? err_sys(err, -to, "open the live tree", a->job->site_name)
		       : late_merge(&l, err);

	if (r < 0)
		return r;
	if (l.merged)
		job_warn(a->job, "%" PRIu64 " paths that were written meanwhile were brought over",
			l.merged);
	if (l.left || json_true_at(a->info, "keep"))
		return err_set(err, ENOTEMPTY, "not_deleted", a->aside,
			"not everything in it is in the site; it is kept");
	return 0;
}

static int sync_parent(const struct outside *o, struct err *err)
{
	int r = fd_sync(o->parent);

	return r < 0 ? err_sys(err, -r, "fsync", o->path) : 0;
}

/* ---- move: the old directory is put aside ---- */

static int put_aside(struct after *a, struct err *err)
{
	struct outside *o = &a->o;

	if (o->dir >= 0 && is_source(a, &o->st) &&
		renameat2(o->parent, o->name, o->parent, a->side, RENAME_NOREPLACE) < 0)
		return err_sys(err, errno, "rename", o->path);
	step("import.aside");
	return sync_parent(o, err);
}

/* ---- link: the old directory is exchanged for a symlink ---- */

static int drop_link(const struct after *a)
{
	struct stat st;

	if (fstatat(a->o.parent, a->side, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : -errno;
	return S_ISLNK(st.st_mode) && unlinkat(a->o.parent, a->side, 0) == 0 ? 0 : -EEXIST;
}

static int exchange(struct after *a, const char *target, struct err *err)
{
	struct outside *o = &a->o;
	struct stat st;
	int r = drop_link(a);

	if (r < 0)
		return err_sys(err, -r, "remove", a->side);
	r = outside_make_link(o, a->side, target, &o->st, err);
	if (r < 0)
		return r;
	step("import.linked");
	if (renameat2(o->parent, a->side, o->parent, o->name, RENAME_EXCHANGE) < 0) {
		r = err_sys(err, errno, "exchange", o->path);
		drop_link(a);
		return r;
	}
	step("import.exchanged");
	if (fstatat(o->parent, a->side, &st, AT_SYMLINK_NOFOLLOW) < 0 || !is_source(a, &st)) {
		if (renameat2(o->parent, a->side, o->parent, o->name, RENAME_EXCHANGE) == 0)
			drop_link(a);
		return err_set(err, EBUSY, "source_changed", o->path,
			"another directory stands in its place by now");
	}
	return sync_parent(o, err);
}

static int link_in(struct after *a, struct err *err)
{
	struct outside *o = &a->o;
	char target[PATH_MAX];

	if (snprintf(target, sizeof(target), "%s/sites/%s/live", a->job->pool->config->path,
		    a->job->site_name) >= (int)sizeof(target))
		return err_sys(err, ENAMETOOLONG, "link", o->path);
	if (fd_is_link_to(o->parent, o->name, target) == 1)
		return 0;
	if (o->dir < 0 || !is_source(a, &o->st))
		return err_set(err, EBUSY, "source_changed", o->path,
			"another directory stands in its place by now");
	return exchange(a, target, err);
}

/* ---- both ---- */

/* The directory that was put aside, for work_sweep. */
static json_t *parked(const struct after *a, int64_t since)
{
	struct stat parent = {0};

	fstat(a->o.parent, &parent);
	return json_pack("{s:o,s:I,s:I,s:I}", "path", json_text(a->aside), "ino",
		(json_int_t)job_int(a->job, "ino"), "parent", (json_int_t)parent.st_ino, "since",
		(json_int_t)since);
}

/* It is swept only if all of it was brought over, and then only what was not written since. */
static int park(struct after *a, int64_t undo_keep, struct err *err)
{
	_cleanup_fd_ int aside = open_side(a);
	json_t *note;
	int64_t since;
	int r;

	if (aside == -ENOENT) /* its owner was faster */
		return 0;
	if (aside < 0)
		return err_sys(err, -aside, "open", a->side);
	since = late_now();
	r = merge(a, aside, err);
	step("import.merged");
	if (r < 0)
		return r;
	note = parked(a, since);
	json_object_set_new(a->job->result, "kept", json_pack("{s:O,s:o}", "path",
		json_object_get(note, "path"), "until", json_time(since + undo_keep)));
	return meta_change(a->site, META_SITE, a->job->site_name, "parked", note, err);
}

static int finish_link(struct after *a, struct err *err)
{
	int r = link_in(a, err);

	if (r == 0)
		r = meta_change(a->site, META_SITE, a->job->site_name, "linked",
			json_text(a->o.path), err);
	return r;
}

static int finish_open(struct after *a, struct err *err)
{
	int r = outside_open(a->job, &a->o, err);

	if (r == 0 && (r = outside_side_name(&a->o, a->job->text, a->side)) < 0)
		r = err_sys(err, -r, "rename", a->o.path);
	if (r == 0 && fd_path(a->o.parent, a->side, a->aside, sizeof(a->aside)) < 0)
		strcpy(a->aside, a->side);
	return r;
}

static int finish_dir(struct fsd *f, struct after *a, struct err *err)
{
	int r = mode_is(a->job, "link") ? finish_link(a, err) : put_aside(a, err);

	return r == 0 ? park(a, fsd_config(f)->undo_keep, err) : r;
}

/* DIR is a link to the site already, or is not: who renames the site looks. */
static int give_up(struct after *a, const char *why, struct err *err)
{
	char reason[ERR_TEXT_SIZE];

	snprintf(reason, sizeof(reason), "it is out of reach (%.150s); what was written in it "
		"since it was copied is there, or beside it in DIR.fsd-%s, and not in the site",
		why, a->job->text);
	job_fault(a->job, "failed", a->o.path, reason);
	return mode_is(a->job, "link") ? meta_change(a->site, META_SITE, a->job->site_name,
						 "linked", json_text(a->o.path), err)
				       : 0;
}

/* What was not brought over is only in the directory that was put aside, which nothing sweeps. */
static void tell_aside(struct after *a, struct err *why)
{
	_cleanup_fd_ int aside = open_side(a);

	job_name_tree(a->job, why);
	job_fault(a->job, "failed", why->object, why->reason);
	if (aside >= 0 && strcmp(why->code, "not_deleted") != 0)
		job_fault(a->job, "failed", a->aside, "what was written there since it was copied "
			"is not all in the site; bring over what you need, and remove it");
}

/* Of what cannot be done the result tells; only where DIR cannot be seen it is tried again. */
static int finish_outside(struct fsd *f, struct after *a, struct err *err)
{
	struct err part = ERR_INIT;
	int r = finish_open(a, &part);

	if (r < 0 && !outside_given_up(a->job, &part)) {
		*err = part;
		return r;
	}
	if (r < 0)
		r = give_up(a, part.reason, err);
	else if (finish_dir(f, a, &part) < 0)
		tell_aside(a, &part);
	if (r == 0)
		r = told_keep(f, a->job, err);
	return r == 0 ? meta_change(a->site, META_SITE, a->job->site_name, "import", NULL, err) : r;
}

static int finish(struct fsd *f, struct job *job, struct err *err)
{
	_cleanup_fd_ int site = layout_open_site(job->pool, job->site_name);
	struct after a = {.job = job, .site = site, .o = OUTSIDE_INIT};
	json_t *doc;
	int r;

	housekeeping_wake(f);
	if (site < 0)
		return err_sys(err, -site, "open site", job->site_name);
	r = meta_load(site, META_SITE, job->site_name, &doc, err);
	if (r < 0)
		return r;
	a.info = json_object_get(doc, "import");
	told_recall_warnings(job);
	if (a.info)
		r = finish_outside(f, &a, err);
	else
		told_recall(job);
	outside_release(&a.o);
	json_decref(doc);
	return r;
}

static int record(struct fsd *f, struct job *job, struct err *err)
{
	int r = op_record_site(f, job, job->site_name, NULL, err);

	told_recall_generation(f, job, 1);
	return r;
}

const struct op_kind op_site_import = {
	.op = OP_SITE_IMPORT,
	.priority = PRIO_CLONE,
	.touch = outside_touch,
	.plan = plan,
	.run = run,
	.committed = committed,
	.revert = revert,
	.finish = finish,
	.record = record,
	.why_not = "give the directory back with fsctl site eject, or delete the site",
};
