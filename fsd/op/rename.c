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
		r = op_plan_name(f, job, job->pool, name, err);
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
	int r = layout_move(sites, job_str(job, "from"), sites, job_str(job, "name"));

	(void)f;
	return r < 0 ? err_sys(err, -r, "rename", job_str(job, "from")) : 0;
}

static int committed(struct fsd *f, struct job *job, struct err *err)
{
	_cleanup_fd_ int dir = layout_open_site(job->pool, job_str(job, "name"));

	(void)f;
	(void)err;
	return op_doc_says(dir, META_SITE, "id", job->site_id);
}

/* Replace the symlink `linked` by one to the new place, where it still is a symlink. */
static int relink(struct job *job, const char *linked, struct err *err)
{
	_cleanup_free_ char *target = NULL, *temp = NULL;
	struct stat st;

	if (lstat(linked, &st) < 0 || !S_ISLNK(st.st_mode))
		return 0;
	if (asprintf(&target, "%s/sites/%s/live", job->pool->config->path,
		    job_str(job, "name")) < 0 ||
		asprintf(&temp, "%s.fsd-%s", linked, job->text) < 0)
		return err_sys(err, ENOMEM, "link", linked);
	unlink(temp);
	if (symlink(target, temp) < 0 || lchown(temp, st.st_uid, st.st_gid) < 0 ||
		rename(temp, linked) < 0)
		return err_sys(err, errno, "link", linked);
	step("rename.relinked");
	return 0;
}

static int finish(struct fsd *f, struct job *job, struct err *err)
{
	const char *linked = job_str(job, "linked");

	(void)f;
	return *linked ? relink(job, linked, err) : 0;
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
