/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fsd/op/compare.h"

#include <errno.h>
#include <string.h>

#include "fsd/core/json.h"
#include "fsd/op/common.h"
#include "fsd/worker/meta.h"
#include "snap/base/err.h"
#include "snap/base/fd.h"
#include "snap/settle.h"

void compare_side_release(struct compare_side *s)
{
	fd_close(&s->wrapper);
}

/* A generation is what it was also when it has become a snapshot, for undo. Where nothing can be
 * read, nothing is trusted. */
static void read_age(int dir, struct compare_side *s)
{
	json_t *doc;
	const char *kind;

	s->made = s->as_of = 0;
	if (meta_load(dir, META_WRAPPER, META_WRAPPER, &doc, NULL) == 0) {
		kind = json_str_at(doc, "kind");
		if (kind && strcmp(kind, "undo") != 0) { /* a copy, which nobody changes */
			s->made = INT64_MAX;
			s->as_of = json_int_at(doc, "time");
		}
		json_decref(doc);
	}
	if (!s->made && meta_load(s->wrapper, META_WRAPPER, META_WRAPPER, &doc, NULL) == 0) {
		s->made = json_int_at(doc, "created");
		s->as_of = json_int_at(doc, "as_of");
		json_decref(doc);
	}
}

int compare_open(struct pool_root *pool, int dir, int64_t number, struct compare_side *out)
{
	struct compare_side s = {.pool = pool, .wrapper = layout_open_generation(dir, number)};

	if (s.wrapper < 0)
		return s.wrapper;
	read_age(dir, &s);
	*out = s;
	return 0;
}

/* What is in the one as it was made, or was in it already when the other was made of it: one change
 * before that and one after it may carry the same ctime. Never 0, which is for ever. */
static int64_t trust(const struct compare_side *s, const struct compare_side *other)
{
	int64_t before = other->as_of - settle_tick();

	return s->made > before ? s->made : before > 0 ? before : 1;
}

int compare_trees(struct job *job, const struct compare_side *a, const struct compare_side *b,
	int scratch, snap_diff_fn *fn, void *arg, struct err *err)
{
	const struct snap_diff_opts opts = {.trusted_until = {trust(a, b), trust(b, a)}};
	_cleanup_fd_ int tree_a = -1, tree_b = -1;

	/* Both in one pool: the driver may know a shorter way than walking. */
	if (a->pool == b->pool)
		return a->pool->driver->tree_diff(a->pool->handle,
			(struct tree_at){a->wrapper, LAYOUT_TREE},
			(struct tree_at){b->wrapper, LAYOUT_TREE}, scratch, &opts, &job->ctx, fn,
			arg, err);
	tree_a = fd_open_dir(a->wrapper, LAYOUT_TREE);
	tree_b = fd_open_dir(b->wrapper, LAYOUT_TREE);
	if (tree_a < 0 || tree_b < 0)
		return err_sys(err, tree_a < 0 ? -tree_a : -tree_b, "open", job->site_name);
	return snap_diff(tree_a, tree_b, &opts, &job->ctx, fn, arg, err);
}
