/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The copy engine's own state. copy.c runs the passes, copy_walk.c walks the two trees,
 * copy_batch.c moves the entries of one directory, copy_large.c large files; durable.c syncs last.
 */
#ifndef SNAP_COPY_PRIV_H
#define SNAP_COPY_PRIV_H

#include "snap/copy.h"
#include "snap/links.h"
#include "snap/settle.h"
#include "snap/walk.h"

#define COPY_BATCH 64
#define COPY_CONTENT_MAX (64 << 10) /* larger files are copied in pieces */
#define COPY_CHUNK (1 << 20)

struct copy_frame {
	struct io_names dirs; /* still to be entered */
	size_t next;
	struct io_item meta; /* the source directory when it was entered */
	bool listed;
	bool changed;	   /* differs from what a former pass recorded */
	bool fresh;	   /* a later pass made the destination: the records below are void */
	bool claimed;	   /* the destination is writable for us */
	bool touched;	   /* the destination needs its metadata again */
	struct idmap here; /* hashes of the names the source has; only while `changed` */
};

struct copy {
	const struct snap_copy_opts *opts;
	struct snap_ctx *ctx;
	struct snap_copy_result *result;
	struct err *err;

	struct trail src, dst;
	struct guard guard;
	uint64_t dst_dev, dst_ino; /* never to be walked into */
	struct copy_frame *frames;
	size_t depth, size;

	const char *only, *only_as; /* snap_copy_entry: frame 0 is just this name */

	struct links links;
	struct settle settle;
	unsigned pass;	      /* 0 copies, later ones compare and copy what differs */
	int64_t now;	      /* the clock before the current batch */
	uint64_t differences; /* in this pass */
	struct paths changed; /* their paths */

	bool can_clone, can_copy_range;
	struct io_put put;
	char *chunk; /* COPY_CHUNK bytes, on demand */

	uint64_t ask_at; /* how much is done when ctx->admit is asked again */

	struct io_item items[COPY_BATCH];
};

static inline struct copy_frame *copy_top(struct copy *c)
{
	return &c->frames[c->depth - 1];
}

/* Is the current directory not a part of the copy, but what holds its one entry? */
static inline bool copy_at_virtual_root(const struct copy *c)
{
	return c->only && c->depth == 1;
}

/* All of these return 0 or -errno with c->err filled. */
int copy_fail(struct copy *c, const struct io_item *it);
/* The same of the destination. */
int copy_put_fail(struct copy *c, const struct io_item *it, const char *path);
int copy_note_change(struct copy *c, const char *path);
int copy_report(struct copy *c, const char *path, const char *reason);
/* What a put could not give to the copy of `path`. */
int copy_report_lost(struct copy *c, const struct io_item *it, const char *path);

/* Between any two pieces of work: canceled, or no room for more? */
int copy_go_on(struct copy *c);
/* One walk over everything. */
int copy_pass(struct copy *c);
void copy_frame_pop(struct copy *c);
/* -EINVAL "destination_inside_source". */
int copy_inside_itself(struct copy *c, const char *name);
/* The current destination directory is about to be changed. */
void copy_touch(struct copy *c);

/* The names of one listing: files are copied, directories collected in the frame. */
int copy_names(struct copy *c, const struct io_names *names);
/* Remove what the destination has and the source has no more. */
int copy_drop_extra(struct copy *c);
/* Take a destination name out of the way, whatever it is; `from` is its name in the source. */
int copy_make_way(struct copy *c, const char *name, const char *from);

/* -errno without it->error: copy_go_on() has said why. */
int copy_large(struct copy *c, struct io_item *it);
int copy_make_durable(struct copy *c);

/* Progress. */
void copy_done(struct copy *c, const struct io_item *it, bool cloned);
/* So many bytes went to the storage. */
void copy_wrote(struct copy *c, uint64_t bytes);
/* It is part of the copy, as a former pass made it. */
void copy_kept(struct copy *c, const struct io_item *it);

#endif
