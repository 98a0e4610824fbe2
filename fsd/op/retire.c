/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A retired generation becomes an undo snapshot once its grace time is over: what was written to it
 * late ends in a listed snapshot, never in the trash. It moves itself, so that whoever still holds
 * a file of it writes into the snapshot.
 *
 * A shell of the snapshot, all but the generation, is put in its place first; the rename of
 * gen/N into it is the commit point. So the only copy of what visitors wrote never lies where
 * recovery sweeps, even if the catalog is lost in between. A shell that stays empty is no snapshot
 * (reflect_is_shell).
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "fsd/core/json.h"
#include "fsd/op/common.h"
#include "fsd/op/generation.h"
#include "fsd/op/ops.h"
#include "fsd/worker/housekeeping.h"
#include "fsd/worker/meta.h"
#include "fsd/worker/reflect.h"
#include "fsd/worker/step.h"
#include "snap/base/clock.h"
#include "snap/base/err.h"
#include "snap/base/fd.h"

static int plan(struct fsd *f, struct job *job, struct err *err)
{
	int64_t number = request_int(&job->request, F_GENERATION);
	struct cat_generation g;
	char id[ID_SIZE], name[NAME_SIZE], key[2 * NAME_SIZE], leaving[GENERATION_KEY_SIZE];
	struct cat_site site;
	int r = op_plan_site(f, job, request_str(&job->request, F_SITE), true, &site, err);

	if (r == 0)
		r = catalog_generation_get(f->catalog, site.id, number, &g, err);
	if (r == -ENOENT && !err->num)
		err_set(err, ENOENT, "not_found", site.name, "there is no generation %" PRId64,
			number);
	if (r < 0)
		return r;
	if (site.live == number || !g.retired)
		return err_set(err, EBUSY, "not_retired", site.name,
			"generation %" PRId64 " is not retired", number);
	id_new(id);
	snprintf(name, sizeof(name), "undo-%" PRId64, number);
	for (int n = 2; !op_snapshot_name_free(f, job->pool, site.id, name); n++)
		snprintf(name, sizeof(name), "undo-%" PRId64 "-%d", number, n);
	snprintf(key, sizeof(key), "%s@%s", site.id, name);
	job_lock(job, "name", key, true);
	job_lock(job, "generation", generation_key(site.id, number, leaving), true);
	job_intend_int(job, "generation", number);
	job_intend_str(job, "snapshot", id);
	job_intend_str(job, "name", name);
	job_intend_int(job, "expires", clock_real() + fsd_config(f)->undo_keep);
	job->method = METHOD_MOVE;
	job->consistency = snap_consistency_name(SNAP_ATOMIC);
	job_step(job, "keep %s:%" PRId64 " as the snapshot %s@%s", site.name, number, site.name,
		name);
	return 0;
}

/* ---- the shell ---- */

static int open_shell(const struct job *job)
{
	return layout_open_snapshot(job->pool, job->site_id, job_str(job, "name"));
}

/* Since when is it not live any more? */
static int retired_since(int wrapper, const struct job *job, int64_t *since, struct err *err)
{
	json_t *doc;
	int r = meta_load(wrapper, META_WRAPPER, job->site_name, &doc, err);

	if (r < 0)
		return r;
	*since = json_int_at(doc, "retired");
	json_decref(doc);
	return 0;
}

static int store_documents(struct job *job, int site, int stage, int wrapper, struct err *err)
{
	json_t *labels = json_object();
	int64_t since;
	int r = meta_copy(site, stage, META_SITE, false, job->site_name, err);

	if (r == 0)
		r = retired_since(wrapper, job, &since, err);
	if (r == 0)
		r = op_store_snapshot(
			job, stage, "undo", job_int(job, "generation"), since, labels, err);
	json_decref(labels);
	return r;
}

/* An empty gen/ and the link `live` to what will be in it. */
static int store_shape(struct job *job, int stage, int wrapper, struct err *err)
{
	int64_t number = job_int(job, "generation");
	_cleanup_fd_ int gen = -1;
	int r = fd_mkdir(stage, "gen", 0755);

	if (r == 0)
		gen = fd_open_dir(stage, "gen");
	if (r == 0)
		r = gen < 0 ? gen : layout_stage_live_like(stage, number, wrapper);
	if (r == 0 && (r = fd_sync(gen)) == 0)
		r = fd_sync(stage);
	return r < 0 ? err_sys(err, -r, "stage", job->site_name) : 0;
}

static int put_shell(struct job *job, int site, struct err *err)
{
	_cleanup_fd_ int stage = layout_stage(job->pool, job->id);
	_cleanup_fd_ int wrapper = layout_open_generation(site, job_int(job, "generation"));
	int r;

	if (stage < 0 || wrapper < 0)
		return err_sys(err, stage < 0 ? -stage : -wrapper, "stage", job->site_name);
	r = store_documents(job, site, stage, wrapper, err);
	if (r == 0)
		r = store_shape(job, stage, wrapper, err);
	return r == 0 ? op_commit_snapshot(job, err) : r;
}

/* ---- run ---- */

/* The commit point. */
static int move_in(struct job *job, int site, struct err *err)
{
	_cleanup_fd_ int shell = open_shell(job);
	_cleanup_fd_ int to = shell < 0 ? shell : fd_open_dir(shell, "gen");
	_cleanup_fd_ int from = fd_open_dir(site, "gen");
	char name[LAYOUT_NUMBER_SIZE];
	int r = from < 0 ? from : to < 0 ? to : 0;

	snprintf(name, sizeof(name), "%" PRId64, job_int(job, "generation"));
	if (r == 0)
		r = layout_move(from, name, to, name);
	if (r == 0)
		r = fd_sync(from);
	step("retire.moved");
	return r < 0 ? err_sys(err, -r, "move the generation into its snapshot", job->site_name)
		     : 0;
}

static int run(struct fsd *f, struct job *job, struct err *err)
{
	_cleanup_fd_ int site = op_open_site(f, job, err);
	int64_t live = 0, number = job_int(job, "generation");
	int r;

	if (site < 0)
		return site;
	if (layout_live(site, &live) == 0 && live == number)
		return err_set(err, EBUSY, "not_retired", job->site_name, "it is live again");
	job->method = METHOD_MOVE; /* a job that goes on after a restart was not planned */
	job->consistency = snap_consistency_name(SNAP_ATOMIC);
	r = generation_remember(job, site, number, err);
	if (r == 0)
		r = put_shell(job, site, err);
	return r == 0 ? move_in(job, site, err) : r;
}

/* ---- recovery ---- */

/* Is the generation in the snapshot? 1, 0, -errno. */
static int committed(struct fsd *f, struct job *job, struct err *err)
{
	_cleanup_fd_ int shell = open_shell(job);
	_cleanup_fd_ int wrapper = -1;
	int r = op_doc_says(shell, META_WRAPPER, "id", job_str(job, "snapshot"));

	(void)f;
	if (r != 1)
		return r < 0 ? err_sys(err, -r, "read the snapshot", job->site_name) : 0;
	wrapper = layout_open_generation(shell, job_int(job, "generation"));
	if (wrapper >= 0)
		return 1;
	return wrapper == -ENOENT ? 0 : err_sys(err, -wrapper, "open generation", job->site_name);
}

/* The shell goes, if surely nothing came into it. */
static int revert(struct fsd *f, struct job *job, struct err *err)
{
	_cleanup_fd_ int folder = fd_open_dir(job->pool->snapshots, job->site_id);
	int r = folder == -ENOENT ? 0 : op_snapshot_committed(job);

	if (r == 1)
		r = committed(f, job, err) == 0
			? layout_discard(job->pool, job->id, folder, job_str(job, "name"))
			: -EBUSY;
	return r < 0 ? err_sys(err, -r, "remove the empty snapshot", job->site_name) : 0;
}

/* ---- after the commit point ---- */

/* The snapshot is there, and a note in it says that housekeeping is to look what was written late
 * (fsd/worker/retired.h): that takes as long as the tree is large, and nobody shall wait for it. */
static int finish(struct fsd *f, struct job *job, struct err *err)
{
	const struct pool_root *p = job->pool;
	_cleanup_fd_ int shell = open_shell(job);
	_cleanup_fd_ int wrapper =
		shell < 0 ? shell : layout_open_generation(shell, job_int(job, "generation"));
	struct tree_at tree = {wrapper, LAYOUT_TREE};
	struct err e = ERR_INIT;

	(void)f;
	if (wrapper < 0)
		return err_sys(err, -wrapper, "open the snapshot", job->site_name);
	if (p->driver->tree_seal && p->driver->tree_seal(p->handle, tree, &e) < 0)
		job_warn(job, "the snapshot could not be made read-only: %s", e.reason);
	step("retire.sealed");
	return 0;
}

/* ---- record ---- */

static int record(struct fsd *f, struct job *job, struct err *err)
{
	struct cat_site site;
	int r = op_record_snapshot(f, job, err);

	housekeeping_wake(f);
	if (r == 0)
		r = catalog_site_get(f->catalog, job->site_id, &site, err);
	return r == 0 ? reflect_site(f, job->pool, site.name, NULL, err) : r;
}

const struct op_kind op_generation_retire = {
	.op = OP_GENERATION_RETIRE,
	.priority = PRIO_HOUSEKEEPING,
	.plan = plan,
	.run = run,
	.committed = committed,
	.revert = revert,
	.finish = finish,
	.record = record,
	.why_not = "restore the undo snapshot instead",
};
