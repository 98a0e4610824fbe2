/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "snap/changed.h"

#include <dirent.h>
#include <errno.h>
#include <sys/stat.h>

#include "snap/base/clock.h"
#include "snap/base/err.h"
#include "snap/skip.h"
#include "snap/walk.h"

struct looking {
	int64_t since;
	bool (*counts)(const struct io_stat *st, int64_t since);
	struct paths *out;
};

static bool is_changed(const struct io_stat *st, int64_t since)
{
	return clock_of(&st->ctime) >= since;
}

static bool is_written(const struct io_stat *st, int64_t since)
{
	return !S_ISDIR(st->mode) && is_changed(st, since) &&
	       (clock_of(&st->mtime) >= since || clock_of(&st->btime) >= since);
}

static int batch(struct walk *w, struct io_item *items, size_t n)
{
	struct looking *l = w->arg;

	for (size_t i = 0; i < n; i++) {
		const char *path = trail_path(&w->trail, items[i].name);

		if (snap_skip(trail_dir(&w->trail), path, items[i].type) != SNAP_KEEP)
			items[i].type = DT_UNKNOWN; /* not to be entered */
		else if (l->counts(&items[i].st, l->since) &&
			 paths_add(l->out, path, "written") < 0)
			return walk_fail(w->err, -ENOMEM, "list", path);
		atomic_fetch_add(&w->ctx->entries_done, 1);
	}
	return 0;
}

static const struct walk_ops ops = {.stat = true, .batch = batch};

int snap_changed(int dir, int64_t since, struct snap_ctx *ctx, struct paths *out, struct err *err)
{
	struct looking l = {since, is_changed, out};

	return walk_tree(dir, NULL, &ops, ctx, &l, err);
}

int snap_written(int dir, int64_t since, struct snap_ctx *ctx, struct paths *out, struct err *err)
{
	struct looking l = {since, is_written, out};

	return walk_tree(dir, NULL, &ops, ctx, &l, err);
}
