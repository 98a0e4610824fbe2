/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A site is deleted by one rename into .fsd/deleted/SITE-ID, where it waits for undo_keep; undo is
 * the rename back. Its snapshots stay where they are.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "fsd/core/json.h"
#include "fsd/op/common.h"
#include "fsd/op/ops.h"
#include "fsd/op/rename.h"
#include "fsd/worker/meta.h"
#include "fsd/worker/present.h"
#include "fsd/worker/reflect.h"
#include "snap/base/clock.h"
#include "snap/base/err.h"
#include "snap/base/fd.h"

/* ---- delete ---- */

static int count_snapshot(const struct cat_snapshot *s, void *arg)
{
	(void)s;
	++*(unsigned *)arg;
	return 0;
}

static int plan_delete(struct fsd *f, struct job *job, struct err *err)
{
	struct cat_snapshot_filter filter = {0};
	unsigned snapshots = 0;
	struct cat_site site;
	int r = op_plan_site(f, job, request_str(&job->request, F_SITE), true, &site, err);

	if (r == 0)
		r = op_require_deletable(job, &site, err);
	if (r < 0)
		return r;
	filter.site = site.id;
	r = catalog_snapshots(f->catalog, &filter, count_snapshot, &snapshots, err);
	if (r < 0)
		return r;
	job_intend_str(job, "name", site.name);
	job_step(job, "park %s for undo, then delete it", site.name);
	if (snapshots)
		job_step(job, "its snapshots stay until they are deleted: %u", snapshots);
	if (*site.linked)
		job_warn(job, "%s is a symlink to it and will dangle", site.linked);
	snprintf(job->confirm, sizeof(job->confirm), "Delete the site %.200s?", site.name);
	return 0;
}

/* What a rebuilt catalog knows of it, unless the pool is full: deleting is what helps then. */
static int note_deletion(struct job *job, int dir, const struct cat_site *site, struct err *err)
{
	json_t *doc;
	int r = meta_load(dir, META_SITE, site->name, &doc, err);

	if (r < 0)
		return r;
	json_object_set_new(doc, "name", json_string(site->name));
	json_object_set_new(doc, "deleted", json_integer(clock_real()));
	json_object_del(doc, "ejected"); /* of an eject that was undone */
	r = meta_store(dir, META_SITE, site->name, doc, err);
	json_decref(doc);
	if (r != -ENOSPC && r != -EDQUOT)
		return r;
	err_clear(err);
	job_warn(job, "the pool is full: if the catalog is lost, the deleted site has no name "
		"but its id");
	return 0;
}

static int run_delete(struct fsd *f, struct job *job, struct err *err)
{
	_cleanup_fd_ int dir = op_open_site(f, job, err);
	struct cat_site site;
	int r;

	if (dir < 0)
		return dir;
	r = op_site_now(f, job->site_id, &site, err);
	if (r == 0)
		r = op_require_deletable(job, &site, err);
	if (r == 0)
		r = note_deletion(job, dir, &site, err);
	if (r < 0)
		return r;
	r = layout_park(job->pool, dir, site.name, job->site_id);
	return r < 0 ? err_sys(err, -r, "rename into deleted", site.name) : 0;
}

/* Parked, and not a copy of it that other hands parked there. */
static int committed_delete(struct fsd *f, struct job *job, struct err *err)
{
	_cleanup_fd_ int dir = -1;
	char name[NAME_SIZE];
	struct err e = ERR_INIT;
	int r = fd_exists(job->pool->deleted, job->site_id);

	if (r != 1)
		return r;
	r = op_site_name(f, job->site_id, name, &e);
	if (r == -ENOENT) /* a scan was faster: the catalog knows it as deleted */
		return 1;
	if (r < 0) {
		*err = e;
		return r;
	}
	dir = layout_open_site(job->pool, name);
	r = op_doc_says(dir, META_SITE, "id", job->site_id);
	return r < 0 ? r : !r;
}

static int record_delete(struct fsd *f, struct job *job, struct err *err)
{
	struct cat_site site;
	int r = reflect_deleted(f, job->pool, job->site_id, op_deleted_at(job), err);

	if (r == 0)
		r = catalog_site_get(f->catalog, job->site_id, &site, err);
	if (r == 0)
		json_object_set_new(job->result, "site", present_site(f, f->catalog, &site));
	return r;
}

static int undo_delete(struct fsd *f, const struct cat_job *done, json_t *intent,
	struct request *request, struct err *err)
{
	(void)f;
	(void)intent;
	(void)err;
	request_init(request, OP_SITE_UNDELETE);
	return request_set_str(request, F_SITE, done->site);
}

const struct op_kind op_site_delete = {
	.op = OP_SITE_DELETE,
	.priority = PRIO_SNAPSHOT,
	.plan = plan_delete,
	.run = run_delete,
	.committed = committed_delete,
	.record = record_delete,
	.undo = undo_delete,
};

/* ---- undelete ---- */

/* What was made of the site by eject goes on to be used, perhaps by all of its visitors. */
static void warn_of_eject(struct job *job, const char *id)
{
	_cleanup_fd_ int dir = fd_open_dir(job->pool->deleted, id);
	int64_t gone, live;
	const char *path;
	json_t *doc;

	if (op_doc_load(dir, META_SITE, &doc) != 1)
		return;
	path = json_str_at(json_object_get(doc, "ejected"), "path");
	gone = json_int_at(json_object_get(doc, "ejected"), "generation");
	if (path && gone && layout_live(dir, &live) == 0)
		job_warn(job, "its generation %" PRId64 ", which was live, became %s: generation "
			"%" PRId64 " is live in what comes back", gone, path, live);
	else if (path)
		job_warn(job, "%s, to which it was ejected, stays a plain directory: it is not "
			"linked to the site", path);
	json_decref(doc);
}

struct owner {
	const char *dir;
	char name[NAME_SIZE];
};

static int is_owner(const struct cat_site *s, void *arg)
{
	struct owner *o = arg;

	if (strcmp(s->linked, o->dir) != 0)
		return 0;
	strcpy(o->name, s->name);
	return 1;
}

/* Whose is DIR by now? A site's that is linked to it; or his who has the old name in this pool, to
 * which it leads. Else that name is held until DIR leads to the new one. 1; 0: nobody's; -errno. */
static int find_owner(struct fsd *f, struct job *job, const struct cat_site *site, struct owner *o,
	struct err *err)
{
	const struct cat_site_filter in_use = {0};
	char holder[JOB_ID_SIZE];
	int r = catalog_sites(f->catalog, &in_use, is_owner, o, err);

	if (r || strcmp(job->site_name, site->name) == 0)
		return r;
	strcpy(o->name, site->name);
	if (jobs_holds(f, "name", site->name, true, holder))
		return 1;
	r = fd_exists(job->pool->sites, site->name);
	if (r == 0)
		job_lock(job, "name", site->name, true);
	return r < 0 ? err_sys(err, -r, "look at", site->name) : r;
}

/* DIR follows to another name, unless it is somebody else's: nobody's visitors are taken away. */
static int plan_link(struct fsd *f, struct job *job, const struct cat_site *site, struct err *err)
{
	struct owner other = {.dir = site->linked};
	int r = *site->linked ? find_owner(f, job, site, &other, err) : 0;

	if (r == 1) {
		job_intend_str(job, "unlinked", site->linked);
		job_warn(job, "%s belongs to what is named %s by now: it is left alone, and %s is "
			"linked to it no more; ln -sfnT %s/sites/%s/live %s points it there",
			site->linked, other.name, job->site_name, job->pool->config->path,
			job->site_name, site->linked);
	} else if (r == 0 && *site->linked && strcmp(job->site_name, site->name) != 0) {
		job_intend_str(job, "from", site->name);
		job_intend_str(job, "linked", site->linked);
		job_step(job, "point %s to it", site->linked);
	}
	return r < 0 ? r : 0;
}

static int plan_undelete(struct fsd *f, struct job *job, struct err *err)
{
	const char *name = request_str(&job->request, F_NAME);
	char when[TIME_TEXT_SIZE];
	struct cat_site site;
	int r = resolve_deleted(f->catalog, request_str(&job->request, F_SITE), &site, err);

	if (r == 0)
		r = pools_require(&f->pools, site.pool, &job->pool, err);
	if (r == 0)
		r = op_plan_name(f, job, name ? name : site.name, err);
	if (r == -EEXIST && strcmp(err->code, "name_taken") == 0)
		err_hint(err, "fsctl site undelete %s NEW brings it back by another name", site.id);
	if (r < 0)
		return r;
	strcpy(job->site_id, site.id);
	snprintf(job->site_name, sizeof(job->site_name), "%s", name ? name : site.name);
	job_lock(job, "site", site.id, true);
	job_intend_str(job, "name", job->site_name);
	job_step(job, "bring back %s, deleted at %s", job->site_name,
		time_format(site.deleted, when));
	r = plan_link(f, job, &site, err);
	if (op_is_over(site.expires))
		job_step(job, "take away its expires, %s, which is over",
			time_format(site.expires, when));
	warn_of_eject(job, site.id);
	return r;
}

/* Else housekeeping would take the site away again at its next look. */
static int drop_expiry(struct job *job, struct err *err)
{
	_cleanup_fd_ int dir = fd_open_dir(job->pool->deleted, job->site_id);
	const char *name = job_str(job, "name");
	json_t *doc;
	bool over;
	int r = op_doc_load(dir, META_SITE, &doc);

	if (r != 1) /* a damaged one comes back as it is, and is told then */
		return r < 0 ? err_sys(err, -r, "read " META_SITE, name) : 0;
	over = op_is_over(json_int_at(doc, "expires"));
	json_decref(doc);
	return over ? meta_change(dir, META_SITE, name, "expires", NULL, err) : 0;
}

/* Another one that was asked for before may have brought it back. */
static int require_deleted(struct fsd *f, const struct job *job, struct err *err)
{
	char name[NAME_SIZE];

	if (op_site_name(f, job->site_id, name, NULL) < 0)
		return 0;
	err_set(err, EEXIST, "exists", name, "the deleted site is back already, by this name");
	err_hint(err, "fsctl site rename %s NEW gives it another one", name);
	return -EEXIST;
}

static int run_undelete(struct fsd *f, struct job *job, struct err *err)
{
	const char *name = job_str(job, "name");
	int r = require_deleted(f, job, err);

	if (r == 0)
		r = drop_expiry(job, err);
	if (r < 0)
		return r;
	r = layout_move(job->pool->deleted, job->site_id, job->pool->sites, name);
	return r < 0 ? err_sys(err, -r, "rename into sites", name) : 0;
}

static int committed_undelete(struct fsd *f, struct job *job, struct err *err)
{
	_cleanup_fd_ int dir = layout_open_site(job->pool, job_str(job, "name"));

	(void)f;
	(void)err;
	return op_doc_says(dir, META_SITE, "id", job->site_id);
}

/* The site is back all the same, and nobody waits. */
static void turn_link(struct fsd *f, struct job *job)
{
	const char *linked = job_str(job, "linked");
	struct err err = ERR_INIT;

	if (*linked && rename_turn(f, job, &err) < 0)
		job_warn(job, "%s could not be pointed to it: %s; once that is mended, "
			"ln -sfnT %s/sites/%s/live %s does it", linked, err.reason,
			job->pool->config->path, job_str(job, "name"), linked);
}

static void drop_link(struct job *job, int dir)
{
	const char *linked = job_str(job, "unlinked"), *name = job_str(job, "name");
	struct err err = ERR_INIT;

	if (*linked && meta_change(dir, META_SITE, name, "linked", NULL, &err) < 0)
		job_warn(job, "it is still noted as linked to %s: %s", linked, err.reason);
}

/* "deleted" means nothing in a site that is in use, and the next deletion knows an old one. */
static int finish_undelete(struct fsd *f, struct job *job, struct err *err)
{
	const char *name = job_str(job, "name");
	_cleanup_fd_ int dir = layout_open_site(job->pool, name);

	(void)err;
	if (dir >= 0) {
		meta_change(dir, META_SITE, name, "deleted", NULL, NULL);
		drop_link(job, dir);
	}
	turn_link(f, job);
	return 0;
}

static int record_undelete(struct fsd *f, struct job *job, struct err *err)
{
	struct cat_site before = {0}, now;
	char when[TIME_TEXT_SIZE];
	int r = catalog_site_get(f->catalog, job->site_id, &before, err);

	if (r < 0 && r != -ENOENT)
		return r;
	r = op_record_site(f, job, job_str(job, "name"), &now, err);
	if (r == 0 && before.expires && !now.expires)
		job_warn(job, "it does not expire any more: its time was over at %s; fsctl site "
			"set %s expires=TIME gives it another",
			time_format(before.expires, when), now.name);
	return r;
}

static int undo_undelete(struct fsd *f, const struct cat_job *done, json_t *intent,
	struct request *request, struct err *err)
{
	(void)f;
	(void)intent;
	(void)err;
	request_init(request, OP_SITE_DELETE);
	return request_set_str(request, F_SITE, done->site);
}

const struct op_kind op_site_undelete = {
	.op = OP_SITE_UNDELETE,
	.priority = PRIO_RESTORE,
	.plan = plan_undelete,
	.run = run_undelete,
	.committed = committed_undelete,
	.finish = finish_undelete,
	.record = record_undelete,
	.undo = undo_undelete,
};
