/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "backends/pool/tree_at.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "snap/base/fd.h"

const char *tree_path(struct tree_at at, char out[TREE_PATH_SIZE])
{
	char full[PATH_MAX + NAME_MAX + 2];
	size_t len;

	fd_path(at.dirfd, at.name, full, sizeof(full));
	len = strlen(full);
	if (len >= TREE_PATH_SIZE)
		memcpy(out, full + len - (TREE_PATH_SIZE - 1), TREE_PATH_SIZE);
	else
		memcpy(out, full, len + 1);
	return out;
}

int tree_err(struct err *err, int num, const char *op, struct tree_at at)
{
	char path[TREE_PATH_SIZE];

	return err_sys(err, num, op, tree_path(at, path));
}

int tree_open(struct tree_at at, struct err *err)
{
	int fd = fd_open_dir(at.dirfd, at.name);

	return fd < 0 ? tree_err(err, -fd, "open tree", at) : fd;
}

int tree_usage(struct pool *pool, struct tree_at at, struct snap_ctx *ctx, struct snap_usage *out,
	struct err *err)
{
	_cleanup_fd_ int fd = tree_open(at, err);

	(void)pool;
	return fd < 0 ? fd : snap_usage(fd, true, ctx, out, err);
}

int tree_must_not_exist(struct tree_at at, struct err *err)
{
	char path[TREE_PATH_SIZE];
	int r = fd_exists(at.dirfd, at.name);

	if (r < 0)
		return tree_err(err, -r, "stat", at);
	if (r > 0)
		return err_set(err, EEXIST, "exists", tree_path(at, path),
			"there is something of this name already");
	return 0;
}

int tree_side_name(char *out, const char *name, const char *role)
{
	int n = snprintf(out, NAME_MAX + 1, ".%s.%s", name, role);

	return n > NAME_MAX ? -ENAMETOOLONG : 0;
}
