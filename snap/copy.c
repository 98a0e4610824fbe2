/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Copying a tree, from the outside: options, passes, counting, the result. The first pass copies.
 * With a live source further passes compare and copy what differs, until one finds nothing
 * (snap/settle.h says why that proves the copy) or the rounds are used up.
 */
#include "snap/copy.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "snap/base/err.h"
#include "snap/copy_priv.h"
#include "snap/io_threads.h"

#define SETTLE_ROUNDS 5

/* Asking for the free space is a system call, on a network file system a round trip: once for as
 * much as a batch may hold. */
#define ASK_EVERY (COPY_BATCH * COPY_CONTENT_MAX)
#define ENTRY_ROOM 4096 /* what an entry takes, at least */

const char *snap_consistency_name(enum snap_consistency c)
{
	static const char *const names[] = {"atomic", "settled", "fuzzy"};

	return names[c];
}

void snap_copy_result_release(struct snap_copy_result *r)
{
	paths_release(&r->unsettled);
	paths_release(&r->reported);
}

int copy_fail(struct copy *c, const struct io_item *it)
{
	const char *path = trail_path(&c->src, it->name);

	if (it->error == -ENOENT && copy_at_virtual_root(c))
		return walk_fail(c->err, it->error, it->op, path);
	if (walk_vanished(it->error)) {
		err_set(c->err, ESTALE, "source_changed", path,
			"the source changed while it was copied");
		err_in_tree(c->err);
		return -ESTALE;
	}
	return walk_fail(c->err, it->error, it->op, path);
}

int copy_put_fail(struct copy *c, const struct io_item *it, const char *path)
{
	struct io_dir *dst = trail_dir(&c->dst);
	struct io_fs fs = {0};

	if (it->error != -ENOSPC || io_drv(dst)->dir_fs(dst, &fs) < 0 || !fs.no_inodes)
		return walk_fail(c->err, it->error, it->op, path);
	/* Only now: once what was copied is removed nobody sees it any more. */
	err_set(c->err, ENOSPC, "no_space", path, "%s: no inodes are left", it->op);
	err_in_tree(c->err);
	return -ENOSPC;
}

int copy_note_change(struct copy *c, const char *path)
{
	c->differences++;
	if (paths_add(&c->changed, path, "changed") < 0)
		return walk_fail(c->err, -ENOMEM, "copy", path);
	return 0;
}

int copy_report(struct copy *c, const char *path, const char *reason)
{
	const struct paths *known = &c->result->reported;

	/* A later pass copies some entries again. */
	for (size_t i = 0; c->pass && i < known->n; i++) {
		if (known->items[i].reason == reason && strcmp(known->items[i].path, path) == 0)
			return 0;
	}
	if (paths_add(&c->result->reported, path, reason) < 0)
		return walk_fail(c->err, -ENOMEM, "copy", path);
	return 0;
}

static int foreign_owner(struct copy *c, const struct io_stat *st, const char *path)
{
	err_set(c->err, EPERM, "foreign_owner", *path ? path : ".",
		"its owner and group (%u:%u) cannot be given to a copy by an ordinary user",
		st->uid, st->gid);
	err_in_tree(c->err);
	return -EPERM;
}

int copy_report_lost(struct copy *c, const struct io_item *it, const char *path)
{
	int r = it->flags & IO_XATTR_LOST ? copy_report(c, path, "xattr") : 0;

	if (r < 0 || !(it->flags & IO_OWNER_LOST))
		return r;
	return c->opts->keep_owners ? foreign_owner(c, &it->st, path)
				    : copy_report(c, path, "owner or group");
}

int copy_go_on(struct copy *c)
{
	uint64_t done;

	if (snap_canceled(c->ctx))
		return walk_fail(c->err, -ECANCELED, NULL, trail_path(&c->src, NULL));
	if (!c->ctx->admit)
		return 0;
	done = snap_add(atomic_load(&c->ctx->bytes_done),
		atomic_load(&c->ctx->entries_done) * ENTRY_ROOM);
	if (done < c->ask_at)
		return 0;
	c->ask_at = done + ASK_EVERY;
	return c->ctx->admit(c->ctx->admit_arg, c->err);
}

void copy_wrote(struct copy *c, uint64_t bytes)
{
	atomic_fetch_add(&c->ctx->bytes_done, bytes);
	atomic_fetch_add(&c->ctx->bytes_written, bytes);
}

void copy_kept(struct copy *c, const struct io_item *it)
{
	c->result->entries++;
	if (it->type != DT_REG)
		return;
	c->result->files++;
	c->result->bytes = snap_add(c->result->bytes, it->st.size);
}

void copy_done(struct copy *c, const struct io_item *it, bool cloned)
{
	copy_kept(c, it);
	atomic_fetch_add(&c->ctx->entries_done, 1);
	if (cloned)
		c->result->bytes_cloned += it->st.size;
}

static int passes(struct copy *c)
{
	unsigned rounds = c->opts->settle_rounds ? c->opts->settle_rounds : SETTLE_ROUNDS;
	int r = copy_pass(c);

	if (!c->opts->source_is_live) {
		c->result->consistency = c->differences ? SNAP_FUZZY : SNAP_ATOMIC;
		return r;
	}
	c->result->consistency = SNAP_FUZZY;
	for (c->pass = 1; r == 0 && c->pass <= rounds; c->pass++) {
		r = settle_wait(&c->settle, c->ctx);
		if (r < 0)
			return walk_fail(c->err, r, NULL, NULL);
		r = copy_pass(c);
		if (r == 0 && c->differences == 0) {
			c->result->consistency = SNAP_SETTLED;
			return 0;
		}
	}
	return r;
}

static int start(struct copy *c, struct io_place *place, int src, int dst)
{
	struct io_dir *from = NULL, *to = NULL;
	struct io_fs src_fs = {0}, dst_fs = {0};
	int r = io_threads_dir(place, src, &from);

	if (r == 0)
		r = trail_init(&c->src, from);
	if (r == 0)
		r = io_threads_dir(place, dst, &to);
	if (r == 0)
		r = trail_init(&c->dst, to);
	if (r == 0)
		r = guard_init(&c->guard, from);
	if (r == 0)
		r = io_drv(from)->dir_fs(from, &src_fs);
	if (r == 0)
		r = io_drv(to)->dir_fs(to, &dst_fs);
	if (r == 0)
		r = io_drv(to)->dir_get(to, &c->items[0]);
	if (r < 0)
		return walk_fail(c->err, r, "open", c->only);
	c->dst_dev = c->items[0].st.dev;
	c->dst_ino = c->items[0].st.ino;
	c->can_clone = c->opts->reflink && io_drv(from)->clone;
	c->can_copy_range = c->opts->reflink && io_drv(from)->file_copy &&
		!((src_fs.flags | dst_fs.flags) & IO_FS_FUSE);
	c->put.flush = c->opts->durable && !(dst_fs.flags & IO_FS_BTRFS);
	settle_init(&c->settle, src_fs.flags & IO_FS_NETWORK);
	if (c->only)
		return 0;
	if (c->guard.dev == c->dst_dev && c->guard.ino == c->dst_ino)
		return copy_inside_itself(c, NULL);
	io_drv(to)->dir_strip(to);
	return 0;
}

static void copy_free(struct copy *c)
{
	while (c->depth)
		copy_frame_pop(c);
	free(c->frames);
	trail_release(&c->src);
	trail_release(&c->dst);
	links_release(&c->links);
	settle_release(&c->settle);
	paths_release(&c->changed);
	for (size_t i = 0; i < COPY_BATCH; i++)
		io_item_release(&c->items[i]);
	free(c->chunk);
	free(c);
}

static int run(struct copy *c, int src, int dst)
{
	_cleanup_io_place_ struct io_place *place = NULL;
	int r = io_threads_new(c->ctx, &place);

	if (r < 0)
		return walk_fail(c->err, r, "copy", c->only);
	r = start(c, place, src, dst);
	if (r == 0)
		r = passes(c);
	if (r == 0 && c->opts->durable)
		r = copy_make_durable(c);
	if (c->result->bytes_cloned > c->result->bytes)
		c->result->bytes_cloned = c->result->bytes; /* some were cloned again */
	if (r == 0 && c->result->consistency == SNAP_FUZZY) {
		c->result->unsettled = c->changed;
		c->changed = PATHS_INIT;
	}
	/* Directories belong to the place. */
	trail_release(&c->src);
	trail_release(&c->dst);
	return r;
}

static int copy(int src, const char *only, int dst, const char *only_as,
	const struct snap_copy_opts *opts, struct snap_ctx *ctx, struct snap_copy_result *result,
	struct err *err)
{
	struct snap_copy_result out = {0};
	struct copy *c = calloc(1, sizeof(*c));
	int r;

	*result = out;
	if (!c)
		return walk_fail(err, -ENOMEM, "copy", only);
	c->opts = opts;
	c->ctx = ctx;
	c->err = err;
	c->result = &out;
	c->only = only;
	c->only_as = only_as;
	r = run(c, src, dst);
	copy_free(c);
	if (r < 0)
		snap_copy_result_release(&out);
	else
		*result = out;
	return r;
}

int snap_copy(int src, int dst, const struct snap_copy_opts *opts, struct snap_ctx *ctx,
	struct snap_copy_result *result, struct err *err)
{
	return copy(src, NULL, dst, NULL, opts, ctx, result, err);
}

int snap_copy_entry(int src_dir, const char *src_name, int dst_dir, const char *dst_name,
	const struct snap_copy_opts *opts, struct snap_ctx *ctx, struct snap_copy_result *result,
	struct err *err)
{
	return copy(src_dir, src_name, dst_dir, dst_name, opts, ctx, result, err);
}
