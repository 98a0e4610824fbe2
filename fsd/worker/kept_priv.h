/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the files of kept.h share. */
#ifndef FSD_WORKER_KEPT_PRIV_H
#define FSD_WORKER_KEPT_PRIV_H

#include <stdint.h>

#include <jansson.h>

#include "snap/changed.h"

struct err;
struct fsd;
struct pool_root;
struct snap_ctx;

/* A pass over the sites of a pool. */
struct kept_pass {
	struct fsd *f;
	struct pool_root *r;
	struct snap_ctx *ctx;
	const char *site; /* id */
	int64_t before; /* ns: what is kept since then, or later, stays */
};

/* What there is to tell of late writes. All is the caller's. */
struct kept_told {
	const char *kind; /* of the event: "import.late_writes" */
	const char *site; /* id */
	const char *directory;
	const char *reason; /* "after import had put it aside" */
	const char *hint;
	const struct paths *late;
};

/* The event and the log line. write_lock is held. */
int kept_tell(struct fsd *f, const struct kept_told *t);
/* Log what `err` says, if it says anything and nobody has canceled. */
void kept_cannot(const struct kept_pass *s, const char *what, const struct err *err);

/* Remove the work directories (work.h) at the root of a tree that nobody needs any more. */
void kept_sweep_tree(const struct kept_pass *s, int tree);

/* What an import put aside for the site whose folder is open at `site`. err: it cannot be looked at
 * or removed yet. */
void kept_sweep_parked(const struct kept_pass *s, int site, struct err *err);

#endif
