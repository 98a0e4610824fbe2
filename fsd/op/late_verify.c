/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fsd/op/late_priv.h"

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

#include "snap/base/err.h"
#include "snap/diff.h"

static int verify_one(enum snap_change change, const char *path, const char *from, void *arg)
{
	struct late *l = arg;
	struct stat st;
	int r = late_look(l->from, path, &st);

	(void)from;
	if (change == SNAP_ADDED) /* in the copy only: removed from the old one since */
		return 0;
	if (r == 0 && change == SNAP_REMOVED && S_ISSOCK(st.st_mode))
		return 0; /* never copied, and reported */
	return r == 0 && late_ctime(&st) <= l->since ? -EBADE : 0;
}

struct verify {
	struct late *late;
	enum snap_change what;
	char path[ERR_OBJECT_SIZE];
};

static int verify_fn(enum snap_change change, const char *path, const char *from, void *arg)
{
	struct verify *v = arg;
	int r = verify_one(change, path, from, v->late);

	if (r < 0) {
		v->what = change;
		snprintf(v->path, sizeof(v->path), "%s", path);
	}
	return r;
}

int late_verify(struct late *l, struct err *err)
{
	const struct snap_diff_opts opts = {.full = true, .ignore_dir_mtime = true};
	struct verify v = {.late = l};
	int r = snap_diff(l->from, l->to, &opts, l->ctx, verify_fn, &v, err);

	if (r != -EBADE)
		return r;
	err_set(err, EIO, "verify_failed", v.path,
		"the copy differs from what was copied: %s; nothing was changed",
		v.what == SNAP_REMOVED	  ? "it is missing"
		: v.what == SNAP_METADATA ? "owner, mode, time, extended attributes or hard links"
					  : "its content");
	err_in_tree(err);
	if (v.what == SNAP_METADATA)
		err_hint(err, "where the copy lies they cannot all be kept: fsctl site import "
			"without --move, or fsctl restore --to, leaves the original and tells what "
			"the copy lacks");
	else
		err_hint(err, "try again; if it differs again, look for errors of the disk and the "
			"memory (dmesg)");
	return -EIO;
}
