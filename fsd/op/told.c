/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fsd/op/told.h"

#include <jansson.h>
#include <string.h>

#include "fsd/core/json.h"
#include "fsd/op/common.h"
#include "fsd/worker/state.h"

/* In static storage, like a job's. */
static const char *method_word(const char *text)
{
	enum pool_method m;

	if (strcmp(text, METHOD_MOVE) == 0)
		return METHOD_MOVE;
	return pool_method_parse(text, &m) == 0 ? pool_method_name(m) : NULL;
}

void told_recall_made(struct job *job, const char *method, const char *consistency)
{
	if (job->recovered && method)
		job->method = method_word(method);
	if (job->recovered && consistency)
		op_weaken(job, consistency);
}

void told_recall_generation(struct fsd *f, struct job *job, int64_t number)
{
	struct cat_generation g;

	if (catalog_generation_get(f->catalog, job->site_id, number, &g, NULL) == 0 &&
		g.job == job->id)
		told_recall_made(job, g.method, g.consistency);
}

int told_keep(struct fsd *f, struct job *job, struct err *err)
{
	/* Copies: another try takes back what the one before it has said. */
	json_t *told = json_pack("{s:o,s:o*,s:s*,s:s*}", "result", json_deep_copy(job->result),
		"warnings", json_deep_copy(job->warnings), "method", job->method, "consistency",
		job->consistency);

	if (!json_equal(told, json_object_get(job->intent, "told")))
		return job_note(f, job, "told", told, err);
	json_decref(told);
	return 0;
}

void told_recall_warnings(struct job *job)
{
	json_t *warnings = json_object_get(json_object_get(job->intent, "told"), "warnings");

	if (!warnings)
		return;
	json_decref(job->warnings);
	job->warnings = json_copy(warnings);
}

void told_recall(struct job *job)
{
	json_t *told = json_object_get(job->intent, "told");

	told_recall_warnings(job);
	json_object_update_missing(job->result, json_object_get(told, "result"));
	told_recall_made(job, json_str_at(told, "method"), json_str_at(told, "consistency"));
}
