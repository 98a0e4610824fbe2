/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a SITE or SOURCE of a request means now, looked up in a catalog handle of the caller's.
 */
#ifndef FSD_WORKER_RESOLVE_H
#define FSD_WORKER_RESOLVE_H

#include "fsd/worker/state.h"

struct resolved {
	enum source_kind kind;	      /* SOURCE_LIVE, SOURCE_SNAPSHOT or SOURCE_GENERATION */
	struct cat_site site;	      /* of a snapshot: may be deleted; or forgotten: id, name */
	struct cat_snapshot snapshot; /* SOURCE_SNAPSHOT */
	int64_t generation;	      /* the number in either shape; the live one for SOURCE_LIVE */
	struct pool_root *pool;
	char text[CAT_NAME_SIZE * 2]; /* how to name it: "shop", "shop@nightly", "shop:3" */
};

/* A site in use, by name or id. -ENOENT "not_found"; a deleted one: "site_deleted" with how to get
 * it back. `pool` may be NULL; otherwise it must be online. */
int resolve_site(struct fsd *f, struct catalog *c, const char *ref, struct cat_site *out,
	struct pool_root **pool, struct err *err);

/* A deleted site, by its id or the name it had. -ENOENT "not_found"; -EEXIST "ambiguous": several
 * had it. */
int resolve_deleted(struct catalog *c, const char *ref, struct cat_site *out, struct err *err);

/*
 * Whose snapshots does SITE@SNAP mean by SITE, an id or a name? A name is one site's at a time: the
 * one in use; else the one that was deleted last by this name, of those that have snapshots; else
 * the one that had it when the newest snapshot of this name was taken. -ENOENT: nobody's, told as
 * by resolve_site().
 */
int resolve_owner(struct catalog *c, const char *ref, struct cat_site *out, struct err *err);
/* The other way: the word that stands for a snapshot's site before the '@' today. Its name, while
 * that means this site; else its id. */
void resolve_word(struct catalog *c, const struct cat_snapshot *s, char out[CAT_NAME_SIZE]);

/* -EINVAL "bad_source"; -ENOENT "not_found"; pool_offline. */
int resolve_source(struct fsd *f, struct catalog *c, const char *text, struct resolved *out,
	struct err *err);

/* The source's site is in use. -ENOENT "site_deleted", "not_found" is of the source, and `instead`
 * a hint of what else can be done with it. */
int resolve_require_site(const struct resolved *s, const char *instead, struct err *err);

/* Open the directory of live, gen/ and site.json: a site's, a snapshot's. The fd or -errno. */
int resolve_open(const struct resolved *s);
/* Its absolute path as `fsctl path` prints it. Malloc'd or NULL. */
char *resolve_path(const struct resolved *s);

#endif
