/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One file in pieces: large ones, and those with holes. */
#include <errno.h>
#include <stdlib.h>

#include "snap/copy_priv.h"

#define FLUSH_EVERY (8 << 20)

struct large {
	struct copy *c;
	struct io_item *it;
	struct io_file *in, *out;
	uint64_t flushed, done;
};

static int fail(struct large *l, int error, const char *op)
{
	l->it->error = error;
	l->it->op = op;
	return error;
}

/* Inside the storage. 0: it does not work here. */
static ssize_t chunk_inside(struct large *l, uint64_t off, size_t len)
{
	ssize_t n;

	if (!l->c->can_copy_range)
		return 0;
	n = io_file_drv(l->in)->file_copy(l->in, l->out, off, len);
	if (n == -ENOSPC || n == -EDQUOT || n == -EIO)
		return fail(l, n, "copy_file_range");
	if (n <= 0)
		l->c->can_copy_range = false;
	return n > 0 ? n : 0;
}

/* How much was copied; 0 at the end of the file. */
static ssize_t chunk_through(struct large *l, uint64_t off, size_t len)
{
	ssize_t n = io_file_drv(l->in)->file_read(l->in, l->c->chunk, len, off);
	int r;

	if (n < 0)
		return fail(l, n, "read");
	r = io_file_drv(l->out)->file_write(l->out, l->c->chunk, n, off);
	return r < 0 ? fail(l, r, "write") : n;
}

static int flush(struct large *l, uint64_t upto)
{
	int r = 0;

	if (l->c->put.flush && upto - l->flushed >= FLUSH_EVERY) {
		r = io_file_drv(l->out)->file_flush(l->out, l->flushed, upto - l->flushed);
		l->flushed = upto;
	}
	return r < 0 ? fail(l, r, "sync_file_range") : 0;
}

/* One range of data. 1: the file ended early. */
static int range(struct large *l, uint64_t off, uint64_t end)
{
	while (off < end) {
		size_t len = end - off < COPY_CHUNK ? end - off : COPY_CHUNK;
		ssize_t n = copy_go_on(l->c);

		if (n < 0)
			return n;
		n = chunk_inside(l, off, len);
		if (n == 0)
			n = chunk_through(l, off, len);
		if (n < 0)
			return n;
		if (n == 0)
			return 1;
		off += n;
		l->done += n;
		copy_wrote(l->c, n);
		if (flush(l, off) < 0)
			return l->it->error;
	}
	return 0;
}

static int ranges(struct large *l)
{
	uint64_t size = l->it->st.size, start, end, off = 0;
	bool holes = l->it->st.allocated < size;
	int r = 0;

	while (r == 0 && off < size) {
		start = off;
		end = size;
		r = holes ? io_file_drv(l->in)->file_data(l->in, off, &start, &end) : 0;
		if (r == -ENXIO)
			return 0;
		if (r < 0) /* no such call here: read all of it */
			start = off, end = size;
		r = range(l, start, end < size ? end : size);
		off = end;
	}
	return r;
}

static int content(struct large *l)
{
	int r;

	if (!l->c->chunk)
		l->c->chunk = malloc(COPY_CHUNK);
	if (!l->c->chunk)
		return fail(l, -ENOMEM, "copy");
	r = ranges(l);
	if (r < 0)
		return r;
	r = io_file_drv(l->out)->file_resize(l->out, l->it->st.size);
	if (r < 0)
		return fail(l, r, "truncate");
	r = io_file_drv(l->in)->file_changed(l->in, &l->it->st);
	if (r < 0)
		return fail(l, r, "stat");
	if (r)
		l->it->flags |= IO_CHANGED;
	/* Holes are work that need not be done. */
	if (l->it->st.size > l->done)
		atomic_fetch_add(&l->c->ctx->bytes_done, l->it->st.size - l->done);
	return 0;
}

static int into(struct large *l)
{
	struct io_dir *dst = trail_dir(&l->c->dst);
	int r = io_drv(dst)->file_create(dst, io_item_as(l->it), &l->out);

	if (r < 0)
		return fail(l, r, "create");
	r = content(l);
	if (r == 0)
		r = io_file_drv(l->out)->file_finish(l->out, l->it, &l->c->put);
	return r;
}

int copy_large(struct copy *c, struct io_item *it)
{
	struct io_dir *src = trail_dir(&c->src);
	struct io_get how = {.live = c->opts->source_is_live};
	struct large l = {.c = c, .it = it};
	int r, closed;

	it->flags &= ~IO_LARGE;
	r = io_drv(src)->file_open(src, it, &how, &l.in);
	if (r < 0)
		return fail(&l, r, it->op ? it->op : "open");
	r = into(&l);
	if (l.out) {
		closed = io_file_drv(l.out)->file_close(&l.out);
		if (r == 0 && closed < 0)
			r = fail(&l, closed, "close");
	}
	io_file_drv(l.in)->file_close(&l.in);
	return r;
}
