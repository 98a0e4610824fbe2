/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A job as the catalog and the API see it. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fsd/core/json.h"
#include "fsd/worker/jobs.h"
#include "fsd/worker/pools.h"
#include "fsd/worker/state.h"
#include "snap/base/clock.h"

static json_int_t bytes(uint64_t n)
{
	return (json_int_t)snap_add(n, 0);
}

/* Are its numbers those of copies? A snapshot shares all it has: what ctx counts then is what was
 * taken out of it. */
static bool has_copied(const struct job *job)
{
	return job->copied_entries ||
	       (job->method && strcmp(job->method, pool_method_name(POOL_METHOD_SNAPSHOT)) == 0);
}

static json_t *counted(const struct job *job, uint64_t n)
{
	return job->recovered ? json_null() : json_integer(bytes(n));
}

/* 0: not begun; or an earlier fsd began it, and has not left word when. */
static int64_t started(const struct job *job)
{
	return job->recovered ? 0 : job->started;
}

static json_t *seconds(const struct job *job)
{
	int64_t since = started(job), took = job->finished && since ? job->finished - since : 0;

	if (job->started && !since)
		return json_null();
	return json_real((double)took / (double)NSEC_PER_SEC);
}

static json_t *stats(const struct job *job)
{
	bool copied = has_copied(job);
	json_t *s = json_pack("{s:o,s:o,s:o,s:o,s:I,s:I}", "seconds", seconds(job),
		"entries", counted(job, copied ? job->copied_entries : job->ctx.entries_done),
		"bytes", counted(job, copied ? job->copied_bytes : job->ctx.bytes_done),
		"bytes_cloned", counted(job, job->bytes_cloned),
		"syncs", (json_int_t)job->syncs, "commits", (json_int_t)job->commits);

	json_object_set_new(s, "method", job->method ? json_string(job->method) : json_null());
	json_object_set_new(s, "consistency",
		job->consistency ? json_string(job->consistency) : json_null());
	return s;
}

/* What changed under way is done more than once, and was not in the total. */
static json_int_t done_of(uint64_t done, uint64_t total)
{
	return bytes(total && done > total ? total : done);
}

static json_t *progress(const struct job *job)
{
	uint64_t entries = job->ctx.entries_total, size = job->ctx.bytes_total;

	return json_pack("{s:I,s:I,s:I,s:I}", "entries_done",
		done_of(job->ctx.entries_done, entries), "entries_total", bytes(entries),
		"bytes_done", done_of(job->ctx.bytes_done, size), "bytes_total", bytes(size));
}

/* The intent with what recovery needs besides: locks, and the inner request of an undo. */
static char *intent_text(const struct job *job)
{
	json_t *doc = json_copy(job->intent), *locks = json_array();
	char *args, *text;

	for (unsigned i = 0; i < job->n_locks; i++)
		json_array_append_new(locks, json_pack("[o,b]", json_text(job->locks[i].key),
			job->locks[i].exclusive));
	json_object_set_new(doc, "_locks", locks);
	if (job->unseen && job->was_canceled)
		json_object_set_new(doc, "_canceled", json_true());
	if (job->undoes) {
		char id[JOB_ID_SIZE];

		args = request_to_json(&job->request);
		json_object_set_new(doc, "_undoes", json_string(job_id_format(job->undoes, id)));
		json_object_set_new(doc, "_kind", json_string(op_specs[job->kind->op].name));
		json_object_set_new(doc, "_args", args ? json_loads(args, 0, NULL) : json_null());
		free(args);
	}
	text = json_dumps(doc, JSON_COMPACT);
	json_decref(doc);
	return text;
}

/* Then nobody asks for its intent any more once it has ended. */
static bool only_looks(const struct job *job)
{
	return !job->kind->committed && !job->kind->undo;
}

static char *args_text(const struct job *job)
{
	return job->asked ? strdup(job->asked) : request_to_json(&job->request);
}

static char *error_text(const struct err *e)
{
	json_t *doc = json_problem(e, json_problem_status(e));
	char *text = json_dumps(doc, JSON_COMPACT);

	json_decref(doc);
	return text;
}

/* Of one that has to be looked at before it ends. */
static char *canceled_text(const struct job *job)
{
	struct err e = ERR_INIT;

	err_set(&e, ECANCELED, "canceled", NULL, "canceled while pool %.60s was offline; what it "
		"had begun, if anything, is settled once that is online",
		job->pool ? job->pool->config->name : "?");
	return error_text(&e);
}

static void outcome_texts(const struct job *job, enum job_state state, struct cat_job *row)
{
	json_t *doc;

	doc = json_copy(job->result);
	if (job->warnings)
		json_object_set(doc, "warnings", job->warnings);
	row->result = state == JOB_DONE ? json_dumps(doc, JSON_COMPACT) : NULL;
	json_decref(doc);
	doc = stats(job);
	row->stats = json_dumps(doc, JSON_COMPACT);
	json_decref(doc);
	if (state != JOB_DONE)
		row->error = error_text(&job->err);
}

/* Where a section was renamed and its pool is away, the catalog has not followed yet. */
static const char *pool_name(const struct pool_root *r)
{
	return *r->former && !r->id[0] ? r->former : r->config->name;
}

int job_row(const struct job *job, enum job_state state, struct cat_job *row)
{
	const char *key = request_str(&job->request, F_KEY);
	const char *note = request_str(&job->request, F_NOTE);

	*row = (struct cat_job){
		.id = job->id,
		.created = job->created,
		.started = started(job),
		.finished = state > JOB_RUNNING ? job->finished : 0,
	};
	strcpy(row->kind, op_specs[job->shown].name);
	strcpy(row->state, state > JOB_RUNNING ? job_state_name(state) : "queued");
	strcpy(row->site, job->site_id);
	strcpy(row->site_name, job->site_name);
	strcpy(row->pool, job->pool ? pool_name(job->pool) : "");
	strcpy(row->actor, job->actor);
	snprintf(row->note, sizeof(row->note), "%s", note ? note : "");
	snprintf(row->key, sizeof(row->key), "%s", key ? key : "");
	row->args = args_text(job);
	row->intent = state > JOB_RUNNING && only_looks(job) ? strdup("{}") : intent_text(job);
	if (row->args && row->intent && state > JOB_RUNNING)
		outcome_texts(job, state, row);
	if (state == JOB_QUEUED && job->unseen && job->was_canceled)
		row->error = canceled_text(job);
	if (!row->args || !row->intent) {
		cat_job_release(row);
		return -ENOMEM;
	}
	return 0;
}

static json_t *loads_or_null(const char *text)
{
	json_t *doc = text ? json_loads(text, JSON_DECODE_ANY, NULL) : NULL;

	return doc ? doc : json_null();
}

static json_t *text_or_null(const char *s)
{
	return s && *s ? json_string_nocheck(s) : json_null();
}

bool job_undoable(const struct cat_job *row, const struct op_kind *kind)
{
	return strcmp(row->state, "done") == 0 && !row->undone_by && kind && kind->undo &&
	       !(kind->beyond_undo && kind->beyond_undo(row));
}

/* What a list has of it. */
static json_t *row_item(const struct cat_job *row, const struct op_kind *kind)
{
	char id[JOB_ID_SIZE];
	json_t *v = json_object();

	json_object_set_new(v, "id", json_string(job_id_format(row->id, id)));
	json_object_set_new(v, "kind", json_string(row->kind));
	json_object_set_new(v, "state", json_string(row->state));
	json_object_set_new(v, "site", *row->site || *row->site_name
		? json_pack("{s:o,s:o}", "id", text_or_null(row->site), "name",
			  text_or_null(row->site_name))
		: json_null());
	json_object_set_new(v, "pool", text_or_null(row->pool));
	json_object_set_new(v, "actor", text_or_null(row->actor));
	json_object_set_new(v, "note", text_or_null(row->note));
	json_object_set_new(v, "created", json_time(row->created));
	json_object_set_new(v, "started", json_time(row->started));
	json_object_set_new(v, "finished", json_time(row->finished));
	json_object_set_new(v, "progress", json_null());
	json_object_set_new(v, "stats", loads_or_null(row->stats));
	json_object_set_new(v, "error", loads_or_null(row->error));
	json_object_set_new(v, "undone_by",
		row->undone_by ? json_string(job_id_format(row->undone_by, id)) : json_null());
	json_object_set_new(v, "undoable", json_boolean(job_undoable(row, kind)));
	return v;
}

static json_t *row_view(const struct cat_job *row, const struct op_kind *kind)
{
	json_t *v = row_item(row, kind);

	json_object_set_new(v, "args", loads_or_null(row->args));
	json_object_set_new(v, "result", loads_or_null(row->result));
	return v;
}

json_t *job_view(const struct job *job, enum job_state state)
{
	struct cat_job row;
	json_t *v;

	if (job_row(job, state, &row) < 0)
		return NULL;
	v = row_view(&row, job->kind);
	cat_job_release(&row);
	return v;
}

const struct op_kind *jobs_kind(struct fsd *f, const struct cat_job *row)
{
	bool undo = strcmp(row->kind, op_specs[OP_UNDO].name) == 0;
	json_t *intent = undo && row->intent ? json_loads(row->intent, 0, NULL) : NULL;
	const char *inner = json_str_at(intent, "_kind");
	enum op op = op_by_kind(inner ? inner : row->kind);

	json_decref(intent);
	return op == OP_NONE ? NULL : f->jobs.kinds[op];
}

/* A job without outcome is "queued" in the catalog whatever it does meanwhile. */
static json_t *view(struct fsd *f, const struct cat_job *row,
	json_t *(*make)(const struct cat_job *, const struct op_kind *))
{
	struct cat_job now = *row;
	json_t *done = NULL, *v;

	if (!row->finished) {
		pthread_mutex_lock(&f->jobs.lock);
		for (const struct job *job = f->jobs.head; job && !done; job = job->next) {
			if (job->id != row->id || job->state != JOB_RUNNING)
				continue;
			strcpy(now.state, job_state_name(JOB_RUNNING));
			now.error = NULL; /* of a cancel before it could be looked at */
			now.started = started(job);
			done = progress(job);
		}
		pthread_mutex_unlock(&f->jobs.lock);
	}
	v = make(&now, jobs_kind(f, row));
	if (done)
		json_object_set_new(v, "progress", done);
	return v;
}

json_t *jobs_view(struct fsd *f, const struct cat_job *row)
{
	return view(f, row, row_view);
}

json_t *jobs_item(struct fsd *f, const struct cat_job *row)
{
	return view(f, row, row_item);
}
