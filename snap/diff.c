/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Two trees side by side, names sorted, in path order: '/' sorts before every other byte, so that a
 * directory is followed by what it holds. Entries are looked at in batches that end at a directory.
 */
#include "snap/diff.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "snap/base/clock.h"
#include "snap/base/err.h"
#include "snap/base/fd.h"
#include "snap/idmap.h"
#include "snap/io_threads.h"
#include "snap/skip.h"
#include "snap/walk.h"

#define CHUNK (256 << 10)

enum { A, B };

struct sorted {
	struct io_names names;
	const char **at; /* into names, each behind its type byte */
	size_t n, next;
};

struct diff_frame {
	struct sorted side[2];
	bool on[2]; /* does the directory exist on this side? */
	bool moved; /* what it holds need not be what was there under its path */
};

struct diff_pair {
	const char *name;
	struct io_item *it[2]; /* NULL: not on this side */
};

struct diff {
	const struct snap_diff_opts *opts;
	struct snap_ctx *ctx;
	struct err *err;
	snap_diff_fn *fn;
	void *arg;
	struct trail trail[2];
	struct guard guard[2];
	struct diff_frame *frames;
	size_t depth, size;
	struct idmap partner[2]; /* link groups: the inode on the other side, + 1 */
	char *chunk[2];
	struct io_item items[2][WALK_BATCH];
	size_t taken[2]; /* items of each side in this batch */
	struct diff_pair pairs[WALK_BATCH];
};

static int emit(struct diff *d, enum snap_change change, int side, const char *name)
{
	return d->fn(change, trail_path(&d->trail[side], name), NULL, d->arg);
}

static int fail(struct diff *d, int error, const char *op, int side, const char *name)
{
	return walk_fail(d->err, error, op, trail_path(&d->trail[side], name));
}

static unsigned char type_at(const struct sorted *s)
{
	return s->at[s->next][-1];
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int sort(struct sorted *s, struct trail *where)
{
	unsigned char type;
	const char *name;
	size_t pos = 0;

	s->at = calloc(s->names.n + 1, sizeof(*s->at));
	if (!s->at)
		return -ENOMEM;
	while ((name = io_names_next(&s->names, &pos, &type))) {
		if (snap_skip(trail_dir(where), trail_path(where, name), type) == SNAP_KEEP)
			s->at[s->n++] = name;
	}
	qsort(s->at, s->n, sizeof(*s->at), by_name);
	return 0;
}

static int list(struct diff *d, int side)
{
	struct sorted *s = &d->frames[d->depth - 1].side[side];
	struct io_dir *dir = trail_dir(&d->trail[side]);
	int r = io_drv(dir)->dir_list(dir, true, &s->names);

	while (r > 0) {
		if (snap_canceled(d->ctx))
			return fail(d, -ECANCELED, NULL, side, NULL);
		r = io_drv(dir)->dir_list(dir, false, &s->names);
	}
	if (r == 0 || r == -ENOENT)
		r = sort(s, &d->trail[side]);
	return r < 0 ? fail(d, r, "list", side, NULL) : 0;
}

static void frame_pop(struct diff *d)
{
	struct diff_frame *f = &d->frames[--d->depth];

	for (int side = A; side <= B; side++) {
		io_names_release(&f->side[side].names);
		free(f->side[side].at);
	}
}

/* Begin the directories that the trails of the given sides stand in. */
static int frame_push(struct diff *d, const bool on[2], bool moved)
{
	int r = 0;

	if (d->depth == d->size) {
		size_t size = d->size ? d->size * 2 : 32;
		void *frames = reallocarray(d->frames, size, sizeof(*d->frames));

		if (!frames)
			return fail(d, -ENOMEM, "compare", on[A] ? A : B, NULL);
		d->frames = frames;
		d->size = size;
	}
	d->frames[d->depth++] = (struct diff_frame){.on = {on[A], on[B]}, .moved = moved};
	for (int side = A; r == 0 && side <= B; side++)
		r = on[side] ? list(d, side) : 0;
	return r;
}

/* 1: open on the trail; 0: vanished. */
static int go_down(struct diff *d, int side, const char *name)
{
	struct io_dir *here = trail_dir(&d->trail[side]), *dir;
	struct io_item it = {0};
	int r = io_drv(here)->dir_open(here, name, 0, &dir);

	if (walk_vanished(r))
		return 0;
	if (r < 0)
		return fail(d, r, "open", side, name);
	r = io_drv(dir)->dir_get(dir, &it);
	io_item_release(&it);
	if (r == 0 && guard_nested(&d->guard[side], &it.st)) {
		io_dir_close(&dir);
		return guard_error(d->err, trail_path(&d->trail[side], name));
	}
	if (r < 0) {
		io_dir_close(&dir);
		return fail(d, r, it.op, side, name);
	}
	r = trail_push(&d->trail[side], name, dir, &it.st);
	return r < 0 ? fail(d, r, "compare", side, name) : 1;
}

static int enter(struct diff *d, const char *name, bool a, bool b, bool moved)
{
	bool want[2] = {a, b}, on[2] = {false, false};
	int r;

	for (int side = A; side <= B; side++) {
		r = want[side] ? go_down(d, side, name) : 0;
		if (r < 0)
			return r;
		on[side] = r;
	}
	return on[A] || on[B] ? frame_push(d, on, moved) : 0;
}

static int leave(struct diff *d)
{
	bool on[2] = {d->frames[d->depth - 1].on[A], d->frames[d->depth - 1].on[B]};
	int r = 0;

	frame_pop(d);
	for (int side = A; d->depth && r == 0 && side <= B; side++) {
		r = on[side] ? trail_pop(&d->trail[side]) : 0;
		if (r < 0)
			r = fail(d, r, "walk back", side, NULL);
	}
	return r;
}

/* Where either side has data next, into *off. False: holes to the end of both. */
static bool find_data(struct io_file *file[2], uint64_t *off)
{
	uint64_t start, end, next = UINT64_MAX;
	int r;

	for (int side = A; side <= B; side++) {
		start = *off; /* no such call here: read all of it */
		r = io_file_drv(file[side])->file_data(file[side], *off, &start, &end);
		if (r != -ENXIO && start < next)
			next = start;
	}
	if (next != UINT64_MAX)
		*off = next;
	return next != UINT64_MAX;
}

/* 0 equal, 1 different, -errno with err filled. `sparse`: where both have holes is not read. */
static int same_bytes(struct diff *d, struct io_file *file[2], bool sparse, const char *name)
{
	uint64_t off = 0, from;
	ssize_t n[2];

	do {
		if (snap_canceled(d->ctx))
			return fail(d, -ECANCELED, NULL, A, name);
		from = off;
		if (sparse && !find_data(file, &off))
			return 0;
		for (int side = A; side <= B; side++) {
			n[side] = io_file_drv(file[side])->file_read(file[side], d->chunk[side],
				CHUNK, off);
			if (n[side] < 0)
				return fail(d, n[side], "read", side, name);
		}
		if (n[A] != n[B] || memcmp(d->chunk[A], d->chunk[B], n[A]) != 0)
			return 1;
		off += n[A];
		atomic_fetch_add(&d->ctx->bytes_done, off - from);
	} while (n[A]);
	return 0;
}

static int compare_content(struct diff *d, const struct diff_pair *p)
{
	struct io_file *file[2] = {NULL, NULL};
	struct io_get how = {0};
	int r = 0;

	for (int side = A; r == 0 && side <= B; side++) {
		struct io_dir *dir = trail_dir(&d->trail[side]);

		if (!d->chunk[side])
			d->chunk[side] = malloc(CHUNK);
		r = d->chunk[side] ? io_drv(dir)->file_open(dir, p->it[side], &how, &file[side]) :
				     -ENOMEM;
		if (r < 0 && !walk_vanished(r))
			r = fail(d, r, "open", side, p->name);
	}
	if (r == 0)
		r = same_bytes(d, file,
			p->it[A]->st.allocated < p->it[A]->st.size &&
				p->it[B]->st.allocated < p->it[B]->st.size,
			p->name);
	for (int side = A; side <= B; side++) {
		if (file[side])
			io_file_drv(file[side])->file_close(&file[side]);
	}
	return walk_vanished(r) ? 1 : r;
}

static bool time_same(const struct timespec *a, const struct timespec *b)
{
	return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

static bool bytes_same(const struct buf *a, const struct buf *b)
{
	return a->len == b->len && (a->len == 0 || memcmp(a->data, b->data, a->len) == 0);
}

static bool metadata_same(struct diff *d, const struct io_item *a, const struct io_item *b)
{
	bool any_time = d->opts->ignore_dir_mtime && a->type == DT_DIR;

	return a->st.mode == b->st.mode && a->st.uid == b->st.uid && a->st.gid == b->st.gid &&
		(any_time || time_same(&a->st.mtime, &b->st.mtime)) &&
		bytes_same(&a->xattrs, &b->xattrs);
}

/* Full only: names of one inode here must be names of one inode there. 0 same, 1 not, -ENOMEM. */
static int compare_links(struct diff *d, const struct io_stat *a, const struct io_stat *b)
{
	const uint64_t *pa, *pb;

	if (!d->opts->full || (a->nlink < 2 && b->nlink < 2))
		return 0;
	pa = idmap_get(&d->partner[A], a->dev, a->ino);
	pb = idmap_get(&d->partner[B], b->dev, b->ino);
	if ((pa && *pa != b->ino + 1) || (pb && *pb != a->ino + 1))
		return 1;
	if (idmap_set(&d->partner[A], a->dev, a->ino, b->ino + 1) < 0 ||
		idmap_set(&d->partner[B], b->dev, b->ino, a->ino + 1) < 0)
		return -ENOMEM;
	return 0;
}

static bool changed(const struct diff *d, int side, const struct io_item *it)
{
	int64_t until = d->opts->trusted_until[side];

	return until && clock_of(&it->st.ctime) > until;
}

static bool times_trusted(const struct diff *d, const struct diff_pair *p)
{
	return !d->opts->full && !d->frames[d->depth - 1].moved && !changed(d, A, p->it[A]) &&
	       !changed(d, B, p->it[B]);
}

/* A rename changes the ctime of what it moves and not that of what lies below, and it alone of what
 * changes a directory by its entries leaves its mtime: that is as new as the ctime otherwise. */
static bool maybe_moved(const struct diff *d, int side, const struct io_item *it)
{
	return changed(d, side, it) && !time_same(&it->st.ctime, &it->st.mtime);
}

static int content_differs(struct diff *d, const struct diff_pair *p)
{
	const struct io_item *a = p->it[A], *b = p->it[B];

	switch (a->type) {
	case DT_REG:
		if (a->st.size != b->st.size)
			return 1;
		if (a->st.size == 0 ||
			(times_trusted(d, p) && time_same(&a->st.mtime, &b->st.mtime)))
			return 0;
		return compare_content(d, p);
	case DT_LNK:
		return !bytes_same(&a->content, &b->content);
	case DT_CHR:
	case DT_BLK:
		return a->st.rdev != b->st.rdev;
	default:
		return 0;
	}
}

static int compare_both(struct diff *d, const struct diff_pair *p)
{
	const struct io_item *a = p->it[A], *b = p->it[B];
	bool one_inode = a->st.dev == b->st.dev && a->st.ino == b->st.ino;
	int r;

	if (one_inode && a->type != DT_DIR)
		return 0;
	r = content_differs(d, p);
	if (r < 0)
		return r;
	if (r)
		return emit(d, SNAP_CONTENT, B, p->name);
	r = a->type == DT_DIR ? 0 : compare_links(d, &a->st, &b->st);
	if (r < 0)
		return fail(d, r, "compare", B, p->name);
	return r || !metadata_same(d, a, b) ? emit(d, SNAP_METADATA, B, p->name) : 0;
}

/* A type of its own on each side: what the directory held went or came with it. */
static int other_type(struct diff *d, const struct diff_pair *p)
{
	int r = emit(d, SNAP_CONTENT, B, p->name);

	return r ? r : enter(d, p->name, p->it[A]->type == DT_DIR, p->it[B]->type == DT_DIR, false);
}

static int compare(struct diff *d, const struct diff_pair *p)
{
	const struct io_item *a = p->it[A], *b = p->it[B];
	int r;

	atomic_fetch_add(&d->ctx->entries_done, 1);
	if (!a && !b)
		return 0;
	if (!b) {
		r = emit(d, SNAP_REMOVED, A, p->name);
		return r || a->type != DT_DIR ? r : enter(d, p->name, true, false, false);
	}
	if (!a) {
		r = emit(d, SNAP_ADDED, B, p->name);
		return r || b->type != DT_DIR ? r : enter(d, p->name, false, true, false);
	}
	if (a->type != b->type)
		return other_type(d, p);
	r = compare_both(d, p);
	if (r == 0 && a->type == DT_DIR)
		r = enter(d, p->name, true, true, d->frames[d->depth - 1].moved ||
			maybe_moved(d, A, a) || maybe_moved(d, B, b));
	return r;
}

/* The item of one side for the name at its next place, which is used up. */
static struct io_item *take(struct diff *d, int side, bool *last)
{
	struct sorted *s = &d->frames[d->depth - 1].side[side];
	struct io_item *it = &d->items[side][d->taken[side]++];
	unsigned char type = type_at(s);

	io_item_reset(it);
	it->name = s->at[s->next++];
	it->type = type;
	/* What is entered ends the batch: the items are used again below. */
	*last |= type == DT_DIR || type == DT_UNKNOWN;
	return it;
}

static size_t fill(struct diff *d)
{
	struct diff_frame *f = &d->frames[d->depth - 1];
	struct sorted *a = &f->side[A], *b = &f->side[B];
	bool last = false;
	size_t n = 0;

	d->taken[A] = d->taken[B] = 0;
	while (n < WALK_BATCH && !last && (a->next < a->n || b->next < b->n)) {
		struct diff_pair *p = &d->pairs[n];
		int order = a->next == a->n ? 1 :
			b->next == b->n	    ? -1 :
					      strcmp(a->at[a->next], b->at[b->next]);

		p->it[A] = order <= 0 ? take(d, A, &last) : NULL;
		p->it[B] = order >= 0 ? take(d, B, &last) : NULL;
		p->name = p->it[A] ? p->it[A]->name : p->it[B]->name;
		n++;
	}
	return n;
}

/* A directory's own xattrs: get() leaves them out. */
static int dir_xattrs(struct diff *d, int side, struct io_item *it)
{
	struct io_dir *here = trail_dir(&d->trail[side]);
	_cleanup_io_dir_ struct io_dir *dir = NULL;
	int r = io_drv(here)->dir_open(here, it->name, 0, &dir);

	if (r == 0)
		return io_drv(dir)->dir_get(dir, it);
	it->error = r;
	it->op = "open";
	return r;
}

/* What came of the get for one side of a pair. */
static int fetched(struct diff *d, int side, struct diff_pair *p)
{
	struct io_get how = {0};
	struct io_item *it = p->it[side];
	struct io_dir *dir = trail_dir(&d->trail[side]);

	if (!it)
		return 0;
	if (it->error == -ESTALE) { /* swapped since the listing */
		it->type = DT_UNKNOWN;
		io_drv(dir)->get(dir, it, 1, &how);
	}
	if (it->error == 0 && it->type == DT_DIR && p->it[!side])
		dir_xattrs(d, side, it);
	if (walk_vanished(it->error)) {
		p->it[side] = NULL;
		return 0;
	}
	if (it->error < 0)
		return fail(d, it->error, it->op, side, p->name);
	if (guard_nested(&d->guard[side], &it->st))
		return guard_error(d->err, trail_path(&d->trail[side], p->name));
	return 0;
}

static bool is_dir(const struct diff_pair *p)
{
	return (p->it[A] && p->it[A]->type == DT_DIR) || (p->it[B] && p->it[B]->type == DT_DIR);
}

/* Give back the names behind pair i. */
static void untake(struct diff *d, size_t i, size_t n)
{
	struct diff_frame *f = &d->frames[d->depth - 1];

	for (size_t k = i + 1; k < n; k++) {
		f->side[A].next -= d->pairs[k].it[A] != NULL;
		f->side[B].next -= d->pairs[k].it[B] != NULL;
	}
}

/* Stat and xattrs of a batch; content is rarely needed. */
static int fetch(struct diff *d, size_t *n)
{
	struct io_get how = {0};
	int r = 0;

	for (int side = A; side <= B; side++) {
		struct io_dir *dir = trail_dir(&d->trail[side]);

		if (d->taken[side])
			io_drv(dir)->get(dir, d->items[side], d->taken[side], &how);
	}
	for (size_t i = 0; r == 0 && i < *n; i++) {
		r = fetched(d, A, &d->pairs[i]);
		if (r == 0)
			r = fetched(d, B, &d->pairs[i]);
		if (r == 0 && is_dir(&d->pairs[i]) && i + 1 < *n) {
			untake(d, i, *n); /* swapped for a directory: the batch ends here */
			*n = i + 1;
		}
	}
	return r;
}

static int step(struct diff *d)
{
	size_t n = fill(d);
	int r = 0;

	if (n == 0)
		return leave(d);
	if (snap_canceled(d->ctx))
		return fail(d, -ECANCELED, NULL, d->frames[d->depth - 1].on[A] ? A : B, NULL);
	r = fetch(d, &n);
	for (size_t i = 0; r == 0 && i < n; i++)
		r = compare(d, &d->pairs[i]);
	return r;
}

static int start(struct diff *d, struct io_place *place, const int fd[2])
{
	struct io_dir *dir = NULL;
	int r = 0;

	for (int side = A; r == 0 && side <= B; side++) {
		r = io_threads_dir(place, fd[side], &dir);
		if (r == 0)
			r = trail_init(&d->trail[side], dir);
		if (r == 0)
			r = guard_init(&d->guard[side], dir);
	}
	return r < 0 ? walk_fail(d->err, r, "open", ".") : 0;
}

/* The roots' own metadata. */
static int compare_roots(struct diff *d)
{
	struct io_item a = {0}, b = {0};
	int r;

	io_drv(trail_dir(&d->trail[A]))->dir_get(trail_dir(&d->trail[A]), &a);
	io_drv(trail_dir(&d->trail[B]))->dir_get(trail_dir(&d->trail[B]), &b);
	if (a.error || b.error)
		r = fail(d, a.error ? a.error : b.error, "stat", A, NULL);
	else
		r = metadata_same(d, &a, &b) ? 0 : d->fn(SNAP_METADATA, ".", NULL, d->arg);
	io_item_release(&a);
	io_item_release(&b);
	return r;
}

static void diff_free(struct diff *d)
{
	while (d->depth)
		frame_pop(d);
	free(d->frames);
	for (int side = A; side <= B; side++) {
		trail_release(&d->trail[side]);
		idmap_release(&d->partner[side]);
		free(d->chunk[side]);
		for (size_t i = 0; i < WALK_BATCH; i++)
			io_item_release(&d->items[side][i]);
	}
	free(d);
}

int snap_diff(int a, int b, const struct snap_diff_opts *opts, struct snap_ctx *ctx,
	snap_diff_fn *fn, void *arg, struct err *err)
{
	_cleanup_io_place_ struct io_place *place = NULL;
	struct diff *d = calloc(1, sizeof(*d));
	int r;

	if (!d || io_threads_new(ctx, &place) < 0) {
		free(d);
		return walk_fail(err, -ENOMEM, "compare", NULL);
	}
	d->opts = opts;
	d->ctx = ctx;
	d->err = err;
	d->fn = fn;
	d->arg = arg;
	r = start(d, place, (int[2]){a, b});
	if (r == 0)
		r = compare_roots(d);
	if (r == 0)
		r = frame_push(d, (bool[2]){true, true}, false);
	while (r == 0 && d->depth)
		r = step(d);
	diff_free(d);
	return r;
}
