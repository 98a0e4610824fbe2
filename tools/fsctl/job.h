/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Asking for a job, waiting for it and answering for it: what all commands that make one share. */
#ifndef FSCTL_JOB_H
#define FSCTL_JOB_H

#include "tools/fsctl/cli.h"

/*
 * Submit, ask for confirmation where it is needed, wait unless --no-wait. 0 with *answer, an object
 * with "job" or "plan", which the caller frees; or the exit code after an error was printed.
 * Interrupted waits say how to go on and are exit code 130.
 */
int job_submit(struct cli *c, struct fsc_request *req, struct fsc_value **answer);

/* Build the request of the command and submit it. */
int job_ask(struct cli *c, struct fsc_value **answer);

/* Ask for a job that answers a question, whose result is what is printed: borrowed from *answer,
 * NULL where that is done already. */
int job_ask_question(struct cli *c, struct fsc_value **answer, const struct fsc_value **result);

/*
 * Answer for a job as a mutation does: JSON, or what was made, or the error. A job that has not
 * ended is printed as such. Returns the exit code.
 */
int job_answer(struct cli *c, const struct fsc_value *answer);

/* Both, as one of several: with --json as an item of a list of which *printed items are there. */
int job_item(struct cli *c, size_t *printed);

/* Wait for a job that exists. 0 and *job, or the exit code. */
int job_wait(struct cli *c, const char *id, int timeout_ms, struct fsc_value **job);

/* Canceled, but what it has begun cannot be seen before its pool is back. */
bool job_waits_for_pool(const struct fsc_value *job);

/* ---- result.c ---- */

/* What a job that is done has made, as text, or as the bare name (--quiet). */
void result_print(const struct cli *c, const struct fsc_value *job);
void plan_print(const struct fsc_value *plan);
/* Problems found by a check, and whether there were any. */
bool problems_print(const struct fsc_value *result);

/* ---- diff.c ---- */

/* The lines of a diff that is done. 0, or the exit code after an error was printed. */
int diff_print(const struct cli *c, const struct fsc_value *job);

#endif
