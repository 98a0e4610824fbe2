/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A site's name is its directory's: one rename in sites/, then the link of import --link. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fsd/op/common.h"
#include "fsd/op/ops.h"
#include "fsd/op/outside.h"
#include "fsd/worker/meta.h"
#include "fsd/worker/step.h"
#include "snap/base/err.h"
#include "snap/base/fd.h"

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

static int run(struct fsd *f, struct job *job, struct err *err)
{
	int sites = job->pool->sites;
	_cleanup_fd_ int dir = -1;
	char name[NAME_SIZE];
	int r = op_site_name(f, job->site_id, name, err);

	if (r < 0)
		return r;
	dir = layout_open_site(job->pool, name);
	if (op_doc_says(dir, META_SITE, "id", job->site_id) != 1)
		return err_set(err, ESTALE, "site_changed", name,
			"another site stands in its place");
	r = layout_move(sites, name, sites, job_str(job, "name"));
	return r < 0 ? err_sys(err, -r, "rename", name) : 0;
}

static int committed(struct fsd *f, struct job *job, struct err *err)
{
	_cleanup_fd_ int dir = layout_open_site(job->pool, job_str(job, "name"));

	(void)f;
	(void)err;
	return op_doc_says(dir, META_SITE, "id", job->site_id);
}

/* Is it still a symlink into this site's `live`? Its parent's owner may have put anything there. */
static bool is_ours(struct job *job, const struct outside *o, const char *key)
{
	_cleanup_free_ char *want = NULL;

	return asprintf(&want, "%s/sites/%s/live", job->pool->config->path, job_str(job, key)) >= 0 &&
	       outside_points_to(o, want);
}

/* A new link beside it, owned like the old one, renamed over it; all by the held parent. */
static int replace_link(struct job *job, int parent, const char *name)
{
	_cleanup_free_ char *target = NULL, *temp = NULL;
	struct stat st;

	if (asprintf(&target, "%s/sites/%s/live", job->pool->config->path, job_str(job, "name")) < 0 ||
		asprintf(&temp, "%s.fsd-%s", name, job->text) < 0)
		return -ENOMEM;
	unlinkat(parent, temp, 0);
	if (fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
		symlinkat(target, parent, temp) < 0 ||
		fchownat(parent, temp, st.st_uid, st.st_gid, AT_SYMLINK_NOFOLLOW) < 0 ||
		renameat(parent, temp, parent, name) < 0)
		return -errno;
	step("rename.relinked");
	return fd_sync(parent);
}

/* The link of import --link follows, where it still is one; otherwise nothing is touched. */
static void relink(struct fsd *f, struct job *job, const char *linked)
{
	_cleanup_outside_ struct outside o = OUTSIDE_INIT;
	struct err away = ERR_INIT;
	int r;

	if (outside_find(f, linked, &o, &away) < 0) {
		job_warn(job, "%s is out of reach and was not changed: %s", linked, away.reason);
		return;
	}
	if (!is_ours(job, &o, "from")) {
		if (!is_ours(job, &o, "name"))
			job_warn(job, "%s does not lead to this site and was not changed", linked);
		return;
	}
	r = replace_link(job, o.parent, o.name);
	if (r < 0)
		job_warn(job, "%s still leads to the old name and could not be changed: %s", linked,
			strerror(-r));
}

static int finish(struct fsd *f, struct job *job, struct err *err)
{
	const char *linked = job_str(job, "linked");

	(void)err;
	if (*linked)
		relink(f, job, linked);
	return 0;
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
	return request_set_str(request, F_NAME,
		json_string_value(json_object_get(intent, "from")));
}

const struct op_kind op_site_rename = {
	.op = OP_SITE_RENAME,
	.priority = PRIO_RESTORE,
	.plan = plan,
	.run = run,
	.committed = committed,
	.finish = finish,
	.record = record,
	.undo = undo,
};
