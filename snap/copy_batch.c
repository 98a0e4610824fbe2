/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The entries of one directory, a batch at a time: what is new or different comes over by clone()
 * or by get() and put(); later names of an inode become links; directories are left to the walk.
 */
#include <dirent.h>
#include <errno.h>
#include <linux/stat.h>
#include <string.h>
#include <sys/stat.h>
#include <xxhash.h>

#include "snap/base/err.h"
#include "snap/copy_priv.h"
#include "snap/skip.h"

static void swap(struct io_item *a, struct io_item *b)
{
	struct io_item t = *a;

	if (a == b)
		return;
	*a = *b;
	*b = t;
}

static const char *path_of(struct copy *c, const struct io_item *it)
{
	return trail_path(&c->src, it->name);
}

static int put_error(struct copy *c, const struct io_item *it)
{
	return copy_put_fail(c, it, path_of(c, it));
}

/* The source's entry is gone or something else by now. */
static int vanished(struct copy *c, const struct io_item *it)
{
	bool asked_for = copy_at_virtual_root(c) && c->pass == 0;

	if (!c->opts->source_is_live || (asked_for && it->error == -ENOENT))
		return copy_fail(c, it);
	return copy_note_change(c, path_of(c, it));
}

static int report_flags(struct copy *c, const struct io_item *it, const char *path)
{
	int r = copy_report_lost(c, it, path);

	if (r == 0 && it->st.attrs & STATX_ATTR_IMMUTABLE)
		r = copy_report(c, path, "immutable");
	if (r == 0 && it->st.attrs & STATX_ATTR_APPEND)
		r = copy_report(c, path, "append-only");
	return r;
}

/* It is in the destination now. */
static int arrived(struct copy *c, struct io_item *it, bool cloned)
{
	const char *path = path_of(c, it);
	int r = report_flags(c, it, path);

	copy_done(c, it, cloned);
	if (r == 0 && c->opts->source_is_live) {
		r = settle_record(&c->settle, path, &it->st, c->now, it->flags & IO_CHANGED);
		if (r < 0)
			r = walk_fail(c->err, r, "settle", path);
	} else if (r == 0 && it->flags & IO_CHANGED) {
		/* It was said not to change. */
		r = copy_note_change(c, path);
	}
	return r;
}

static int copy_files(struct copy *c, struct io_item *items, size_t n, bool defer);

static int remember_link(struct copy *c, const struct io_item *it)
{
	const char *path = trail_path(&c->dst, io_item_as(it));
	int r = links_add(&c->links, &it->st, path, stat_digest(&it->st), true);

	return r < 0 ? walk_fail(c->err, r, "link", path) : 0;
}

static int link_to(struct copy *c, struct io_item *it, const struct link_copy *first)
{
	const char *slash = strrchr(first->path, '/'), *name = it->name, *as = it->as;
	struct io_dir *dst = trail_dir(&c->dst), *root = c->dst.levels[0].dir;
	_cleanup_io_dir_ struct io_dir *from = NULL;
	int r = trail_open_path(root, first->path, slash ? slash - first->path : 0, &from);

	if (r < 0) {
		it->error = r;
		it->op = "open link";
		return r;
	}
	it->as = io_item_as(it);
	it->name = slash ? slash + 1 : first->path;
	it->error = 0;
	io_drv(dst)->link(from, dst, it, 1);
	it->name = name;
	it->as = as;
	return it->error;
}

/* A file with several names: copied under the first, linked under the others. */
static int copy_linked(struct copy *c, struct io_item *it)
{
	const struct link_copy *first = links_find(&c->links, &it->st);
	int r;

	it->flags &= ~IO_DEFERRED;
	if (first && (!c->opts->source_is_live || first->digest == stat_digest(&it->st))) {
		r = link_to(c, it, first);
		if (r == 0) {
			atomic_fetch_add(&c->ctx->bytes_done, 
				it->type == DT_REG ? it->st.size : 0);
			return arrived(c, it, false); /* it shares with its first name only */
		}
		if (r != -EMLINK)
			return put_error(c, it);
		r = copy_report(c, path_of(c, it), "hard link");
		if (r < 0)
			return r;
	}
	it->error = 0;
	r = copy_files(c, it, 1, false);
	if (r == 0 && it->error == 0 && it->type != DT_SOCK)
		r = remember_link(c, it);
	return r;
}

static int copy_in_pieces(struct copy *c, struct io_item *it)
{
	int r = copy_large(c, it);

	if (walk_vanished(it->error))
		return vanished(c, it);
	if (it->error < 0)
		return put_error(c, it);
	return r < 0 ? r : arrived(c, it, false);
}

/* What a get left to be done otherwise. 1: it is ready to be put; 0: it is dealt with. */
static int sort_out(struct copy *c, struct io_item *it)
{
	if (walk_vanished(it->error))
		return vanished(c, it);
	if (it->error < 0)
		return put_error(c, it);
	if (guard_nested(&c->guard, &it->st))
		return guard_error(c->err, path_of(c, it));
	if (it->flags & IO_DEFERRED)
		return copy_linked(c, it);
	if (it->flags & IO_LARGE)
		return copy_in_pieces(c, it);
	if (it->type == DT_SOCK)
		return copy_report(c, path_of(c, it), "socket");
	return 1;
}

static int get_and_put(struct copy *c, struct io_item *items, size_t n, bool defer)
{
	struct io_get get = {.content_max = COPY_CONTENT_MAX,
		.live = c->opts->source_is_live,
		.defer_linked = defer};
	struct io_dir *src = trail_dir(&c->src), *dst = trail_dir(&c->dst);
	size_t ready = 0;
	int r;

	io_drv(src)->get(src, items, n, &get);
	for (size_t i = 0; i < n; i++) {
		r = sort_out(c, &items[i]);
		if (r < 0)
			return r;
		if (r == 1)
			swap(&items[ready++], &items[i]);
	}
	if (!ready)
		return 0;
	io_drv(dst)->put(dst, items, ready, &c->put);
	for (size_t i = 0; i < ready; i++) {
		if (items[i].type == DT_REG)
			copy_wrote(c, items[i].content.len);
		r = items[i].error < 0 ? put_error(c, &items[i]) : arrived(c, &items[i], false);
		if (r < 0)
			return r;
	}
	return 0;
}

/* After a clone: 1 it must be copied otherwise; 0 dealt with. */
static int sort_out_clone(struct copy *c, struct io_item *it)
{
	if (it->op && strcmp(it->op, "clone") == 0) {
		/* Of these two for ever, or of this file (no-COW on one side): */
		if (it->error == -EOPNOTSUPP || it->error == -EXDEV)
			c->can_clone = false;
		if (!c->can_clone || it->error == -EINVAL || it->error == -ETXTBSY) {
			it->error = 0;
			it->op = NULL;
			it->flags = 0;
			return 1;
		}
	}
	if (walk_vanished(it->error))
		return vanished(c, it);
	if (it->error < 0)
		return put_error(c, it);
	if (guard_nested(&c->guard, &it->st))
		return guard_error(c->err, path_of(c, it));
	if (it->flags & IO_DEFERRED)
		return copy_linked(c, it);
	atomic_fetch_add(&c->ctx->bytes_done, it->st.size);
	return arrived(c, it, true);
}

static int clone_some(struct copy *c, struct io_item *items, size_t n, bool defer, size_t *left)
{
	struct io_get get = {.live = c->opts->source_is_live, .defer_linked = defer};
	struct io_dir *src = trail_dir(&c->src), *dst = trail_dir(&c->dst);
	int r;

	io_drv(src)->clone(src, dst, items, n, &get, &c->put);
	*left = 0;
	for (size_t i = 0; i < n; i++) {
		r = sort_out_clone(c, &items[i]);
		if (r < 0)
			return r;
		if (r == 1)
			swap(&items[(*left)++], &items[i]);
	}
	return 0;
}

/* Everything but directories. */
static int copy_files(struct copy *c, struct io_item *items, size_t n, bool defer)
{
	size_t files = 0, left;
	int r;

	if (!c->can_clone)
		return n ? get_and_put(c, items, n, defer) : 0;
	for (size_t i = 0; i < n; i++) {
		if (items[i].type == DT_REG)
			swap(&items[files++], &items[i]);
	}
	/* One alone first while it is unknown whether cloning works at all. */
	r = files ? clone_some(c, items, files, defer, &left) : 0;
	if (r == 0 && files && left)
		r = get_and_put(c, items, left, defer);
	if (r == 0 && files < n)
		r = get_and_put(c, items + files, n - files, defer);
	return r;
}

/* An unchanged name keeps its copy, unless the inode came anew under another name. 1: copy it. */
static int keep_linked(struct copy *c, const struct io_item *it)
{
	const struct link_copy *first;
	int r;

	if (it->st.nlink < 2 || it->type == DT_DIR)
		return 0;
	first = links_find(&c->links, &it->st);
	if (first)
		return first->fresh;
	r = links_add(&c->links, &it->st, trail_path(&c->dst, io_item_as(it)),
		stat_digest(&it->st), false);
	return r < 0 ? walk_fail(c->err, r, "link", path_of(c, it)) : 0;
}

/* In a later pass: 1 it has to be copied (again), 0 it is as it was. */
static int differs(struct copy *c, struct io_item *it)
{
	enum settle_answer a;
	int r;

	if (walk_vanished(it->error))
		return vanished(c, it);
	if (it->error < 0)
		return put_error(c, it);
	if (it->type == DT_DIR || it->type == DT_SOCK)
		return it->type == DT_DIR;
	a = copy_top(c)->fresh ? SETTLE_NEW :
				 settle_compare(&c->settle, path_of(c, it), &it->st);
	r = a == SETTLE_SAME ? keep_linked(c, it) : 1;
	if (r <= 0) {
		copy_kept(c, it);
		return r;
	}
	if (a != SETTLE_SAME)
		r = copy_note_change(c, path_of(c, it));
	if (r == 0 || r == 1)
		r = copy_make_way(c, io_item_as(it), it->name);
	it->flags = 0;
	return r < 0 ? r : 1;
}

static ssize_t only_differing(struct copy *c, struct io_item *items, size_t n)
{
	struct io_dir *src = trail_dir(&c->src);
	size_t kept = 0;
	int r;

	io_drv(src)->stat(src, items, n);
	for (size_t i = 0; i < n; i++) {
		r = differs(c, &items[i]);
		if (r < 0)
			return r;
		if (r == 1)
			swap(&items[kept++], &items[i]);
	}
	return kept;
}

/* Directories to the frame, the rest to the front. */
static ssize_t without_dirs(struct copy *c, struct io_item *items, size_t n)
{
	struct copy_frame *f = copy_top(c);
	size_t kept = 0;

	for (size_t i = 0; i < n; i++) {
		if (items[i].type == DT_DIR)
			io_names_add(&f->dirs, items[i].name, DT_DIR);
		else
			swap(&items[kept++], &items[i]);
	}
	return buf_error(&f->dirs.buf) ? walk_fail(c->err, -ENOMEM, "walk", NULL) : (ssize_t)kept;
}

static int resolve_types(struct copy *c, struct io_item *items, size_t *n)
{
	struct io_dir *src = trail_dir(&c->src);
	size_t kept = 0;
	int r;

	for (size_t i = 0; i < *n; i++) {
		r = 1;
		if (items[i].type == DT_UNKNOWN)
			io_drv(src)->stat(src, &items[i], 1);
		if (walk_vanished(items[i].error))
			r = vanished(c, &items[i]);
		else if (items[i].error < 0)
			r = put_error(c, &items[i]);
		if (r < 0)
			return r;
		if (r == 1)
			swap(&items[kept++], &items[i]);
	}
	*n = kept;
	return 0;
}

static int copy_slice(struct copy *c, struct io_item *items, size_t n)
{
	ssize_t left = n;
	int r;

	c->now = settle_now();
	if (c->pass) {
		left = only_differing(c, items, n);
	} else {
		r = resolve_types(c, items, &n);
		left = r < 0 ? r : (ssize_t)n;
	}
	if (left > 0)
		left = without_dirs(c, items, left);
	return left > 0 ? copy_files(c, items, left, true) : (int)left;
}

/* 1, 0, -ENOMEM. */
static int skipped(struct copy *c, const char *name, unsigned char type)
{
	const char *path;
	int r;

	if (copy_at_virtual_root(c))
		return 0; /* asked for by name */
	path = trail_path(&c->src, name);
	if (c->opts->skip && c->opts->skip(path, c->opts->skip_arg))
		return 1;
	switch (snap_skip(trail_dir(&c->src), path, type)) {
	case SNAP_KEEP:
		return 0;
	case SNAP_SKIP_WORK:
		return 1;
	case SNAP_SKIP_SILLY:
		break;
	}
	r = copy_report(c, path, "removed, but open over NFS");
	return r < 0 ? r : 1;
}

static int name_here(struct copy *c, const char *name)
{
	XXH128_hash_t h = XXH3_128bits(name, strlen(name));

	if (!copy_top(c)->changed)
		return 0;
	return idmap_set(&copy_top(c)->here, h.high64, h.low64, 1);
}

static int fill(struct copy *c, const struct io_names *names, size_t *pos, size_t *n)
{
	unsigned char type;
	const char *name;
	int r;

	for (*n = 0; *n < COPY_BATCH;) {
		struct io_item *it = &c->items[*n];

		name = io_names_next(names, pos, &type);
		if (!name)
			break;
		r = skipped(c, name, type);
		if (r < 0)
			return r;
		if (r)
			continue;
		if (name_here(c, name) < 0)
			return walk_fail(c->err, -ENOMEM, "walk", name);
		io_item_reset(it);
		it->name = name;
		it->type = type;
		it->as = copy_at_virtual_root(c) ? c->only_as : NULL;
		(*n)++;
	}
	return 0;
}

int copy_names(struct copy *c, const struct io_names *names)
{
	size_t pos = 0, n;
	int r = 0;

	while (r == 0 && pos < names->buf.len) {
		r = copy_go_on(c);
		if (r == 0)
			r = fill(c, names, &pos, &n);
		if (r == 0 && n)
			r = copy_slice(c, c->items, n);
	}
	return r;
}

int copy_make_way(struct copy *c, const char *name, const char *from)
{
	struct io_dir *dst = trail_dir(&c->dst);
	struct io_item it = {.name = name, .type = DT_REG};

	copy_touch(c);
	settle_forget(&c->settle, trail_path(&c->src, from));
	io_drv(dst)->remove(dst, &it, 1);
	if (it.error == -EISDIR)
		return remove_dir_at(dst, name, c->err);
	return it.error < 0 ? walk_fail(c->err, it.error, it.op, trail_path(&c->dst, name)) : 0;
}

static int drop_names(struct copy *c, const struct io_names *names)
{
	const struct idmap *here = &copy_top(c)->here;
	const char *name;
	size_t pos = 0;
	int r = 0;

	while (r == 0 && (name = io_names_next(names, &pos, NULL))) {
		XXH128_hash_t h = XXH3_128bits(name, strlen(name));

		if (snap_canceled(c->ctx))
			return walk_fail(c->err, -ECANCELED, NULL, trail_path(&c->dst, name));
		if (!idmap_get(here, h.high64, h.low64))
			r = copy_make_way(c, name, name);
	}
	return r;
}

int copy_drop_extra(struct copy *c)
{
	struct io_dir *dst = trail_dir(&c->dst);
	struct io_names names = {0};
	int more, r;

	/* All names first: removing may upset a listing that is under way. */
	more = io_drv(dst)->dir_list(dst, true, &names);
	while (more > 0 && !snap_canceled(c->ctx))
		more = io_drv(dst)->dir_list(dst, false, &names);
	r = more < 0 ? walk_fail(c->err, more, "list", trail_path(&c->dst, NULL)) :
		       drop_names(c, &names);
	io_names_release(&names);
	return r;
}
