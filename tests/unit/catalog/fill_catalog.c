/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * fill_catalog FILE POOL-ID POOL-NAME POOL-PATH SITES SNAPSHOTS: a large catalog for the
 * benchmarks, and the pool that it describes (copy driver, empty trees), so that fsd finds nothing
 * amiss. Every site has a generation and two labels; the snapshots go round the sites, and a job
 * and an event stand behind each tenth. POOL-PATH is a pool that fsd has made.
 */
#include "tests/unit/catalog/support.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "snap/base/clock.h"
#include "snap/base/fd.h"

/* All of the last hour: nothing is old enough to be forgotten or removed by policy. */
static int64_t start;

/* ---- the pool ---- */

static void must(bool ok, const char *what)
{
	if (!ok) {
		fprintf(stderr, "fill_catalog: %s: %s\n", what, strerror(errno));
		exit(1);
	}
}

static int make_dir(int at, const char *name)
{
	int fd;

	must(fd_mkdir(at, name, 0755) == 0, name);
	fd = fd_open_dir(at, name);
	must(fd >= 0, name);
	return fd;
}

static void make_file(int at, const char *name, const char *text)
{
	_cleanup_fd_ int fd = openat(at, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);

	must(fd >= 0 && fd_write_all(fd, text, strlen(text)) == 0, name);
}

/* A site or snapshot directory: live -> gen/N/tree, gen/N/{tree,meta.json}, site.json. */
static int make_shape(int at, const char *name, const struct cat_generation *g,
	const char *site_json)
{
	int dir = make_dir(at, name);
	_cleanup_fd_ int gen = make_dir(dir, "gen");
	_cleanup_fd_ int wrapper = -1;
	char number[24], live[48], text[1024];

	snprintf(number, sizeof(number), "%lld", (long long)g->number);
	snprintf(live, sizeof(live), "gen/%s/tree", number);
	snprintf(text, sizeof(text),
		"{\"format\":1,\"number\":%s,\"created\":%lld,\"method\":\"%s\","
		"\"consistency\":\"%s\",\"origin\":\"%s\"}",
		number, (long long)g->created, g->method, g->consistency, g->origin);
	wrapper = make_dir(gen, number);
	must(fd_mkdir(wrapper, "tree", 0755) == 0, "tree");
	make_file(wrapper, "meta.json", text);
	make_file(dir, "site.json", site_json);
	must(symlinkat(live, dir, "live") == 0, "live");
	return dir;
}

/* ---- sites and snapshots ---- */

static const char *env_of(unsigned i)
{
	return i % 2 ? "prod" : "staging";
}

static void site_json(unsigned i, char *text, size_t size)
{
	struct cat_site site = sample_site(i);

	snprintf(text, size,
		"{\"format\":1,\"id\":\"%s\",\"created\":%lld,\"protected\":true,"
		"\"last_generation\":1,\"labels\":{\"env\":\"%s\",\"customer\":\"%s\"}}",
		site.id, (long long)start, env_of(i), site.name);
}

static int put_site(struct catalog *c, unsigned i, const char *pool, int sites, struct err *err)
{
	struct cat_site site = sample_site(i);
	struct cat_generation generation = {.number = 1, .created = start, .method = "copy",
		.consistency = "settled", .origin = "import"};
	char json[512];
	int r;

	site.linked[0] = '\0';
	site.created = start;
	site.expires = 0;
	snprintf(site.pool, sizeof(site.pool), "%s", pool);
	strcpy(generation.site, site.id);
	site_json(i, json, sizeof(json));
	close(make_shape(sites, site.name, &generation, json));
	r = catalog_site_put(c, &site, err);
	if (r == 0)
		r = catalog_generation_put(c, &generation, err);
	if (r == 0)
		r = catalog_label_set(c, site.id, "env", env_of(i), err);
	return r < 0 ? r : catalog_label_set(c, site.id, "customer", site.name, err);
}

static void make_snapshot(const struct cat_snapshot *s, unsigned site, int snapshots)
{
	const struct cat_generation generation = {.number = s->generation, .created = start,
		.method = "copy", .consistency = "settled"};
	_cleanup_fd_ int folder = make_dir(snapshots, s->site);
	_cleanup_fd_ int dir = -1;
	char text[1024];

	site_json(site, text, sizeof(text));
	dir = make_shape(folder, s->name, &generation, text);
	snprintf(text, sizeof(text),
		"{\"format\":1,\"id\":\"%s\",\"site\":\"%s\",\"site_name\":\"%s\",\"name\":\"%s\","
		"\"kind\":\"%s\",\"time\":%lld,\"generation\":%lld,\"method\":\"%s\","
		"\"consistency\":\"%s\",\"labels\":{}}",
		s->id, s->site, s->site_name, s->name, s->kind, (long long)s->created,
		(long long)s->generation, s->method, s->consistency);
	make_file(dir, "meta.json", text);
}

static int put_snapshot(struct catalog *c, unsigned i, unsigned sites, const char *pool,
	int snapshots, struct err *err)
{
	struct cat_snapshot snapshot = sample_snapshot(i);
	struct cat_event event = {.id = i + 1, .time = start + i, .kind = "job.done",
		.job = 1000 + i, .data = "{}"};
	struct cat_job job = sample_job(1000 + i);
	int r;

	snapshot.created = start + i;
	snapshot.expires = snapshot.gap_ns = snapshot.job = 0;
	snapshot.generation = 1;
	snprintf(snapshot.pool, sizeof(snapshot.pool), "%s", pool);
	sample_id('s', i % sites, snapshot.site);
	snprintf(snapshot.site_name, sizeof(snapshot.site_name), "site-%06u", i % sites);
	make_snapshot(&snapshot, i % sites, snapshots);
	r = catalog_snapshot_put(c, &snapshot, err);
	if (r < 0 || i % 10)
		return r;
	strcpy(job.state, "done");
	strcpy(job.site, snapshot.site);
	strcpy(job.site_name, snapshot.site_name);
	job.created = job.started = job.finished = start + i;
	r = catalog_job_put(c, &job, err);
	return r < 0 ? r : catalog_event_put(c, &event, err);
}

static int fill(struct catalog *c, const struct cat_pool *pool, unsigned n_sites,
	unsigned n_snapshots, struct err *err)
{
	_cleanup_fd_ int root = open(pool->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	_cleanup_fd_ int sites = make_dir(root, "sites");
	_cleanup_fd_ int own = make_dir(root, ".fsd");
	_cleanup_fd_ int snapshots = make_dir(own, "snapshots");
	int r = catalog_begin(c, err);

	if (r == 0)
		r = catalog_pool_put(c, pool, err);
	for (unsigned i = 0; r == 0 && i < n_sites; i++)
		r = put_site(c, i, pool->name, sites, err);
	for (unsigned i = 0; r == 0 && i < n_snapshots; i++)
		r = put_snapshot(c, i, n_sites, pool->name, snapshots, err);
	return r < 0 ? r : catalog_commit(c, err);
}

int main(int argc, char **argv)
{
	struct cat_pool pool = {.driver = "copy", .seen = 1};
	struct err err = ERR_INIT;
	struct catalog *c = NULL;
	int r;

	if (argc != 7) {
		fprintf(stderr, "usage: fill_catalog FILE ID NAME PATH SITES SNAPSHOTS\n");
		return 2;
	}
	start = clock_real() - 3600 * NSEC_PER_SEC;
	snprintf(pool.id, sizeof(pool.id), "%s", argv[2]);
	snprintf(pool.name, sizeof(pool.name), "%s", argv[3]);
	snprintf(pool.path, sizeof(pool.path), "%s", argv[4]);
	r = catalog_open(argv[1], CATALOG_CREATE, &c, &err);
	if (r == 0)
		r = fill(c, &pool, strtoul(argv[5], NULL, 10), strtoul(argv[6], NULL, 10), &err);
	if (r < 0)
		fprintf(stderr, "fill_catalog: %s: %s\n", err.object, err.reason);
	catalog_close(&c);
	return r < 0;
}
