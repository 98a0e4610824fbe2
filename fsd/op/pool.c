/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* pool scan: the catalog is made equal to the pool. pool check: what is wrong in a pool. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "fsd/core/json.h"
#include "fsd/op/common.h"
#include "fsd/op/ops.h"
#include "fsd/worker/scan.h"
#include "snap/base/err.h"
#include "snap/base/fd.h"

static int plan(struct fsd *f, struct job *job, struct err *err)
{
	const char *name = request_str(&job->request, F_POOL);
	int r = pools_require(&f->pools, name, &job->pool, err);

	if (r < 0)
		return r;
	job_lock(job, "pool", job->pool->id, true);
	job_step(job, job->request.op == OP_POOL_SCAN ? "bring the catalog in line with pool %s"
						      : "check pool %s", name);
	return 0;
}

/* ---- scan ---- */

/* The API's words: {"sites": {"added": [...], "removed": [...], "changed": [...]}, ...} */
static void list_difference(const char *kind, enum scan_change change, const char *name,
	const struct err *why, void *arg)
{
	json_t *result = arg;
	const char *what = strcmp(kind, "site") == 0 ? "sites"
			   : strcmp(kind, "snapshot") == 0 ? "snapshots"
							   : "deleted";
	const char *how = change == SCAN_ADDED	? "added"
			  : change == SCAN_GONE ? "removed"
						: "changed";

	if (change == SCAN_UNFINISHED || why) /* it stays as it is, among what failed */
		return;
	json_array_append_new(json_object_get(json_object_get(result, what), how),
		json_text(name));
}

static void init_lists(json_t *result)
{
	static const char *const kinds[] = {"sites", "deleted", "snapshots"};

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		json_object_set_new(result, kinds[i],
			json_pack("{s:[],s:[],s:[]}", "added", "removed", "changed"));
	json_object_set_new(result, "failed", json_array());
}

/* "SITE-ID/SNAP", as it lies in the pool, as a source; one that is gone: as it was called. */
static json_t *as_source(struct catalog *c, const char *path)
{
	const char *slash = strchr(path, '/');
	char id[ID_SIZE];
	struct cat_snapshot snapshot;
	char word[CAT_NAME_SIZE];
	struct cat_site site;

	if (!slash || slash - path >= (long)sizeof(id))
		return json_string(path);
	snprintf(id, sizeof(id), "%.*s", (int)(slash - path), path);
	if (catalog_snapshot_get(c, id, slash + 1, &snapshot, NULL) == 0)
		resolve_word(c, &snapshot, word);
	else
		strcpy(word, catalog_site_get(c, id, &site, NULL) == 0 ? site.name : id);
	return json_sprintf("%s@%s", word, slash + 1);
}

static void name_snapshots(struct catalog *c, json_t *changes)
{
	const char *how;
	json_t *list;

	json_object_foreach(changes, how, list) {
		for (size_t i = 0; i < json_array_size(list); i++)
			json_array_set_new(list, i,
				as_source(c, json_string_value(json_array_get(list, i))));
	}
}

static int run_scan(struct fsd *f, struct job *job, struct err *err)
{
	struct catalog *c = NULL;
	int r = catalog_open(fsd_config(f)->catalog, CATALOG_READ_ONLY, &c, err);

	init_lists(job->result);
	if (r == 0)
		r = scan_differences(f, c, job->pool, list_difference, job->result, err);
	if (r == 0)
		r = scan_apply(f, c, job, err);
	if (r == 0) {
		scan_report(f, c, job->pool, NULL, NULL, NULL);
		atomic_store(&job->pool->unswept, true); /* also those that were not known */
		name_snapshots(c, json_object_get(job->result, "snapshots"));
		r = scan_damage(f, c, job, NULL, NULL, err);
	}
	catalog_close(&c);
	return r;
}

const struct op_kind op_pool_scan = {
	.op = OP_POOL_SCAN,
	.priority = PRIO_RESTORE,
	.plan = plan,
	.run = run_scan,
	.why_not = "the pool is what counts; there is nothing to go back to",
};

/* ---- check ---- */

static void add_difference(const char *kind, enum scan_change change, const char *name,
	const struct err *why, void *arg)
{
	static const char *const texts[] = {
		[SCAN_ADDED] = "not in the catalog",
		[SCAN_GONE] = "in the catalog only",
		[SCAN_OTHER] = "not the one in the catalog",
		[SCAN_UNFINISHED] = "its generation is not in it",
		[SCAN_TWIN] = "a copy of another one",
		[SCAN_BROKEN] = "serves nothing",
		[SCAN_HALF] = "its import was cut short",
	};
	char reason[2 * ERR_TEXT_SIZE + 2];

	if (why)
		snprintf(reason, sizeof(reason), "%s: %s", why->reason, why->hint);
	else
		snprintf(reason, sizeof(reason), "%s: %s", kind, texts[change]);
	job_fault(arg, "problems", name, reason);
}

static void add_damage(const struct err *why, void *arg)
{
	char reason[2 * ERR_TEXT_SIZE + 2];

	snprintf(reason, sizeof(reason), "%s: %s", why->reason, why->hint);
	job_fault(arg, "problems", why->object, reason);
}

static int run_check(struct fsd *f, struct job *job, struct err *err)
{
	json_t *problems = json_array();
	struct catalog *c = NULL;
	int r = catalog_open(fsd_config(f)->catalog, CATALOG_READ_ONLY, &c, err);

	json_object_set_new(job->result, "problems", problems);
	if (r == 0)
		r = scan_report(f, c, job->pool, add_difference, job, err);
	if (r == 0)
		r = scan_damage(f, c, job, add_damage, job, err);
	catalog_close(&c);
	json_object_set_new(job->result, "ok", json_boolean(json_array_size(problems) == 0));
	return r;
}

const struct op_kind op_pool_check = {
	.op = OP_POOL_CHECK,
	.priority = PRIO_CHECK,
	.plan = plan,
	.run = run_check,
	.why_not = "a check changes nothing",
};
