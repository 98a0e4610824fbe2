/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The table of everything that may be asked; request.c holds the code around it. */
#include "fsd/core/request.h"

#include <string.h>

const struct field_spec field_specs[F_COUNT] = {
	[F_SITE] = {"site", T_STRING},
	[F_SOURCE] = {"source", T_STRING},
	[F_FROM] = {"from", T_STRING},
	[F_NAME] = {"name", T_STRING},
	[F_SNAPSHOT] = {"snapshot", T_STRING},
	[F_GENERATION] = {"generation", T_INT},
	[F_JOB] = {"job", T_STRING},
	[F_POOL] = {"pool", T_STRING},
	[F_A] = {"a", T_STRING},
	[F_B] = {"b", T_STRING},
	[F_DIR] = {"dir", T_STRING},
	[F_MODE] = {"mode", T_STRING},
	[F_METHOD] = {"method", T_STRING},
	[F_PATHS] = {"paths", T_LIST},
	[F_ONLY] = {"only", T_LIST},
	[F_EXACT] = {"exact", T_BOOL},
	[F_DISCARD] = {"discard_since", T_BOOL},
	[F_SET] = {"set", T_MAP},
	[F_HOLD] = {"hold", T_BOOL},
	[F_TAG] = {"tag", T_STRING},
	[F_EXPIRES] = {"expires", T_STRING},
	[F_IF_EXISTS] = {"if_exists", T_STRING},
	[F_CONFIRM] = {"confirm", T_BOOL},
	[F_DRY_RUN] = {"dry_run", T_BOOL},
	[F_NOTE] = {"note", T_STRING},
	[F_KEY] = {"idempotency_key", T_STRING},
	[F_LIMIT] = {"limit", T_INT},
	[F_CURSOR] = {"cursor", T_STRING},
	[F_LABEL] = {"label", T_STRING},
	[F_DELETED] = {"deleted", T_BOOL},
	[F_STATE] = {"state", T_STRING},
	[F_UNDOABLE] = {"undoable", T_BOOL},
	[F_AFTER] = {"after", T_INT},
	[F_WAIT] = {"wait", T_INT},
};

#define REQ(f) (F_##f | OP_REQUIRED)

const struct op_spec op_specs[OP_COUNT] = {
	[OP_HEALTH] = {"health", "GET", "/healthz", ROLE_NONE, {0}},
	[OP_STATUS] = {"status", "GET", "/v1/status", ROLE_VIEWER, {0}},
	[OP_METRICS] = {"metrics", "GET", "/metrics", ROLE_VIEWER, {0}},
	[OP_SITES] = {"sites", "GET", "/v1/sites", ROLE_VIEWER,
		{F_LIMIT, F_CURSOR, F_POOL, F_LABEL, F_DELETED}},
	[OP_SITE] = {"site", "GET", "/v1/sites/{site}", ROLE_VIEWER, {REQ(SITE)}},
	[OP_SNAPSHOTS] = {"snapshots", "GET", "/v1/snapshots", ROLE_VIEWER,
		{F_SITE, F_LIMIT, F_CURSOR, F_LABEL}},
	[OP_SNAPSHOT] = {"snapshot", "GET", "/v1/sites/{site}/snapshots/{snapshot}", ROLE_VIEWER,
		{REQ(SITE), REQ(SNAPSHOT)}},
	[OP_GENERATIONS] = {"generations", "GET", "/v1/sites/{site}/generations", ROLE_VIEWER,
		{REQ(SITE)}},
	[OP_JOBS] = {"jobs", "GET", "/v1/jobs", ROLE_VIEWER,
		{F_STATE, F_SITE, F_UNDOABLE, F_LIMIT, F_CURSOR}},
	[OP_JOB] = {"job", "GET", "/v1/jobs/{job}", ROLE_VIEWER, {REQ(JOB), F_WAIT}},
	[OP_JOB_LOG] = {"job-log", "GET", "/v1/jobs/{job}/log", ROLE_VIEWER,
		{REQ(JOB), F_AFTER, F_LIMIT}},
	[OP_JOB_CHANGES] = {"job-changes", "GET", "/v1/jobs/{job}/changes", ROLE_VIEWER,
		{REQ(JOB), F_LIMIT, F_CURSOR}},
	[OP_JOB_CANCEL] = {"job-cancel", "POST", "/v1/jobs/{job}/cancel", ROLE_OPERATOR,
		{REQ(JOB)}},
	[OP_POOLS] = {"pools", "GET", "/v1/pools", ROLE_VIEWER, {0}},
	[OP_POOL] = {"pool", "GET", "/v1/pools/{pool}", ROLE_VIEWER, {REQ(POOL)}},
	[OP_EVENTS] = {"events", "GET", "/v1/events", ROLE_VIEWER, {F_AFTER, F_LIMIT}},
	[OP_PATH] = {"path", "GET", "/v1/path", ROLE_VIEWER, {REQ(SOURCE)}},

	[OP_SITE_CREATE] = {"site-create", NULL, NULL, ROLE_OPERATOR,
		{REQ(NAME), F_POOL, F_FROM, F_EXPIRES}},
	[OP_SITE_IMPORT] = {"site-import", NULL, NULL, ROLE_ADMIN,
		{REQ(NAME), REQ(DIR), F_POOL, F_MODE}},
	[OP_SITE_EJECT] = {"site-eject", NULL, NULL, ROLE_ADMIN, {REQ(SITE), REQ(DIR)}},
	[OP_SITE_SET] = {"site-set", NULL, NULL, ROLE_OPERATOR, {REQ(SITE), REQ(SET)}},
	[OP_SITE_RENAME] = {"site-rename", NULL, NULL, ROLE_ADMIN, {REQ(SITE), REQ(NAME)}},
	[OP_SITE_DELETE] = {"site-delete", NULL, NULL, ROLE_ADMIN, {REQ(SITE)}},
	[OP_SITE_UNDELETE] = {"site-undelete", NULL, NULL, ROLE_ADMIN, {REQ(SITE), F_NAME}},
	[OP_SITE_MEASURE] = {"site-measure", NULL, NULL, ROLE_OPERATOR, {REQ(SITE)}},
	[OP_SNAPSHOT_CREATE] = {"snapshot", NULL, NULL, ROLE_OPERATOR,
		{REQ(SITE), F_NAME, F_EXPIRES}},
	[OP_SNAPSHOT_DELETE] = {"snapshot-delete", NULL, NULL, ROLE_ADMIN, {REQ(SOURCE)}},
	[OP_SNAPSHOT_SET] = {"snapshot-set", NULL, NULL, ROLE_OPERATOR, {REQ(SOURCE), REQ(SET)}},
	[OP_SNAPSHOT_HOLD] = {"snapshot-hold", NULL, NULL, ROLE_OPERATOR,
		{REQ(SOURCE), REQ(HOLD), F_TAG}},
	[OP_SNAPSHOT_MEASURE] = {"snapshot-measure", NULL, NULL, ROLE_OPERATOR, {REQ(SOURCE)}},
	[OP_CLONE] = {"clone", NULL, NULL, ROLE_OPERATOR,
		{REQ(SOURCE), REQ(NAME), F_POOL, F_METHOD, F_EXPIRES, F_IF_EXISTS}},
	[OP_RESTORE] = {"restore", NULL, NULL, ROLE_OPERATOR,
		{REQ(SOURCE), F_PATHS, F_ONLY, F_EXACT, F_SITE}},
	[OP_RESTORE_TO] = {"restore-to", NULL, NULL, ROLE_ADMIN,
		{REQ(SOURCE), REQ(DIR), F_PATHS, F_ONLY}},
	[OP_PUBLISH] = {"publish", NULL, NULL, ROLE_OPERATOR, {REQ(SITE), REQ(GENERATION)}},
	[OP_ROLLBACK] = {"rollback", NULL, NULL, ROLE_OPERATOR, {REQ(SITE), F_GENERATION}},
	[OP_UNDO] = {"undo", NULL, NULL, ROLE_OPERATOR, {REQ(JOB), F_DISCARD}},
	[OP_GENERATION_CREATE] = {"generation-create", NULL, NULL, ROLE_OPERATOR,
		{REQ(SITE), F_FROM}},
	[OP_GENERATION_DELETE] = {"generation-delete", NULL, NULL, ROLE_ADMIN,
		{REQ(SITE), REQ(GENERATION)}},
	[OP_GENERATION_RETIRE] = {"generation-retire", NULL, NULL, ROLE_ADMIN,
		{REQ(SITE), REQ(GENERATION)}},
	[OP_DIFF] = {"diff", NULL, NULL, ROLE_VIEWER, {REQ(A), F_B, F_PATHS}},
	[OP_CHECK] = {"check", NULL, NULL, ROLE_VIEWER, {REQ(SOURCE)}},
	[OP_POOL_SCAN] = {"pool-scan", NULL, NULL, ROLE_ADMIN, {REQ(POOL)}},
	[OP_POOL_CHECK] = {"pool-check", NULL, NULL, ROLE_OPERATOR, {REQ(POOL)}},
};

const char *role_name(enum role r)
{
	static const char *const names[] = {"none", "viewer", "operator", "admin"};

	return names[r];
}

enum op op_by_kind(const char *kind)
{
	for (int op = 0; op < OP_COUNT; op++) {
		if (op_is_job(op) && strcmp(op_specs[op].name, kind) == 0)
			return op;
	}
	return OP_NONE;
}

bool op_takes(enum op op, enum field f)
{
	static const enum field common[] = {F_DRY_RUN, F_NOTE, F_CONFIRM, F_KEY, F_WAIT};

	for (int i = 0; i < OP_FIELDS_MAX && op_specs[op].fields[i]; i++) {
		if ((op_specs[op].fields[i] & ~OP_REQUIRED) == (int)f)
			return true;
	}
	for (size_t i = 0; op_is_job(op) && i < sizeof(common) / sizeof(common[0]); i++) {
		if (common[i] == f)
			return true;
	}
	return false;
}
