/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Differences between two trees of a pool. Of relatives the kernel lists what a send stream would
 * have to change, in O(changes); everything else, and an ordinary user, walks.
 *
 * What the stream only may have changed is looked at in both trees (btrfs_compare.c), so that both
 * ways mean the same by a change. One difference is left: the stream knows renames.
 */
#include "backends/pool/btrfs.h"

#include <btrfsutil.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/btrfs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "backends/pool/btrfs_compare.h"
#include "backends/pool/btrfs_send.h"
#include "snap/base/fd.h"
#include "snap/skip.h"

/* What the kernel fills at most, whatever it is offered (btrfs_ioctl_ino_to_path). */
#define INO_PATHS_SIZE 4096

struct found {
	enum snap_change change;
	char *path, *from;
	bool by_link;  /* seen through another name of the inode */
	bool replaced; /* the path has a new inode: other names say nothing of it */
	bool silent;   /* only there to say so */
};

struct diff {
	int a, b; /* read-only subvolumes */
	struct snap_ctx *ctx;
	struct err *err;
	struct found *found;
	size_t n, room;
};

static void diff_release(struct diff *d)
{
	for (size_t i = 0; i < d->n; i++) {
		free(d->found[i].path);
		free(d->found[i].from);
	}
	free(d->found);
}

/* The rule of the walk, with all that is below a work directory. */
static bool is_left_out(const struct diff *d, const char *path)
{
	return snap_skip_at(d->a, path) || snap_skip_at(d->b, path);
}

static int add(struct diff *d, const struct found *f)
{
	struct found copy = *f;

	if (is_left_out(d, f->path))
		return 0;
	if (d->n == d->room) {
		size_t room = d->room ? d->room * 2 : 64;
		struct found *found = reallocarray(d->found, room, sizeof(*found));

		if (!found)
			return -ENOMEM;
		d->found = found;
		d->room = room;
	}
	copy.path = strdup(f->path);
	copy.from = f->from ? strdup(f->from) : NULL;
	if (!copy.path || (f->from && !copy.from)) {
		free(copy.path);
		free(copy.from);
		return -ENOMEM;
	}
	d->found[d->n++] = copy;
	return 0;
}

static int add_simple(struct diff *d, enum snap_change change, const char *path, const char *from)
{
	return add(d, &(struct found){.change = change, .path = (char *)(uintptr_t)path,
		.from = (char *)(uintptr_t)from});
}

/* The other names of a changed file changed too, and the stream speaks of one only. */
static int add_links(struct diff *d, const struct verdict *v, struct found f)
{
	union {
		struct btrfs_data_container head;
		char room[INO_PATHS_SIZE];
	} data;
	struct btrfs_ioctl_ino_path_args args = {
		.inum = v->new.stx_ino,
		.size = sizeof(data),
		.fspath = (uintptr_t)&data,
	};
	int r = 0;

	memset(&data, 0, sizeof(data));
	if (ioctl(d->b, BTRFS_IOC_INO_PATHS, &args) < 0)
		return -errno;
	if (data.head.elem_missed)
		return -E2BIG; /* more names than the kernel tells: walking will */
	f.by_link = true;
	for (uint32_t i = 0; r == 0 && i < data.head.elem_cnt; i++) {
		f.path = (char *)data.head.val + data.head.val[i];
		r = add(d, &f);
	}
	return r;
}

static int add_verdict(struct diff *d, const struct send_change *c, const struct verdict *v,
	bool replaced)
{
	struct found f = {.path = (char *)(uintptr_t)c->path, .replaced = replaced};
	int r;

	if (!v->content && !v->metadata) {
		f.silent = true;
		return replaced ? add(d, &f) : 0;
	}
	f.change = v->content ? SNAP_CONTENT : SNAP_METADATA;
	r = add(d, &f);
	if (r == 0 && !replaced && v->new.stx_nlink > 1 && !S_ISDIR(v->new.stx_mode))
		r = add_links(d, v, f);
	return r;
}

static int on_moved(struct diff *d, const struct send_change *c)
{
	bool hidden = is_left_out(d, c->from);
	struct verdict v;
	int r;

	/* A directory brought out of hiding is added with all it holds: only a walk lists that. */
	if (hidden != is_left_out(d, c->path))
		return -EOPNOTSUPP;
	r = hidden ? 0 : btrfs_compare(d->a, d->b, c, d->ctx, &v);
	if (hidden || r < 0)
		return r;
	/* Branches of one tree may give a number twice: then it was no rename. */
	if (!v.same_inode) {
		r = add_simple(d, SNAP_REMOVED, c->from, NULL);
		return r < 0 ? r : add_simple(d, SNAP_ADDED, c->path, NULL);
	}
	r = add_simple(d, SNAP_RENAMED, c->path, c->from);
	return r < 0 ? r : add_verdict(d, c, &v, false);
}

static int on_kept(struct diff *d, const struct send_change *c)
{
	struct verdict v;
	int r = btrfs_compare(d->a, d->b, c, d->ctx, &v);

	return r < 0 ? r : add_verdict(d, c, &v, !v.same_inode);
}

static int on_change(const struct send_change *c, void *arg)
{
	struct diff *d = arg;

	if (snap_canceled(d->ctx))
		return -ECANCELED;
	atomic_fetch_add(&d->ctx->entries_done, 1);
	switch (c->kind) {
	case SEND_PATH_REMOVED:
		return add_simple(d, SNAP_REMOVED, c->from, NULL);
	case SEND_PATH_ADDED:
		return add_simple(d, SNAP_ADDED, c->path, NULL);
	case SEND_PATH_RENAMED:
		return on_moved(d, c);
	case SEND_PATH_KEPT:
	case SEND_PATH_REPLACED:
		return on_kept(d, c);
	}
	return -EINVAL;
}

/* What stands first among the changes of one path. */
static int rank(const struct found *f)
{
	static const enum snap_change order[] = {
		SNAP_REMOVED, SNAP_RENAMED, SNAP_ADDED, SNAP_CONTENT, SNAP_METADATA,
	};
	int i = 0;

	while (i < 5 && order[i] != f->change)
		i++;
	return i;
}

static int compare(const void *x, const void *y)
{
	const struct found *a = x, *b = y;
	int r = send_path_cmp(a->path, b->path);

	r = r ? r : rank(a) - rank(b);
	return r ? r : (int)a->by_link - (int)b->by_link;
}

/*
 * One path's changes, [from, to): a removal, a rename and one judgement. What is added needs no
 * other judgement, content says more than metadata, and a path with a new inode speaks for itself.
 */
static int emit_path(const struct diff *d, size_t from, size_t to, snap_diff_fn *fn, void *arg)
{
	bool replaced = false, judged = false;
	int r = 0;

	for (size_t i = from; i < to; i++)
		replaced |= d->found[i].replaced;
	for (size_t i = from; r == 0 && i < to; i++) {
		const struct found *f = &d->found[i];
		bool judgement = f->change != SNAP_REMOVED && f->change != SNAP_RENAMED;

		if (f->silent || (judgement && (judged || (replaced && f->by_link))))
			continue;
		judged |= judgement;
		r = fn(f->change, *f->path ? f->path : ".", f->from, arg);
	}
	return r;
}

/* The end of the changes of the path that begins at i. */
static size_t path_end(const struct diff *d, size_t i)
{
	size_t end = i + 1;

	while (end < d->n && strcmp(d->found[i].path, d->found[end].path) == 0)
		end++;
	return end;
}

/* A path that lost one inode and got another, each told on its own: one judgement instead. */
static int fold_path(struct diff *d, size_t from, size_t to)
{
	const struct send_change c = {
		.kind = SEND_PATH_REPLACED,
		.path = d->found[from].path,
		.from = d->found[from].path,
	};
	struct found *added = NULL;
	struct verdict v;
	int r;

	for (size_t i = from; i < to; i++) {
		if (d->found[i].change == SNAP_ADDED)
			added = &d->found[i];
	}
	if (!added || d->found[from].change != SNAP_REMOVED)
		return 0;
	r = btrfs_compare(d->a, d->b, &c, d->ctx, &v);
	if (r < 0)
		return r;
	for (size_t i = from; i < to; i++)
		d->found[i].silent = true;
	added->silent = !v.content && !v.metadata;
	added->change = v.content ? SNAP_CONTENT : SNAP_METADATA;
	return 0;
}

static int fold(struct diff *d)
{
	int r = 0;

	if (d->n)
		qsort(d->found, d->n, sizeof(*d->found), compare);
	for (size_t i = 0, end; r == 0 && i < d->n; i = end) {
		end = path_end(d, i);
		r = fold_path(d, i, end);
	}
	return r;
}

static int emit(struct diff *d, snap_diff_fn *fn, void *arg)
{
	int r = 0;

	for (size_t i = 0, end; r == 0 && i < d->n; i = end) {
		end = path_end(d, i);
		r = emit_path(d, i, end, fn, arg);
	}
	return r;
}

static void paths_free(struct send_paths **p)
{
	send_paths_free(p);
}

/* Read the stream and judge what it speaks of; nothing is given to the caller yet. */
static int gather(struct diff *d)
{
	struct send_paths *paths __attribute__((cleanup(paths_free))) = NULL;
	uint64_t parent;
	int r = send_paths_new(&paths);

	errno = 0;
	if (r == 0 && btrfs_util_subvolume_id_fd(d->a, &parent) != BTRFS_UTIL_OK)
		r = errno ? -errno : -EIO;
	if (r < 0)
		return err_sys(d->err, -r, "btrfs send", NULL);
	r = btrfs_send(d->b, parent, d->ctx, send_paths_apply, paths, d->err);
	if (r < 0)
		return r;
	r = send_paths_finish(paths, on_change, d, d->err);
	if (r == 0)
		r = fold(d);
	if (r < 0 && d->err && d->err->num == 0)
		return err_sys(d->err, -r, "compare trees", NULL);
	return r;
}

int btrfs_diff_by_send(int a, int b, struct snap_ctx *ctx, snap_diff_fn *fn, void *arg,
	bool *told, struct err *err)
{
	struct diff d __attribute__((cleanup(diff_release))) = {
		.a = a, .b = b, .ctx = ctx, .err = err,
	};
	int r = gather(&d);

	*told = r == 0;
	return r < 0 ? r : emit(&d, fn, arg);
}

/* `at` itself when it is read-only, else a snapshot of it in `scratch`, which must be removed. */
static int freeze(struct tree_at at, int scratch, const char *role, struct tree_at *frozen,
	char name[NAME_MAX + 1], struct err *err)
{
	_cleanup_fd_ int fd = tree_open(at, err);
	struct snap_ctx ctx = {0};
	int r;

	if (fd < 0)
		return fd;
	*frozen = at;
	r = subvol_read_only(fd);
	if (r > 0)
		return 0;
	if (r == 0 && scratch < 0)
		r = -EROFS;
	*frozen = (struct tree_at){scratch, name};
	if (r == 0)
		r = tree_side_name(name, "tree", role);
	if (r == 0) /* what a crash left */
		r = tree_remove_one(*frozen, &ctx, err);
	if (r == 0)
		r = subvol_snapshot(fd, scratch, name, true);
	return r < 0 ? tree_err(err, -r, "freeze a tree for comparison", at) : 0;
}

/* The snapshot, if freeze() made one, has served. */
static void thaw(struct tree_at frozen, struct tree_at at)
{
	struct snap_ctx ctx = {0};

	if (frozen.dirfd >= 0 && frozen.name != at.name)
		tree_remove_one(frozen, &ctx, NULL);
}

struct sides {
	struct tree_at a, b;
	char a_name[NAME_MAX + 1], b_name[NAME_MAX + 1];
};

static int diff_frozen(const struct sides *s, struct snap_ctx *ctx, snap_diff_fn *fn, void *arg,
	bool *told, struct err *err)
{
	_cleanup_fd_ int a = tree_open(s->a, err);
	_cleanup_fd_ int b = a < 0 ? -1 : tree_open(s->b, err);

	if (a < 0 || b < 0)
		return a < 0 ? a : b;
	return btrfs_diff_by_send(a, b, ctx, fn, arg, told, err);
}

static int freeze_and_send(struct tree_at a, struct tree_at b, int scratch, struct snap_ctx *ctx,
	snap_diff_fn *fn, void *arg, bool *told, struct err *err)
{
	struct sides s = {.a = {-1, NULL}, .b = {-1, NULL}};
	int r = freeze(a, scratch, TREE_SIDE_OLD, &s.a, s.a_name, err);

	if (r == 0) {
		r = freeze(b, scratch, TREE_SIDE_NEW, &s.b, s.b_name, err);
		if (r == 0)
			r = diff_frozen(&s, ctx, fn, arg, told, err);
		thaw(s.b, b);
	}
	thaw(s.a, a);
	return r;
}

/*
 * Whatever the short way failed of, walking may do. EIO too: where branches of one tree have used
 * an inode number in one transaction for things of different types, the kernel gives up with it, or
 * sends a stream that makes no sense (EBADMSG). A disk that cannot be read fails the walk as well.
 */
static bool may_walk_instead(int r)
{
	return r < 0 && r != -ECANCELED && r != -ENOMEM;
}

int btrfs_tree_diff(struct pool *pool, struct tree_at a, struct tree_at b, int scratch,
	const struct snap_diff_opts *opts, struct snap_ctx *ctx, snap_diff_fn *fn, void *arg,
	struct err *err)
{
	_cleanup_fd_ int old = tree_open(a, err);
	_cleanup_fd_ int new = old < 0 ? -1 : tree_open(b, err);
	bool told = false;
	int r;

	if (old < 0 || new < 0)
		return old < 0 ? old : new;
	if (!pool->privileged || btrfs_related(old, new) <= 0)
		return snap_diff(old, new, opts, ctx, fn, arg, err);
	r = freeze_and_send(a, b, scratch, ctx, fn, arg, &told, err);
	if (told || !may_walk_instead(r))
		return r;
	err_clear(err);
	return snap_diff(old, new, opts, ctx, fn, arg, err);
}
