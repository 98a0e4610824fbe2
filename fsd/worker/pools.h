/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The pools: opening their roots, telling an unmounted disk from an empty pool, free space, and the
 * fixed directories beneath a root. A pool_root lives as long as the process; when
 * its storage goes away it is offline, and its descriptors stay open for jobs that still run, until
 * the pool is back by another mount.
 */
#ifndef FSD_WORKER_POOLS_H
#define FSD_WORKER_POOLS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "backends/catalog/catalog.h"
#include "backends/pool/pool.h"
#include "fsd/core/config.h"
#include "fsd/core/id.h"
#include "snap/base/err.h"

/* What people are told of a pool, whatever it does at the moment. */
struct pool_told {
	struct err reason;	/* why it is offline; empty: it is online, or was not opened yet */
	char *report;		/* what was probed, one line a driver; NULL: nothing yet */
	const char *driver;	/* the chosen one; NULL: none */
	char id[ID_SIZE];	/* "" while it is not known */
};

struct pool_root {
	const struct config_pool *config; /* name, path, driver: what a reload may not change */
	struct past_pool *past; /* the configuration does not name it; NULL: it does */
	/* What the catalog calls the pool at this path, where no section has that name and it does
	 * not know this one: the section was renamed, and not opened since. Or "". */
	char former[CAT_NAME_SIZE];
	atomic_uint jobs; /* how many jobs may change it at once; pools_follow() */
	unsigned busy;	  /* how many do, when jobs.c last counted; jobs.lock */
	_Atomic uint64_t written, settled; /* bytes; room.c's */
	pthread_mutex_t lock;
	struct pool_told told; /* under the lock */
	atomic_bool online; /* set last and read first: the rest is valid once this was seen */
	bool recovered; /* its jobs were settled since it was opened: it may be called online */
	bool announced; /* it was told to be online; housekeeping's */
	atomic_bool unswept; /* a crash may have left something in its sites */
	const struct pool_driver *driver;
	struct pool *handle;
	char id[ID_SIZE];
	int fd;	      /* the root, and beneath it: */
	int sites;    /* sites/ */
	int control;  /* .fsd/ */
	int snapshots, deleted, staging, trash; /* .fsd/... */
	int lock_fd; /* .fsd/lock */
};

struct pools {
	struct pool_root *items; /* the configured ones, then those of the past */
	unsigned n;
};

/* Are all drivers known, and is no directory two pools, as far as they are there? 0 or -EINVAL
 * "bad_config". */
int pools_check(const struct config *config, struct err *err);
/* A look that changes nothing: does another fsd hold one of them? 0 or -EBUSY "locked". */
int pools_unlocked(const struct config *config, struct err *err);
/* An offline pool_root for each configured pool. Nobody else may use `c` meanwhile, as below. 0 or
 * -errno. */
int pools_init(struct pools *p, const struct config *config, struct catalog *c, struct err *err);
/*
 * Before any is opened: the catalog forgets each pool that it has no part of and that no section
 * names at its path, so that its name is free; then the sections that were renamed are found. 0 or
 * -errno.
 */
int pools_match(struct pools *p, struct catalog *c, struct err *err);
/*
 * Once those were opened, which the catalog knows by their names since: one more for each pool that
 * the catalog has a part of and the configuration does not name. It stays offline,
 * "pool_not_configured" with what to do. Nobody else may look at the pools yet. 0 or -errno.
 */
int pools_add_past(struct pools *p, struct catalog *c, struct err *err);
void pools_release(struct pools *p);
/* What a reload may change of the pools; config_frozen() has seen that they are the same ones. */
void pools_follow(struct pools *p, const struct config *config);

/* By name, also a former one; NULL when there is none. */
struct pool_root *pools_find(const struct pools *p, const char *name);
/* The same, but an unknown one is -ENOENT "not_found" and an offline one pools_offline(). */
int pools_require(const struct pools *p, const char *name, struct pool_root **out,
	struct err *err);
/* -ENODEV "pool_offline" or "pool_not_configured", with why and what to do. */
int pools_offline(struct pool_root *r, struct err *err);
/* The only configured pool; several: -EINVAL "pool_needed". */
int pools_default(const struct pools *p, struct pool_root **out, struct err *err);

/*
 * Open the root. A pool that the catalog never saw is made: its directory (one level), sites/,
 * .fsd/ and pool.json. One that the catalog knows must have its pool.json with the same id;
 * otherwise the pool stays offline ("pool_missing", "pool_foreign"): an unmounted disk must not
 * become an empty pool. Takes .fsd/lock ("locked" names the holder). Writes the catalog.
 *
 * Blocks as long as the storage does. `write_lock` must not be held: it is taken for the looks into
 * the catalog alone, so a dead file server stops nobody who works elsewhere.
 */
int pool_root_open(struct pool_root *r, struct catalog *c, pthread_mutex_t *write_lock,
	struct err *err);

/* Is what stands at the configured path still what was opened? Marks it offline otherwise. */
int pool_root_verify(struct pool_root *r, struct err *err);

/*
 * The same pool stands there again by another mount, or on another device: open it, and put its
 * descriptors in the place of the old ones, numbers and all, so that whoever looks meanwhile sees
 * the one or the other. Nobody may be at work in it. It stays offline: its jobs are to be
 * recovered. Blocks like pool_root_open, with the same errors.
 */
int pool_root_reopen(struct pool_root *r, struct catalog *c, pthread_mutex_t *write_lock,
	struct err *err);

/* A copy of what is told; pool_told_release() it. */
void pool_root_told(struct pool_root *r, struct pool_told *out);
void pool_told_release(struct pool_told *t);
/* It stays offline, and this is why. */
void pool_root_refuse(struct pool_root *r, const struct err *why);

struct pool_space {
	uint64_t total, free; /* bytes; free as for an ordinary user */
	uint64_t inodes, inodes_free; /* 0 where the file system has no fixed number */
	uint64_t min_free;	      /* bytes */
};
int pool_root_space(const struct pool_root *r, const struct config *config, struct pool_space *out);

/* -EROFS "read_only" or -EIO when the file system takes no change any more; reading goes on. */
int pool_root_writable(const struct pool_root *r, struct err *err);

/* -ENOSPC "below_min_free" with what to delete, when new clones and snapshots are refused. */
int pool_root_admit(const struct pool_root *r, const struct config *config, struct err *err);

#endif
