/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What operations share: sites and sources noted in the intent when planned and opened by id when
 * run (names may have changed while the job was queued), new generations, refusals.
 */
#ifndef FSD_OP_COMMON_H
#define FSD_OP_COMMON_H

#include "fsd/worker/layout.h"
#include "fsd/worker/resolve.h"
#include "fsd/worker/state.h"

#define METHOD_MOVE "move" /* nothing was made: it is the thing itself */

/* ---- planning: write_lock is held ---- */

/* The site a job is about: resolved, noted (job->site_id, site_name, pool), locked. */
int op_plan_site(struct fsd *f, struct job *job, const char *ref, bool exclusive,
	struct cat_site *out, struct err *err);

/* Resolve a source, lock it shared, note it in the intent, warn of a fuzzy one. */
int op_plan_source(struct fsd *f, struct job *job, const char *text, struct resolved *out,
	struct err *err);

/* The second half of it, for a source that is not in the catalog yet. */
void op_note_source(struct job *job, const struct resolved *source);

/* Is the name legal and free for a new site? Reserves it with a lock. */
int op_plan_name(struct fsd *f, struct job *job, const char *name, struct err *err);

/* "expires": a duration from now, or "never" or absent (0), into *when. */
int op_plan_expires(const char *text, int64_t *when, struct err *err);

/* "only": are these parts that a site has? "no_such_part". */
int op_plan_parts(struct job *job, struct err *err);

/*
 * May the site be taken away? "protected"; of a deletion that fsd asked for, since its time was
 * over: "not_expired". Asked by plan, and by run again: a job queued before may have changed it.
 */
int op_require_deletable(const struct job *job, const struct cat_site *site, struct err *err);
/* Is it over? Housekeeping deletes at its next look what has such a time and is not kept. */
bool op_is_over(int64_t expires);
/* "not_expired" if fsd asked for the job, and what it is about (`name`) has not expired. */
int op_require_expired(const struct job *job, const char *name, int64_t expires, struct err *err);

/* The next number for a generation: none is ever given twice. */
int op_next_generation(struct fsd *f, const struct pool_root *pool, const struct cat_site *site,
	int64_t *number, struct err *err);

/* Does a copy between these two pools cost the same whatever the size? */
bool op_constant_cost(const struct pool_root *from, const struct pool_root *to);

/* What a copy will be; no better than what it is made from. */
void op_expect_consistency(struct job *job, enum snap_consistency c);
/* Of several copies the weakest counts, and none is more consistent than its source. */
void op_weaken(struct job *job, const char *consistency);

/* What a copy from the pool `from` will be: sets job->method and job->consistency. Is its cost the
 * same whatever the size? */
bool op_expect_method(struct job *job, const struct pool_root *from, bool live);
/* The same for a plan: also how much of `site` is copied, as far as it was measured, and whether
 * the pool has room for that. */
void op_expect_copy(struct fsd *f, struct job *job, const struct pool_root *from,
	const struct cat_site *site, bool live);

/* Has the site no snapshot of this name, neither in the catalog nor in the pool, and no job that
 * will make one? */
bool op_snapshot_name_free(struct fsd *f, const struct pool_root *pool, const char *site_id,
	const char *name);

/* ---- running ---- */

/* The site, or its name, now. 0, or -ENOENT "site_deleted" when it is gone. */
int op_site_now(struct fsd *f, const char *site_id, struct cat_site *out, struct err *err);
int op_site_name(struct fsd *f, const char *site_id, char name[NAME_SIZE], struct err *err);

/* Open the job's site (job->site_id). The fd, or -errno; "site_deleted", "site_missing" and
 * "other_id" say that there is nothing of it where it should be. */
int op_open_site(struct fsd *f, struct job *job, struct err *err);

/*
 * Open the directory of what a plan has noted: a snapshot of the site or, "", the site. `number` is
 * a generation's; 0 becomes that of the live one. Which pool that lies in is the catalog's to say,
 * which follows a pool whose section is renamed. The fd, or -errno.
 */
int op_open_noted(struct fsd *f, const char *site_id, const char *snapshot, const char *text,
	struct pool_root **pool, int64_t *number, struct err *err);

/* Open the planned source: its directory, and the number of the generation to take (for a live
 * one: live now). The fd, or -errno: "no_tree" as below. */
int op_open_source(struct fsd *f, struct job *job, struct pool_root **pool, int64_t *number,
	struct err *err);
/* The same of one that may be without its tree. */
int op_find_source(struct fsd *f, struct job *job, struct pool_root **pool, int64_t *number,
	struct err *err);
/* Is the tree of this generation in `dir`, the directory of the source `text`? 0, or -EBADMSG
 * "no_tree", which says how to look closer. */
int op_require_tree(int dir, int64_t number, const char *text, struct err *err);

/*
 * Make wrapper/tree from the planned source and write wrapper/meta.json, in the order that costs
 * the fewest flushes. `g` is what meta.json shall say; time, method and consistency are filled in.
 * `stage`: a staged site, which receives its link `live`; -1 when only a generation is made.
 */
int op_make_generation(struct fsd *f, struct job *job, int stage, int wrapper,
	struct cat_generation *g, struct err *err);

/* Copy a tree within the pool into wrapper/tree, with this meta.json, known or mended after. */
int op_copy_tree(struct job *job, struct pool_root *from_pool, int from_wrapper, int wrapper,
	unsigned flags, struct err *err);

/* Write the staged snapshot's meta.json: the intent's id ("snapshot"), name and expiry, the job's
 * method and consistency; `look` is the snapshot's; `labels` is borrowed. */
int op_store_snapshot(struct job *job, int stage, const char *kind, int64_t generation,
	int64_t look, json_t *labels, struct err *err);

/* Move the staged snapshot to its place: the commit point. */
int op_commit_snapshot(struct job *job, struct err *err);
int op_snapshot_committed(struct job *job);

/* Add what a copy cost to the job's statistics, and warn about what it could not carry. */
void op_count_copy(struct job *job, struct pool_made *made);
/* The same of a copy that no driver made. Releases it. */
void op_count_walked(struct job *job, struct snap_copy_result *copied);

/* ---- recording: write_lock is held ---- */

/* Reflect the job's site and put {"site": ...} into the result. `out` may be NULL. */
int op_record_site(struct fsd *f, struct job *job, const char *name, struct cat_site *out,
	struct err *err);

/* When the job parked its site, as the pool says; now where a full one could not keep it. */
int64_t op_deleted_at(const struct job *job);

/* Reflect the snapshot of the intent and put {"snapshot": ...} into the result. */
int op_record_snapshot(struct fsd *f, struct job *job, struct err *err);

/*
 * What recovery reads: 1 and the document; 0 where there is none, or something that fsd never
 * wrote, which writes documents whole; -errno where that cannot be seen. A negative dirfd is an
 * -errno.
 */
int op_doc_load(int dirfd, const char *name, json_t **doc);

/* Does the document dirfd/name say "id" (or another key) is this text? 1, 0, -errno. */
int op_doc_says(int dirfd, const char *name, const char *key, const char *text);

#endif
