/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A site becomes a plain directory again. By rename where the driver can give its tree away, else
 * by a copy beside DIR that is compared byte by byte; the rename to DIR is the commit point. Then
 * the site is parked as a deleted one is; when its only tree was given away, it is gone. The
 * symlink that import --link made may be the DIR: it is exchanged.
 *
 * What is on its way is noted in staging/JOB/eject.json: {"ino": the directory's, "generation",
 * "released": by rename, "since", "until"}.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "fsd/core/json.h"
#include "fsd/op/eject_priv.h"
#include "fsd/op/late.h"
#include "fsd/op/ops.h"
#include "fsd/op/told.h"
#include "fsd/worker/housekeeping.h"
#include "fsd/worker/meta.h"
#include "fsd/worker/present.h"
#include "fsd/worker/reflect.h"
#include "fsd/worker/step.h"
#include "fsd/worker/work.h"
#include "snap/base/err.h"
#include "snap/base/fd.h"
#include "snap/settle.h"
#include "snap/skip.h"

#define NOTE "eject.json"

/* ---- plan ---- */

/* Is DIR the site's own symlink, and nobody else's by now? */
static bool is_own_link(const struct job *job, const struct cat_site *site, const struct outside *o)
{
	char target[PATH_MAX];

	snprintf(target, sizeof(target), "%s/sites/%s/live", job->pool->config->path, site->name);
	return strcmp(site->linked, o->path) == 0 && fd_is_link_to(o->parent, o->name, target) == 1;
}

static int check_free(const struct outside *o, bool own_link, struct err *err)
{
	return own_link ? 0 : outside_require_free(o, err);
}

static int count_snapshot(const struct cat_snapshot *s, void *arg)
{
	(void)s;
	++*(unsigned *)arg;
	return 0;
}

/* What restores of paths replaced in the tree, which goes away with all its undos. */
static void show_kept(struct job *job, const struct cat_site *site, const struct outside *o)
{
	_cleanup_fd_ int dir = layout_open_site(job->pool, site->name);
	_cleanup_fd_ int wrapper = dir < 0 ? -1 : layout_open_generation(dir, site->live);
	_cleanup_fd_ int tree = wrapper < 0 ? -1 : fd_open_dir(wrapper, LAYOUT_TREE);
	json_t *names = tree < 0 ? NULL : work_list(tree);
	size_t n = json_array_size(names);

	json_decref(names);
	if (n)
		job_step(job, "put what %zu earlier %s replaced, and kept for undo, beside it as "
			"%s.fsd-JOB", n, n == 1 ? "job" : "jobs", o->path);
}

static void show_steps(struct fsd *f, struct job *job, const struct cat_site *site,
	const struct outside *o, bool own_link)
{
	struct cat_snapshot_filter filter = {.site = site->id};
	bool moves = outside_same_mount(o->parent, job->pool->sites) &&
		!(job->pool->driver->caps(job->pool->handle) & POOL_CONSTANT_COST);
	unsigned snapshots = 0;

	job->method = moves ? METHOD_MOVE : pool_method_name(outside_method(job->pool, o->parent));
	if (!moves)
		job->planned = site->usage;
	if (moves)
		job_step(job, "rename the live tree of %s to %s, which no undo takes back",
			site->name, o->path);
	else
		job_step(job, "copy the live tree of %s to %s, and compare every byte", site->name,
			o->path);
	if (moves)
		show_kept(job, site, o);
	if (own_link)
		job_step(job, "it takes the place of the symbolic link");
	else if (*site->linked)
		job_warn(job, "%s is a symlink to it and will dangle", site->linked);
	job_step(job, "delete the site %s", site->name);
	catalog_snapshots(f->catalog, &filter, count_snapshot, &snapshots, NULL);
	if (snapshots)
		job_step(job, "its snapshots stay until they are deleted: %u", snapshots);
}

static int plan(struct fsd *f, struct job *job, struct err *err)
{
	_cleanup_outside_ struct outside o = OUTSIDE_INIT;
	struct cat_site site;
	bool own_link;
	int r = op_plan_site(f, job, request_str(&job->request, F_SITE), true, &site, err);

	if (r == 0)
		r = op_require_deletable(job, &site, err);
	if (r < 0)
		return r;
	r = outside_plan(f, job, request_str(&job->request, F_DIR), &o, err);
	if (r < 0)
		return r;
	own_link = is_own_link(job, &site, &o);
	r = check_free(&o, own_link, err);
	if (r == 0)
		r = outside_refuse(f, &o, o.parent, false, err);
	if (r < 0)
		return r;
	job_intend(job, "own_link", json_boolean(own_link));
	show_steps(f, job, &site, &o, own_link);
	return 0;
}

/* ---- what a job has in its hands ---- */

static void eject_release(struct eject *e)
{
	copy_out_release(&e->out);
	fd_close(&e->site);
	fd_close(&e->wrapper);
	fd_close(&e->stage);
}
#define _cleanup_eject_ __attribute__((cleanup(eject_release)))
#define EJECT_INIT(j) \
	((struct eject){.job = (j), .out = COPY_OUT_INIT(j), .site = -1, .wrapper = -1, \
		.stage = -1})

/* The site in sites/ or, once it is parked, in deleted/. 0 also when it is nowhere. */
static int open_site(struct fsd *f, struct eject *e, struct err *err)
{
	struct job *job = e->job;
	int r = op_site_name(f, job->site_id, e->name, err);

	if (r < 0)
		return r;
	e->site = layout_open_site(job->pool, e->name);
	if (e->site == -ENOENT)
		e->site = fd_open_dir(job->pool->deleted, job->site_id);
	if (e->site == -ENOENT)
		return 0;
	if (e->site < 0)
		return err_sys(err, -e->site, "open site", e->name);
	if (layout_live(e->site, &e->live) < 0)
		return 0; /* damaged; it has to be settled all the same */
	e->wrapper = layout_open_generation(e->site, e->live);
	return e->wrapper < 0 && e->wrapper != -ENOENT
		? err_sys(err, -e->wrapper, "open generation", e->name)
		: 0;
}

static int open_all(struct fsd *f, struct eject *e, struct err *err)
{
	struct job *job = e->job;
	int r = open_site(f, e, err);

	if (r == 0)
		r = copy_out_open(&e->out, err);
	e->own_link = json_true_at(job->intent, "own_link");
	e->stage = layout_open_stage(job->pool, job->id);
	return r;
}

/* 1, 0: there is none, -errno. */
static int load_note(const struct eject *e, json_t **note)
{
	return op_doc_load(e->stage, NOTE, note);
}

static int store_note(struct eject *e, uint64_t ino, bool released, int64_t since, int64_t until,
	struct err *err)
{
	json_t *note = json_pack("{s:i,s:I,s:I,s:b,s:I,s:I,s:s*,s:s*}", "format", META_FORMAT,
		"ino", (json_int_t)ino, "generation", (json_int_t)e->live, "released",
		(int)released, "since", (json_int_t)since, "until", (json_int_t)until, "method",
		e->job->method, "consistency", e->job->consistency);
	int r = meta_store(e->stage, NOTE, e->name, note, err);

	json_decref(note);
	if (r == 0 && (r = fd_sync(e->stage)) < 0)
		r = err_sys(err, -r, "fsync", e->name);
	step("eject.noted");
	return r;
}

static bool is_dir(const struct eject *e, const char *name, uint64_t ino)
{
	return copy_out_names(&e->out, name, ino) == 1;
}

static bool is_link(const struct eject *e, const char *name)
{
	struct stat st;

	return fstatat(e->out.o.parent, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISLNK(st.st_mode);
}

/* The commit point of a copy, and the last step of a released tree where DIR is the site's link. */
static int put_in_place(struct eject *e, uint64_t ino, struct err *err)
{
	return copy_out_place(&e->out, ino, e->own_link ? RENAME_EXCHANGE : RENAME_NOREPLACE, err);
}

/* ---- by rename ---- */

/* 1: done; 0: only a copy can do it. */
static int release_tree(struct eject *e, int tree, struct err *err)
{
	struct pool_root *p = e->job->pool;
	struct tree_at from = {e->wrapper, LAYOUT_TREE};
	struct tree_at to = {e->out.o.parent, e->own_link ? e->out.side : e->out.o.name};
	struct stat st;
	int r;

	if (!outside_same_mount(e->out.o.parent, e->wrapper))
		return 0;
	if (fstat(tree, &st) < 0)
		return err_sys(err, errno, "stat", e->name);
	r = store_note(e, st.st_ino, true, 0, 0, err);
	if (r < 0)
		return r;
	r = p->driver->tree_release(p->handle, from, to, err);
	step("eject.released");
	if (r < 0 && strcmp(err->code, "cannot_move") == 0) {
		err_clear(err);
		return 0;
	}
	if (r < 0)
		return r;
	/* The site's users see nothing between the two renames. */
	r = e->own_link ? put_in_place(e, st.st_ino, err) : copy_out_sync(&e->out, err);
	return r < 0 ? r : 1;
}

/* ---- by copy ---- */

/* The directory beside DIR, noted. */
static int make_side(struct eject *e, uint64_t *ino, struct err *err)
{
	int fd = copy_out_make(&e->out, ino, err), r;

	if (fd < 0)
		return fd;
	r = store_note(e, *ino, false, 0, 0, err);
	if (r < 0)
		fd_close(&fd);
	return r < 0 ? r : fd;
}

static int give_copy(struct eject *e, int tree, struct err *err)
{
	int64_t since = settle_now();
	uint64_t ino;
	_cleanup_fd_ int side = make_side(e, &ino, err);
	struct late l = {.job = e->job, .ctx = &e->job->ctx, .from = tree, .to = side,
		.since = since};
	int r;

	if (side < 0)
		return side;
	r = copy_out_fill(&e->out, tree, side,
		(struct snap_copy_opts){.source_is_live = true, .keep_owners = true}, err);
	if (r == 0)
		r = late_verify(&l, err);
	if (r == 0)
		r = store_note(e, ino, false, since, late_now(), err);
	return r == 0 ? put_in_place(e, ino, err) : r;
}

static int run(struct fsd *f, struct job *job, struct err *err)
{
	_cleanup_eject_ struct eject e = EJECT_INIT(job);
	_cleanup_fd_ int tree = -1;
	struct cat_site site;
	int r = op_site_now(f, job->site_id, &site, err);

	if (r == 0)
		r = op_require_deletable(job, &site, err);
	if (r == 0)
		r = open_all(f, &e, err);
	if (r < 0)
		return r;
	fd_close(&e.wrapper);
	e.wrapper = layout_open_live(e.site, e.name, &e.live, err);
	if (e.wrapper < 0)
		return e.wrapper;
	tree = fd_open_dir(e.wrapper, LAYOUT_TREE);
	if (tree < 0)
		return err_sys(err, -tree, "open the live tree", job->site_name);
	r = check_free(&e.out.o, e.own_link && S_ISLNK(e.out.o.st.st_mode), err);
	if (r < 0)
		return r;
	e.stage = layout_stage(job->pool, job->id);
	if (e.stage < 0)
		return err_sys(err, -e.stage, "stage", job->site_name);
	r = release_tree(&e, tree, err);
	return r == 0 ? give_copy(&e, tree, err) : r < 0 ? r : 0;
}

/* ---- recovery ---- */

/* Is the tree that was to be given away still the site's? 1, 0, -errno. */
static int has_tree(const struct eject *e, const json_t *note)
{
	_cleanup_fd_ int wrapper = layout_open_generation(e->site, json_int_at(note, "generation"));

	if (wrapper < 0)
		return wrapper == -ENOENT ? 0 : wrapper;
	return fd_exists(wrapper, LAYOUT_TREE);
}

static int was_given(struct eject *e, const json_t *note, struct err *err)
{
	int r;

	if (eject_released(note)) {
		r = has_tree(e, note);
		return r < 0 ? r : !r;
	}
	r = copy_out_find(&e->out, err);
	if (r != 1)
		return r;
	return copy_out_names(&e->out, e->out.o.name, (uint64_t)json_int_at(note, "ino"));
}

static int committed(struct fsd *f, struct job *job, struct err *err)
{
	_cleanup_eject_ struct eject e = EJECT_INIT(job);
	json_t *note;
	int r = open_site(f, &e, err);

	if (r < 0)
		return r;
	r = fd_exists(job->pool->deleted, job->site_id); /* nobody else parks it: it is locked */
	if (r)
		return r;
	if (e.site < 0) { /* given away and gone; what else it can be is damage */
		r = copy_out_find(&e.out, err);
		return r == 1 ? e.out.o.dir >= 0 : r;
	}
	e.stage = layout_open_stage(job->pool, job->id);
	r = load_note(&e, &note);
	if (r == 1) {
		r = was_given(&e, note, err);
		json_decref(note);
	}
	return r;
}

static int revert(struct fsd *f, struct job *job, struct err *err)
{
	_cleanup_eject_ struct eject e = EJECT_INIT(job);
	json_t *note = NULL;
	int r;

	(void)f;
	e.stage = layout_open_stage(job->pool, job->id);
	if (e.stage == -ENOENT) /* it had not begun */
		return 0;
	r = e.stage < 0 ? e.stage : load_note(&e, &note);
	if (r < 0)
		return err_sys(err, -r, "read " NOTE, job->site_name);
	r = copy_out_revert(&e.out,
		note && !eject_released(note) ? (uint64_t)json_int_at(note, "ino") : 0, err);
	json_decref(note);
	return r;
}

/* ---- after the commit point ---- */

/* DIR was the site's link: the directory takes its place, and the link goes. */
static int finish_link(struct eject *e, const json_t *note, struct err *err)
{
	int r = 0;

	if (!e->own_link)
		return 0;
	if (is_link(e, e->out.o.name) && is_dir(e, e->out.side, (uint64_t)json_int_at(note, "ino")))
		r = put_in_place(e, (uint64_t)json_int_at(note, "ino"), err);
	if (r == 0 && is_link(e, e->out.side) && unlinkat(e->out.o.parent, e->out.side, 0) < 0)
		r = err_sys(err, errno, "remove", e->out.side);
	return r;
}

/* What visitors wrote between the copy and now. */
static int merge(struct eject *e, const json_t *note, int dir, struct err *err)
{
	struct snap_ctx ctx = {0};
	_cleanup_fd_ int site = fd_open_dir(e->job->pool->deleted, e->job->site_id);
	int64_t looked = late_now();
	_cleanup_fd_ int tree =
		site < 0 ? site : layout_open_tree(site, json_int_at(note, "generation"));
	struct late l = {
		.job = e->job,
		.ctx = &ctx,
		.from = tree,
		.to = dir,
		.since = json_int_at(note, "since"),
		.until = json_int_at(note, "until"),
		.reflink = e->job->pool->driver->caps(e->job->pool->handle) & POOL_SHARES,
		.old_name = e->name,
	};

	int r = tree < 0 ? err_sys(err, -tree, "open", e->name) : late_merge(&l, err);

	if (r < 0)
		return r;
	/* What could not be brought over counts as late when the site's time is over. */
	if (l.left)
		return err_set(err, ENOTEMPTY, "not_deleted", e->out.o.path,
			"not everything that was written in %s meanwhile is in it; the rest is in "
			"gen/%" PRId64 " of %.100s/.fsd/deleted/%s until undo_keep is over",
			e->name, json_int_at(note, "generation"), e->job->pool->config->path,
			e->job->site_id);
	return meta_change(site, META_SITE, e->name, "ejected", eject_mark(e, looked), err);
}

/* DIR/.fsd-JOB, what that job replaced, is nobody's any more: beside it as DIR.fsd-JOB. */
static int put_beside(struct eject *e, int dir, const char *work, struct err *err)
{
	char name[NAME_MAX + 1];
	int r = outside_side_name(&e->out.o, work + strlen(SNAP_WORK_PREFIX), name);

	if (r == 0)
		r = layout_move(dir, work, e->out.o.parent, name);
	if (r < 0)
		return err_sys(err, -r, "rename", work);
	job_warn(e->job, "what was replaced and kept for undo is %s now; remove it when it is not "
		"needed", name);
	return fd_sync(dir) < 0 ? err_sys(err, errno, "fsync", e->out.o.path) : 0;
}

/* The directory is to be a plain one. */
static int empty_of_work(struct eject *e, int dir, struct err *err)
{
	json_t *names = work_list(dir), *name;
	size_t i;
	int r = names ? 0 : err_sys(err, EIO, "list", e->out.o.path);

	json_array_foreach(names, i, name) {
		if (r == 0)
			r = put_beside(e, dir, json_string_value(name), err);
	}
	json_decref(names);
	return r;
}

static int finish_dir(struct eject *e, const json_t *note, struct err *err)
{
	_cleanup_fd_ int dir = -1;
	int r;

	if (!is_dir(e, e->out.o.name, (uint64_t)json_int_at(note, "ino")))
		return err_set(err, EBUSY, "source_changed", e->out.o.path,
			"another directory stands in its place by now");
	dir = fd_open_dir(e->out.o.parent, e->out.o.name);
	if (dir < 0)
		return err_sys(err, -dir, "open", e->out.o.path);
	r = eject_released(note) ? 0 : merge(e, note, dir, err);
	if (r == 0 || r == -ENOTEMPTY)
		r = empty_of_work(e, dir, r < 0 ? NULL : err) ?: r;
	return r;
}

static int finish(struct fsd *f, struct job *job, struct err *err)
{
	_cleanup_eject_ struct eject e = EJECT_INIT(job);
	struct err part = ERR_INIT;
	json_t *note;
	bool placed;
	int r = open_site(f, &e, err);

	if (r < 0)
		return r;
	e.stage = layout_open_stage(job->pool, job->id);
	r = load_note(&e, &note);
	if (r < 0)
		return err_sys(err, -r, "read " NOTE, e.name);
	if (r == 0) { /* all done, and swept */
		told_recall(job);
		return 0;
	}
	told_recall_warnings(job);
	told_recall_made(job, json_str_at(note, "method"), json_str_at(note, "consistency"));
	if (eject_released(note))
		job->method = METHOD_MOVE;
	e.own_link = json_true_at(job->intent, "own_link");
	/* DIR may lie on another file system than the pool. */
	placed = copy_out_open(&e.out, &part) == 0 && finish_link(&e, note, &part) == 0 &&
		copy_out_sync(&e.out, &part) == 0;
	r = eject_leave(&e, note, err);
	if (r == 0 && placed)
		placed = finish_dir(&e, note, &part) == 0;
	if (!placed)
		job_fault(job, "failed", part.object, part.reason);
	json_decref(note);
	housekeeping_wake(f);
	if (r == 0)
		r = told_keep(f, job, err);
	return r == 0 ? job_sweep(job, err) : r;
}

static int record(struct fsd *f, struct job *job, struct err *err)
{
	struct cat_site site;
	int r = catalog_site_get(f->catalog, job->site_id, &site, err);

	if (r < 0)
		return r;
	json_object_set_new(job->result, "site", present_site(f, f->catalog, &site));
	json_object_set(job->result, "dir", json_object_get(job->intent, "dir"));
	if (fd_exists(job->pool->deleted, job->site_id) != 1)
		return reflect_site(f, job->pool, site.name, NULL, err);
	r = reflect_deleted(f, job->pool, job->site_id, op_deleted_at(job), err);
	if (r == 0)
		r = catalog_site_get(f->catalog, job->site_id, &site, err);
	if (r == 0)
		json_object_set_new(job->result, "site", present_site(f, f->catalog, &site));
	return r;
}

/* A copy left the site as it was; a tree that was given away is in use elsewhere. */
static bool was_moved(const struct cat_job *done)
{
	json_t *stats = json_loads(done->stats ? done->stats : "{}", 0, NULL);
	const char *method = json_str_at(stats, "method");
	bool moved = method && strcmp(method, METHOD_MOVE) == 0;

	json_decref(stats);
	return moved;
}

static int undo(struct fsd *f, const struct cat_job *done, json_t *intent, struct request *request,
	struct err *err)
{
	(void)f;
	if (was_moved(done)) {
		err_set(err, ENOENT, "nothing_to_undo", done->site_name,
			"its tree itself is the directory now");
		err_hint(err, "fsctl site import %s %s --move", done->site_name,
			json_str_at(intent, "dir"));
		return -ENOENT;
	}
	request_init(request, OP_SITE_UNDELETE);
	return request_set_str(request, F_SITE, done->site);
}

const struct op_kind op_site_eject = {
	.op = OP_SITE_EJECT,
	.priority = PRIO_CLONE,
	.touch = outside_touch,
	.plan = plan,
	.run = run,
	.committed = committed,
	.revert = revert,
	.finish = finish,
	.record = record,
	.undo = undo,
	.beyond_undo = was_moved,
};
