/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "backends/pool/btrfs.h"

#include "snap/base/fd.h"

int btrfs_tree_diff(struct pool *pool, struct tree_at a, struct tree_at b, int scratch,
	struct snap_ctx *ctx, snap_diff_fn *fn, void *arg, struct err *err)
{
	const struct snap_diff_opts opts = { 0 };
	_cleanup_fd_ int old = tree_open(a, err);
	_cleanup_fd_ int new = old < 0 ? -1 : tree_open(b, err);

	(void)pool;
	(void)scratch;
	if (old < 0 || new < 0)
		return old < 0 ? old : new;
	return snap_diff(old, new, &opts, ctx, fn, arg, err);
}
