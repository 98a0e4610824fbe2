/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The engine as a program, so that fsbench can run it in turn with cp, tar, rsync and rm. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "snap/base/err.h"
#include "snap/copy.h"
#include "snap/remove.h"

static int usage(void)
{
	fputs("usage: engine [--reflink] copy SOURCE NEW\n"
		"       engine remove PATH\n", stderr);
	return 2;
}

static int copy(const char *from, const char *to, const struct snap_copy_opts *opts,
	struct snap_ctx *ctx, struct err *err)
{
	struct snap_copy_result result = {0};
	int src = open(from, O_RDONLY | O_DIRECTORY | O_CLOEXEC), dst, r;

	if (src < 0 || mkdir(to, 0700) < 0)
		return err_sys(err, errno, "open", src < 0 ? from : to);
	dst = open(to, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	r = dst < 0 ? err_sys(err, errno, "open", to)
		    : snap_copy(src, dst, opts, ctx, &result, err);
	for (size_t i = 0; i < result.reported.n; i++)
		fprintf(stderr, "%s: %s\n", result.reported.items[i].path,
			result.reported.items[i].reason);
	snap_copy_result_release(&result);
	return r;
}

static int remove_tree(char *path, struct snap_ctx *ctx, struct err *err)
{
	char *name = strrchr(path, '/');
	int dir;

	if (!name)
		return snap_remove(AT_FDCWD, path, ctx, err);
	*name++ = '\0';
	dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return dir < 0 ? err_sys(err, errno, "open", path) : snap_remove(dir, name, ctx, err);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"reflink", no_argument, NULL, 'r'},
		{0},
	};
	struct snap_copy_opts opts = {0};
	struct snap_ctx ctx = {0};
	struct err err = ERR_INIT;
	int o, r;

	while ((o = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (o != 'r')
			return usage();
		opts.reflink = true;
	}
	argv += optind;
	argc -= optind;
	if (argc == 3 && strcmp(argv[0], "copy") == 0)
		r = copy(argv[1], argv[2], &opts, &ctx, &err);
	else if (argc == 2 && strcmp(argv[0], "remove") == 0)
		r = remove_tree(argv[1], &ctx, &err);
	else
		return usage();
	if (r < 0)
		fprintf(stderr, "engine: %s: %s\n", err.object, err.reason);
	return r < 0;
}
