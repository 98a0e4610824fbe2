/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What may be asked of fsd, in one table: the api process checks HTTP requests against it and
 * sends them on as typed fields, the worker checks the fields against it again, and a test holds
 * docs/openapi.yaml to it. Reading is a query of the catalog; everything that touches a tree is a
 * job, and every job is asked for by POST /v1/jobs with its `kind`.
 */
#ifndef FSD_CORE_REQUEST_H
#define FSD_CORE_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "snap/base/buf.h"

struct err;
struct json_t; /* jansson's */

enum field {
	F_NONE,
	/* objects */
	F_SITE,	      /* "site": a site's name or id */
	F_SOURCE,     /* "source": SOURCE of the command line; times in it carry a zone */
	F_FROM,	      /* "from": SOURCE that content is taken from */
	F_NAME,	      /* "name": the new name */
	F_SNAPSHOT,   /* "snapshot": a snapshot's name within `site` */
	F_GENERATION, /* "generation": a number */
	F_JOB,	      /* "job": a job's id */
	F_POOL,	      /* "pool": a pool's name */
	F_A,	      /* "a", "b": SOURCEs to compare */
	F_B,
	/* how */
	F_DIR,	      /* "dir": an absolute directory of the file server */
	F_MODE,	      /* "mode": copy, move or link */
	F_METHOD,     /* "method": snapshot, reflink, hardlink, copy */
	F_PATHS,      /* "paths": relative to the tree */
	F_ONLY,	      /* "only": parts */
	F_EXACT,      /* "exact" */
	F_DISCARD,    /* "discard_since" */
	F_SET,	      /* "set": {key: value, or null to remove} */
	F_HOLD,	      /* "hold": true holds, false releases */
	F_TAG,	      /* "tag": names one hold among several; "default" */
	F_EXPIRES,    /* "expires": duration, or "never" */
	F_IF_EXISTS,  /* "if_exists": fail or refresh */
	F_CONFIRM,    /* "confirm": true: the caller was asked, or said --yes */
	F_DRY_RUN,    /* "dry_run": answer the plan, change nothing */
	F_NOTE,	      /* "note": kept with the job */
	F_KEY,	      /* the Idempotency-Key header */
	/* lists and waiting: query parameters */
	F_LIMIT,      /* "limit": 1 to 1000, default 100 */
	F_CURSOR,     /* "cursor": `next` of the page before */
	F_LABEL,      /* "label": K or K=V */
	F_DELETED,    /* "deleted": list deleted sites */
	F_STATE,      /* "state": of jobs */
	F_UNDOABLE,   /* "undoable": only jobs that can be undone */
	F_AFTER,      /* "after": an event id */
	F_WAIT,	      /* "wait": seconds, 0 to 60: answer when the job has ended, or then */
	F_COUNT
};

enum field_type { T_STRING, T_BOOL, T_INT, T_LIST, T_MAP };

struct field_spec {
	const char *name; /* in JSON and in queries */
	enum field_type type;
};
extern const struct field_spec field_specs[F_COUNT];

/* Each role may do what those before it may. */
enum role { ROLE_NONE, ROLE_VIEWER, ROLE_OPERATOR, ROLE_ADMIN };
const char *role_name(enum role r);

enum op {
	OP_NONE,
	/* queries */
	OP_HEALTH, /* {"status":"ok"}, from memory; a role is not needed */
	OP_STATUS,
	OP_METRICS,
	OP_SITES,
	OP_SITE,
	OP_SNAPSHOTS,
	OP_SNAPSHOT,
	OP_GENERATIONS,
	OP_JOBS,
	OP_JOB,
	OP_JOB_LOG,
	OP_JOB_CHANGES,
	OP_JOB_CANCEL, /* not a query, and not a job either: it acts on one */
	OP_POOLS,
	OP_POOL,
	OP_EVENTS,
	OP_PATH,
	/* jobs */
	OP_SITE_CREATE,
	OP_SITE_IMPORT,
	OP_SITE_EJECT,
	OP_SITE_SET,
	OP_SITE_RENAME,
	OP_SITE_DELETE,
	OP_SITE_UNDELETE,
	OP_SITE_MEASURE,
	OP_SNAPSHOT_CREATE,
	OP_SNAPSHOT_DELETE,
	OP_SNAPSHOT_SET,
	OP_SNAPSHOT_HOLD,
	OP_SNAPSHOT_MEASURE,
	OP_CLONE,
	OP_RESTORE,
	OP_RESTORE_TO,
	OP_PUBLISH,
	OP_ROLLBACK,
	OP_UNDO,
	OP_GENERATION_CREATE,
	OP_GENERATION_DELETE,
	OP_GENERATION_RETIRE,
	OP_DIFF,
	OP_CHECK,
	OP_POOL_SCAN,
	OP_POOL_CHECK,
	OP_COUNT
};

#define OP_FIELDS_MAX 12
#define OP_REQUIRED 0x8000 /* or'ed to an enum field */

struct op_spec {
	const char *name;   /* queries: a word for logs; jobs: the `kind` */
	const char *method; /* "GET", "POST"; NULL: a job, asked for by POST /v1/jobs */
	const char *path;   /* "/v1/sites/{site}"; the parts in braces are fields */
	enum role role;	    /* the least that may ask */
	uint16_t fields[OP_FIELDS_MAX]; /* jobs besides: dry_run, note, confirm, the key, wait */
};
extern const struct op_spec op_specs[OP_COUNT];

static inline bool op_is_job(enum op op)
{
	return op > OP_NONE && op < OP_COUNT && !op_specs[op].method;
}
/* OP_NONE when there is no such kind. */
enum op op_by_kind(const char *kind);
/* May this op carry the field (those common to all jobs included)? */
bool op_takes(enum op op, enum field f);

/* ---- one request ---- */

#define REQUEST_GROUPS_MAX 64
#define REQUEST_SIZE_MAX (1u << 20) /* of the encoded fields */
#define REQUEST_ITEMS_MAX 10000	    /* of one list or map */

struct actor {
	uid_t uid;
	gid_t gids[REQUEST_GROUPS_MAX];
	unsigned n_gids;
};

struct request_value { /* opaque to callers */
	char *text;	 /* T_STRING */
	int64_t number;	 /* T_INT, T_BOOL */
	char **items;	 /* T_LIST; T_MAP: "K=V", or "K" for null */
	size_t n;
	bool present;
};

struct request {
	enum op op;
	struct actor actor;
	struct request_value values[F_COUNT];
};

void request_init(struct request *r, enum op op);
void request_release(struct request *r);

/* Setters copy. 0, -ENOMEM, -EINVAL (wrong type for the field), -EEXIST (already set), -E2BIG. */
int request_set_str(struct request *r, enum field f, const char *s);
int request_set_int(struct request *r, enum field f, int64_t n); /* T_INT and T_BOOL */
/* T_LIST, T_MAP. Slashes at the end of a path are left out: people complete directories so. */
int request_add(struct request *r, enum field f, const char *item);

bool request_has(const struct request *r, enum field f);
/* NULL, 0, false or an empty list when absent. Borrowed from the request. */
const char *request_str(const struct request *r, enum field f);
int64_t request_int(const struct request *r, enum field f);
bool request_bool(const struct request *r, enum field f);
char *const *request_list(const struct request *r, enum field f, size_t *n);

/*
 * The typed form between the processes. Decoding trusts nothing: unknown ops and fields, fields
 * the op does not take, wrong types, embedded NULs, invalid UTF-8 in anything but `paths` and
 * `dir`, missing required ones, excess sizes and values that no field of this kind can have are
 * -EBADMSG with code "bad_request" and the field's name as object. Names and SOURCEs that break
 * their rules are -EINVAL as name_check() and source_parse() say it.
 */
int request_encode(const struct request *r, struct buf *out);
int request_decode(const void *data, size_t len, struct request *r, struct err *err);
/* The same rules on a request in memory. */
int request_validate(const struct request *r, struct err *err);
/* Parts of these rules, for whoever writes them down elsewhere: the words that a field (or an item
 * of it) is one of, with blanks between, or NULL; the bounds of a number, false without any. */
const char *field_words(enum field f);
bool field_range(enum field f, int64_t *min, int64_t *max);

/*
 * A job's arguments as JSON for the catalog and the API ({"site": "x", ...}, without key, wait and
 * actor), and back. request_to_json: malloc'd, the caller's; NULL without memory. Bytes of paths
 * that are not UTF-8 are written as in the API: see json_text() in json.h.
 */
char *request_to_json(const struct request *r);
int request_from_json(enum op op, const char *json, struct request *r, struct err *err);
/* Sets every member of an object but "kind" as a field of `r`; no other check than of its type. */
int request_set_json(struct request *r, const struct json_t *object, struct err *err);

#endif
