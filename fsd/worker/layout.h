/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A pool on disk (docs/architecture.md, "Layout"). Sites, snapshots and deleted sites have one
 * shape: live -> gen/N/tree, gen/N/{tree,meta.json}, site.json; a snapshot has a meta.json of its
 * own besides. The functions here make, move and read that shape, and know the rule of durability:
 * every rename is followed by fsync of the directory that received it.
 */
#ifndef FSD_WORKER_LAYOUT_H
#define FSD_WORKER_LAYOUT_H

#include <stdbool.h>
#include <stdint.h>

#include "fsd/worker/pools.h"

#define LAYOUT_TREE "tree"
#define LAYOUT_NUMBER_SIZE 21

/* Descriptors of existing directories; the caller closes. The fd or -errno (err may be NULL). */
int layout_open_site(const struct pool_root *r, const char *name);
/* Has sites/ something of this name that is a site, or ought to be? A symlink is none to anybody
 * who looks for sites: a rename has one there for a moment (op/rename.c). 1, 0 or -errno. */
int layout_has_site(const struct pool_root *r, const char *name);
int layout_open_snapshot(const struct pool_root *r, const char *site_id, const char *name);
/* .fsd/snapshots/SITE-ID, made durably when it is missing. */
int layout_snapshot_folder(const struct pool_root *r, const char *site_id);
/* gen/N of a site or snapshot directory. */
int layout_open_generation(int site, int64_t number);
/* gen/N/tree. */
int layout_open_tree(int site, int64_t number);

/* Is there a directory in the wrapper for a tree that the pool's driver takes for none? Copied by
 * other hands, or by another driver. */
bool layout_foreign_tree(const struct pool_root *r, int wrapper);
#define LAYOUT_FOREIGN "its tree is a plain directory, not a subvolume"
#define LAYOUT_FOREIGN_HINT \
	"copy the tree out of the pool and import it: fsctl site import NEW DIR; or serve the " \
	"pool by \"driver = copy\" in fsd.conf"

/* The number that `live` points to; accepted only as gen/N/tree. 0, -ENOENT, -EBADMSG. */
int layout_live(int site, int64_t *number);

/* The wrapper of the live generation of site `name`, its number in *number. The fd, or -errno and
 * *err: "bad_live" says how to mend it. `err` may be NULL. */
int layout_open_live(int site, const char *name, int64_t *number, struct err *err);

/* Numbers of the generations on disk, ascending, malloc'd. 0 or -errno. */
int layout_generations(int site, int64_t **numbers, unsigned *n);

/* Every name in a directory but dot names; `fn` answers 0 to go on. 0, its answer or -errno. */
typedef int layout_name_fn(const char *name, void *arg);
int layout_each_name(int dirfd, layout_name_fn *fn, void *arg);
/* The same for every snapshot of the pool, by SITE-ID/SNAP. */
int layout_each_snapshot(const struct pool_root *r, layout_name_fn *fn, void *arg);

/* ---- staging: .fsd/staging/JOB ---- */

/* Make it (empty, 0755). The fd or -errno; EEXIST is a bug of the caller. */
int layout_stage(const struct pool_root *r, int64_t job);
/* An existing one. The fd or -errno. */
int layout_open_stage(const struct pool_root *r, int64_t job);
/* gen/N inside a staged site or snapshot; the wrapper's fd or -errno. */
int layout_stage_generation(int stage, int64_t number);
/* The link live -> gen/N/tree in a staged directory, owned like the tree it points to; or, while
 * that is not there yet, like the tree it will be a copy of: made before a btrfs snapshot the link
 * becomes durable with it, made after it costs two flushes. */
int layout_stage_live(int stage, int64_t number);
int layout_stage_live_like(int stage, int64_t number, int source_wrapper);
/* fsync a wrapper gen/N, gen/ and the stage itself. */
int layout_stage_sync(int stage, int64_t number);
/* Move what is staged to its place: rename without replacing, fsync of the receiving directory.
 * This is the commit point of most operations. -EEXIST when the name is taken. */
int layout_commit(const struct pool_root *r, int64_t job, int to_dir, const char *to);
/* Move any name into the trash as JOB (a wrapper: later removals find the trees inside). */
int layout_discard(const struct pool_root *r, int64_t job, int from_dir, const char *from);
/* Rename within the pool with both rules above. */
int layout_move(int from_dir, const char *from, int to_dir, const char *to);
/* Let two names of a directory change places, durably. */
int layout_exchange(int dir, const char *a, const char *b);

/*
 * Make generation `number` the live one, by DESIGN's order of steps: link beside, keep the old link
 * inode under another name for a second (live.old.JOB, swept later), rename (commit point), fsync.
 */
int layout_publish(int site, int64_t number, int64_t job);
/* What publishes and crashes leave in a site; each with those before. */
enum layout_left {
	LEFT_OLD,	 /* live.old.JOB of over two seconds ago, which nobody walks any more */
	LEFT_UNFINISHED, /* live.JOB and a half written site.json: no job may hold the site */
	LEFT_ALL,	 /* live.old.JOB of a moment ago */
};
/* Remove it. How many of all these stay, or -errno. */
int layout_sweep_site(int site, enum layout_left what);
/* Move the site `name`, open as `site`, from sites/ to deleted/`id`. Links of publishes go first:
 * nobody looks for them there. That, and documents replaced before, are durable with the rename. */
int layout_park(const struct pool_root *r, int site, const char *name, const char *id);

/* What a power cut left of documents that were just being replaced, in all that is this site's, its
 * snapshots too. Only while nobody else works on it. */
void layout_sweep_documents(const struct pool_root *r, const char *site, const char *site_id);

/*
 * Remove a wrapper, site or snapshot directory dirfd/name with the trees inside, each by the
 * driver. Missing is success. Idempotent, blocks.
 */
int layout_remove(const struct pool_root *r, int dirfd, const char *name, struct snap_ctx *ctx,
	struct err *err);

#endif
