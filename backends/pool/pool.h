/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The pool driver: how a storage root makes, copies, compares and removes trees. A driver knows
 * trees and nothing of sites: `fsd` lays out sites, snapshots and staging (docs/architecture.md)
 * and asks the driver for what is inside a wrapper directory.
 *
 * A tree is named by a held directory and one component: `struct tree_at`. On btrfs it is a
 * subvolume, elsewhere a directory. The wrapper is what moves; drivers never rename a tree.
 *
 * Durability is the driver's: when a call that makes a tree returns 0, the tree with everything in
 * it survives a power cut as soon as the caller has fsynced the directories that lead to it.
 *
 * To add a driver: fill a `const struct pool_driver` at the end of one file in this folder, list
 * it in pool.c, and pass tests/conformance and tests/fault (CONTRIBUTING.md).
 */
#ifndef BACKENDS_POOL_POOL_H
#define BACKENDS_POOL_POOL_H

#include <stdbool.h>
#include <stdint.h>

#include "snap/copy.h"
#include "snap/diff.h"
#include "snap/usage.h"

struct err;
struct pool;

struct tree_at {
	int dirfd;	  /* the wrapper, borrowed */
	const char *name; /* one component, normally "tree" */
};

enum pool_cap {
	POOL_CONSTANT_COST = 1 << 0, /* tree_copy within the pool costs the same for any size */
	POOL_READ_ONLY = 1 << 1,     /* a read-only copy is enforced by the file system */
	POOL_SHARES = 1 << 2,	     /* copies share storage */
	POOL_FREES_LATER = 1 << 3,   /* removal returns before the space does: pending() */
};

/* How a tree came to be; the names are the API's. */
enum pool_method {
	POOL_METHOD_SNAPSHOT,
	POOL_METHOD_REFLINK,
	POOL_METHOD_HARDLINK,
	POOL_METHOD_GIT,
	POOL_METHOD_COPY,
};
const char *pool_method_name(enum pool_method m);
/* 0 or -EINVAL. */
int pool_method_parse(const char *name, enum pool_method *out);

struct pool_made { /* what tree_copy and tree_fill answer */
	enum pool_method method;
	struct snap_copy_result copy; /* zero and SNAP_ATOMIC for a snapshot; release it */
};

enum pool_copy_flag {
	POOL_COPY_READ_ONLY = 1 << 0, /* the copy is a snapshot: not writable where enforceable */
	POOL_COPY_LIVE = 1 << 1,      /* the source may be written meanwhile: settle */
	POOL_COPY_OWNERS = 1 << 2,    /* snap_copy_opts.keep_owners */
};

#define POOL_WHY_SIZE 256

struct pool_driver {
	const char *name; /* "btrfs", "copy": the config's word */

	/*
	 * Can this driver serve the directory? 1 yes, 0 no, -errno. Makes nothing that stays. `why`
	 * receives a sentence for `fsctl pool show` either way ("not btrfs: statfs says ext4").
	 */
	int (*probe)(int rootfd, char why[POOL_WHY_SIZE]);

	/* `rootfd` stays the caller's and open until close; he may put another mount of the same
	 * file system in its place (dup2). `out` is the caller's, freed by close. */
	int (*open)(int rootfd, struct pool **out, struct err *err);
	void (*close)(struct pool **pool);
	/* enum pool_cap bits, as found on this file system. Mandatory. */
	unsigned (*caps)(const struct pool *pool);

	/* An empty writable tree, owned by the caller's uid, mode 0755. -EEXIST. */
	int (*tree_create)(struct pool *pool, struct tree_at at, struct err *err);

	/*
	 * `to` becomes a copy of `from`; both lie in this pool; `to` must not exist. Flags: enum
	 * pool_copy_flag. On failure nothing of `to` is left (what cannot be removed is reported in
	 * err's hint). ENOSPC, EDQUOT, ECANCELED, EXDEV "nested_filesystem" where a subvolume or a
	 * mount inside `from` would come out empty.
	 */
	int (*tree_copy)(struct pool *pool, struct tree_at from, struct tree_at to, unsigned flags,
		struct snap_ctx *ctx, struct pool_made *made, struct err *err);

	/*
	 * `to` becomes a writable tree with the content of the foreign directory `src` (import; a
	 * tree of another pool). Shares storage where the file system can. Flags: POOL_COPY_LIVE,
	 * POOL_COPY_OWNERS.
	 */
	int (*tree_fill)(struct pool *pool, int src, struct tree_at to, unsigned flags,
		struct snap_ctx *ctx, struct pool_made *made, struct err *err);

	/*
	 * Take the directory src.dirfd/src.name itself by one rename, without copying (import
	 * --move). -EXDEV or -EOPNOTSUPP (code "cannot_move") when this kind of directory cannot
	 * become a tree of this pool by rename: the caller then fills, verifies and deletes.
	 */
	int (*tree_adopt)(struct pool *pool, struct tree_at src, struct tree_at to,
		struct err *err);

	/*
	 * Give the tree away as a plain directory: the inverse of tree_adopt. `to` must not exist.
	 * -EXDEV, -EOPNOTSUPP "cannot_move" when only a copy can do it.
	 */
	int (*tree_release)(struct pool *pool, struct tree_at from, struct tree_at to,
		struct err *err);

	/*
	 * A tree that was in use is a snapshot from here on: writing is refused as far as the file
	 * system can, though not to those who hold a file open for it. Idempotent. NULL without
	 * POOL_READ_ONLY.
	 */
	int (*tree_seal)(struct pool *pool, struct tree_at at, struct err *err);

	/*
	 * Remove a tree that is nobody's any more (it lies in staging or in the trash), and what an
	 * interrupted call of the driver left beside it (".NAME.*"): a wrapper is swept by
	 * tree_remove of "tree" and then as a plain directory. A missing tree is success.
	 * Subvolumes inside go with it, whoever made them. A mount inside: -EXDEV
	 * "nested_filesystem" with its path, and nothing is touched. With POOL_FREES_LATER space
	 * comes back later.
	 */
	int (*tree_remove)(struct pool *pool, struct tree_at at, struct snap_ctx *ctx,
		struct err *err);

	/* Is this name a complete tree of this driver (btrfs: a subvolume)? 1, 0, -errno. `ro` may
	 * be NULL; it receives whether writing is refused by the file system. */
	int (*tree_check)(struct pool *pool, struct tree_at at, bool *ro, struct err *err);

	int (*tree_usage)(struct pool *pool, struct tree_at at, struct snap_ctx *ctx,
		struct snap_usage *out, struct err *err);

	/*
	 * Changes from `a` to `b`, sorted by path; O(changes) where the driver can. A writable side
	 * may be copied by the driver inside `scratch` (a wrapper of the caller's, -1: none) and
	 * removed again; tree_remove of "tree" in `scratch` sweeps what a crash left.
	 * At most three changes have one path, in this order: removed (another entry took its
	 * place), renamed to it, content or metadata. What lies below a renamed directory is not
	 * told as renamed. A driver that walks tells a rename as removed and added, and reads the
	 * files whose times are not trusted (opts).
	 */
	int (*tree_diff)(struct pool *pool, struct tree_at a, struct tree_at b, int scratch,
		const struct snap_diff_opts *opts, struct snap_ctx *ctx, snap_diff_fn *fn,
		void *arg, struct err *err);

	/*
	 * Make everything changed beneath `dir` (a directory inside a tree) durable: changes in
	 * place, which have no snapshot to lean on. btrfs takes one for a moment all the same, in a
	 * wrapper beneath the root's .fsd/trash.
	 */
	int (*sync_dir)(struct pool *pool, int dir, struct snap_ctx *ctx, struct err *err);

	/*
	 * Have what is dirty in the tree that `dir` is the root of written out, not only what is
	 * there: for whoever has files of it mapped (snap/flush.h). NULL or -EOPNOTSUPP where it
	 * takes a walk (snap_flush()) or would wait for other trees' data.
	 */
	int (*tree_flush)(struct pool *pool, int dir, struct snap_ctx *ctx);

	/* How many removed trees are not free space yet. Ask only with POOL_FREES_LATER (it may be
	 * NULL without, and an ordinary user may not ask btrfs). Their bytes are not known: btrfs
	 * counts them with quota groups only. */
	int (*pending)(struct pool *pool, uint64_t *trees, struct err *err);
};

extern const struct pool_driver pool_driver_btrfs;
extern const struct pool_driver pool_driver_copy;
extern const struct pool_driver pool_driver_fault; /* tests only: misbehaves on demand */

/* By name; NULL when there is none. */
const struct pool_driver *pool_driver_find(const char *name);

/*
 * The driver for a directory: `wanted` is a driver's name or "auto": the one that served it
 * `before`, since trees made by one driver are not another one's, or without that (NULL) the first
 * that probes (btrfs, copy; fault never). `report` receives one line a driver, "name: yes|no,
 * why\n", in the same order whatever is chosen, and one that says who chose it; malloc'd, the
 * caller's; may be NULL. Errors: -EINVAL "unknown_driver", -EOPNOTSUPP "driver_unfit" with the
 * driver's why.
 */
int pool_driver_choose(int rootfd, const char *wanted, const char *before,
	const struct pool_driver **out, char **report, struct err *err);

#endif
