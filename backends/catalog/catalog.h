/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The catalog: what fsd knows besides what lies in the pools. It can be rebuilt from them (jobs
 * and events aside), so the pool wins wherever the two differ. Records go in and out whole; the
 * rules of which record may change when belong to fsd.
 *
 * One handle is used by one thread at a time (the caller locks); readers open handles of their own
 * with CATALOG_READ_ONLY and never wait for a writer. No handle crosses a fork. Text is UTF-8 and
 * NUL-terminated; a text that does not fit its field when written is -ENAMETOOLONG. Times are ns
 * since 1970 UTC, 0 for "never" or "none". Booleans in the records are 0 or 1.
 *
 * Common errors, besides those named: -EBUSY "catalog_locked" after 5 s, -EUCLEAN
 * "catalog_corrupt", -ENOSPC "no_space", -EROFS "read_only", -EIO "io_error". Putting a record can
 * fail with -EEXIST "name_taken" (a job: "key_reused") and with -EINVAL "bad_reference" when it
 * names a tenant, a pool or, for a generation, a site that was not put before.
 */
#ifndef BACKENDS_CATALOG_CATALOG_H
#define BACKENDS_CATALOG_CATALOG_H

#include <stdbool.h>
#include <stdint.h>

struct err;
struct catalog;

#define CAT_ID_SIZE 37	   /* UUID, RFC 9562, lower case */
#define CAT_NAME_SIZE 201  /* names are at most 200 bytes */
#define CAT_WORD_SIZE 32   /* a word of the glossary: a state, a method, a driver */
#define CAT_PATH_SIZE 4096 /* an absolute path */
#define CAT_ACTOR_SIZE 64  /* "uid:1000(anna)" */
#define CAT_NOTE_SIZE 512

enum catalog_flag {
	CATALOG_CREATE = 1 << 0,    /* make the file (0600) and its schema when it does not exist */
	CATALOG_READ_ONLY = 1 << 1, /* a reader: no migration, no write */
};

#define CATALOG_SCHEMA 4 /* newest schema this code knows; kept in SQLite's user_version */

/*
 * Open `path` (absolute; its folder is resolved first, the file itself is opened without following
 * a symlink: -ELOOP "catalog_symlink"). Older schemas are migrated, each step in one transaction
 * that is rolled back on failure. -EPROTO "catalog_newer": written by a newer fsd, untouched.
 * -ENOENT "catalog_missing" without CATALOG_CREATE. WAL, synchronous FULL, foreign keys on,
 * trusted_schema off, defensive.
 */
int catalog_open(const char *path, unsigned flags, struct catalog **out, struct err *err);
void catalog_close(struct catalog **c);

/* Full check of the file's structure (PRAGMA integrity_check, foreign keys). */
int catalog_check(struct catalog *c, struct err *err);

/* A write transaction; every put and delete outside of one commits by itself. Commit is durable
 * when it returns 0; after a failed commit the transaction is rolled back. Rollback outside of a
 * transaction is a no-op. */
int catalog_begin(struct catalog *c, struct err *err);
int catalog_commit(struct catalog *c, struct err *err);
void catalog_rollback(struct catalog *c);
/* Durable commits by this handle so far; tests hold operations to their budget. */
unsigned long catalog_commits(const struct catalog *c);

/*
 * Lists: the callback is given a record borrowed until it returns; a value other than 0 stops the
 * list and is returned by it. A list runs in one read transaction. `limit` 0 is no limit.
 */

/* ---- pools ---- */
struct cat_pool {
	char id[CAT_ID_SIZE]; /* pool.json's */
	char name[CAT_NAME_SIZE];
	char driver[CAT_WORD_SIZE];
	char path[CAT_PATH_SIZE];
	int64_t seen; /* when the pool was last online */
};
int catalog_pool_put(struct catalog *c, const struct cat_pool *p, struct err *err);
/* By name. 0, or -ENOENT without filling err. */
int catalog_pool_get(struct catalog *c, const char *name, struct cat_pool *out, struct err *err);
int catalog_pools(struct catalog *c, int (*fn)(const struct cat_pool *, void *), void *arg,
	struct err *err);
/* By name. -EINVAL "bad_reference": it has sites or snapshots. */
int catalog_pool_delete(struct catalog *c, const char *name, struct err *err);
/* What it has of one. */
struct cat_pool_count {
	int64_t sites, deleted, snapshots, unfinished; /* the last: jobs */
};
int catalog_pool_count(struct catalog *c, const char *name, struct cat_pool_count *out,
	struct err *err);

/* What a tree held when it was measured last: bytes and names. */
struct cat_usage {
	int64_t measured; /* when; 0: never, and all else is 0 */
	int64_t logical, shared, exclusive, entries;
};

/* ---- sites ---- */
struct cat_site {
	char id[CAT_ID_SIZE];
	char name[CAT_NAME_SIZE]; /* unique among sites that are not deleted */
	char pool[CAT_NAME_SIZE];
	int64_t tenant; /* 1: the only one there is today */
	int64_t created;
	int64_t deleted; /* parked since then; 0: a site in use */
	int64_t live;	 /* number of the live generation */
	int64_t expires;
	int protect;
	/* import --link: the directory that is a symlink to live; or "" */
	char linked[CAT_PATH_SIZE];
	struct cat_usage usage;
};
struct cat_site_filter {
	const char *pool;	   /* NULL: any */
	const char *label;	   /* "K=V" or "K"; NULL: any */
	const char *after;	   /* names greater than this (byte order); NULL: from the start */
	bool deleted;		   /* deleted sites instead (ordered by id, `after` is an id) */
	const char *name;	   /* the last deleted first, without `after`; NULL: any */
	int64_t expired_by;	   /* those whose time is over then (in any order, without `after`);
				      0: any */
	unsigned limit;
};
int catalog_site_put(struct catalog *c, const struct cat_site *s, struct err *err);
/* `ref`: the name of a site in use, or the id of any site. 0, or -ENOENT without filling err. */
int catalog_site_get(struct catalog *c, const char *ref, struct cat_site *out, struct err *err);
/* With its generations and labels; its snapshots stay. */
int catalog_site_delete(struct catalog *c, const char *id, struct err *err);
int catalog_sites(struct catalog *c, const struct cat_site_filter *f,
	int (*fn)(const struct cat_site *, void *), void *arg, struct err *err);
/* Count of sites in use, of one pool or (NULL) of all. */
int catalog_site_count(struct catalog *c, const char *pool, uint64_t *n, struct err *err);

/* ---- generations ---- */
struct cat_generation {
	char site[CAT_ID_SIZE];
	int64_t number; /* >= 1 */
	int64_t created;
	char method[CAT_WORD_SIZE];
	char consistency[CAT_WORD_SIZE];
	char origin[CAT_NAME_SIZE * 2]; /* "SITE@SNAP", "SITE:N", "import", "" */
	int64_t retired;		/* when it stopped being live; 0: live or never was */
	int64_t retired_by;		/* the job, 0: none */
	int64_t job;			/* that made it */
};
int catalog_generation_put(struct catalog *c, const struct cat_generation *g, struct err *err);
/* 0, or -ENOENT without filling err. */
int catalog_generation_get(struct catalog *c, const char *site, int64_t number,
	struct cat_generation *out, struct err *err);
int catalog_generation_delete(struct catalog *c, const char *site, int64_t number, struct err *err);
/* Ascending by number. */
int catalog_generations(struct catalog *c, const char *site,
	int (*fn)(const struct cat_generation *, void *), void *arg, struct err *err);
/* The retired ones, ascending by site and number: of all sites, or of those in use in a pool. */
int catalog_retired(struct catalog *c, const char *pool,
	int (*fn)(const struct cat_generation *, void *), void *arg, struct err *err);

/* ---- snapshots ---- */
struct cat_snapshot {
	char id[CAT_ID_SIZE];
	char site[CAT_ID_SIZE];	       /* may name a site that is gone */
	char site_name[CAT_NAME_SIZE]; /* as it was when the snapshot was made */
	char name[CAT_NAME_SIZE];      /* unique within its site id */
	char pool[CAT_NAME_SIZE];
	char kind[CAT_WORD_SIZE]; /* "user", "undo", "auto" */
	int64_t created;
	int64_t generation; /* the number it was taken of */
	char method[CAT_WORD_SIZE];
	char consistency[CAT_WORD_SIZE];
	int64_t gap_ns; /* between the instants of its parts; 0 with one part */
	int64_t expires;
	int64_t job; /* that made it */
	int64_t look; /* what was written in it since then is not told yet; 0: nothing to tell */
	struct cat_usage usage;
};
struct cat_snapshot_filter {
	const char *site;      /* site id; NULL: any */
	const char *site_name; /* NULL: any */
	const char *label;
	const char *after; /* the id of the last one seen; NULL: from the start */
	int64_t after_time; /* its `created`: it may have been deleted since */
	int64_t not_after; /* created <= this; 0: any */
	int64_t expired_by; /* those whose time is over then (in any order, without `after`);
			       0: any */
	bool to_look_at;    /* those with `look` (in any order, without `after`) */
	bool newest_first; /* order by (created, id); otherwise oldest first */
	unsigned limit;
};
int catalog_snapshot_put(struct catalog *c, const struct cat_snapshot *s, struct err *err);
/* By site id and name. 0, or -ENOENT without filling err. */
int catalog_snapshot_get(struct catalog *c, const char *site, const char *name,
	struct cat_snapshot *out, struct err *err);
int catalog_snapshot_get_id(struct catalog *c, const char *id, struct cat_snapshot *out,
	struct err *err);
/* With its labels, holds and what of it is unsettled. */
int catalog_snapshot_delete(struct catalog *c, const char *id, struct err *err);
int catalog_snapshots(struct catalog *c, const struct cat_snapshot_filter *f,
	int (*fn)(const struct cat_snapshot *, void *), void *arg, struct err *err);

/* What kept changing while a fuzzy snapshot was taken, as JSON text; NULL: nothing. */
int catalog_unsettled_set(struct catalog *c, const char *snapshot, const char *paths,
	struct err *err);
/* Malloc'd, NULL when there is nothing. 0 or -errno. */
int catalog_unsettled(struct catalog *c, const char *snapshot, char **paths, struct err *err);

/* ---- labels and holds: of a site's or a snapshot's id ---- */
/* `value` NULL removes. Keys and values are at most 200 bytes. */
int catalog_label_set(struct catalog *c, const char *object, const char *key, const char *value,
	struct err *err);
/* In order of the key. */
int catalog_labels(struct catalog *c, const char *object,
	int (*fn)(const char *key, const char *value, void *), void *arg, struct err *err);
struct cat_hold {
	char object[CAT_ID_SIZE];
	char tag[CAT_NAME_SIZE]; /* unique within the object */
	char reason[CAT_NOTE_SIZE];
	int64_t created;
};
int catalog_hold_put(struct catalog *c, const struct cat_hold *h, struct err *err);
/* 0 also when there is none. */
int catalog_hold_delete(struct catalog *c, const char *object, const char *tag, struct err *err);
int catalog_holds(struct catalog *c, const char *object, int (*fn)(const struct cat_hold *, void *),
	void *arg, struct err *err);

/* ---- jobs ---- */
struct cat_job {
	int64_t id; /* ascending; chosen by fsd */
	char kind[CAT_WORD_SIZE];
	char state[CAT_WORD_SIZE];	/* queued, running, done, failed, canceled; the catalog
					   holds "queued" until the outcome */
	char site[CAT_ID_SIZE];		/* the site it is about, or "" */
	char site_name[CAT_NAME_SIZE];	/* as asked */
	char pool[CAT_NAME_SIZE];	/* or "" */
	char actor[CAT_ACTOR_SIZE];
	char note[CAT_NOTE_SIZE];
	char key[CAT_NAME_SIZE]; /* idempotency key or ""; unique with the actor while listed */
	int64_t created, started, finished;
	int64_t undone_by; /* the job that undid this one */
	const char *args;   /* JSON texts, NULL when absent. In a record that was read they are */
	const char *intent; /* borrowed like the record; from catalog_job_get they are malloc'd */
	const char *result; /* and freed by cat_job_release. */
	const char *stats;
	const char *error;
};
void cat_job_release(struct cat_job *j);
struct cat_job_filter {
	const char *state; /* NULL: any; "unfinished": queued */
	const char *site;  /* id or name as asked; NULL: any */
	int64_t before;	   /* ids below this; 0: from the newest */
	bool oldest_first; /* otherwise newest first */
	unsigned limit;
};
int catalog_job_put(struct catalog *c, const struct cat_job *j, struct err *err);
/* 0, or -ENOENT without filling err. */
int catalog_job_get(struct catalog *c, int64_t id, struct cat_job *out, struct err *err);
/* The job of this actor with this key, -ENOENT when there is none. */
int catalog_job_by_key(struct catalog *c, const char *actor, const char *key, struct cat_job *out,
	struct err *err);
int catalog_jobs(struct catalog *c, const struct cat_job_filter *f,
	int (*fn)(const struct cat_job *, void *), void *arg, struct err *err);
/* Highest id ever used, 0 in a new catalog. */
int catalog_job_last(struct catalog *c, int64_t *id, struct err *err);
/* Forget finished jobs, and events, older than this. */
int catalog_expire(struct catalog *c, int64_t older_than, struct err *err);

/* ---- events ---- */
struct cat_event {
	int64_t id; /* ascending: the caller's choice, above catalog_event_last() */
	int64_t time;
	char kind[CAT_WORD_SIZE]; /* "job.done", "site.created", "pool.offline", ... */
	char site[CAT_ID_SIZE];	  /* or "" */
	int64_t job;		  /* or 0 */
	const char *data;	  /* a JSON object, or NULL */
};
int catalog_event_put(struct catalog *c, const struct cat_event *e, struct err *err);
struct cat_event_filter {
	int64_t after; /* ids greater than this */
	int64_t job;   /* of this job only; 0: any */
	const char *site;
	unsigned limit;
};
int catalog_events(struct catalog *c, const struct cat_event_filter *f,
	int (*fn)(const struct cat_event *, void *), void *arg, struct err *err);
int catalog_event_last(struct catalog *c, int64_t *id, struct err *err);

#endif
