/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* GET /v1/status and /metrics: is all well, and numbers for a monitor. */
#include <errno.h>
#include <inttypes.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

#include "fsd/core/json.h"
#include "fsd/worker/present.h"
#include "fsd/worker/query.h"
#include "fsd/worker/problems.h"
#include "snap/base/buf.h"
#include "snap/base/err.h"
#include "snap/base/fd.h"

#ifndef FSD_VERSION
#define FSD_VERSION "unknown"
#endif

static void add_problem(json_t *list, const char *severity, const struct err *e)
{
	json_array_append_new(list,
		json_pack("{s:s,s:s,s:o,s:o,s:o}", "severity", severity, "code", e->code, "object",
			json_text(e->object), "reason", json_prose(e->reason), "hint",
			json_prose(e->hint)));
}

static void pool_problems(struct fsd *f, struct pool_root *r, json_t *list)
{
	struct err e = ERR_INIT;

	if (!atomic_load(&r->online)) {
		pools_offline(r, &e);
		add_problem(list, "critical", &e);
		return;
	}
	if (pool_root_writable(r, &e) < 0)
		add_problem(list, "critical", &e);
	if (pool_root_admit(r, fsd_config(f), &e) < 0)
		add_problem(list, "warning", &e);
}

#define CATALOG_ROOM (8 << 20) /* bytes: its log is this large when it is busy */

static void catalog_problems(struct fsd *f, json_t *list)
{
	_cleanup_free_ char *dir = strdup(fsd_config(f)->catalog);
	struct err e = ERR_INIT;
	struct statvfs st;

	if (!dir || statvfs(dirname(dir), &st) < 0 || st.f_bavail * st.f_frsize >= CATALOG_ROOM)
		return;
	err_set(&e, ENOSPC, "no_space", fsd_config(f)->catalog,
		"%llu KiB are free where the catalog is; without space every change is refused",
		(unsigned long long)(st.f_bavail * st.f_frsize) >> 10);
	err_hint(&e, "free some space there: df %.300s", fsd_config(f)->catalog);
	add_problem(list, "critical", &e);
}

static void kept_problem(bool critical, const struct err *e, void *arg)
{
	add_problem(arg, critical ? "critical" : "warning", e);
}

static const char *state_of(json_t *problems)
{
	const char *state = "ok";
	json_t *p;
	size_t i;

	json_array_foreach(problems, i, p) {
		const char *severity = json_str_at(p, "severity");

		if (strcmp(severity, "critical") == 0)
			return "critical";
		state = "warning";
	}
	return state;
}

int query_status(struct fsd *f, struct catalog *c, json_t **out, struct err *err)
{
	json_t *pools = json_array(), *problems = json_array();
	unsigned queued, running;
	uint64_t sites = 0;
	struct err e = ERR_INIT;

	if (catalog_site_count(c, NULL, &sites, &e) < 0)
		add_problem(problems, "critical", &e);
	catalog_problems(f, problems);
	for (unsigned i = 0; i < f->pools.n; i++) {
		json_array_append_new(pools, present_pool(f, c, &f->pools.items[i]));
		pool_problems(f, &f->pools.items[i], problems);
	}
	problems_each(&f->problems, kept_problem, problems);
	jobs_count(f, &queued, &running);
	*out = json_pack("{s:s,s:o,s:s,s:o,s:{s:i,s:i},s:I,s:o}", "version", FSD_VERSION, "started",
		json_time(f->started), "state", state_of(problems), "pools", pools, "jobs",
		"queued", (int)queued, "running", (int)running, "sites", (json_int_t)sites,
		"problems", problems);
	return *out ? 0 : err_sys(err, ENOMEM, "status", NULL);
}

/* ---- metrics: Prometheus text format 0.0.4 ---- */

static void head(struct buf *b, const char *name, const char *type, const char *help)
{
	buf_printf(b, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void gauge(struct buf *b, const char *name, const char *help, uint64_t value)
{
	head(b, name, "gauge", help);
	buf_printf(b, "%s %" PRIu64 "\n", name, value);
}

static uint64_t number(const struct pool_space *s, size_t offset)
{
	return *(const uint64_t *)((const char *)s + offset);
}

static void pool_space(struct fsd *f, struct buf *b)
{
	static const struct {
		const char *name, *help;
		size_t offset, of; /* left out where the latter is 0: there is no such limit */
	} rows[] = {
		{"fsd_pool_bytes_total", "Size of the pool's file system",
			offsetof(struct pool_space, total), offsetof(struct pool_space, total)},
		{"fsd_pool_bytes_free", "Free bytes of the pool's file system",
			offsetof(struct pool_space, free), offsetof(struct pool_space, total)},
		{"fsd_pool_inodes_total", "Inodes of that file system, where limited",
			offsetof(struct pool_space, inodes), offsetof(struct pool_space, inodes)},
		{"fsd_pool_inodes_free", "Free inodes of that file system, where limited",
			offsetof(struct pool_space, inodes_free),
			offsetof(struct pool_space, inodes)},
	};

	for (size_t k = 0; k < sizeof(rows) / sizeof(rows[0]); k++) {
		head(b, rows[k].name, "gauge", rows[k].help);
		for (unsigned i = 0; i < f->pools.n; i++) {
			struct pool_root *r = &f->pools.items[i];
			struct pool_space s;

			if (atomic_load(&r->online) && pool_root_space(r, fsd_config(f), &s) == 0 &&
				number(&s, rows[k].of))
				buf_printf(b, "%s{pool=\"%s\"} %" PRIu64 "\n", rows[k].name,
					r->config->name, number(&s, rows[k].offset));
		}
	}
}

int query_metrics(struct fsd *f, struct catalog *c, struct buf *out, struct err *err)
{
	unsigned queued, running;
	uint64_t sites = 0;
	int r = catalog_site_count(c, NULL, &sites, err);

	if (r < 0)
		return r;
	jobs_count(f, &queued, &running);
	gauge(out, "fsd_sites", "Sites in use", sites);
	gauge(out, "fsd_jobs_queued", "Jobs that wait", queued);
	gauge(out, "fsd_jobs_running", "Jobs that run", running);
	head(out, "fsd_jobs_total", "counter", "Jobs that ended since start, by outcome");
	for (int s = JOB_DONE; s <= JOB_CANCELED; s++)
		buf_printf(out, "fsd_jobs_total{state=\"%s\"} %" PRIu64 "\n", job_state_name(s),
			atomic_load(&f->jobs.ended[s]));
	head(out, "fsd_pool_online", "gauge", "1 when the pool is online");
	for (unsigned i = 0; i < f->pools.n; i++)
		buf_printf(out, "fsd_pool_online{pool=\"%s\"} %d\n", f->pools.items[i].config->name,
			atomic_load(&f->pools.items[i].online));
	pool_space(f, out);
	return 0;
}
