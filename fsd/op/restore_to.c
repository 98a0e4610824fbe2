/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * `restore SOURCE [PATH...] --to DIR`: a copy of the source, or of chosen paths of it, as a plain
 * directory elsewhere. Nothing in a pool is changed, not even to stage the job: it works with a
 * pool that is full. What is on its way is noted in the intent instead ("ino"). A job that was
 * interrupted before its commit point is run once more.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "fsd/core/json.h"
#include "fsd/op/copy_out.h"
#include "fsd/op/ops.h"
#include "fsd/op/told.h"
#include "fsd/op/wanted.h"
#include "snap/base/err.h"
#include "snap/base/fd.h"

/* ---- plan ---- */

static int plan_place(struct fsd *f, struct job *job, struct outside *o, struct err *err)
{
	int r = outside_plan(f, job, request_str(&job->request, F_DIR), o, err);

	if (r == 0)
		r = outside_require_free(o, err);
	return r == 0 ? outside_refuse(f, o, o->parent, false, err) : r;
}

static void expect(struct job *job, const struct outside *o)
{
	job->method = pool_method_name(outside_method(job->pool, o->parent));
	op_expect_consistency(job, *job_str(job, "source_snapshot") ? SNAP_ATOMIC : SNAP_SETTLED);
}

static void show_steps(struct job *job, const struct resolved *source, const struct outside *o,
	const struct path_list *paths)
{
	expect(job, o);
	if (paths->n) {
		job_step(job, "copy %zu paths of %s to %s", paths->n, source->text, o->path);
	} else {
		job->planned = source->kind == SOURCE_SNAPSHOT ? source->snapshot.usage
							       : source->site.usage;
		job_step(job, "copy %s to %s", source->text, o->path);
	}
}

static int plan(struct fsd *f, struct job *job, struct err *err)
{
	_cleanup_outside_ struct outside o = OUTSIDE_INIT;
	_cleanup_path_list_ struct path_list paths = {0};
	struct resolved source;
	int r = op_plan_parts(job, err);

	if (r == 0)
		r = op_plan_source(f, job, request_str(&job->request, F_SOURCE), &source, err);
	if (r < 0)
		return r;
	job->pool = source.pool;
	strcpy(job->site_id, source.site.id);
	strcpy(job->site_name, source.site.name);
	r = plan_place(f, job, &o, err);
	if (r == 0 && request_has(&job->request, F_PATHS))
		r = wanted_plan(job, &source, &paths, err);
	if (r == 0)
		show_steps(job, &source, &o, &paths);
	return r;
}

/* ---- run ---- */

static int copy_tree(struct copy_out *c, int tree, int dir, struct err *err)
{
	_cleanup_path_list_ struct path_list paths = {0};
	struct wanted wanted = {.paths = &paths, .folder = ""};
	struct snap_copy_opts opts = {.source_is_live = !*job_str(c->job, "source_snapshot")};
	int r = wanted_load(c->job, &paths, err);

	if (r < 0)
		return r;
	if (paths.n) {
		wanted.end = paths.n;
		opts.skip = wanted_skips;
		opts.skip_arg = &wanted;
	}
	r = copy_out_fill(c, tree, dir, opts, err);
	for (size_t i = 0; i < paths.n && r == 0; i++)
		r = wanted_check(c->job, dir, paths.items[i], paths.items[i], err);
	return r;
}

static int copy_out(struct fsd *f, struct job *job, struct copy_out *c, int tree, struct err *err)
{
	_cleanup_fd_ int dir = -1;
	uint64_t ino;
	int r;

	/* No document in the pool tells what it comes to. As a rule that is known now, and noted
	 * together with the note that it has begun. */
	expect(job, &c->o);
	r = told_keep(f, job, err);
	if (r < 0)
		return r;
	dir = copy_out_make(c, &ino, err);
	if (dir < 0)
		return dir;
	r = job_note(f, job, "ino", json_integer((json_int_t)ino), err);
	if (r == 0)
		r = copy_tree(c, tree, dir, err);
	if (r == 0)
		r = told_keep(f, job, err);
	return r == 0 ? copy_out_place(c, ino, RENAME_NOREPLACE, err) : r;
}

static int run(struct fsd *f, struct job *job, struct err *err)
{
	_cleanup_copy_out_ struct copy_out c = COPY_OUT_INIT(job);
	_cleanup_fd_ int source = -1, tree = -1;
	struct pool_root *pool;
	int64_t number;
	int r = copy_out_open(&c, err);

	if (r == 0)
		r = outside_require_free(&c.o, err);
	if (r < 0)
		return r;
	source = op_open_source(f, job, &pool, &number, err);
	if (source < 0)
		return source;
	tree = layout_open_tree(source, number);
	return tree < 0 ? err_sys(err, -tree, "open", job_str(job, "source"))
			: copy_out(f, job, &c, tree, err);
}

/* ---- recovery, and after the commit point ---- */

static int committed(struct fsd *f, struct job *job, struct err *err)
{
	_cleanup_copy_out_ struct copy_out c = COPY_OUT_INIT(job);
	uint64_t ino = (uint64_t)job_int(job, "ino");
	int r = ino ? copy_out_find(&c, err) : 0;

	(void)f;
	return r == 1 ? copy_out_names(&c, c.o.name, ino) : r;
}

static int revert(struct fsd *f, struct job *job, struct err *err)
{
	_cleanup_copy_out_ struct copy_out c = COPY_OUT_INIT(job);

	(void)f;
	if (!json_object_get(job->intent, "told")) /* it had not begun */
		return 0;
	return copy_out_revert(&c, (uint64_t)job_int(job, "ino"), err);
}

static int finish(struct fsd *f, struct job *job, struct err *err)
{
	_cleanup_copy_out_ struct copy_out c = COPY_OUT_INIT(job);
	int r = copy_out_open(&c, err);

	(void)f;
	told_recall(job);
	if (r == 0)
		r = copy_out_sync(&c, err);
	if (r == 0 || !outside_given_up(job, err))
		return r;
	job_warn(job, "%s is out of reach by now", c.o.path);
	return 0;
}

static int record(struct fsd *f, struct job *job, struct err *err)
{
	(void)f;
	(void)err;
	json_object_set(job->result, "source", json_object_get(job->intent, "source"));
	json_object_set(job->result, "dir", json_object_get(job->intent, "dir"));
	return 0;
}

const struct op_kind op_restore_to = {
	.op = OP_RESTORE_TO,
	.priority = PRIO_RESTORE,
	.touch = outside_touch,
	.plan = plan,
	.run = run,
	.committed = committed,
	.revert = revert,
	.finish = finish,
	.record = record,
	.why_not = "no site was changed; remove the directory that it made",
};
