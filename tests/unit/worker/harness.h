/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A worker without its processes: a scratch folder with a catalog and one pool, "main", on the
 * file system asked for, and jobs that run to their end. Everything below it is the real thing.
 */
#ifndef TESTS_UNIT_WORKER_HARNESS_H
#define TESTS_UNIT_WORKER_HARNESS_H

#include "fsd/worker/state.h"

struct harness {
	char dir[64];	/* scratch folder */
	char pool[128]; /* the pool's root */
	char file_system[16];
	struct config config;
	struct config_pool config_pool;
	struct fsd fsd;
	pthread_mutex_t lock;
	pthread_cond_t ended;
	json_t *views; /* object: job id -> how it ended */
	unsigned seen; /* of its entries, those that were waited for */
	uid_t uid;     /* who asks: an admin, unless it is changed */
};

/* `file_system`: "btrfs" (a loop image, root only), "plain" (a directory of /tmp) or "fault" (the
 * same with the fault driver). NULL when it cannot be had here; the reason is printed. */
struct harness *harness_new(const char *file_system);
void harness_free(struct harness **h);

/* A test's setup with "plain", and the teardown of all: nothing may be left in staging. */
int harness_plain(void **state);
int harness_end(void **state);

/* `h` of this test, which is skipped where there is none. */
#define HARNESS(h) \
	struct harness *h = *state; \
	if (!h) \
	skip()

/* As fsd would at its start, and when it stops. */
void harness_start(struct harness *h);
void harness_stop(struct harness *h);

/*
 * Ask for a job ("kind", then pairs of field and text, NULL; "paths" and "set" may repeat) and wait
 * for its end. The job's object, the caller's; a refused request is {"code": ..., "reason": ...}.
 */
json_t *harness_job(struct harness *h, const char *kind, ...) __attribute__((sentinel));

/* The same, and the test fails unless the job is done. */
json_t *harness_done(struct harness *h, const char *kind, ...) __attribute__((sentinel));

/* Wait for the end of one more job that nobody here asked for. */
void harness_wait_event(struct harness *h);

/* A file of the site's live tree: write it, or compare it (NULL: it must not exist). */
void harness_write(struct harness *h, const char *site, const char *path, const char *text);
void harness_expect(struct harness *h, const char *site, const char *path, const char *text);

/* Its two halves: the new job's id, and how it ended. */
int64_t harness_submit(struct harness *h, const char *kind, ...) __attribute__((sentinel));
json_t *harness_wait(struct harness *h, int64_t id);

/* So many jobs may run at once from now on; 0: they wait. */
void harness_let_run(struct harness *h, unsigned n);

/* Does `fsctl status` list a problem of this code? Wait until it does. */
bool harness_has_problem(struct harness *h, const char *code);
void harness_wait_problem(struct harness *h, const char *code);

/* Nothing is left in staging; trash may hold what housekeeping has not removed yet. */
void harness_expect_clean(struct harness *h);

/* A text inside a JSON object by path, "result.site.name"; "" when it is not there. */
const char *harness_text(json_t *object, const char *path);
int64_t harness_int(json_t *object, const char *path);

#endif
