/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A retired generation becomes an undo snapshot once its grace time is over: late writes to it end
 * in a listed snapshot, never in the trash. Where a copy costs nothing it is a read-only copy and
 * the generation goes; elsewhere the wrapper itself moves into the snapshot.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "fsd/op/common.h"
#include "fsd/op/ops.h"
#include "fsd/worker/housekeeping.h"
#include "fsd/worker/meta.h"
#include "fsd/worker/present.h"
#include "fsd/worker/reflect.h"
#include "snap/base/clock.h"
#include "snap/base/err.h"
#include "snap/base/fd.h"

static int plan(struct fsd *f, struct job *job, struct err *err)
{
	int64_t number = request_int(&job->request, F_GENERATION);
	struct cat_generation g;
	char id[ID_SIZE], name[NAME_SIZE], key[2 * NAME_SIZE];
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
	for (int n = 2; !op_snapshot_name_free(f, site.id, name); n++)
		snprintf(name, sizeof(name), "undo-%" PRId64 "-%d", number, n);
	snprintf(key, sizeof(key), "%s@%s", site.id, name);
	job_lock(job, "name", key, true);
	job_intend_int(job, "generation", number);
	job_intend_str(job, "snapshot", id);
	job_intend_str(job, "name", name);
	job_intend_int(job, "expires", clock_real() + fsd_config(f)->undo_keep);
	op_expect_copy(job, job->pool, false);
	job_step(job, "keep %s:%" PRId64 " as the snapshot %s@%s", site.name, number, site.name,
		name);
	return 0;
}

static int store_meta(struct job *job, int stage, struct err *err)
{
	json_t *labels = json_object();
	int r = op_store_snapshot(job, stage, "undo", job_int(job, "generation"), labels, err);

	json_decref(labels);
	return r;
}

static bool copies(const struct job *job)
{
	return job->pool->driver->caps(job->pool->handle) & POOL_CONSTANT_COST;
}

static int copy_in(struct job *job, int site, int stage, struct err *err)
{
	int64_t number = job_int(job, "generation");
	_cleanup_fd_ int from = layout_open_generation(site, number);
	_cleanup_fd_ int wrapper = layout_stage_generation(stage, number);
	char *text = NULL;
	size_t len;
	int r;

	if (from < 0 || wrapper < 0)
		return err_sys(err, from < 0 ? -from : -wrapper, "stage", job->site_name);
	r = fd_read_file(from, META_WRAPPER, 1 << 20, &text, &len);
	if (r == 0)
		r = fd_write_file(wrapper, META_WRAPPER, text, len, 0644);
	ptr_free(&text);
	if (r < 0)
		return err_sys(err, -r, "copy meta.json", job->site_name);
	return op_copy_tree(job, job->pool, from, wrapper, POOL_COPY_READ_ONLY | POOL_COPY_LIVE,
		err);
}

static int move_in(struct job *job, int from, int to, struct err *err)
{
	_cleanup_fd_ int from_gen = -1, to_gen = -1;
	char name[LAYOUT_NUMBER_SIZE];
	int r = fd_mkdir(to, "gen", 0755);

	snprintf(name, sizeof(name), "%" PRId64, job_int(job, "generation"));
	from_gen = fd_open_dir(from, "gen");
	to_gen = fd_open_dir(to, "gen");
	if (r == 0)
		r = from_gen < 0 ? from_gen : to_gen;
	if (r >= 0)
		r = layout_move(from_gen, name, to_gen, name);
	return r < 0 ? err_sys(err, -r, "move generation", job->site_name) : 0;
}

static int build(struct job *job, int site, int stage, struct err *err)
{
	int64_t number = job_int(job, "generation");
	char *text = NULL;
	size_t len;
	int r = fd_read_file(site, META_SITE, 1 << 20, &text, &len);

	op_expect_copy(job, job->pool, false); /* a job that goes on after a restart was not planned */
	if (r == 0)
		r = fd_write_file(stage, META_SITE, text, len, 0644);
	ptr_free(&text);
	if (r < 0)
		return err_sys(err, -r, "copy site.json", job->site_name);
	r = store_meta(job, stage, err);
	if (r == 0)
		r = copies(job) ? copy_in(job, site, stage, err) : move_in(job, site, stage, err);
	if (r == 0 && ((r = layout_stage_live(stage, number)) < 0 ||
			      (r = layout_stage_sync(stage, number)) < 0))
		r = err_sys(err, -r, "stage", job->site_name);
	return r;
}

static int run(struct fsd *f, struct job *job, struct err *err)
{
	_cleanup_fd_ int site = op_open_site(f, job, err);
	_cleanup_fd_ int stage = -1;
	int64_t live = 0;
	int r;

	if (site < 0)
		return site;
	if (layout_live(site, &live) == 0 && live == job_int(job, "generation"))
		return err_set(err, EBUSY, "not_retired", job->site_name, "it is live again");
	stage = layout_stage(job->pool, job->id);
	if (stage < 0)
		return err_sys(err, -stage, "stage", job->site_name);
	r = build(job, site, stage, err);
	return r == 0 ? op_commit_snapshot(job, err) : r;
}

static int committed(struct fsd *f, struct job *job, struct err *err)
{
	(void)f;
	(void)err;
	return op_snapshot_committed(job);
}

/* A wrapper that was moved into staging goes back to its site. */
static int revert(struct fsd *f, struct job *job, struct err *err)
{
	_cleanup_fd_ int site = op_open_site(f, job, err);
	_cleanup_fd_ int stage = layout_open_stage(job->pool, job->id);
	_cleanup_fd_ int moved = -1;

	if (site < 0)
		return site;
	if (stage < 0 || copies(job))
		return 0;
	moved = layout_open_generation(stage, job_int(job, "generation"));
	return moved < 0 ? 0 : move_in(job, stage, site, err);
}

static int finish(struct fsd *f, struct job *job, struct err *err)
{
	_cleanup_fd_ int site = op_open_site(f, job, err);
	_cleanup_fd_ int gen = site < 0 ? -1 : fd_open_dir(site, "gen");
	char name[LAYOUT_NUMBER_SIZE];
	int r = 0;

	if (site < 0)
		return site;
	snprintf(name, sizeof(name), "%" PRId64, job_int(job, "generation"));
	if (fd_exists(gen, name) == 1)
		r = layout_discard(job->pool, job->id, gen, name);
	housekeeping_wake(f);
	return r < 0 ? err_sys(err, -r, "discard generation", job->site_name) : 0;
}

static int record(struct fsd *f, struct job *job, struct err *err)
{
	struct cat_site site;
	int r = op_record_snapshot(f, job, err);

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
