/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tools/fsctl/job.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/fsctl/ask.h"
#include "tools/fsctl/progress.h"
#include "tools/fsctl/text.h"

/* In a first exchange: a script is answered when the job has ended; a person is to see a bar. */
#define WAIT_SCRIPT 60

static int interrupted(const struct cli *c, const char *id)
{
	char reason[128], hint[256];

	snprintf(reason, sizeof(reason), "the wait was interrupted, job %.40s goes on", id);
	snprintf(hint, sizeof(hint),
		"\"fsctl job wait %.40s\" waits for it, \"fsctl job cancel %.40s\" stops it",
		id, id);
	return cli_error(c, FSC_EXIT_INTERRUPTED, "interrupted", NULL, reason, hint);
}

static int away(const struct cli *c, const char *id, const struct fsc_error *e)
{
	char reason[512], hint[128];

	snprintf(reason, sizeof(reason), "%.250s; what became of job %.40s is not known",
		e->reason, id);
	snprintf(hint, sizeof(hint),
		"see that it runs (systemctl status fsd), then \"fsctl job wait %.40s\"", id);
	return cli_error(c, e->exit, e->code, NULL, reason, hint);
}

/* ^C before the answer: the request may be a job by now. Its key asks which. */
static int interrupted_early(struct cli *c, struct fsc_request *req)
{
	struct fsc_value *answer = NULL;
	const char *id;
	int r;

	fsc_set_timeout(c->fsc, 5000);
	if (fsc_submit(c->fsc, req, 0, &answer, NULL) < 0)
		return cli_error(c, FSC_EXIT_INTERRUPTED, "interrupted", NULL,
			"interrupted; fsd may have begun the job", "\"fsctl job list\" shows it");
	id = fsc_value_str(answer, "job.id");
	r = interrupted(c, id ? id : "");
	fsc_value_free(&answer);
	return r;
}

static int replace_job(const struct cli *c, struct fsc_value **answer, const struct fsc_value *job)
{
	char *text = fsc_value_text(job, 0), *whole = NULL;
	int r = text ? asprintf(&whole, "{\"job\":%s}", text) : -1;

	fsc_value_free(answer);
	if (r >= 0)
		r = fsc_value_parse(whole, (size_t)r, answer);
	free(text);
	free(whole);
	return r < 0 ? cli_no_memory(c) : 0;
}

static int wait_with_bar(struct cli *c, struct progress *bar, const char *id, int timeout,
	struct fsc_value **job)
{
	struct fsc_error err;
	int r = fsc_job_wait(c->fsc, id, bar->shown ? progress_report : NULL, bar, timeout, job,
		&err);

	progress_clear(bar);
	if (r == 0)
		return 0;
	if (err.exit == FSC_EXIT_INTERRUPTED)
		return interrupted(c, id);
	return err.exit == FSC_EXIT_UNREACHABLE ? away(c, id, &err) : cli_fail(c, &err);
}

bool job_waits_for_pool(const struct fsc_value *job)
{
	return !fsc_job_ended(job) && fsc_value_str(job, "error.reason");
}

/* Where a bar does not. */
static void say_what_it_waits_for(const struct cli *c, const char *id)
{
	char *path = fsc_path("/v1/jobs/%s", id);
	struct fsc_value *job = NULL;
	struct fsc_error err;

	if (path && fsc_get(c->fsc, path, &job, &err) == 0 && job_waits_for_pool(job)) {
		fprintf(stderr, "fsctl: job %s: ", id);
		put_safe(stderr, fsc_value_str(job, "error.reason"));
		fputc('\n', stderr);
	}
	if (job)
		fsc_value_free(&job);
	free(path);
}

int job_wait(struct cli *c, const char *id, int timeout, struct fsc_value **job)
{
	struct progress bar;
	struct sigint sigint;
	int r;

	progress_init(&bar, c, id);
	if (!bar.shown && !c->quiet)
		say_what_it_waits_for(c, id);
	sigint_catch(&sigint, c);
	r = wait_with_bar(c, &bar, id, timeout, job);
	sigint_release(&sigint, c);
	return r;
}

/* The job of an accepted request, to its end. */
static int follow(struct cli *c, struct progress *bar, struct fsc_value **answer)
{
	const struct fsc_value *now = fsc_value_at(*answer, "job");
	char *id = fsc_value_bytes(now, "id");
	struct fsc_value *job = NULL;
	int r;

	if (!id || c->no_wait || fsc_job_ended(now)) {
		free(id);
		return 0;
	}
	r = wait_with_bar(c, bar, id, -1, &job);
	if (r == 0)
		r = replace_job(c, answer, job);
	if (job)
		fsc_value_free(&job);
	free(id);
	return r;
}

static int submit_and_wait(struct cli *c, struct fsc_request *req, struct fsc_value **answer,
	struct fsc_error *err)
{
	struct progress bar;
	struct sigint sigint;
	unsigned wait;
	int r;

	progress_init(&bar, c, c->args[0]);
	wait = c->no_wait || c->dry_run || bar.shown ? 0 : WAIT_SCRIPT;
	sigint_catch(&sigint, c);
	r = fsc_submit(c->fsc, req, wait, answer, err);
	if (r == 0)
		r = follow(c, &bar, answer);
	sigint_release(&sigint, c);
	return r;
}

int job_submit(struct cli *c, struct fsc_request *req, struct fsc_value **answer)
{
	struct fsc_error err;
	struct fsc_value *v = NULL;
	int r = submit_and_wait(c, req, &v, &err);

	if (r < 0 && strcmp(err.code, "confirmation_needed") == 0 && !c->yes) {
		r = ask_confirm(c, &err);
		if (r == 0) {
			fsc_request_set_bool(req, "confirm", true);
			r = submit_and_wait(c, req, &v, &err);
		}
	}
	if (r == 0) {
		*answer = v;
		return 0;
	}
	if (v)
		fsc_value_free(&v);
	if (r > 0)
		return r; /* said already */
	return err.exit == FSC_EXIT_INTERRUPTED ? interrupted_early(c, req) : cli_fail(c, &err);
}

int job_ask(struct cli *c, struct fsc_value **answer)
{
	struct fsc_request *req = NULL;
	int r = build_request(c, &req);

	if (r)
		return r;
	r = job_submit(c, req, answer);
	fsc_request_free(&req);
	return r;
}

static int answer_running(const struct cli *c, const struct fsc_value *job)
{
	const char *id = fsc_value_str(job, "id"), *state = fsc_value_str(job, "state");

	if (c->quiet)
		printf("%s\n", id ? id : "");
	else
		printf("job %s is %s\n", id ? id : "?", state ? state : "accepted");
	return 0;
}

int job_answer(struct cli *c, const struct fsc_value *answer)
{
	const struct fsc_value *job = fsc_value_at(answer, "job");
	const struct fsc_value *plan = fsc_value_at(answer, "plan");
	struct fsc_error err;
	int r = 0;

	if (c->json)
		print_json_as(plan ? "plan" : "job", plan ? plan : job);
	if (plan) {
		if (!c->json && !c->quiet)
			plan_print(plan);
		return 0;
	}
	if (!fsc_job_ended(job))
		return c->json ? 0 : answer_running(c, job);
	r = fsc_job_outcome(job, &err);
	if (r < 0)
		return cli_fail(c, &err);
	if (!c->json)
		result_print(c, job);
	return r > 0 ? FSC_EXIT_PARTIAL : 0;
}

/* ---- commands ---- */

int run_job(struct cli *c)
{
	struct fsc_value *answer = NULL;
	int r = job_ask(c, &answer);

	if (r)
		return r;
	r = job_answer(c, answer);
	fsc_value_free(&answer);
	return r;
}

int job_item(struct cli *c, size_t *printed)
{
	struct fsc_value *answer = NULL;
	int r = job_ask(c, &answer);

	if (r)
		return r;
	if (c->json)
		fputs((*printed)++ ? ",\n  " : "", stdout);
	r = job_answer(c, answer);
	fsc_value_free(&answer);
	return r;
}

static int hold(struct cli *c, bool on)
{
	struct fsc_value *answer = NULL;
	struct fsc_request *req = NULL;
	int r = build_request(c, &req);

	if (r)
		return r;
	fsc_request_set_bool(req, "hold", on);
	r = job_submit(c, req, &answer);
	fsc_request_free(&req);
	if (r)
		return r;
	r = job_answer(c, answer);
	fsc_value_free(&answer);
	return r;
}

int run_hold(struct cli *c)
{
	return hold(c, true);
}

int run_release(struct cli *c)
{
	return hold(c, false);
}

int job_ask_question(struct cli *c, struct fsc_value **answer, const struct fsc_value **result)
{
	const struct fsc_value *job;
	struct fsc_error err;
	int r = job_ask(c, answer);

	*result = NULL;
	if (r)
		return r;
	job = fsc_value_at(*answer, "job");
	if (!job || !fsc_job_ended(job))
		return job_answer(c, *answer);
	r = fsc_job_outcome(job, &err);
	if (r < 0)
		return cli_fail(c, &err);
	*result = fsc_value_at(job, "result");
	return 0;
}

int run_check(struct cli *c)
{
	const struct fsc_value *result;
	struct fsc_value *answer = NULL;
	int r = job_ask_question(c, &answer, &result);

	if (result) {
		bool ok = fsc_value_bool(result, "ok", false);

		if (c->json)
			print_json(result);
		else if (!c->quiet && !problems_print(result) && ok)
			puts("ok");
		r = ok ? 0 : FSC_EXIT_FAILED;
	}
	if (answer)
		fsc_value_free(&answer);
	return r;
}

int run_job_wait(struct cli *c)
{
	const char *seconds = cli_local(c, LOCAL_TIMEOUT);
	struct fsc_value *job = NULL, *answer = NULL;
	int timeout = -1, r;

	if (seconds && (!parse_number(seconds, &timeout) || timeout > 2000000))
		return cli_usage(c, seconds, "this is not a number of seconds");
	r = job_wait(c, c->args[0], timeout < 0 ? -1 : timeout * 1000, &job);
	if (r == 0)
		r = replace_job(c, &answer, job);
	if (r == 0)
		r = job_answer(c, answer);
	if (answer)
		fsc_value_free(&answer);
	if (job)
		fsc_value_free(&job);
	return r;
}

/* After the wait: was it the cancel that ended it? */
static int answer_canceled(struct cli *c, const struct fsc_value *job)
{
	const char *state = fsc_value_str(job, "state");

	if (c->json)
		print_json_as("job", job);
	if (fsc_job_ended(job) && strcmp(state, "canceled") != 0)
		return cli_error(c, FSC_EXIT_IN_THE_WAY, "job_ended", c->args[0],
			"it ended before it could be stopped", NULL);
	if (c->json || c->quiet)
		return 0;
	if (fsc_job_ended(job) || !job_waits_for_pool(job))
		printf("job %s is %s\n", c->args[0], fsc_job_ended(job) ? state : "being stopped");
	else
		printf("job %s: %s\n", c->args[0], fsc_value_str(job, "error.reason"));
	return 0;
}

/* Nothing a plan could be made of: what would be stopped, as it is. */
static int show_cancel(struct cli *c)
{
	struct fsc_value *job = NULL;
	struct fsc_error err;
	const char *kind, *site;
	char *path = NULL;
	int r = build_path(c, &path);

	if (r == 0 && fsc_get(c->fsc, path, &job, &err) < 0)
		r = cli_fail(c, &err);
	free(path);
	if (r)
		return r;
	kind = fsc_value_str(job, "kind");
	site = fsc_value_str(job, "site.name");
	if (fsc_job_ended(job))
		r = cli_error(c, FSC_EXIT_IN_THE_WAY, "job_ended", c->args[0],
			"the job has already ended", NULL);
	else if (c->json)
		print_json_as("job", job);
	else if (!c->quiet)
		printf("nothing was changed; this would be done:\n  1. stop job %s, the %s%s%s "
			"that is %s\n", c->args[0], kind ? kind : "?", site ? " of " : "",
			site ? site : "", fsc_value_str(job, "state"));
	fsc_value_free(&job);
	return r;
}

int run_job_cancel(struct cli *c)
{
	struct fsc_value *job = NULL;
	struct fsc_error err;
	int r;

	if (c->dry_run)
		return show_cancel(c);
	if (fsc_job_cancel(c->fsc, c->args[0], &job, &err) < 0)
		return cli_fail(c, &err);
	if (!fsc_job_ended(job) && !job_waits_for_pool(job) && !c->no_wait) {
		fsc_value_free(&job);
		r = job_wait(c, c->args[0], -1, &job);
		if (r)
			return r;
	}
	r = answer_canceled(c, job);
	fsc_value_free(&job);
	return r;
}

/* The pools by name, one job each. */
static int scan_pools(struct cli *c, const struct fsc_value *pools)
{
	size_t printed = 0;
	int worst = 0;

	for (size_t i = 0; i < fsc_value_count(pools); i++) {
		int r;

		c->args[0] = fsc_value_str(fsc_value_item(pools, i), "name");
		if (!c->args[0])
			continue;
		r = job_item(c, &printed);
		if (r == FSC_EXIT_INTERRUPTED)
			return r;
		worst = r ? r : worst;
	}
	return worst;
}

int run_pool_scan(struct cli *c)
{
	struct fsc_value *v = NULL;
	const struct fsc_value *pools;
	struct fsc_error err;
	bool several;
	int r;

	if (c->args[0])
		return run_job(c);
	if (fsc_get(c->fsc, "/v1/pools", &v, &err) < 0)
		return cli_fail(c, &err);
	pools = fsc_value_at(v, "items");
	several = c->json && fsc_value_count(pools) != 1;
	if (several)
		fputs("{\"items\": [\n  ", stdout);
	r = scan_pools(c, pools);
	if (several)
		fputs("], \"next\": null}\n", stdout);
	c->args[0] = NULL;
	fsc_value_free(&v);
	return r;
}
