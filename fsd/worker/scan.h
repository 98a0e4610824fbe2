/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A whole pool held against the catalog. */
#ifndef FSD_WORKER_SCAN_H
#define FSD_WORKER_SCAN_H

#include "fsd/worker/state.h"

enum scan_change {
	SCAN_ADDED,	 /* in the pool only */
	SCAN_GONE,	 /* in the catalog only */
	SCAN_OTHER,	 /* another id */
	SCAN_UNFINISHED, /* a snapshot without its generation that no job is at work on */
	SCAN_TWIN,	 /* a copy of another site (reflect_twin) */
	SCAN_BROKEN,	 /* a site of both that serves nothing (reflect_live): told already */
	SCAN_HALF,	 /* a site of both whose import was cut short (reflect_import) */
};

/*
 * Is a job at work on it, which will record what comes of it? `kind` and `name` as below; `id` may
 * be NULL: what is being made has a name in the pool before the catalog knows its id.
 */
bool scan_at_work(struct fsd *f, const char *kind, const char *name, const char *id);

/*
 * What differs between the pool and the catalog by names and ids alone: called for each, `kind` is
 * "site", "deleted" or "snapshot", `name` is SITE, SITE-ID or SITE-ID/SNAP. `why`, else NULL,
 * explains SCAN_TWIN, SCAN_BROKEN, SCAN_HALF and whatever cannot be read. What a job is at work on
 * is left out: it will be recorded. `c` is a handle of the caller's.
 */
typedef void scan_fn(const char *kind, enum scan_change change, const char *name,
	const struct err *why, void *arg);
int scan_differences(struct fsd *f, struct catalog *c, struct pool_root *r, scan_fn *fn, void *arg,
	struct err *err);

/* The same, for status as well: it knows of the differences, or that they cannot be found, until
 * the next look. `fn` and `err` may be NULL. */
int scan_report(struct fsd *f, struct catalog *c, struct pool_root *r, scan_fn *fn, void *arg,
	struct err *err);

/* One more, until the next look: what a job made in this pool cannot be read back. */
void scan_unreadable(struct fsd *f, const struct pool_root *r, const struct err *why);

/*
 * What is damaged of the sites, deleted ones too, of their generations and of the snapshots that
 * the catalog knows: a document, a tree. Called for each with an object ("SITE:N": a generation
 * that is not live), a reason and a hint; `fn` may be NULL. Status knows of them until the next
 * look. It costs a few opens for each; sites and snapshots count as the job's progress. The pool
 * is the job's.
 * 0, -ECANCELED, or -errno of the catalog.
 */
typedef void scan_damage_fn(const struct err *why, void *arg);
int scan_damage(struct fsd *f, struct catalog *c, struct job *job, scan_damage_fn *fn, void *arg,
	struct err *err);

/*
 * A site or snapshot that status was told of by the name `was` (as scan_fn's): fsd itself took it
 * away, or changed it. Status forgets it, and what is still wrong with the site that it is `now`,
 * in the catalog too, else NULL, is told anew.
 */
void scan_again(struct fsd *f, const struct pool_root *r, const char *was,
	const struct cat_site *now);

/* The scope of the problems of one `look` at a pool: "scan", "damage". */
#define SCAN_SCOPE_SIZE 64
void scan_scope(const char *look, const struct pool_root *r, char out[SCAN_SCOPE_SIZE]);

/*
 * Bring the catalog in line with the pool, everything read again but what a job is at work on.
 * Takes write_lock, again and again, and no transaction is longer than others can wait: a scan that
 * is cut short has done a part. The pool is the job's; what cannot be read is its fault ("failed")
 * and does not stop the rest. `c` as above.
 */
int scan_apply(struct fsd *f, struct catalog *c, struct job *job, struct err *err);

#endif
