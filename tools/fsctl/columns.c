/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tools/fsctl/columns.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/fsctl/job.h"
#include "tools/fsctl/outline.h"
#include "tools/fsctl/text.h"

static const struct column sites[] = {
	{"NAME", "name", H_TEXT, true},
	{"POOL", "pool", H_TEXT, true},
	{"LIVE", "live.generation", H_NUMBER, true},
	{"METHOD", "method", H_TEXT, true},
	{"CREATED", "created", H_TIME, true},
	{"ENTRIES", "entries", H_NUMBER, true},
	{"SIZE", "bytes.logical", H_SIZE, true},
	{"OWN", "bytes.exclusive", H_SIZE, true},
	{"EXPIRES", "expires", H_TIME, true},
	{"LABELS", "labels", H_MAP, true, true},
	{"SHARED", "bytes.shared", H_SIZE},
	{"MEASURED", "bytes.measured_at", H_TIME},
	{"CONSISTENCY", "consistency", H_TEXT},
	{"ORIGIN", "origin", H_TEXT},
	{"PARTS", "parts", H_LIST},
	{"CLASSES", "classes", H_MAP},
	{"PROTECTED", "protected", H_BOOL},
	{"PATH", "live.path", H_PATH},
	{"LINKED", "linked", H_PATH},
	{"DELETED", "deleted", H_TIME},
	{"KEPT UNTIL", "kept_until", H_TIME},
	{"BACK BY", NULL, H_UNDO},
	{"ID", "id", H_TEXT},
	{0},
};

static const struct column deleted_sites[] = {
	{"NAME", "name", H_TEXT, true},
	{"POOL", "pool", H_TEXT, true},
	{"DELETED", "deleted", H_TIME, true},
	{"KEPT UNTIL", "kept_until", H_TIME, true},
	{"BACK BY", NULL, H_UNDO, true},
	{"ID", "id", H_TEXT, true},
	{"LABELS", "labels", H_MAP, true, true},
	{0},
};

static const struct column snapshots[] = {
	{"SNAPSHOT", NULL, H_SNAPSHOT, true},
	{"TIME", "time", H_TIME, true},
	{"KIND", "kind", H_TEXT, true},
	{"HELD", "holds", H_LIST, true},
	{"EXPIRES", "expires", H_TIME, true},
	{"METHOD", "method", H_TEXT, true},
	{"CONSISTENCY", "consistency", H_TEXT, true},
	{"UNSETTLED", "unsettled.total", H_NUMBER},
	{"UNSETTLED PATHS", "unsettled.paths", H_LIST},
	{"LABELS", "labels", H_MAP, true, true},
	{"GENERATION", "generation", H_NUMBER},
	{"PARTS", "parts", H_LIST},
	{"GAP", "gap", H_SECONDS},
	{"ENTRIES", "entries", H_NUMBER},
	{"SIZE", "bytes.logical", H_SIZE},
	{"OWN", "bytes.exclusive", H_SIZE},
	{"SHARED", "bytes.shared", H_SIZE},
	{"MEASURED", "bytes.measured_at", H_TIME},
	{"POOL", "pool", H_TEXT},
	{"PATH", "path", H_PATH},
	{"ID", "id", H_TEXT},
	{0},
};

static const struct column generations[] = {
	{"GENERATION", NULL, H_GENERATION, true},
	{"LIVE", "live", H_BOOL, true},
	{"CREATED", "created", H_TIME, true},
	{"METHOD", "method", H_TEXT, true},
	{"CONSISTENCY", "consistency", H_TEXT, true},
	{"ORIGIN", "origin", H_TEXT, true, true},
	{"RETIRED", "retired", H_TIME, true},
	{"BY JOB", "retired_by", H_TEXT, true},
	{0},
};

static const struct column jobs[] = {
	{"JOB", "id", H_TEXT, true},
	{"KIND", "kind", H_TEXT, true},
	{"ABOUT", NULL, H_SUBJECT, true},
	{"STATE", "state", H_JOB_STATE, true},
	{"CREATED", "created", H_TIME, true},
	{"TOOK", "stats.seconds", H_SECONDS, true},
	{"ACTOR", "actor", H_TEXT, true},
	{"NOTE", "note", H_TEXT, true, true},
	{"STARTED", "started", H_TIME},
	{"FINISHED", "finished", H_TIME},
	{"POOL", "pool", H_TEXT},
	{"METHOD", "stats.method", H_TEXT},
	{"CONSISTENCY", "stats.consistency", H_TEXT},
	{"ENTRIES DONE", "progress.entries_done", H_NUMBER},
	{"ENTRIES TOTAL", "progress.entries_total", H_NUMBER},
	{"BYTES DONE", "progress.bytes_done", H_SIZE},
	{"BYTES TOTAL", "progress.bytes_total", H_SIZE},
	{"ERROR", "error.reason", H_TEXT},
	{"ERROR OBJECT", "error.object", H_TEXT},
	{"HINT", "error.hint", H_TEXT},
	{"UNDOABLE", "undoable", H_BOOL},
	{"UNDONE BY", "undone_by", H_TEXT},
	{"ARGUMENTS", "args", H_JSON},
	{"RESULT", "result", H_JSON},
	{0},
};

static const struct column pools[] = {
	{"POOL", "name", H_TEXT, true},
	{"DRIVER", "driver", H_TEXT, true},
	{"ONLINE", "online", H_BOOL, true},
	{"SIZE", "bytes.total", H_SIZE, true},
	{"FREE", "bytes.free", H_SIZE, true},
	{"SITES", "sites", H_NUMBER, true},
	{"PATH", "path", H_PATH, true, true},
	{"REASON", "reason", H_TEXT, true, true},
	{"HINT", "hint", H_TEXT},
	{"MIN FREE", "bytes.min_free", H_SIZE},
	{"PENDING", "pending", H_NUMBER},
	{"INODES", "inodes.total", H_NUMBER},
	{"INODES FREE", "inodes.free", H_NUMBER},
	{"CAPABILITIES", "capabilities", H_LIST},
	{"PROBED", "probe", H_SENTENCES},
	{"ID", "id", H_TEXT},
	{0},
};

static const struct column events[] = {
	{"ID", "id", H_TEXT, true},
	{"TIME", "time", H_TIME, true},
	{"KIND", "kind", H_TEXT, true},
	{"SITE", "site", H_TEXT, true, true},
	{"JOB", "job", H_TEXT, true},
	{"DATA", "data", H_JSON, true, true},
	{0},
};

static const struct view views[] = {
	{"/v1/sites", "/v1/sites/%s", sites},
	{"/v1/sites?deleted=true", NULL, deleted_sites},
	{"/v1/snapshots", "/v1/sites/%s/snapshots/%s", snapshots},
	{"/v1/sites/%s/generations", NULL, generations},
	{"/v1/jobs", "/v1/jobs/%s", jobs},
	{"/v1/pools", "/v1/pools/%s", pools},
	{"/v1/events", NULL, events},
	{"/v1/jobs/%s/log", NULL, events},
};

const struct view *view_for(const char *path)
{
	for (size_t i = 0; i < sizeof(views) / sizeof(views[0]); i++) {
		if (strcmp(views[i].path, path) == 0 ||
			(views[i].one && strcmp(views[i].one, path) == 0))
			return &views[i];
	}
	return NULL;
}

/* ---- cells ---- */

static const char *str(const struct fsc_value *v, const char *path)
{
	const char *s = fsc_value_str(v, path);

	return s ? s : "";
}

static void put_list(FILE *f, const struct fsc_value *list)
{
	for (size_t i = 0; i < fsc_value_count(list); i++) {
		fputs(i ? "," : "", f);
		put_safe(f, str(fsc_value_item(list, i), NULL));
	}
}

static void put_map(FILE *f, const struct fsc_value *map)
{
	const char *comma = "";

	for (const char *key = NULL; (key = fsc_value_next(map, key)); comma = ",") {
		fputs(comma, f);
		put_safe(f, key);
		fputc('=', f);
		put_safe(f, str(fsc_value_member(map, key), NULL));
	}
}

static void put_number(FILE *f, enum how how, const struct fsc_value *v, bool human)
{
	int64_t n = fsc_value_int(v, NULL, 0);
	char text[SIZE_TEXT];

	if (how == H_SECONDS && human)
		fputs(seconds_text(fsc_value_real(v, NULL, 0), text), f);
	else if (how == H_SECONDS)
		fprintf(f, "%.3f", fsc_value_real(v, NULL, 0));
	else if (!human)
		fprintf(f, "%lld", (long long)n);
	else
		fputs(how == H_SIZE ? size_text(n, text) : count_text(n, text), f);
}

static void put_json(FILE *f, const struct fsc_value *v, bool human)
{
	char *text = human ? NULL : fsc_value_text(v, 0);

	if (human)
		outline_pairs(f, v, true);
	else if (fsc_value_type(v) != FSC_OBJECT || fsc_value_count(v))
		put_safe(f, text);
	free(text);
}

static void put_path(FILE *f, const struct fsc_value *v)
{
	char *bytes = fsc_value_bytes(v, NULL);

	put_quoted(f, bytes ? bytes : "");
	free(bytes);
}

/* An object {id, name}, a name, or a number. */
static void put_text(FILE *f, const struct fsc_value *v)
{
	if (fsc_value_type(v) == FSC_INT)
		fprintf(f, "%lld", (long long)fsc_value_int(v, NULL, 0));
	else
		put_safe(f, fsc_value_type(v) == FSC_OBJECT ? str(v, "name") : str(v, NULL));
}

/* Of a job: its site, or its pool. */
static void put_subject(FILE *f, const struct fsc_value *item)
{
	const char *site = fsc_value_str(item, "site.name");

	put_safe(f, site ? site : str(item, "pool"));
}

/* Of a site: what brings it back. In lines for programs the job: the site is named already. */
static void put_undo(FILE *f, const struct fsc_value *item, bool human)
{
	const char *job = fsc_value_str(item, "deleted_by");

	if (job) {
		fputs(human ? "fsctl undo " : "", f);
		put_safe(f, job);
	} else if (human && fsc_value_str(item, "deleted")) {
		fputs("fsctl site undelete ", f);
		put_safe(f, str(item, "name"));
	}
}

static void put_cell(FILE *f, const struct column *col, const struct fsc_value *item, bool human)
{
	const struct fsc_value *v = fsc_value_at(item, col->path);
	char text[SIZE_TEXT];

	if (!v || (fsc_value_type(v) == FSC_NULL && col->path))
		return;
	switch (col->how) {
	case H_TEXT:
		put_text(f, v);
		break;
	case H_NUMBER:
	case H_SIZE:
	case H_SECONDS:
		put_number(f, col->how, v, human);
		break;
	case H_TIME:
		put_safe(f, human ? local_time(str(v, NULL), text) : str(v, NULL));
		break;
	case H_BOOL:
		fputs(fsc_value_bool(v, NULL, false) ? "yes" : "no", f);
		break;
	case H_LIST:
	case H_SENTENCES:
		put_list(f, v);
		break;
	case H_MAP:
		put_map(f, v);
		break;
	case H_SNAPSHOT:
		put_text(f, fsc_value_at(item, "site"));
		fputc('@', f);
		put_safe(f, str(item, "name"));
		break;
	case H_GENERATION:
		put_text(f, fsc_value_at(item, "site"));
		fprintf(f, ":%lld", (long long)fsc_value_int(item, "number", 0));
		break;
	case H_JSON:
		put_json(f, v, human);
		break;
	case H_PATH:
		put_path(f, v);
		break;
	case H_SUBJECT:
		put_subject(f, v);
		break;
	case H_UNDO:
		put_undo(f, v, human);
		break;
	case H_JOB_STATE:
		put_safe(f, str(v, NULL));
		if (human && job_waits_for_pool(item))
			fputs(", canceled", f);
		break;
	}
}

char *cell_text(const struct column *col, const struct fsc_value *item, bool human)
{
	char *out = NULL;
	size_t len;
	FILE *f = open_memstream(&out, &len);

	if (!f)
		return NULL;
	put_cell(f, col, item, human);
	if (fclose(f) == 0)
		return out;
	free(out);
	return NULL;
}
