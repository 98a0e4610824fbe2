/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fsd/op/restore_paths.h"

#include <errno.h>

#include "snap/base/err.h"

int restore_paths_plan(struct fsd *f, struct job *job, const struct resolved *source,
	struct err *err)
{
	(void)f;
	(void)job;
	return err_set(err, EOPNOTSUPP, "not_implemented", source->text,
		"this fsd restores whole snapshots only");
}
int restore_paths_run(struct fsd *f, struct job *job, int site, struct err *err)
{
	(void)f;
	(void)job;
	(void)site;
	return err_sys(err, EOPNOTSUPP, "restore", NULL);
}
int restore_paths_committed(struct job *job, int site)
{
	(void)job;
	(void)site;
	return 0;
}
int restore_paths_revert(struct job *job, int site, struct err *err)
{
	(void)job;
	(void)site;
	(void)err;
	return 0;
}
int restore_paths_finish(struct job *job, int site, struct err *err)
{
	return restore_paths_revert(job, site, err);
}
int restore_paths_record(struct fsd *f, struct job *job, struct err *err)
{
	return restore_paths_run(f, job, -1, err);
}
int restore_paths_undo(struct fsd *f, const struct cat_job *done, json_t *intent,
	struct request *request, struct err *err)
{
	(void)f;
	(void)done;
	(void)intent;
	(void)request;
	return err_sys(err, EOPNOTSUPP, "undo", NULL);
}
