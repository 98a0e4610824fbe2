/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * fill_catalog FILE POOL-ID POOL-NAME POOL-DRIVER POOL-PATH SITES SNAPSHOTS: a large catalog for
 * the benchmarks. Every site gets a generation and two labels; the snapshots go round the sites,
 * and a job and an event stand behind each tenth. One transaction.
 */
#include "tests/unit/catalog/support.h"

#include "snap/base/clock.h"

/* All of the last hour: nothing is old enough to be forgotten or removed by policy. */
static int64_t start;

static int put_site(struct catalog *c, unsigned i, const char *pool, struct err *err)
{
	struct cat_site site = sample_site(i);
	struct cat_generation generation = {.number = 1, .created = start,
		.method = "snapshot", .consistency = "atomic", .origin = "import"};
	int r;

	site.linked[0] = '\0';
	site.created = start;
	site.expires = 0;
	snprintf(site.pool, sizeof(site.pool), "%s", pool);
	strcpy(generation.site, site.id);
	r = catalog_site_put(c, &site, err);
	if (r == 0)
		r = catalog_generation_put(c, &generation, err);
	if (r == 0)
		r = catalog_label_set(c, site.id, "env", i % 2 ? "prod" : "staging", err);
	return r < 0 ? r : catalog_label_set(c, site.id, "customer", site.name, err);
}

static int put_snapshot(struct catalog *c, unsigned i, unsigned sites, const char *pool,
	struct err *err)
{
	struct cat_snapshot snapshot = sample_snapshot(i);
	struct cat_event event = {.time = start + i, .kind = "job.done", .job = 1000 + i,
		.data = "{}"};
	struct cat_job job = sample_job(1000 + i);
	int r;

	snapshot.created = start + i;
	snapshot.expires = 0;
	snprintf(snapshot.pool, sizeof(snapshot.pool), "%s", pool);
	sample_id('s', i % sites, snapshot.site);
	snprintf(snapshot.site_name, sizeof(snapshot.site_name), "site-%06u", i % sites);
	r = catalog_snapshot_put(c, &snapshot, err);
	if (r < 0 || i % 10)
		return r;
	strcpy(job.state, "done");
	strcpy(job.site, snapshot.site);
	strcpy(job.site_name, snapshot.site_name);
	job.created = job.started = job.finished = start + i;
	r = catalog_job_put(c, &job, err);
	return r < 0 ? r : catalog_event_put(c, &event, NULL, err);
}

static int fill(struct catalog *c, const struct cat_pool *pool, unsigned sites, unsigned snapshots,
	struct err *err)
{
	int r = catalog_begin(c, err);

	if (r == 0)
		r = catalog_pool_put(c, pool, err);
	for (unsigned i = 0; r == 0 && i < sites; i++)
		r = put_site(c, i, pool->name, err);
	for (unsigned i = 0; r == 0 && i < snapshots; i++)
		r = put_snapshot(c, i, sites, pool->name, err);
	return r < 0 ? r : catalog_commit(c, err);
}

int main(int argc, char **argv)
{
	struct cat_pool pool = {.seen = 1};
	struct err err = ERR_INIT;
	struct catalog *c = NULL;
	int r;

	if (argc != 8) {
		fprintf(stderr, "usage: fill_catalog FILE ID NAME DRIVER PATH SITES SNAPSHOTS\n");
		return 2;
	}
	snprintf(pool.id, sizeof(pool.id), "%s", argv[2]);
	snprintf(pool.name, sizeof(pool.name), "%s", argv[3]);
	snprintf(pool.driver, sizeof(pool.driver), "%s", argv[4]);
	snprintf(pool.path, sizeof(pool.path), "%s", argv[5]);
	start = clock_real() - 3600 * NSEC_PER_SEC;
	r = catalog_open(argv[1], CATALOG_CREATE, &c, &err);
	if (r == 0)
		r = fill(c, &pool, strtoul(argv[6], NULL, 10), strtoul(argv[7], NULL, 10), &err);
	if (r < 0)
		fprintf(stderr, "fill_catalog: %s: %s\n", err.object, err.reason);
	catalog_close(&c);
	return r < 0;
}
