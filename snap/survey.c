/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Look before copying: what there is, and what would be refused. */
#include <dirent.h>
#include <errno.h>
#include <sys/stat.h>

#include "snap/base/err.h"
#include "snap/copy.h"
#include "snap/skip.h"
#include "snap/walk.h"

struct surveying {
	uint64_t entries, bytes;
};

static int nested(struct walk *w, const char *name, const struct io_stat *st)
{
	(void)st;
	return guard_error(w->err, trail_path(&w->trail, name));
}

static int batch(struct walk *w, struct io_item *items, size_t n)
{
	struct surveying *s = w->arg;

	for (size_t i = 0; i < n; i++) {
		const char *path = trail_path(&w->trail, items[i].name);

		if (snap_skip(trail_dir(&w->trail), path, items[i].type) != SNAP_KEEP) {
			items[i].type = DT_UNKNOWN; /* not to be entered */
			continue;
		}
		if (guard_nested(&w->guard, &items[i].st))
			return guard_error(w->err, path);
		s->entries += items[i].type != DT_SOCK;
		if (items[i].type == DT_REG)
			s->bytes = snap_add(s->bytes, items[i].st.size);
	}
	return 0;
}

static const struct walk_ops ops = {.stat = true, .batch = batch, .nested = nested};

int snap_survey(int src, struct snap_ctx *ctx, uint64_t *entries, uint64_t *bytes, struct err *err)
{
	struct surveying s = {0};
	int r = walk_tree(src, NULL, &ops, ctx, &s, err);

	if (r < 0)
		return r;
	if (entries)
		*entries = s.entries;
	if (bytes)
		*bytes = s.bytes;
	return 0;
}
