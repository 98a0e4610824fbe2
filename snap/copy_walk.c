/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One pass of a copy: down the source, depth first, with the destination beside it. The first pass
 * makes everything; later ones look for what differs from the records and copy that.
 */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>

#include "snap/base/err.h"
#include "snap/copy_priv.h"

void copy_touch(struct copy *c)
{
	struct copy_frame *f = copy_top(c);
	struct io_dir *dst = trail_dir(&c->dst);

	/* A former pass may have made it read-only. */
	if (!f->claimed && !copy_at_virtual_root(c))
		io_drv(dst)->dir_claim(dst);
	f->claimed = f->touched = true;
}

static int frame_push(struct copy *c, const struct io_item *meta)
{
	if (c->depth == c->size) {
		size_t size = c->size ? c->size * 2 : 32;
		void *frames = reallocarray(c->frames, size, sizeof(*c->frames));

		if (!frames)
			return walk_fail(c->err, -ENOMEM, "copy", NULL);
		c->frames = frames;
		c->size = size;
	}
	/* The first pass has just made the directory. */
	c->frames[c->depth++] = (struct copy_frame){
		.meta = *meta, .claimed = c->pass == 0, .touched = c->pass == 0};
	return 0;
}

void copy_frame_pop(struct copy *c)
{
	struct copy_frame *f = &c->frames[--c->depth];

	io_names_release(&f->dirs);
	io_item_release(&f->meta);
	idmap_release(&f->here);
}

/* What the settle rule says about the directory just entered. */
static int compare_dir(struct copy *c)
{
	struct copy_frame *f = copy_top(c);
	const char *path = trail_path(&c->src, NULL);
	int r = 0;

	if (!c->opts->source_is_live)
		return 0;
	if (c->pass) {
		f->changed = !f->fresh &&
			settle_compare(&c->settle, path, &f->meta.st) != SETTLE_SAME;
		if (!f->changed && !f->fresh)
			return 0;
		r = copy_note_change(c, path);
	}
	if (r == 0 && settle_record(&c->settle, path, &f->meta.st, c->now, false) < 0)
		r = walk_fail(c->err, -ENOMEM, "settle", path);
	return r;
}

/* Make the destination's directory, or find the one of a former pass. 1: it is new. */
static int destination(struct copy *c, const char *name, const char *as, struct io_dir **out)
{
	struct io_dir *here = trail_dir(&c->dst);
	struct io_item made = {.name = as, .type = DT_DIR};
	int r;

	if (c->pass) {
		r = io_drv(here)->dir_open(here, as, IO_OPEN_FORCE, out);
		if (r == 0)
			return 0;
		if (!walk_vanished(r))
			return walk_fail(c->err, r, "open", trail_path(&c->dst, as));
		r = copy_make_way(c, as, name);
		if (r < 0)
			return r;
	}
	copy_touch(c);
	io_drv(here)->put(here, &made, 1, &c->put);
	if (made.error < 0)
		return copy_put_fail(c, &made, trail_path(&c->dst, as));
	r = io_drv(here)->dir_open(here, as, IO_OPEN_NEW, out);
	if (r == 0 && c->put.strip)
		io_drv(here)->dir_strip(*out);
	return r < 0 ? walk_fail(c->err, r, "open", trail_path(&c->dst, as)) : 1;
}

int copy_inside_itself(struct copy *c, const char *name)
{
	return err_set(c->err, EINVAL, "destination_inside_source",
		name ? trail_path(&c->src, name) : ".", "the destination lies inside the source");
}

static int check_source(struct copy *c, const char *name, const struct io_stat *st)
{
	if (guard_nested(&c->guard, st))
		return guard_error(c->err, trail_path(&c->src, name));
	if (st->dev == c->dst_dev && st->ino == c->dst_ino)
		return copy_inside_itself(c, name);
	return 0;
}

/* The source is open: from here on both sides belong to the trails. 1: into a new directory. */
static int go_down(struct copy *c, const char *name, const char *as, struct io_dir *src,
	struct io_item *meta)
{
	struct io_dir *dst;
	int r = destination(c, name, as, &dst), new = r;

	if (r < 0) {
		io_dir_close(&src);
		return r;
	}
	r = trail_push(&c->src, name, src, &meta->st);
	if (r < 0) {
		io_dir_close(&dst);
		return walk_fail(c->err, r, "copy", name);
	}
	r = io_drv(dst)->dir_get(dst, &c->items[0]);
	if (r == 0)
		r = trail_push(&c->dst, as, dst, &c->items[0].st);
	else
		io_dir_close(&dst);
	return r < 0 ? walk_fail(c->err, r, "copy", name) : new;
}

static int open_source(struct copy *c, const char *name, struct io_dir **out, struct io_item *meta)
{
	struct io_dir *here = trail_dir(&c->src);

	meta->name = name;
	meta->error = io_drv(here)->dir_open(here, name, 0, out);
	meta->op = "open";
	if (meta->error == 0) {
		io_drv(*out)->dir_get(*out, meta);
		if (meta->error < 0)
			io_dir_close(out);
	}
	if (meta->error == 0)
		return 1;
	if (!walk_vanished(meta->error) || !c->opts->source_is_live)
		return copy_fail(c, meta);
	return copy_note_change(c, trail_path(&c->src, name));
}

/* 0: entered, or no longer there. */
static int enter(struct copy *c, const char *name)
{
	const char *as = copy_at_virtual_root(c) ? c->only_as : name;
	struct io_item meta = {0};
	struct io_dir *src;
	bool new;
	int r;

	c->now = settle_now();
	r = open_source(c, name, &src, &meta);
	if (r <= 0) {
		io_item_release(&meta);
		return r;
	}
	r = check_source(c, name, &meta.st);
	if (r < 0)
		io_dir_close(&src);
	else
		r = go_down(c, name, as, src, &meta);
	new = r == 1;
	if (r >= 0)
		r = frame_push(c, &meta);
	if (r < 0) {
		io_item_release(&meta);
		return r;
	}
	copy_top(c)->fresh = c->pass && new;
	copy_top(c)->claimed |= new;
	copy_top(c)->touched |= new;
	/* IO_OPEN_FORCE may have changed the mode of one that its owner cannot read. */
	copy_top(c)->touched |= (~copy_top(c)->meta.st.mode & 0700) != 0;
	return compare_dir(c);
}

static int list_source(struct copy *c)
{
	struct io_dir *src = trail_dir(&c->src);
	struct io_names names = {0};
	bool restart = true;
	int more, r = 0;

	do {
		io_names_reset(&names);
		more = io_drv(src)->dir_list(src, restart, &names);
		restart = false;
		if (more == -ENOENT && c->opts->source_is_live)
			more = 0; /* the directory itself was removed */
		r = more < 0 ? walk_fail(c->err, more, "list", trail_path(&c->src, NULL)) :
			       copy_names(c, &names);
	} while (r == 0 && more > 0);
	io_names_release(&names);
	return r;
}

static int list_dir(struct copy *c)
{
	struct copy_frame *f = copy_top(c);
	struct io_names one = {0};
	int r;

	f->listed = true;
	if (copy_at_virtual_root(c)) {
		io_names_add(&one, c->only, DT_UNKNOWN);
		r = copy_names(c, &one);
		io_names_release(&one);
		return r;
	}
	r = list_source(c);
	if (r == 0 && f->changed)
		r = copy_drop_extra(c);
	return r;
}

/* The directory is complete: its own metadata, which filling it has disturbed. */
static int finish_dir(struct copy *c)
{
	struct copy_frame *f = copy_top(c);
	struct io_dir *dst = trail_dir(&c->dst);

	if (copy_at_virtual_root(c) || !(f->touched || f->changed))
		return 0;
	f->meta.error = 0;
	io_drv(dst)->dir_put(dst, &f->meta, &c->put);
	if (f->meta.error < 0)
		return walk_fail(c->err, f->meta.error, f->meta.op, trail_path(&c->dst, NULL));
	return copy_report_lost(c, &f->meta, trail_path(&c->src, NULL));
}

static int leave(struct copy *c)
{
	bool root = c->depth == 1, inner = c->only ? c->depth > 1 : !root;
	int r = finish_dir(c);

	if (inner)
		c->result->entries++;
	if (inner && c->pass == 0)
		atomic_fetch_add(&c->ctx->entries_done, 1);
	copy_frame_pop(c);
	if (r < 0 || root)
		return r;
	r = trail_pop(&c->src);
	if (r == 0)
		r = trail_pop(&c->dst);
	return r < 0 ? walk_fail(c->err, r, "walk back", trail_path(&c->src, NULL)) : 0;
}

static int step(struct copy *c)
{
	struct copy_frame *f = copy_top(c);
	const char *name;
	int r = copy_go_on(c);

	/* A former pass has given directories the ACLs that new entries would inherit. */
	c->put.strip = c->pass || copy_at_virtual_root(c);
	if (r < 0)
		return r;
	if (!f->listed)
		return list_dir(c);
	name = io_names_next(&f->dirs, &f->next, NULL);
	return name ? enter(c, name) : leave(c);
}

int copy_pass(struct copy *c)
{
	struct io_dir *src = trail_dir(&c->src);
	struct io_item meta = {0};
	int r;

	c->differences = 0;
	paths_release(&c->changed);
	c->result->entries = c->result->files = c->result->bytes = 0;
	links_release(&c->links);
	c->now = settle_now();
	io_drv(src)->dir_get(src, &meta);
	if (meta.error < 0)
		r = walk_fail(c->err, meta.error, meta.op, ".");
	else
		r = frame_push(c, &meta);
	if (r < 0) {
		io_item_release(&meta);
		return r;
	}
	r = c->only ? 0 : compare_dir(c);
	while (r == 0 && c->depth)
		r = step(c);
	return r;
}
