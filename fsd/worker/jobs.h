/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Jobs: asked for, planned, made durable, queued, run, recorded. A kind of job is a `const struct
 * op_kind` (fsd/op/); the queue decides when it may run.
 *
 * A job's life and its two durable commits:
 *   plan    look everything up, refuse what cannot be done, choose all ids and names
 *   COMMIT  the intent: from here on the job survives anything
 *   run     stage, then one rename in the pool: the commit point, then finish
 *   COMMIT  record: what the pool now holds, and the outcome
 * A job found without an outcome at start is asked whether its commit point was passed: then finish
 * and record, else revert, and it has failed with "interrupted" (or, never started, it runs).
 */
#ifndef FSD_WORKER_JOBS_H
#define FSD_WORKER_JOBS_H

#include <jansson.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "backends/catalog/catalog.h"
#include "fsd/core/id.h"
#include "fsd/core/request.h"
#include "snap/base/err.h"
#include "snap/ctx.h"

struct config;
struct fsd;
struct job;
struct pool_root;

/* What a job holds while it is queued or runs; jobs wait for earlier ones they conflict with. */
#define JOB_LOCKS_MAX 6
struct job_lock {
	/* "site:ID", "snapshot:ID", "name:NAME", "pool:ID", "dir:PATH" */
	char key[CAT_NAME_SIZE + 64];
	bool exclusive;
};
#define JOB_LOCK_DIR "dir:" /* what follows is a path without symlinks */

enum job_state { JOB_QUEUED, JOB_RUNNING, JOB_DONE, JOB_FAILED, JOB_CANCELED };
const char *job_state_name(enum job_state s);

/* Higher runs first: DESIGN, "Jobs". */
enum job_priority { PRIO_HOUSEKEEPING, PRIO_CHECK, PRIO_SNAPSHOT, PRIO_CLONE, PRIO_RESTORE };

struct op_kind {
	enum op op;
	enum job_priority priority;

	/* Look once at what lies outside of the pools, with no lock held: on storage that does not
	 * answer this request stays here, and nobody else waits for it. NULL: all is in pools. */
	void (*touch)(struct fsd *f, const struct request *r);

	/*
	 * Decide: write_lock is held, nothing is changed. Fills job->pool, locks, intent and, for
	 * people, plan steps. Whatever can be refused now is refused now.
	 */
	int (*plan)(struct fsd *f, struct job *job, struct err *err);

	/* For the question and for dry_run: look into the trees and complete plan, warnings and the
	 * question (never take it back). No lock is held, it may take long and ends when job->ctx
	 * is canceled; the job is dropped afterwards. NULL: nothing to look for. */
	int (*survey)(struct fsd *f, struct job *job, struct err *err);

	/* Work up to and including the commit point, on a job thread without locks. On failure
	 * before it, only what lies in the job's staging directory (swept by the caller) and what
	 * revert undoes may be left. */
	int (*run)(struct fsd *f, struct job *job, struct err *err);

	/* Was the commit point passed? Looks at the pool alone. 1; 0; -errno: it cannot be seen,
	 * and nothing is touched until it can. NULL: the job changes nothing that matters and is
	 * simply run again. */
	int (*committed)(struct fsd *f, struct job *job, struct err *err);

	/* Undo what run did outside of staging before the commit point; idempotent, tried again
	 * where it fails. NULL: nothing. */
	int (*revert)(struct fsd *f, struct job *job, struct err *err);

	/* Steps after the commit point; idempotent. A failure is tried again, and the job has not
	 * ended before: what can be done without is a warning or part of the result. NULL: none. */
	int (*finish)(struct fsd *f, struct job *job, struct err *err);

	/* Bring the catalog in line with the pool and fill job->result: write_lock is held, a
	 * transaction is open. */
	int (*record)(struct fsd *f, struct job *job, struct err *err);

	/* How to undo it: fill `request` (initialised by the callee) with the job to run instead,
	 * whose plan finds "discard_since" in its intent when the caller said so.
	 * NULL: it cannot be undone; `why_not` says so. */
	int (*undo)(struct fsd *f, const struct cat_job *done, json_t *intent,
		struct request *request, struct err *err);
	/* Does its record say already that `undo` will find nothing? NULL: never. */
	bool (*beyond_undo)(const struct cat_job *done);
	const char *why_not; /* hint for an undo of a kind without one */
};

struct job {
	int64_t id;
	char text[JOB_ID_SIZE]; /* the id as text: also the staging directory's name */
	const struct op_kind *kind;
	struct request request; /* what runs; for an undo: the request that undoes */
	enum op shown;		/* what was asked: OP_UNDO, else kind->op */
	enum job_state state;	/* queued or running; jobs.lock */
	enum job_state outcome; /* once it has ended; the job thread's until it is recorded */
	char actor[CAT_ACTOR_SIZE];
	char site_id[ID_SIZE]; /* of the site it is about, "" if none */
	char site_name[NAME_SIZE];
	struct pool_root *pool;
	struct job_lock locks[JOB_LOCKS_MAX];
	unsigned n_locks;
	int64_t created, started, finished;
	int64_t undoes; /* the job this one undoes */
	char *asked;	/* for an undo: the arguments as they were asked for, JSON */

	json_t *intent; /* object: all that was chosen; durable before the job is accepted */
	json_t *plan;	/* array of strings: the steps, for dry_run */
	json_t *warnings; /* array of strings, or NULL; what plan has said is in the intent, too */
	char confirm[ERR_TEXT_SIZE]; /* the question; "" when none is needed */
	const char *method;	     /* expected or used; static storage */
	const char *consistency;     /* static storage */
	json_t *unsettled; /* what kept changing while it was copied (present_paths()), or NULL */
	struct cat_usage planned;    /* what is copied, by the last measurement */

	struct snap_ctx ctx;
	/* What copies made. ctx counts the work: also what was copied again or read to compare. */
	uint64_t copied_entries, copied_bytes;
	uint64_t bytes_cloned;
	unsigned long syncs, commits; /* made for this job alone where nothing else ran */
	json_t *result;		      /* object */
	bool recovered; /* what an earlier fsd has copied for it is not known */
	bool unsaid; /* for want of memory it does not name all that failed */
	struct err err;
	_Atomic bool was_canceled; /* by a client, not by a stop of the daemon */
	/* That, while its end could not be seen: what is out of reach counts as gone. */
	_Atomic bool given_up;
	/* When to look again what it came to (monotonic); 0: that is not in doubt. jobs.lock */
	int64_t look_again;
	bool unseen; /* from the catalog: what it came to was not looked at yet. jobs.lock */

	struct job *next;
};

/* Add a step to the plan text, a lock, a warning. */
void job_step(struct job *job, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void job_warn(struct job *job, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void job_lock(struct job *job, const char *type, const char *name, bool exclusive);

/* Append {"path", "reason"} to this list of the result: "failed" (what was asked for and is not
 * done), "problems" (what is wrong). Any bytes: names in trees are their users'. */
void job_fault(struct job *job, const char *list, const char *path, const char *reason);

/* Set a value of the intent, which is stolen, durably: a third commit, for what no pool can tell
 * recovery. Where it fails the intent is as it was. */
int job_note(struct fsd *f, struct job *job, const char *key, json_t *value, struct err *err);

/* Intent fields; they exist (asserted) once planned. Borrowed. */
void job_intend(struct job *job, const char *key, json_t *value);
void job_intend_str(struct job *job, const char *key, const char *value);
void job_intend_int(struct job *job, const char *key, int64_t value);
const char *job_str(const struct job *job, const char *key); /* "" when absent */
int64_t job_int(const struct job *job, const char *key);     /* 0 when absent */

struct jobs {
	pthread_mutex_t lock;
	pthread_cond_t wake;
	const struct op_kind *const *kinds; /* by enum op */
	struct job *head, **tail;	    /* queued and running, oldest first */
	/* Called without locks when a job has ended, with its JSON object (borrowed). */
	void (*on_end)(struct fsd *f, int64_t id, json_t *view);
	unsigned queued, running;
	unsigned unsettled; /* of those that run: without a thread, to be looked at again */
	unsigned most;	    /* that may run at once */
	unsigned threads;   /* started; never fewer than ever ran at once */
	pthread_t *thread_ids;
	bool stop;
	int64_t last_id;
	_Atomic uint64_t ended[JOB_CANCELED + 1]; /* since start, by outcome */
};

int jobs_init(struct jobs *j, const struct op_kind *const *kinds);

/*
 * Plan a request and queue it. *out is the new job's id; `view` receives {"job": ...} (new
 * reference). An idempotency key seen before answers that job. With dry_run nothing is queued:
 * *out is 0 and *view is {"plan": ...}. Takes what it needs out of `r`. Blocks for the commit.
 *
 * JOBS_SURVEY: a plan or a question is the answer, and trees have to be looked into for it. That
 * may take long: *survey is the caller's, for jobs_survey() where nobody waits behind it.
 */
enum { JOBS_SURVEY = 1 };
int jobs_submit(struct fsd *f, struct request *r, int64_t *out, json_t **view,
	struct job **survey, struct err *err);

/* Look and answer: 0 with {"plan": ...}, or the question as -EINVAL "confirmation_needed". Another
 * thread may cancel the job's ctx: -ECANCELED. The job stays the caller's, to be freed. */
int jobs_survey(struct fsd *f, struct job *job, json_t **view, struct err *err);

/* Plan and queue a job of fsd's own: its actor is this, which no client's can be. 0 and its id. */
#define JOB_ACTOR_FSD "fsd"
int jobs_submit_internal(struct fsd *f, struct request *r, int64_t *id, struct err *err);

/* Ask a job to stop; one whose end cannot be seen, to give up what is out of reach. 0; -EALREADY
 * "job_ended" also of one that there never was. */
int jobs_cancel(struct fsd *f, int64_t id, struct err *err);

/* Run at most this many jobs at once from now on. 0 or -errno. */
int jobs_start(struct fsd *f, unsigned most);
/*
 * A reload, from the thread that started: first have as many threads as it takes (0 or -errno, and
 * no limit has changed), then follow max_jobs and the limits of all pools at once, so that no job
 * starts by half of them. What runs already goes on.
 */
int jobs_grow(struct fsd *f, unsigned threads);
void jobs_follow(struct fsd *f, const struct config *config);
/* Stop: running jobs are asked to stop and go back to the queue, which stays open to others. */
void jobs_stop(struct fsd *f);
/* Forget the queue. Nobody may submit any more; what waits is in the catalog. */
void jobs_release(struct jobs *j);
/* A limit or a pool has changed: look again for what may run. */
void jobs_look(struct fsd *f);

/* Is any unfinished job holding this key exclusively, or at all? Names it. */
bool jobs_holds(struct fsd *f, const char *type, const char *name, bool any,
	char holder[JOB_ID_SIZE]);
/* Which directory that an unfinished job holds does this one lie in, or does lie in it? Jobs of one
 * and the same wait for each other. */
bool jobs_holds_nested(struct fsd *f, const struct job_lock *dir, struct job_lock *found,
	char holder[JOB_ID_SIZE]);
/* Does one hold it exclusively that has begun and is not recorded yet? */
bool jobs_at_work_on(struct fsd *f, const char *type, const char *name);

/* At the start: all that have no outcome, oldest first. They hold their locks from here on, and
 * wait until their pool was recovered. */
int jobs_load(struct fsd *f, struct err *err);
/*
 * Look what the loaded jobs of this pool came to: finish, undo or queue them; one that was canceled
 * meanwhile ends. Called when the pool comes online, before anything else touches it; write_lock
 * must not be held.
 */
void jobs_recover(struct fsd *f, struct pool_root *pool);

/* The JSON object of a job: the running one's state where there is one. New reference or NULL. A
 * list's item is without what has no bounds: arguments and result. */
json_t *jobs_view(struct fsd *f, const struct cat_job *row);
json_t *jobs_item(struct fsd *f, const struct cat_job *row);

/* What runs a recorded job: an undo's is the kind that undoes. NULL when this fsd knows none. */
const struct op_kind *jobs_kind(struct fsd *f, const struct cat_job *row);

/* Can it be undone, as far as its record tells? */
bool job_undoable(const struct cat_job *row, const struct op_kind *kind);

/* Is this job queued or running? */
bool jobs_unfinished(struct fsd *f, int64_t id);
void jobs_count(struct fsd *f, unsigned *queued, unsigned *running);
/* How many wait; of one actor ("uid:1000(anna)"), or of all (NULL). */
unsigned jobs_queued(struct fsd *f, const char *actor);

/* ---- between the files of the queue ---- */

struct job *job_new(enum op op);
void job_free(struct job **job);
/* Into the queue, oldest first; the queue owns it from here on. */
void jobs_enqueue(struct fsd *f, struct job *job);
/* The oldest of this pool that was loaded and not looked at yet; it counts as running. Or NULL. */
struct job *jobs_next_unseen(struct fsd *f, const struct pool_root *pool);
/* It will read nothing any more: shared locks go. jobs.lock is held, or nobody else has it yet. */
void jobs_let_sources_go(struct job *job);
/* It has to wait after all; what it came to cannot be seen yet; it has ended. The last frees it. */
void jobs_put_back(struct fsd *f, struct job *job);
void jobs_look_later(struct fsd *f, struct job *job);
void jobs_retire(struct fsd *f, struct job *job);
/* Is a job at work in this pool? One that waits to be looked at again is not. */
bool jobs_run_in(struct fsd *f, const struct pool_root *pool);
/* Does a job that is not in the queue yet conflict with one that is? */
bool jobs_in_the_way(struct fsd *f, const struct job *job);
/* The catalog's record of a job in this state; cat_job_release() it. 0 or -ENOMEM. */
int job_row(const struct job *job, enum job_state state, struct cat_job *row);
/* Its record, without an outcome, durably. write_lock must not be held. */
int job_store(struct fsd *f, struct job *job, struct err *err);
/* The JSON object of a job in memory: before it is queued, or ended, on its thread. */
json_t *job_view(const struct job *job, enum job_state state);
/*
 * It failed with job->err: finish or undo it by what the pool says, and set job->outcome
 * (JOB_QUEUED: the daemon stops, and it shall run again). -errno: which it is cannot be seen, or it
 * cannot be brought to an end. Then nothing is recorded and the job keeps its locks: it is
 * job_unsettled() and looked at again.
 */
int job_settle(struct fsd *f, struct job *job, struct err *err);
/* Say so, in the log and in `fsctl status`, until it is settled. */
void job_unsettled(struct fsd *f, const struct job *job, const struct err *why);

/* An error about a path in a tree is one about "SITE: PATH": the source's, or that of what is
 * imported. */
void job_name_tree(const struct job *job, struct err *err);

/* The scope of problems that end with the job's. */
#define JOB_SCOPE_SIZE (JOB_ID_SIZE + 4)
const char *job_scope(int64_t id, char out[JOB_SCOPE_SIZE]);
/* What follows the commit point. -ENOMEM also where the result would not say what failed. */
int job_finish(struct fsd *f, struct job *job, struct err *err);
/* Remove what it has in staging. */
int job_sweep(struct job *job, struct err *err);
/* Record and outcome in one durable commit; write_lock must not be held. */
int job_conclude(struct fsd *f, struct job *job, struct err *err);
/* The same, again and again until the catalog has it, and logged. -errno: fsd stops, and the next
 * start finds it as it was. */
int job_end(struct fsd *f, struct job *job, struct err *err);
/* On a thread of the queue, without locks: run it and decide what it came to and, unless it goes
 * back to the queue (JOB_QUEUED), end it. -errno: it cannot be decided yet. */
int job_execute(struct fsd *f, struct job *job);

#endif
