/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A site's name is its directory's: one rename in sites/.
 *
 * Whoever comes by DIR, of import --link, a symlink to sites/OLD/live, shall find the site all the
 * time. So there the rename is an exchange: sites/NEW is made a symlink to itself, which leads
 * nobody anywhere, and changes places with the directory (the commit point). That makes OLD a
 * symlink to NEW, a bridge, until DIR leads to NEW by an exchange of its own: with DIR.fsd-JOB,
 * which was made before the commit point, where it can still be refused. Whoever has read an old
 * link gets the time to follow it, then they go. Recovery knows by the bridge that DIR is to be
 * seen to.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "fsd/core/json.h"
#include "fsd/op/common.h"
#include "fsd/op/ops.h"
#include "fsd/op/outside.h"
#include "fsd/op/rename.h"
#include "fsd/worker/meta.h"
#include "fsd/worker/step.h"
#include "snap/base/clock.h"
#include "snap/base/err.h"
#include "snap/base/fd.h"

/* Who has read a link follows it within microseconds, unless he has to wait for his turn. */
#define WALK (100 * NSEC_PER_MSEC)

static int plan(struct fsd *f, struct job *job, struct err *err)
{
	const char *name = request_str(&job->request, F_NAME);
	struct cat_site site;
	int r = op_plan_site(f, job, request_str(&job->request, F_SITE), true, &site, err);

	if (r == 0)
		r = op_plan_name(f, job, name, err);
	if (r < 0)
		return r;
	job_intend_str(job, "from", site.name);
	job_intend_str(job, "name", name);
	job_intend_str(job, "linked", site.linked);
	job_step(job, "rename %s to %s", site.name, name);
	if (*site.linked)
		job_step(job, "point %s to it", site.linked);
	return 0;
}

/* ---- DIR ---- */

struct link {
	struct outside o;
	char side[NAME_MAX + 1];	   /* DIR.fsd-JOB */
	char old[PATH_MAX], new[PATH_MAX]; /* what it says, what it is to say */
};
#define LINK_INIT ((struct link){.o = OUTSIDE_INIT})

static void link_release(struct link *l)
{
	outside_release(&l->o);
}
#define _cleanup_link_ __attribute__((cleanup(link_release)))

static int live_of(const struct job *job, const char *key, char out[PATH_MAX])
{
	int n = snprintf(out, PATH_MAX, "%s/sites/%s/live", job->pool->config->path,
		job_str(job, key));

	return n < PATH_MAX ? 0 : -ENAMETOOLONG;
}

/* Is `name` beside it, or itself, a link that says this? 1, 0, -errno. */
static int says(const struct link *l, const char *name, const char *text, struct err *err)
{
	int r = fd_is_link_to(l->o.parent, name, text);

	return r < 0 ? err_sys(err, -r, "read the link", name) : r;
}

/* A disk that is not mounted yet leaves another directory in the place of its folder. */
static int check_folder(const struct job *job, const struct outside *o, struct err *err)
{
	const json_t *noted = json_object_get(job->intent, "folder");
	const struct outside_id id = {
		json_int_at(noted, "ino"), json_int_at(noted, "born"), json_int_at(noted, "fs"),
	};

	return noted ? outside_require(o, &id, err) : 0;
}

/* -errno: it is out of reach. */
static int find_link(struct fsd *f, struct job *job, struct link *l, struct err *err)
{
	int r = outside_find(f, job_str(job, "linked"), &l->o, err);

	if (r < 0)
		return r;
	if ((r = outside_side_name(&l->o, job->text, l->side)) < 0 ||
		(r = live_of(job, "from", l->old)) < 0 || (r = live_of(job, "name", l->new)) < 0)
		return err_sys(err, -r, "find", l->o.path);
	return check_folder(job, &l->o, err);
}

/* Is it the site's own, as import left it? 1; 0: it is not, or there is none any more; -errno: that
 * cannot be seen, and it would lead nowhere, or one day to another site. */
static int find_own_link(struct fsd *f, struct job *job, struct link *l, struct err *err)
{
	int r = find_link(f, job, l, err);

	if (r == 0)
		return says(l, l->o.name, l->old, err);
	err_hint(err, "%.150s is a link to the site and has to follow: mount what holds it; if it "
		"is gone for good, make an empty folder there: mkdir -p %.*s",
		job_str(job, "linked"),
		(int)(strrchr(job_str(job, "linked"), '/') - job_str(job, "linked")),
		job_str(job, "linked"));
	return r;
}

static int make_side(struct link *l, struct err *err)
{
	int r = outside_make_link(&l->o, l->side, l->new, &l->o.st, err);

	if (r == 0 && (r = fd_sync(l->o.parent)) < 0)
		err_sys(err, -r, "fsync", l->o.path);
	step("rename.prepared");
	if (r < 0 && r != -ENOSPC)
		err_hint(err,
			"%.200s is a link to the site and has to follow: let fsd write beside it, "
			"or remove it; then ask again",
			l->o.path);
	return r;
}

/* 1; 0: something else had come to its name, and stands there again; -errno. */
static int exchange(struct link *l, struct err *err)
{
	int parent = l->o.parent, r = says(l, l->side, l->new, err);

	if (r == 0)
		r = make_side(l, err);
	if (r >= 0 && renameat2(parent, l->side, parent, l->o.name, RENAME_EXCHANGE) < 0)
		r = err_sys(err, errno, "exchange", l->o.path);
	step("rename.relinked");
	if (r >= 0)
		r = says(l, l->side, l->old, err);
	if (r == 0)
		renameat2(parent, l->side, parent, l->o.name, RENAME_EXCHANGE);
	return r;
}

/* Its folder belongs to others, who may have put anything there: that is left alone. */
static int relink(struct job *job, struct link *l, struct err *err)
{
	int r = says(l, l->o.name, l->new, err);

	if (r)
		return r < 0 ? r : 0;
	r = says(l, l->o.name, l->old, err);
	if (r == 1)
		r = exchange(l, err);
	if (r == 0)
		job_warn(job, "%s does not lead to this site and was not changed", l->o.path);
	return r < 0 ? r : 0;
}

static int drop_side(const struct link *l, struct err *err)
{
	int r = says(l, l->side, l->old, err);

	if (r == 0)
		r = says(l, l->side, l->new, err);
	if (r == 1)
		r = unlinkat(l->o.parent, l->side, 0) < 0 ? err_sys(err, errno, "remove", l->side)
							  : 0;
	if (r == 0 && (r = fd_sync(l->o.parent)) < 0)
		err_sys(err, -r, "fsync", l->o.path);
	step("rename.dropped");
	return r;
}

/* ---- in sites/ ---- */

/* Is sites/KEY a symlink to NEW? 1, 0, -errno. */
static int is_bridge(const struct job *job, const char *key, struct err *err)
{
	int r = fd_is_link_to(job->pool->sites, job_str(job, key), job_str(job, "name"));

	return r < 0 ? err_sys(err, -r, "look at", job_str(job, key)) : r;
}

static int drop_bridge(const struct job *job, const char *key, struct err *err)
{
	int sites = job->pool->sites;
	int r = unlinkat(sites, job_str(job, key), 0) < 0 ? -errno : fd_sync(sites);

	return r < 0 ? err_sys(err, -r, "remove the symlink", job_str(job, key)) : 0;
}

static int make_bridge(const struct job *job, struct err *err)
{
	const char *name = job_str(job, "name");
	int sites = job->pool->sites;
	int r = symlinkat(name, sites, name) < 0 ? -errno : fd_sync(sites);

	step("rename.reserved");
	return r < 0 ? err_sys(err, -r, "link", name) : 0;
}

/* ---- the job ---- */

static int rename_linked(struct fsd *f, struct job *job, struct link *l, struct err *err)
{
	struct outside_id id;
	int sites = job->pool->sites, r = outside_identify(&l->o, &id, err);

	if (r == 0)
		r = job_note(f, job, "folder", json_pack("{s:I,s:I,s:I}", "ino", (json_int_t)id.ino,
			"born", (json_int_t)id.born, "fs", (json_int_t)id.fs), err);
	if (r == 0)
		r = make_bridge(job, err);
	if (r == 0)
		r = make_side(l, err);
	if (r == 0 && (r = layout_exchange(sites, job_str(job, "from"), job_str(job, "name"))) < 0)
		r = err_sys(err, -r, "rename", job_str(job, "from"));
	return r;
}

/* Jobs that were asked for before this one may have renamed it meanwhile. */
static int note_name(struct fsd *f, struct job *job, struct err *err)
{
	char name[NAME_SIZE];
	int r = op_site_name(f, job->site_id, name, err);

	if (r < 0 || strcmp(name, job_str(job, "from")) == 0)
		return r;
	return job_note(f, job, "from", json_string(name), err);
}

static int run(struct fsd *f, struct job *job, struct err *err)
{
	_cleanup_link_ struct link l = LINK_INIT;
	_cleanup_fd_ int dir = -1;
	const char *from;
	int sites = job->pool->sites, linked = 0, r = note_name(f, job, err);

	if (r < 0)
		return r;
	from = job_str(job, "from");
	dir = layout_open_site(job->pool, from);
	if (op_doc_says(dir, META_SITE, "id", job->site_id) != 1)
		return err_set(err, ESTALE, "site_changed", from,
			"another site stands in its place");
	if (*job_str(job, "linked"))
		linked = find_own_link(f, job, &l, err);
	if (linked)
		return linked < 0 ? linked : rename_linked(f, job, &l, err);
	r = layout_move(sites, from, sites, job_str(job, "name"));
	return r < 0 ? err_sys(err, -r, "rename", from) : 0;
}

static int committed(struct fsd *f, struct job *job, struct err *err)
{
	_cleanup_fd_ int dir = layout_open_site(job->pool, job_str(job, "name"));

	(void)f;
	(void)err;
	return op_doc_says(dir, META_SITE, "id", job->site_id);
}

static int revert(struct fsd *f, struct job *job, struct err *err)
{
	_cleanup_link_ struct link l = LINK_INIT;
	int r = is_bridge(job, "name", err);

	if (r <= 0)
		return r;
	r = find_link(f, job, &l, err);
	if (r == 0)
		r = drop_side(&l, err);
	return r == 0 || outside_given_up(job, err) ? drop_bridge(job, "name", err) : r;
}

/* Where it was none of ours when the site was renamed. */
static void warn_unchanged(struct fsd *f, struct job *job)
{
	_cleanup_link_ struct link l = LINK_INIT;
	struct err away = ERR_INIT;

	if (find_link(f, job, &l, &away) < 0)
		job_warn(job, "%s is out of reach and was not changed: %s", job_str(job, "linked"),
			away.reason);
	else if (says(&l, l.o.name, l.new, NULL) != 1)
		job_warn(job, "%s does not lead to this site and was not changed", l.o.path);
}

int rename_turn(struct fsd *f, struct job *job, struct err *err)
{
	_cleanup_link_ struct link l = LINK_INIT;
	int r = find_link(f, job, &l, err);

	if (r == 0)
		r = relink(job, &l, err);
	if (r < 0)
		return r;
	nanosleep(&(struct timespec){.tv_nsec = WALK}, NULL);
	return drop_side(&l, err);
}

/* While DIR cannot be turned the bridge stays, its only way to the site, and the job with it. */
static int finish(struct fsd *f, struct job *job, struct err *err)
{
	int bridge = *job_str(job, "linked") ? is_bridge(job, "from", err) : 0, r;

	if (bridge < 0 || !*job_str(job, "linked"))
		return bridge;
	if (!bridge) {
		warn_unchanged(f, job);
		return 0;
	}
	r = rename_turn(f, job, err);
	if (r < 0 && !outside_given_up(job, err))
		return r;
	if (r < 0)
		job_warn(job, "%s was not changed and leads to no site: %s: %s",
			job_str(job, "linked"), err->object, err->reason);
	return drop_bridge(job, "from", err);
}

static int record(struct fsd *f, struct job *job, struct err *err)
{
	return op_record_site(f, job, job_str(job, "name"), NULL, err);
}

static int undo(struct fsd *f, const struct cat_job *done, json_t *intent, struct request *request,
	struct err *err)
{
	(void)f;
	(void)err;
	request_init(request, OP_SITE_RENAME);
	request_set_str(request, F_SITE, done->site);
	return request_set_str(request, F_NAME, json_str_at(intent, "from"));
}

const struct op_kind op_site_rename = {
	.op = OP_SITE_RENAME,
	.priority = PRIO_RESTORE,
	.plan = plan,
	.run = run,
	.committed = committed,
	.revert = revert,
	.finish = finish,
	.record = record,
	.undo = undo,
};
