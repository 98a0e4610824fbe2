/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The catalog made equal to the pool, one object at a time: what recording a job, recovery and
 * `pool scan` all come down to, since the pool wins. write_lock is held by the caller; a
 * transaction makes several calls one.
 */
#ifndef FSD_WORKER_REFLECT_H
#define FSD_WORKER_REFLECT_H

#include "fsd/worker/state.h"

/*
 * Has another directory the id of this one, and was it there before? Then that is the site, and
 * this one a copy of it that an administrator made or restored, which fsd does not touch; nor a
 * second site by the name of one in another pool. `dir` is sites/NAME of pool r, or with a NULL
 * name .fsd/deleted/ID. 1 and *err says what to do ("duplicate_id", "name_taken"), 0, -errno of the
 * catalog.
 */
int reflect_twin(struct fsd *f, struct catalog *c, struct pool_root *r, int dir, const char *name,
	struct err *err);

/*
 * Does `live` of the site open as `dir` lead to a generation? 0, or -errno and *err, which then is
 * a critical problem of fsd until a later look finds it mended.
 */
int reflect_live(struct fsd *f, int dir, const char *id, const char *name, struct err *err);

/*
 * Was the import of sites/NAME cut short? No job is at work on the site, so none will finish that.
 * 0, or -EBUSY "import_unfinished" with what to do.
 */
int reflect_import(const struct pool_root *r, const char *name, struct err *err);

/* sites/NAME with its generations and labels. A name that is gone: the catalog's site of this name
 * in this pool is removed. A twin is -EEXIST "duplicate_id". `out` may be NULL. */
int reflect_site(struct fsd *f, struct pool_root *r, const char *name, struct cat_site *out,
	struct err *err);

/* .fsd/deleted/ID: `when` is the time of the deletion, 0 keeps what is known: by the catalog, by
 * its site.json. A missing one is removed from the catalog if it stands there as deleted. */
int reflect_deleted(struct fsd *f, struct pool_root *r, const char *id, int64_t when,
	struct err *err);

/*
 * Is this snapshot's directory one without its generation? A generation that is retired moves into
 * one (op/retire.c). 1, 0 (also when it cannot be read); *job, who made it, may be NULL.
 */
int reflect_is_shell(int dir, int64_t *job);

/* .fsd/snapshots/SITE-ID/NAME with labels and holds; a missing one is removed. `out` may be NULL.
 * One without its generation is none: nothing happens while a job is at work on it, later
 * -ENOENT "snapshot_unfinished". */
int reflect_snapshot(struct fsd *f, struct pool_root *r, const char *site_id, const char *name,
	struct cat_snapshot *out, struct err *err);

#endif
