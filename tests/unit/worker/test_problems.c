/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What `fsctl status` lists says what it is about, why, and what to do. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "fsd/worker/housekeeping.h"
#include "fsd/worker/problems.h"
#include "fsd/worker/query.h"
#include "fsd/worker/removal.h"
#include "fsd/worker/scan.h"
#include "tests/unit/worker/harness.h"

/* Housekeeping compares the pool as well, whenever it comes to it: here a test says when. */
static int setup(void **state)
{
	int r = harness_plain(state);
	struct harness *h = *state;

	if (h)
		housekeeping_stop(&h->fsd);
	return r;
}

static void start_again(struct harness *h)
{
	harness_stop(h);
	harness_start(h);
	housekeeping_stop(&h->fsd);
}

static void done(json_t *v)
{
	json_decref(v);
}

static void shell(struct harness *h, const char *command)
{
	char text[512];

	snprintf(text, sizeof(text), "cd %s && %s", h->pool, command);
	if (system(text) != 0)
		fail_msg("%s", text);
}

/* The problem of this code and object as `fsctl status` gets it; the caller's. All that are listed
 * are whole. */
static json_t *find(struct harness *h, const char *code, const char *object)
{
	static const char *const members[] = {"severity", "code", "object", "reason", "hint"};
	struct err err = ERR_INIT;
	json_t *status, *p, *found = NULL;
	size_t i;

	assert_int_equal(query_status(&h->fsd, h->fsd.catalog, &status, &err), 0);
	json_array_foreach(json_object_get(status, "problems"), i, p) {
		for (size_t k = 0; k < sizeof(members) / sizeof(members[0]); k++) {
			if (!*harness_text(p, members[k]))
				fail_msg("no %s: %s", members[k], json_dumps(p, 0));
		}
		if (!found && strcmp(harness_text(p, "code"), code) == 0 &&
			strcmp(harness_text(p, "object"), object) == 0)
			found = json_incref(p);
	}
	json_decref(status);
	return found;
}

static void expect(struct harness *h, const char *code, const char *object, const char *hint)
{
	json_t *p = find(h, code, object);

	if (!p)
		fail_msg("%s of %s is not listed", code, object);
	if (!strstr(harness_text(p, "hint"), hint))
		fail_msg("%s of %s: %s", code, object, harness_text(p, "hint"));
	json_decref(p);
}

static void expect_none(struct harness *h)
{
	json_t *status;
	struct err err = ERR_INIT;

	assert_int_equal(query_status(&h->fsd, h->fsd.catalog, &status, &err), 0);
	assert_string_equal(harness_text(status, "state"), "ok");
	json_decref(status);
}

static void make_sites(struct harness *h)
{
	done(harness_done(h, "site-create", "name", "shop", NULL));
	done(harness_done(h, "site-create", "name", "blog", NULL));
	done(harness_done(h, "snapshot", "site", "shop", "name", "a", NULL));
	expect_none(h);
}

static void look(struct harness *h)
{
	scan_report(&h->fsd, h->fsd.catalog, &h->fsd.pools.items[0], NULL, NULL, NULL);
}

/* ---- catalog and pool ---- */

static void test_scan__says_what_to_do_about_every_difference(void **state)
{
	struct harness *h = *state;

	make_sites(h);
	shell(h, "mv sites/blog .fsd/away; cp -a .fsd/away sites/new");
	shell(h, "mkdir sites/plain; touch sites/file");
	shell(h, "sed -i 's/\"id\": \"[0-9a-f]*/\"id\": \"ffffffff/' sites/new/site.json");
	shell(h, "echo '{' >sites/shop/site.json; d=$(echo .fsd/snapshots/*); mkdir $d/plain");
	look(h);
	expect(h, "not_in_pool", "blog", "fsctl pool scan main");
	expect(h, "not_in_catalog", "new", "fsctl pool scan main");
	expect(h, "unreadable", "plain", "sites/plain");
	expect(h, "unreadable", "file", "sites/file");
	expect(h, "unreadable", "shop", "site.json of ");
	shell(h, "echo '{\"format\": 99}' >sites/new/site.json");
	look(h);
	expect(h, "unreadable", "new", "start the fsd that wrote it");
}

static void test_scan__reports_some_and_counts_the_rest(void **state)
{
	struct harness *h = *state;
	json_t *p;

	make_sites(h);
	shell(h, "for i in 1 2 3 4 5 6 7 8 9 10 11 12; do cp -a sites/blog sites/n$i; "
		 "sed -i \"s/\\\"id\\\": \\\"......../\\\"id\\\": \\\"fffffff$(printf %x $i)/\" "
		 "sites/n$i/site.json; done");
	look(h);
	expect(h, "more_differences", "main", "fsctl pool check main");
	p = find(h, "more_differences", "main");
	assert_non_null(strstr(harness_text(p, "reason"), "2 more"));
	json_decref(p);
	done(harness_done(h, "pool-scan", "pool", "main", NULL));
	look(h);
	expect_none(h);
}

/* A job that has begun and does not end: what it changes exclusively. */
static void at_work_on(struct harness *h, const char *type, const char *key)
{
	struct job *job = job_new(OP_SITE_DELETE);

	assert_non_null(job);
	job->kind = h->fsd.jobs.kinds[OP_SITE_DELETE];
	job->id = 1;
	job_lock(job, type, key, true);
	job->look_again = INT64_MAX;
	jobs_enqueue(&h->fsd, job);
}

/* Between a job's commit and its record the two differ. */
static void test_scan__leaves_alone_what_a_job_is_at_work_on(void **state)
{
	struct harness *h = *state;
	struct cat_site shop, site;
	struct cat_snapshot a, snapshot;

	make_sites(h);
	assert_int_equal(catalog_site_get(h->fsd.catalog, "shop", &shop, NULL), 0);
	assert_int_equal(catalog_snapshot_get(h->fsd.catalog, shop.id, "a", &a, NULL), 0);
	at_work_on(h, "site", shop.id);
	at_work_on(h, "snapshot", a.id);
	shell(h, "mv sites/shop .fsd/away; mv sites/blog .fsd/gone; mv .fsd/snapshots/* .fsd/a");
	look(h);
	expect(h, "not_in_pool", "blog", "fsctl pool scan main");
	assert_null(find(h, "not_in_pool", "shop"));
	done(harness_done(h, "pool-scan", "pool", "main", NULL));
	assert_int_equal(catalog_site_get(h->fsd.catalog, "blog", &site, NULL), -ENOENT);
	assert_int_equal(catalog_site_get(h->fsd.catalog, "shop", &site, NULL), 0);
	assert_int_equal(catalog_snapshot_get(h->fsd.catalog, shop.id, "a", &snapshot, NULL), 0);
	assert_string_equal(site.id, shop.id);
	shell(h, "mv .fsd/away sites/shop");
}

/* A job made it, and cannot read it back. */
static void test_scan__forgets_what_was_unreadable(void **state)
{
	struct harness *h = *state;
	struct err err = ERR_INIT;

	err_sys(&err, EIO, "open generation", "shop");
	scan_unreadable(&h->fsd, &h->fsd.pools.items[0], &err);
	expect(h, "io_error", "shop", "fsctl pool scan main");
	look(h);
	expect_none(h);
}

/* While other threads use the catalog. */
static json_t *find_locked(struct harness *h, const char *code, const char *object)
{
	json_t *found;

	pthread_mutex_lock(&h->fsd.write_lock);
	found = find(h, code, object);
	pthread_mutex_unlock(&h->fsd.write_lock);
	return found;
}

/* By housekeeping, whose other looks are not there to do it. */
static void test_scan__forgets_a_deleted_site_that_is_purged(void **state)
{
	struct harness *h = *state;
	struct removal *removal = NULL;
	struct err err = ERR_INIT;
	json_t *v, *p;
	char id[ID_SIZE];

	make_sites(h);
	v = harness_done(h, "site-delete", "site", "blog", "confirm", "1", NULL);
	snprintf(id, sizeof(id), "%s", harness_text(v, "result.site.id"));
	json_decref(v);
	shell(h, "rm -r .fsd/deleted/*");
	look(h);
	expect(h, "not_in_pool", id, "fsctl pool scan main");
	h->config.undo_keep = 0;
	assert_int_equal(removal_start(&h->fsd, &removal, &err), 0);
	while ((p = find_locked(h, "not_in_pool", id))) {
		json_decref(p);
		usleep(1000);
	}
	removal_stop(&removal);
	expect_none(h);
}

static void test_scan__says_that_a_pool_cannot_be_compared(void **state)
{
	struct harness *h = *state;
	struct pool_root *r = &h->fsd.pools.items[0];
	int sites = r->sites;

	make_sites(h);
	r->sites = -1; /* a descriptor that the storage took away */
	look(h);
	expect(h, "not_compared", "main", "fsctl pool scan main");
	r->sites = sites;
	look(h);
	expect_none(h);
}

/* ---- pools ---- */

static void test_pool__that_is_away_says_where_and_when(void **state)
{
	struct harness *h = *state;
	struct pool_root *r = &h->fsd.pools.items[0];
	struct err bare = ERR_INIT;

	shell(h, "mv .fsd/pool.json .fsd/away");
	assert_int_equal(pool_root_verify(r, NULL), -ENODEV);
	expect(h, "pool_offline", "main", "is its disk mounted?");
	err_sys(&bare, EIO, "open", h->pool); /* whatever went wrong when it was opened */
	pool_root_refuse(r, &bare);
	expect(h, "pool_offline", "main", h->pool);
	shell(h, "mv .fsd/away .fsd/pool.json");
}

static void test_pool__with_a_bad_document_says_what_belongs_there(void **state)
{
	static const char *const texts[] = {"", "{", "{}", "{\"format\":1,\"id\":\"x\"}"};
	struct harness *h = *state;
	struct pools again;
	struct err err;
	char id[ID_SIZE], command[128];

	strcpy(id, h->fsd.pools.items[0].id);
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		snprintf(command, sizeof(command), "printf '%s' >.fsd/pool.json", texts[i]);
		harness_stop(h);
		shell(h, "cp .fsd/pool.json .fsd/good");
		shell(h, command);
		assert_int_equal(catalog_open(h->config.catalog, 0, &h->fsd.catalog, &err), 0);
		assert_int_equal(pools_init(&again, &h->config, h->fsd.catalog, &err), 0);
		err = ERR_INIT;
		assert_true(pool_root_open(&again.items[0], h->fsd.catalog, &h->fsd.write_lock,
			&err) < 0);
		assert_string_equal(err.object, h->pool);
		assert_non_null(strstr(err.hint, id));
		catalog_close(&h->fsd.catalog);
		pools_release(&again);
		shell(h, "mv .fsd/good .fsd/pool.json");
		harness_start(h);
	}
}

static void test_pool__that_is_too_full_says_what_to_delete(void **state)
{
	struct harness *h = *state;

	h->config.min_free_bytes = UINT64_MAX / 2;
	expect(h, "below_min_free", "main", "fsctl snapshot list");
	h->config.min_free_bytes = 1;
	expect_none(h);
}

/* ---- jobs ---- */

/* A record that this fsd cannot read: of one that came later, or damaged. Told once, however often
 * the pool is brought online. */
static void recover_bad(struct harness *h, const char *kind, const char *args, const char *hint)
{
	char id[JOB_ID_SIZE];
	struct cat_job row = {.id = h->fsd.jobs.last_id + 1, .created = 1, .args = args};
	struct err err = ERR_INIT;

	strcpy(row.kind, kind);
	strcpy(row.state, "queued");
	strcpy(row.pool, "main");
	strcpy(row.actor, "uid:0(root)");
	assert_int_equal(catalog_job_put(h->fsd.catalog, &row, &err), 0);
	start_again(h);
	for (int i = 0; i < 2 * PROBLEMS_KEPT; i++)
		assert_int_equal(jobs_load(&h->fsd, &err), 0);
	assert_int_equal(h->fsd.problems.n, 1);
	expect(h, "job_not_recovered", job_id_format(row.id, id), hint);
	strcpy(row.state, "failed");
	row.finished = 1;
	assert_int_equal(catalog_job_put(h->fsd.catalog, &row, &err), 0);
	start_again(h);
	expect_none(h);
}

static void test_job__that_cannot_be_recovered_is_named(void **state)
{
	recover_bad(*state, "from-the-future", "{}", "start the fsd that accepted it");
	recover_bad(*state, "snapshot", "{\"site\": 1}", "fsctl job show");
}

/* Its text is cut in the middle of a letter: it is listed all the same. */
static void test_problem__of_any_bytes_is_listed(void **state)
{
	struct harness *h = *state;
	struct err err = ERR_INIT;

	err_set(&err, EIO, "io_error", "sites/\xff", "read: \xc3");
	err_hint(&err, "mend \xc3");
	problems_add(&h->fsd.problems, true, "test", &err);
	expect(h, "io_error", "\xef\xbf\xbdsites/\\xff", "mend ");
}

/* ---- the list ---- */

static void add(struct problems *p, bool critical, int object)
{
	struct err err = ERR_INIT;
	char name[16];

	snprintf(name, sizeof(name), "%d", object);
	err_set(&err, EIO, "io_error", name, "for a test");
	problems_add(p, critical, "test", &err);
}

static void count(bool critical, const struct err *err, void *arg)
{
	unsigned *n = arg;

	(void)err;
	n[critical]++;
}

static void test_list__that_is_full_still_takes_what_is_critical(void **state)
{
	struct problems p;
	unsigned n[2] = {0};

	(void)state;
	problems_init(&p);
	for (int i = 0; i < 2 * PROBLEMS_KEPT; i++)
		add(&p, false, i);
	for (int i = 0; i < 3; i++)
		add(&p, true, -1 - i);
	problems_each(&p, count, n);
	assert_int_equal(n[true], 3);
	assert_int_equal(n[false], PROBLEMS_KEPT - 3);
	for (int i = 0; i < 2 * PROBLEMS_KEPT; i++)
		add(&p, true, i);
	assert_int_equal(p.n, PROBLEMS_KEPT);
	problems_release(&p);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, harness_end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_scan__says_what_to_do_about_every_difference),
		TEST(test_scan__reports_some_and_counts_the_rest),
		TEST(test_scan__leaves_alone_what_a_job_is_at_work_on),
		TEST(test_scan__forgets_what_was_unreadable),
		TEST(test_scan__forgets_a_deleted_site_that_is_purged),
		TEST(test_scan__says_that_a_pool_cannot_be_compared),
		TEST(test_pool__that_is_away_says_where_and_when),
		TEST(test_pool__with_a_bad_document_says_what_belongs_there),
		TEST(test_pool__that_is_too_full_says_what_to_delete),
		TEST(test_job__that_cannot_be_recovered_is_named),
		TEST(test_problem__of_any_bytes_is_listed),
		cmocka_unit_test(test_list__that_is_full_still_takes_what_is_critical),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
