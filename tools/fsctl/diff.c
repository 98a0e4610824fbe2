/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a diff found: in the job's result, or page after page where that has the first ones only. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/fsctl/job.h"
#include "tools/fsctl/text.h"

typedef void change_fn(const struct fsc_value *change, size_t n);

static void put_line(const struct fsc_value *change, size_t n)
{
	char *path = fsc_value_bytes(change, "path"), *from = fsc_value_bytes(change, "from");

	(void)n;
	put_safe(stdout, fsc_value_str(change, "change"));
	putchar(' ');
	if (from) {
		put_quoted(stdout, from);
		fputs(" -> ", stdout);
	}
	put_quoted(stdout, path ? path : "?");
	putchar('\n');
	free(path);
	free(from);
}

static void put_json(const struct fsc_value *change, size_t n)
{
	char *text = fsc_value_text(change, 0);

	printf("%s%s", n ? ", " : "", text ? text : "null");
	free(text);
}

static int each_recorded(const struct fsc_value *result, change_fn *put, size_t *n)
{
	const struct fsc_value *items = fsc_value_at(result, "items");

	for (; *n < fsc_value_count(items); ++*n)
		put(fsc_value_item(items, *n), *n);
	return 0;
}

static int each_in_pages(const struct cli *c, const struct fsc_value *job, change_fn *put,
	size_t *n)
{
	char *path = fsc_path("/v1/jobs/%s/changes", fsc_value_str(job, "id"));
	struct fsc_list *list = NULL;
	const struct fsc_value *change;
	struct fsc_error err;
	int r;

	if (path && fsc_path_add(&path, "limit", "1000") == 0)
		list = fsc_list_new(c->fsc, path);
	free(path);
	if (!list)
		return cli_no_memory(c);
	while ((r = fsc_list_next(list, &change, &err)) > 0)
		put(change, (*n)++);
	fsc_list_free(&list);
	if (r < 0 && *n == 0 && strcmp(err.code, "not_kept") == 0)
		return each_recorded(fsc_value_at(job, "result"), put, n);
	return r < 0 ? cli_fail(c, &err) : 0;
}

static int each_change(const struct cli *c, const struct fsc_value *job, change_fn *put, size_t *n)
{
	const struct fsc_value *result = fsc_value_at(job, "result");

	return fsc_value_bool(result, "truncated", false) ? each_in_pages(c, job, put, n)
							  : each_recorded(result, put, n);
}

/* How many there are, listed or not. */
static size_t count_all(const struct fsc_value *counts)
{
	size_t n = 0;

	for (const char *key = NULL; (key = fsc_value_next(counts, key));)
		n += (size_t)fsc_value_int(fsc_value_member(counts, key), NULL, 0);
	return n;
}

static void warn_missing(size_t n, size_t all)
{
	if (n >= all)
		return;
	flush_output();
	fprintf(stderr, "fsctl: warning: only the first %zu of %zu differences are listed; "
			"name PATHs to see others\n", n, all);
}

int diff_print(const struct cli *c, const struct fsc_value *job)
{
	size_t n = 0;
	int r = each_change(c, job, put_line, &n);

	if (r == 0)
		warn_missing(n, count_all(fsc_value_at(job, "result.counts")));
	return r;
}

/* A list as every other; its counts beside it. After an error it stays open, which no reader takes
 * for a whole one. */
static int print_as_json(const struct cli *c, const struct fsc_value *job)
{
	const struct fsc_value *counts = fsc_value_at(job, "result.counts");
	char *text = fsc_value_text(counts, 0);
	size_t n = 0;
	int r;

	fputs("{\"items\": [", stdout);
	r = each_change(c, job, put_json, &n);
	if (r == 0)
		printf("], \"next\": null, \"counts\": %s, \"truncated\": %s}\n",
			text ? text : "{}", n < count_all(counts) ? "true" : "false");
	free(text);
	return r;
}

int run_diff(struct cli *c)
{
	const struct fsc_value *result, *job;
	struct fsc_value *answer = NULL;
	int r = job_ask_question(c, &answer, &result);

	if (result) {
		job = fsc_value_at(answer, "job");
		if (c->json)
			r = print_as_json(c, job);
		else if (!c->quiet)
			r = diff_print(c, job);
		if (r == 0 && fsc_value_count(fsc_value_at(result, "items")) > 0 &&
			cli_local(c, LOCAL_EXIT_CODE))
			r = 1;
	}
	if (answer)
		fsc_value_free(&answer);
	return r;
}
