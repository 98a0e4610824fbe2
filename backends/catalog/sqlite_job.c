/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Jobs and events, and forgetting them. */
#include "backends/catalog/sqlite_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- jobs ---- */

static const struct column job_columns[] = {
	COLUMN(INT, cat_job, id),
	COLUMN(TEXT, cat_job, kind),
	COLUMN(TEXT, cat_job, state),
	COLUMN(TEXT, cat_job, site),
	COLUMN(TEXT, cat_job, site_name),
	COLUMN(TEXT, cat_job, pool),
	COLUMN(TEXT, cat_job, actor),
	COLUMN(TEXT, cat_job, note),
	COLUMN(TEXT, cat_job, key),
	COLUMN(INT, cat_job, created),
	COLUMN(INT, cat_job, started),
	COLUMN(INT, cat_job, finished),
	COLUMN(INT, cat_job, undone_by),
	COLUMN(LONG, cat_job, args),
	COLUMN(LONG, cat_job, intent),
	COLUMN(LONG, cat_job, result),
	COLUMN(LONG, cat_job, stats),
	COLUMN(LONG, cat_job, error),
};

static const struct record job_record = {
	.table = "jobs",
	.key = "id",
	.code = "key_reused",
	.name = offsetof(struct cat_job, key),
	COLUMNS(job_columns),
};

int catalog_job_put(struct catalog *c, const struct cat_job *j, struct err *err)
{
	return sql_put(c, &job_record, j, err);
}

static const char **job_text(struct cat_job *j, unsigned i)
{
	const char **const texts[] = {&j->args, &j->intent, &j->result, &j->stats, &j->error, NULL};

	return texts[i];
}

void cat_job_release(struct cat_job *j)
{
	const char **text;

	for (unsigned i = 0; (text = job_text(j, i)); i++) {
		free((void *)(uintptr_t)*text);
		*text = NULL;
	}
}

/* The record's own copies of its texts, so that it outlives the statement. */
static int own_texts(struct cat_job *j, struct err *err)
{
	struct cat_job copy = *j;
	const char **text;
	bool failed = false;

	for (unsigned i = 0; (text = job_text(&copy, i)); i++) {
		if (*text && !(*text = strdup(*text)))
			failed = true;
	}
	if (failed) {
		cat_job_release(&copy);
		return err_sys(err, ENOMEM, "read a job", NULL);
	}
	*j = copy;
	return 0;
}

static int get_job(struct catalog *c, struct query *q, struct cat_job *out, struct err *err)
{
	struct cat_job job;
	int r = query_one(c, q, &job, err);

	if (r == 0)
		r = own_texts(&job, err);
	if (r == 0)
		*out = job;
	return r;
}

int catalog_job_get(struct catalog *c, int64_t id, struct cat_job *out, struct err *err)
{
	_cleanup_query_ struct query q;

	query_init(&q, &job_record);
	query_where_int(&q, "id = ?", id);
	return get_job(c, &q, out, err);
}

int catalog_job_by_key(struct catalog *c, const char *actor, const char *key, struct cat_job *out,
	struct err *err)
{
	_cleanup_query_ struct query q;

	query_init(&q, &job_record);
	query_where_text(&q, "actor = ?", actor);
	query_where_text(&q, "key = ? AND key <> ''", key);
	return get_job(c, &q, out, err);
}

int catalog_jobs(struct catalog *c, const struct cat_job_filter *f,
	int (*fn)(const struct cat_job *, void *), void *arg, struct err *err)
{
	_cleanup_query_ struct query q;
	struct cat_job job;
	int r;

	query_init(&q, &job_record);
	if (f->state && strcmp(f->state, "unfinished") == 0)
		query_where(&q, "state IN ('queued', 'running')");
	else if (f->state)
		query_where_text(&q, "state = ?", f->state);
	if (f->site) {
		query_where_text(&q, "(site = ? OR site_name = ?)", f->site);
		query_arg_text(&q, f->site);
	}
	if (f->before)
		query_where_int(&q, "id < ?", f->before);
	query_order(&q, f->oldest_first ? "id" : "id DESC", f->limit);
	while ((r = query_next(c, &q, &job, err)) > 0) {
		r = fn(&job, arg);
		if (r)
			break;
	}
	return r;
}

int catalog_job_last(struct catalog *c, int64_t *id, struct err *err)
{
	return sql_int(c, "SELECT seq FROM sqlite_sequence WHERE name = 'jobs'", NULL, id, err);
}

/* ---- events ---- */

static const struct column event_columns[] = {
	COLUMN(INT, cat_event, id),
	COLUMN(INT, cat_event, time),
	COLUMN(TEXT, cat_event, kind),
	COLUMN(TEXT, cat_event, site),
	COLUMN(INT, cat_event, job),
	COLUMN(LONG, cat_event, data),
};

static const struct record event_record = {
	.table = "events",
	.key = "id",
	.code = "exists",
	.name = offsetof(struct cat_event, kind),
	COLUMNS(event_columns),
};

int catalog_event_put(struct catalog *c, const struct cat_event *e, struct err *err)
{
	return sql_put(c, &event_record, e, err);
}

int catalog_events(struct catalog *c, const struct cat_event_filter *f,
	int (*fn)(const struct cat_event *, void *), void *arg, struct err *err)
{
	_cleanup_query_ struct query q;
	struct cat_event event;
	int r;

	query_init(&q, &event_record);
	query_where_int(&q, "id > ?", f->after);
	if (f->job)
		query_where_int(&q, "job = ? AND job <> 0", f->job);
	if (f->site)
		query_where_text(&q, "site = ? AND site <> ''", f->site);
	query_order(&q, "id", f->limit);
	while ((r = query_next(c, &q, &event, err)) > 0) {
		r = fn(&event, arg);
		if (r)
			break;
	}
	return r;
}

int catalog_event_last(struct catalog *c, int64_t *id, struct err *err)
{
	return sql_int(c, "SELECT seq FROM sqlite_sequence WHERE name = 'events'", NULL, id, err);
}

/* ---- forgetting ---- */

static int delete_before(struct catalog *c, const char *sql, int64_t time, struct err *err)
{
	sqlite3_stmt *s;
	int r = sql_statement(c, sql, &s, err);

	if (r < 0)
		return r;
	sqlite3_bind_int64(s, 1, time);
	return sql_write(c, s, NULL, err);
}

int catalog_expire(struct catalog *c, int64_t older_than, struct err *err)
{
	bool own;
	int r = sql_begin_nested(c, &own, err);

	if (r < 0)
		return r;
	r = delete_before(c, "DELETE FROM jobs WHERE finished <> 0 AND finished < ?", older_than,
		err);
	if (r == 0)
		r = delete_before(c, "DELETE FROM events WHERE time < ?", older_than, err);
	return sql_end_nested(c, own, r, err);
}
