/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Commands that only read: lists, single objects, paths, the status, events. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/fsctl/cli.h"
#include "tools/fsctl/job.h"
#include "tools/fsctl/list.h"
#include "tools/fsctl/outline.h"
#include "tools/fsctl/progress.h"
#include "tools/fsctl/text.h"

#define PAGE_MAX 1000
#define HEAD_SIZE 32

/* ---- lists ---- */

struct listing {
	struct cli *c;
	char *path; /* without limit and cursor */
	struct list_out *out;
	char *next; /* the cursor behind what was printed */
	int left;   /* items still wanted; -1: all */
};

static const char *cursor_name(const char *path)
{
	return strstr(path, "/events") || strstr(path, "/log") ? "after" : "cursor";
}

static int page_path(const struct listing *l, char **path)
{
	bool paged = strcmp(l->c->cmd->path, "/v1/pools") != 0 &&
		!strstr(l->c->cmd->path, "/generations");
	char limit[16];

	snprintf(limit, sizeof(limit), "%d",
		l->left < 0 || l->left > PAGE_MAX ? PAGE_MAX : l->left);
	*path = strdup(l->path);
	if (!*path || (paged && fsc_path_add(path, "limit", limit) < 0) ||
		fsc_path_add(path, cursor_name(l->path), l->next) < 0)
		return cli_no_memory(l->c);
	return 0;
}

/* The cursor, a text or a number; NULL at the end. */
static int keep_next(struct listing *l, const struct fsc_value *page)
{
	const struct fsc_value *next = fsc_value_member(page, "next");
	char *old = l->next;
	bool stuck;

	l->next = NULL;
	if (fsc_value_type(next) == FSC_STR)
		l->next = strdup(fsc_value_str(next, NULL));
	else if (fsc_value_type(next) == FSC_INT)
		l->next = fsc_value_text(next, 0);
	stuck = old && l->next && strcmp(old, l->next) == 0;
	free(old);
	return stuck ? cli_error(l->c, FSC_EXIT_FAILED, "bad_response", NULL,
			       "the list's cursor does not move", NULL) : 0;
}

static const struct view *view_of(const struct listing *l)
{
	return view_for(strstr(l->path, "deleted=true") ? "/v1/sites?deleted=true" :
							   l->c->cmd->path);
}

static int print_page(struct listing *l, const struct fsc_value *page)
{
	const struct fsc_value *items = fsc_value_member(page, "items");
	size_t n = fsc_value_count(items);

	if (l->left >= 0 && n > (size_t)l->left)
		n = (size_t)l->left;
	if (!l->out)
		l->out = list_begin(l->c, view_of(l));
	if (!l->out)
		return cli_no_memory(l->c);
	for (size_t i = 0; i < n; i++) {
		if (list_item(l->out, fsc_value_item(items, i)) < 0)
			return cli_no_memory(l->c);
	}
	if (l->left >= 0)
		l->left -= (int)n;
	return keep_next(l, page);
}

static int one_page(struct listing *l)
{
	struct fsc_value *page = NULL;
	struct fsc_error err;
	char *path = NULL;
	int r = page_path(l, &path);

	if (r == 0 && fsc_get(l->c->fsc, path, &page, &err) < 0)
		r = cli_fail(l->c, &err);
	free(path);
	if (r == 0)
		r = print_page(l, page);
	if (page)
		fsc_value_free(&page);
	return r;
}

int run_list(struct cli *c)
{
	const char *limit = cli_local(c, LOCAL_LIMIT), *cursor = cli_local(c, LOCAL_CURSOR);
	struct listing l = {.c = c, .left = -1};
	int r;

	if (limit && (!parse_number(limit, &l.left) || l.left == 0))
		return cli_usage(c, limit, "this is not a number of items");
	r = build_path(c, &l.path);
	if (r == 0 && cursor) {
		l.next = strdup(cursor);
		r = l.next ? 0 : cli_no_memory(c);
	}
	while (r == 0) {
		r = one_page(&l);
		if (!l.next || l.left == 0)
			break;
	}
	/* What came before an error is shown; as JSON it stays an open list, which no reader takes
	 * for a whole one. */
	if (l.out && r != 0 && c->json)
		list_drop(&l.out);
	else if (l.out && list_end(&l.out, l.next) < 0)
		r = cli_no_memory(c);
	free(l.path);
	free(l.next);
	return r;
}

/* ---- one object ---- */

/* "free      ": as wide as the widest head, and a gap. */
static void make_head(const char *head, int width, char out[HEAD_SIZE])
{
	snprintf(out, HEAD_SIZE, "%-*s  ", width, head);
	for (char *p = out; *p; p++)
		*p = *p >= 'A' && *p <= 'Z' ? (char)(*p + 32) : *p;
}

static void show_line(const char *head, int width, const char *text)
{
	char begin[HEAD_SIZE];

	make_head(head, width, begin);
	printf("%s%s\n", begin, text);
}

static void show_object(const struct column *col, int width, const struct fsc_value *object)
{
	char begin[HEAD_SIZE];

	make_head(col->head, width, begin);
	outline_print(object, begin, isatty(STDOUT_FILENO));
}

/* Sentences, each on a line of its own. */
static void show_sentences(const struct column *col, int width, const struct fsc_value *list)
{
	for (size_t i = 0; i < fsc_value_count(list); i++) {
		char *text = safe_text(fsc_value_str(fsc_value_item(list, i), NULL));

		show_line(i ? "" : col->head, width, text ? text : "");
		free(text);
	}
}

static int show_lines(const struct fsc_value *v, const struct column *columns)
{
	int width = 0;

	for (const struct column *col = columns; col->head; col++)
		width = (int)strlen(col->head) > width ? (int)strlen(col->head) : width;
	for (const struct column *col = columns; col->head; col++) {
		char *text = cell_text(col, v, isatty(STDOUT_FILENO));

		if (!text)
			return -ENOMEM;
		if (col->how == H_JSON)
			show_object(col, width, fsc_value_at(v, col->path));
		else if (col->how == H_SENTENCES)
			show_sentences(col, width, fsc_value_at(v, col->path));
		else if (*text)
			show_line(col->head, width, text);
		free(text);
	}
	return 0;
}

static int show(struct cli *c, const struct fsc_value *v)
{
	const struct view *view = view_for(c->cmd->path);
	char *name;

	if (c->json) {
		print_json(v);
		return 0;
	}
	if (!c->quiet)
		return show_lines(v, view->columns) < 0 ? cli_no_memory(c) : 0;
	name = cell_text(&view->columns[0], v, false);
	printf("%s\n", name ? name : "");
	free(name);
	return 0;
}

static int measured(struct cli *c, const struct fsc_value *answer)
{
	const struct fsc_value *job = fsc_value_at(answer, "job");
	struct fsc_error err;

	if (c->dry_run)
		return job_answer(c, answer);
	return fsc_job_ended(job) && fsc_job_outcome(job, &err) < 0 ? cli_fail(c, &err) : 0;
}

/* "site show --measure", or a snapshot's: count first, by a job of its own. */
static int measure(struct cli *c)
{
	bool snapshot = c->cmd->args[0].kind == W_SNAPSHOT;
	struct fsc_request *req = fsc_request_new(snapshot ? "snapshot-measure" : "site-measure");
	char *word = source_absolute(c->args[0]);
	struct fsc_value *answer = NULL;
	int r;

	if (!req || !word || fsc_request_set_str(req, snapshot ? "source" : "site", word) < 0) {
		r = cli_no_memory(c);
	} else {
		fsc_request_set_bool(req, "dry_run", c->dry_run);
		r = job_submit(c, req, &answer);
	}
	if (r == 0)
		r = measured(c, answer);
	if (answer)
		fsc_value_free(&answer);
	fsc_request_free(&req);
	free(word);
	return r;
}

static int get_path(struct cli *c, const char *path, struct fsc_value **v)
{
	struct fsc_error err;

	return fsc_get(c->fsc, path, v, &err) < 0 ? cli_fail(c, &err) : 0;
}

static int get(struct cli *c, struct fsc_value **v)
{
	char *path = NULL;
	int r = build_path(c, &path);

	if (r == 0)
		r = get_path(c, path, v);
	free(path);
	return r;
}

int run_show(struct cli *c)
{
	struct fsc_value *v = NULL;
	bool count = cli_local(c, LOCAL_MEASURE);
	char *path = NULL;
	int r = build_path(c, &path); /* and wrong words are told before anything is counted */

	if (r == 0 && count)
		r = measure(c);
	if (r == 0 && !(count && c->dry_run))
		r = get_path(c, path, &v);
	free(path);
	if (r || !v)
		return r;
	r = show(c, v);
	fsc_value_free(&v);
	return r;
}

int run_path(struct cli *c)
{
	struct fsc_value *v = NULL;
	char *path;
	int r = get(c, &v);

	if (r)
		return r;
	path = fsc_value_bytes(v, "path");
	if (c->json)
		print_json(v);
	else if (!path)
		r = cli_error(c, FSC_EXIT_FAILED, "bad_response", c->args[0], "there is no path in "
			"fsd's answer", NULL);
	else if (isatty(STDOUT_FILENO))
		put_quoted(stdout, path), putchar('\n');
	else
		puts(path);
	free(path);
	fsc_value_free(&v);
	return r;
}

/* ---- status ---- */

static void status_problems(const struct fsc_value *problems)
{
	static const char *const members[] = {"severity", "object", "reason"};

	for (size_t i = 0; i < fsc_value_count(problems); i++) {
		const struct fsc_value *p = fsc_value_item(problems, i);

		for (int k = 0; k < 3; k++) {
			const char *text = fsc_value_str(p, members[k]);

			if (!text || !*text)
				continue;
			put_safe(stdout, text);
			fputs(k < 2 ? ": " : "\n", stdout);
		}
		if (fsc_value_str(p, "hint") && *fsc_value_str(p, "hint")) {
			fputs("  hint: ", stdout);
			put_safe(stdout, fsc_value_str(p, "hint"));
			putchar('\n');
		}
	}
}

static int status_text(struct cli *c, const struct fsc_value *v)
{
	const struct fsc_value *pools = fsc_value_at(v, "pools");
	char text[SIZE_TEXT];
	struct list_out *out;
	int r = 0;

	fputs("fsd ", stdout);
	put_safe(stdout, fsc_value_str(v, "version"));
	fputs(": ", stdout);
	put_safe(stdout, fsc_value_str(v, "state"));
	fputs(", since ", stdout);
	put_safe(stdout, local_time(fsc_value_str(v, "started"), text));
	printf("\nsites: %lld, jobs: %lld running, %lld queued\n",
		(long long)fsc_value_int(v, "sites", 0),
		(long long)fsc_value_int(v, "jobs.running", 0),
		(long long)fsc_value_int(v, "jobs.queued", 0));
	out = list_begin(c, view_for("/v1/pools"));
	if (!out)
		return cli_no_memory(c);
	for (size_t i = 0; i < fsc_value_count(pools); i++)
		r = list_item(out, fsc_value_item(pools, i)) < 0 ? -1 : r;
	if (list_end(&out, NULL) < 0 || r < 0)
		return cli_no_memory(c);
	status_problems(fsc_value_at(v, "problems"));
	return 0;
}

int run_status(struct cli *c)
{
	struct fsc_value *v = NULL;
	const char *state;
	int r = get(c, &v);

	if (r)
		return r;
	state = fsc_value_str(v, "state");
	if (c->json)
		print_json(v);
	else if (c->quiet)
		printf("%s\n", state ? state : "?");
	else
		r = status_text(c, v);
	if (r == 0 && cli_local(c, LOCAL_CHECK))
		r = !state || strcmp(state, "critical") == 0 ? 2 : strcmp(state, "ok") != 0;
	fsc_value_free(&v);
	return r;
}

/* ---- events ---- */

static void print_event(const struct cli *c, const struct fsc_value *event)
{
	const struct view *view = view_for("/v1/events");
	char *text;

	if (c->json) {
		text = fsc_value_text(event, 0);
		puts(text ? text : "null");
		free(text);
	} else {
		for (const struct column *col = view->columns; col->head; col++) {
			text = cell_text(col, event, isatty(STDOUT_FILENO));
			printf("%s%s", col == view->columns ? "" :
				isatty(STDOUT_FILENO) ? "  " : "\t", text && *text ? text : "-");
			free(text);
			if (c->quiet)
				break;
		}
		putchar('\n');
	}
}

int run_event_follow(struct cli *c)
{
	struct fsc_events *events = NULL;
	const struct fsc_value *event;
	struct fsc_error err;
	int r = fsc_events_open(c->fsc, cli_local(c, LOCAL_CURSOR), &events, &err);

	while (r >= 0) {
		r = fsc_events_next(events, -1, &event, &err);
		if (r == 1)
			print_event(c, event);
		if (flush_output())
			break;
	}
	fsc_events_free(&events);
	return r < 0 ? cli_fail(c, &err) : 0;
}
