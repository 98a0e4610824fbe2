/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/unit/catalog/support.h"

#include <dirent.h>
#include <unistd.h>

#include "snap/base/fd.h"

int scratch_setup(void **state)
{
	struct scratch *s = calloc(1, sizeof(*s));

	strcpy(s->dir, "/tmp/test_catalog.XXXXXX");
	if (!mkdtemp(s->dir))
		return -1;
	snprintf(s->path, sizeof(s->path), "%s/catalog.db", s->dir);
	*state = s;
	return 0;
}

int scratch_catalog(void **state)
{
	struct err err = ERR_INIT;
	struct cat_pool pool = sample_pool(0);
	struct scratch *s;

	if (scratch_setup(state) < 0)
		return -1;
	s = *state;
	if (catalog_open(s->path, CATALOG_CREATE, &s->c, &err) < 0) {
		print_error("%s: %s\n", err.code, err.reason);
		return -1;
	}
	return catalog_pool_put(s->c, &pool, &err);
}

int scratch_end(void **state)
{
	struct scratch *s = *state;
	char path[sizeof(s->dir) + NAME_MAX + 1];
	struct dirent *e;
	DIR *d;
	int r;

	catalog_close(&s->c);
	d = opendir(s->dir);
	while (d && (e = readdir(d))) {
		snprintf(path, sizeof(path), "%s/%s", s->dir, e->d_name);
		if (e->d_name[0] != '.' && unlink(path) < 0)
			rmdir(path);
	}
	if (d)
		closedir(d);
	r = rmdir(s->dir);
	free(s);
	return r;
}

const char *sample_id(char kind, unsigned i, char out[CAT_ID_SIZE])
{
	snprintf(out, CAT_ID_SIZE, "00000000-0000-7000-8000-%04x%08x", kind, i);
	return out;
}

struct cat_pool sample_pool(unsigned i)
{
	struct cat_pool p = {.driver = "btrfs", .path = "/srv/fsd/main", .seen = 17};

	sample_id('p', i, p.id);
	snprintf(p.name, sizeof(p.name), "pool%u", i);
	return p;
}

struct cat_site sample_site(unsigned i)
{
	struct cat_site s = {.pool = "pool0", .tenant = 1, .created = 100 + i, .live = 1,
		.expires = 5, .protect = 1, .linked = "/var/www/x", .usage = {1, 2, 3, 4, 5}};

	sample_id('s', i, s.id);
	snprintf(s.name, sizeof(s.name), "site-%06u", i);
	return s;
}

struct cat_snapshot sample_snapshot(unsigned i)
{
	struct cat_snapshot s = {.site_name = "site-000000", .pool = "pool0", .kind = "user",
		.created = 1000 + i, .generation = 3, .method = "snapshot",
		.consistency = "atomic", .gap_ns = 7, .expires = 8, .job = 9,
		.usage = {1, 2, 3, 4, 5}};

	sample_id('n', i, s.id);
	sample_id('s', 0, s.site);
	snprintf(s.name, sizeof(s.name), "snap-%06u", i);
	return s;
}

struct cat_job sample_job(int64_t id)
{
	struct cat_job j = {.id = id, .kind = "snapshot", .state = "queued",
		.site_name = "site-000000", .pool = "pool0", .actor = "uid:0(root)",
		.note = "before the update", .created = 1000 + id, .args = "{\"site\":\"x\"}",
		.intent = "{}"};

	sample_id('s', 0, j.site);
	return j;
}

int put_each(struct catalog *c, unsigned i, struct err *err)
{
	struct cat_site site = sample_site(i);
	struct cat_pool pool = sample_pool(i);
	struct cat_snapshot snapshot = sample_snapshot(i);
	struct cat_generation generation = {.number = 1, .method = "copy", .origin = "import"};
	struct cat_hold hold = {.tag = "default", .reason = "audit", .created = 1};
	struct cat_job job = sample_job(i);
	struct cat_event event = {.id = i + 1, .time = 1, .kind = "job.done", .job = i,
		.data = "{}"};
	int r;

	strcpy(site.pool, pool.name);
	strcpy(snapshot.pool, pool.name);
	strcpy(generation.site, site.id);
	strcpy(hold.object, snapshot.id);
	r = catalog_pool_put(c, &pool, err);
	if (r == 0)
		r = catalog_site_put(c, &site, err);
	if (r == 0)
		r = catalog_generation_put(c, &generation, err);
	if (r == 0)
		r = catalog_snapshot_put(c, &snapshot, err);
	if (r == 0)
		r = catalog_label_set(c, site.id, "env", "prod", err);
	if (r == 0)
		r = catalog_hold_put(c, &hold, err);
	if (r == 0)
		r = catalog_unsettled_set(c, snapshot.id, "{\"total\":1}", err);
	if (r == 0)
		r = catalog_job_put(c, &job, err);
	if (r == 0)
		r = catalog_event_put(c, &event, err);
	return r;
}

static int count_label(const char *key, const char *value, void *arg)
{
	(void)key, (void)value;
	++*(int *)arg;
	return 0;
}

static int count_hold(const struct cat_hold *h, void *arg)
{
	(void)h;
	++*(int *)arg;
	return 0;
}

static int count_event(const struct cat_event *e, void *arg)
{
	(void)e;
	++*(int *)arg;
	return 0;
}

int count_each(struct catalog *c, unsigned i)
{
	struct cat_event_filter events = {.job = i};
	_cleanup_free_ char *unsettled = NULL;
	struct err err = ERR_INIT;
	char name[CAT_NAME_SIZE], site[CAT_ID_SIZE], snapshot[CAT_ID_SIZE];
	struct cat_generation generation;
	struct cat_snapshot snap;
	struct cat_site s;
	struct cat_pool p;
	struct cat_job j;
	int n = 0;

	sample_id('s', i, site);
	sample_id('n', i, snapshot);
	snprintf(name, sizeof(name), "pool%u", i);
	n += catalog_pool_get(c, name, &p, &err) == 0;
	n += catalog_site_get(c, site, &s, &err) == 0;
	n += catalog_generation_get(c, site, 1, &generation, &err) == 0;
	n += catalog_snapshot_get_id(c, snapshot, &snap, &err) == 0;
	catalog_labels(c, site, count_label, &n, &err);
	catalog_holds(c, snapshot, count_hold, &n, &err);
	catalog_unsettled(c, snapshot, &unsettled, &err);
	n += unsettled && strcmp(unsettled, "{\"total\":1}") == 0;
	if (catalog_job_get(c, i, &j, &err) == 0) {
		cat_job_release(&j);
		n++;
	}
	catalog_events(c, &events, count_event, &n, &err);
	if (err.num)
		fail_msg("%s: %s", err.code, err.reason);
	return n;
}
