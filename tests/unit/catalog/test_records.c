/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is put into the catalog comes out again; what must not stand beside it is refused. */
#include "tests/unit/catalog/support.h"

/* Records are compared by their fields: what stands behind the end of a text is nobody's. */
#define assert_text(a, b, field) assert_string_equal((a).field, (b).field)
#define assert_int(a, b, field) assert_int_equal((a).field, (b).field)

static void assert_usage(const struct cat_usage *a, const struct cat_usage *b)
{
	assert_int(*a, *b, measured);
	assert_int(*a, *b, logical);
	assert_int(*a, *b, shared);
	assert_int(*a, *b, exclusive);
	assert_int(*a, *b, entries);
}

static void assert_site(const struct cat_site *a, const struct cat_site *b)
{
	assert_text(*a, *b, id);
	assert_text(*a, *b, name);
	assert_text(*a, *b, pool);
	assert_text(*a, *b, linked);
	assert_int(*a, *b, tenant);
	assert_int(*a, *b, created);
	assert_int(*a, *b, deleted);
	assert_int(*a, *b, live);
	assert_int(*a, *b, expires);
	assert_int(*a, *b, protect);
	assert_usage(&a->usage, &b->usage);
}

static void test_site__comes_back_by_name_and_id(void **state)
{
	struct catalog *c = ((struct scratch *)*state)->c;
	struct cat_site site = sample_site(1), got;
	struct err err = ERR_INIT;

	assert_ok(catalog_site_put(c, &site, &err), err);
	assert_ok(catalog_site_get(c, site.name, &got, &err), err);
	assert_site(&got, &site);
	assert_ok(catalog_site_get(c, site.id, &got, &err), err);
	assert_site(&got, &site);
	assert_int_equal(catalog_site_get(c, "no-such-site", &got, &err), -ENOENT);
	assert_int_equal(err.num, 0);
}

static void test_site__is_replaced_whole(void **state)
{
	struct catalog *c = ((struct scratch *)*state)->c;
	struct cat_site site = sample_site(1), got;
	struct err err = ERR_INIT;
	uint64_t n;

	assert_ok(catalog_site_put(c, &site, &err), err);
	strcpy(site.name, "renamed");
	site.linked[0] = '\0';
	site.protect = 0;
	site.live = 12;
	assert_ok(catalog_site_put(c, &site, &err), err);
	assert_ok(catalog_site_get(c, site.id, &got, &err), err);
	assert_site(&got, &site);
	assert_int_equal(catalog_site_get(c, "site-000001", &got, &err), -ENOENT);
	assert_ok(catalog_site_count(c, NULL, &n, &err), err);
	assert_int_equal(n, 1);
}

static void test_site__name_is_taken_only_while_in_use(void **state)
{
	struct catalog *c = ((struct scratch *)*state)->c;
	struct cat_site a = sample_site(1), b = sample_site(2), got;
	struct err err = ERR_INIT;
	uint64_t n;

	strcpy(b.name, a.name);
	assert_ok(catalog_site_put(c, &a, &err), err);
	assert_fails(catalog_site_put(c, &b, &err), EEXIST, "name_taken", err);
	assert_string_equal(err.object, a.name);
	a.deleted = 77;
	assert_ok(catalog_site_put(c, &a, &err), err);
	assert_ok(catalog_site_put(c, &b, &err), err);
	assert_ok(catalog_site_get(c, a.name, &got, &err), err);
	assert_string_equal(got.id, b.id);
	assert_ok(catalog_site_get(c, a.id, &got, &err), err);
	assert_int_equal(got.deleted, 77);
	assert_ok(catalog_site_count(c, NULL, &n, &err), err);
	assert_int_equal(n, 1);
}

static void test_site__needs_its_pool_and_tenant(void **state)
{
	struct catalog *c = ((struct scratch *)*state)->c;
	struct cat_site site = sample_site(1);
	struct err err;

	strcpy(site.pool, "nowhere");
	assert_fails(catalog_site_put(c, &site, &err), EINVAL, "bad_reference", err);
	strcpy(site.pool, "pool0");
	site.tenant = 2;
	assert_fails(catalog_site_put(c, &site, &err), EINVAL, "bad_reference", err);
}

static void test_site_delete__takes_generations_and_labels_but_no_snapshot(void **state)
{
	struct catalog *c = ((struct scratch *)*state)->c;
	struct cat_site site = sample_site(3);
	struct err err = ERR_INIT;

	assert_ok(put_each(c, 3, &err), err);
	assert_int_equal(count_each(c, 3), EACH);
	assert_ok(catalog_site_delete(c, site.id, &err), err);
	assert_int_equal(count_each(c, 3), EACH - 3); /* site, generation, label */
	assert_ok(catalog_site_delete(c, site.id, &err), err);
}

static void test_pool__renamed_stays_the_pool_of_its_sites(void **state)
{
	struct catalog *c = ((struct scratch *)*state)->c;
	struct cat_site site = sample_site(1);
	struct cat_pool pool = sample_pool(0), got;
	struct err err = ERR_INIT;

	assert_ok(catalog_site_put(c, &site, &err), err);
	strcpy(pool.name, "fast");
	pool.seen = 99;
	assert_ok(catalog_pool_put(c, &pool, &err), err);
	assert_ok(catalog_site_get(c, site.id, &site, &err), err);
	assert_string_equal(site.pool, "fast");
	assert_ok(catalog_pool_get(c, "fast", &got, &err), err);
	assert_string_equal(got.id, pool.id);
	assert_string_equal(got.driver, pool.driver);
	assert_string_equal(got.path, pool.path);
	assert_int_equal(got.seen, 99);
	assert_int_equal(catalog_pool_get(c, "pool0", &got, &err), -ENOENT);
}

static void test_pool__name_belongs_to_one_pool(void **state)
{
	struct catalog *c = ((struct scratch *)*state)->c;
	struct cat_pool other = sample_pool(1);
	struct err err;

	strcpy(other.name, "pool0");
	assert_fails(catalog_pool_put(c, &other, &err), EEXIST, "name_taken", err);
}

static void test_generation__comes_back(void **state)
{
	struct catalog *c = ((struct scratch *)*state)->c;
	struct cat_site site = sample_site(1);
	struct cat_generation g = {.number = 7, .created = 1, .method = "snapshot",
		.consistency = "atomic", .origin = "a@b", .retired = 2, .retired_by = 3, .job = 4},
		got;
	struct err err = ERR_INIT;

	strcpy(g.site, site.id);
	assert_fails(catalog_generation_put(c, &g, &err), EINVAL, "bad_reference", err);
	err = ERR_INIT;
	assert_ok(catalog_site_put(c, &site, &err), err);
	assert_ok(catalog_generation_put(c, &g, &err), err);
	assert_ok(catalog_generation_get(c, g.site, 7, &got, &err), err);
	assert_text(got, g, site);
	assert_text(got, g, method);
	assert_text(got, g, consistency);
	assert_text(got, g, origin);
	assert_int(got, g, number);
	assert_int(got, g, created);
	assert_int(got, g, retired);
	assert_int(got, g, retired_by);
	assert_int(got, g, job);
	assert_int_equal(catalog_generation_get(c, g.site, 8, &got, &err), -ENOENT);
	assert_ok(catalog_generation_delete(c, g.site, 7, &err), err);
	assert_int_equal(catalog_generation_get(c, g.site, 7, &got, &err), -ENOENT);
}

static void assert_snapshot(const struct cat_snapshot *a, const struct cat_snapshot *b)
{
	assert_text(*a, *b, id);
	assert_text(*a, *b, site);
	assert_text(*a, *b, site_name);
	assert_text(*a, *b, name);
	assert_text(*a, *b, pool);
	assert_text(*a, *b, kind);
	assert_text(*a, *b, method);
	assert_text(*a, *b, consistency);
	assert_int(*a, *b, created);
	assert_int(*a, *b, generation);
	assert_int(*a, *b, gap_ns);
	assert_int(*a, *b, expires);
	assert_int(*a, *b, job);
	assert_usage(&a->usage, &b->usage);
}

static void test_snapshot__outlives_its_site_and_comes_back(void **state)
{
	struct catalog *c = ((struct scratch *)*state)->c;
	struct cat_snapshot s = sample_snapshot(1), got; /* of a site that was never put */
	struct err err = ERR_INIT;

	assert_ok(catalog_snapshot_put(c, &s, &err), err);
	assert_ok(catalog_snapshot_get(c, s.site, s.name, &got, &err), err);
	assert_snapshot(&got, &s);
	assert_ok(catalog_snapshot_get_id(c, s.id, &got, &err), err);
	assert_snapshot(&got, &s);
	assert_int_equal(catalog_snapshot_get(c, s.site, "other", &got, &err), -ENOENT);
}

static void test_snapshot__name_is_unique_within_its_site(void **state)
{
	struct catalog *c = ((struct scratch *)*state)->c;
	struct cat_snapshot a = sample_snapshot(1), b = sample_snapshot(2);
	struct err err = ERR_INIT;

	strcpy(b.name, a.name);
	assert_ok(catalog_snapshot_put(c, &a, &err), err);
	assert_fails(catalog_snapshot_put(c, &b, &err), EEXIST, "name_taken", err);
	sample_id('s', 4, b.site);
	assert_ok(catalog_snapshot_put(c, &b, &err), err);
}

static void test_snapshot_delete__takes_what_belongs_to_it(void **state)
{
	struct catalog *c = ((struct scratch *)*state)->c;
	struct cat_snapshot s = sample_snapshot(3);
	struct err err = ERR_INIT;

	assert_ok(put_each(c, 3, &err), err);
	assert_ok(catalog_label_set(c, s.id, "k", "v", &err), err);
	assert_ok(catalog_snapshot_delete(c, s.id, &err), err);
	assert_int_equal(count_each(c, 3), EACH - 3); /* snapshot, hold, unsettled */
}

static int first_label(const char *key, const char *value, void *arg)
{
	snprintf(arg, 64, "%s=%s", key, value);
	return 1;
}

static void test_label__is_set_replaced_and_removed(void **state)
{
	struct catalog *c = ((struct scratch *)*state)->c;
	struct err err = ERR_INIT;
	char got[64];

	assert_ok(catalog_label_set(c, "x", "b", "1", &err), err);
	assert_ok(catalog_label_set(c, "x", "a", "2", &err), err);
	assert_ok(catalog_label_set(c, "x", "a", "3", &err), err);
	assert_int_equal(catalog_labels(c, "x", first_label, got, &err), 1);
	assert_string_equal(got, "a=3");
	assert_ok(catalog_label_set(c, "x", "a", NULL, &err), err);
	assert_int_equal(catalog_labels(c, "x", first_label, got, &err), 1);
	assert_string_equal(got, "b=1");
	assert_ok(catalog_label_set(c, "x", "b", NULL, &err), err);
	assert_ok(catalog_label_set(c, "x", "b", NULL, &err), err);
	assert_int_equal(catalog_labels(c, "x", first_label, got, &err), 0);
}

static void test_label__takes_200_bytes_and_no_more(void **state)
{
	struct catalog *c = ((struct scratch *)*state)->c;
	struct err err = ERR_INIT;
	char text[202] = "";

	memset(text, 'x', 200);
	assert_ok(catalog_label_set(c, "x", text, text, &err), err);
	text[200] = 'x';
	assert_fails(catalog_label_set(c, "x", text, "v", &err), ENAMETOOLONG, "too_long", err);
	assert_fails(catalog_label_set(c, "x", "k", text, &err), ENAMETOOLONG, "too_long", err);
}

static void test_put__refuses_a_text_without_end(void **state)
{
	struct catalog *c = ((struct scratch *)*state)->c;
	struct cat_site site = sample_site(1);
	struct err err;

	memset(site.name, 'x', sizeof(site.name));
	assert_fails(catalog_site_put(c, &site, &err), ENAMETOOLONG, "too_long", err);
}

static int copy_hold(const struct cat_hold *h, void *arg)
{
	*(struct cat_hold *)arg = *h;
	return 1;
}

static void test_hold__comes_back_and_is_deleted(void **state)
{
	struct catalog *c = ((struct scratch *)*state)->c;
	struct cat_hold h = {.object = "x", .tag = "default", .reason = "law", .created = 3}, got;
	struct err err = ERR_INIT;

	assert_ok(catalog_hold_put(c, &h, &err), err);
	assert_int_equal(catalog_holds(c, "x", copy_hold, &got, &err), 1);
	assert_text(got, h, object);
	assert_text(got, h, tag);
	assert_text(got, h, reason);
	assert_int(got, h, created);
	assert_ok(catalog_hold_delete(c, "x", "default", &err), err);
	assert_ok(catalog_hold_delete(c, "x", "default", &err), err);
	assert_int_equal(catalog_holds(c, "x", copy_hold, &got, &err), 0);
}

static void test_job__comes_back_with_its_texts(void **state)
{
	struct catalog *c = ((struct scratch *)*state)->c;
	struct cat_job j = sample_job(41), got;
	struct err err = ERR_INIT;

	strcpy(j.key, "k1");
	j.started = 5, j.finished = 6, j.undone_by = 7;
	assert_ok(catalog_job_put(c, &j, &err), err);
	assert_ok(catalog_job_get(c, 41, &got, &err), err);
	assert_text(got, j, kind);
	assert_text(got, j, state);
	assert_text(got, j, site);
	assert_text(got, j, site_name);
	assert_text(got, j, pool);
	assert_text(got, j, actor);
	assert_text(got, j, note);
	assert_text(got, j, key);
	assert_text(got, j, args);
	assert_text(got, j, intent);
	assert_int(got, j, created);
	assert_int(got, j, started);
	assert_int(got, j, finished);
	assert_int(got, j, undone_by);
	assert_null(got.result);
	assert_null(got.stats);
	assert_null(got.error);
	cat_job_release(&got);
	assert_null(got.args);
	assert_int_equal(catalog_job_get(c, 42, &got, &err), -ENOENT);
}

static void test_job__key_is_unique_with_its_actor(void **state)
{
	struct catalog *c = ((struct scratch *)*state)->c;
	struct cat_job a = sample_job(1), b = sample_job(2), got;
	struct err err = ERR_INIT;

	assert_ok(catalog_job_put(c, &a, &err), err); /* any number without a key */
	assert_ok(catalog_job_put(c, &b, &err), err);
	assert_int_equal(catalog_job_by_key(c, a.actor, "", &got, &err), -ENOENT);
	strcpy(a.key, "k");
	strcpy(b.key, "k");
	assert_ok(catalog_job_put(c, &a, &err), err);
	assert_fails(catalog_job_put(c, &b, &err), EEXIST, "key_reused", err);
	strcpy(b.actor, "uid:1");
	assert_ok(catalog_job_put(c, &b, &err), err);
	assert_ok(catalog_job_by_key(c, "uid:1", "k", &got, &err), err);
	assert_int_equal(got.id, 2);
	cat_job_release(&got);
	assert_int_equal(catalog_job_by_key(c, "uid:2", "k", &got, &err), -ENOENT);
}

static void test_job_last__survives_expiry(void **state)
{
	struct catalog *c = ((struct scratch *)*state)->c;
	struct cat_job j = sample_job(1800000000000);
	struct err err = ERR_INIT;
	int64_t last = -1;

	assert_ok(catalog_job_last(c, &last, &err), err);
	assert_int_equal(last, 0);
	j.finished = 10;
	assert_ok(catalog_job_put(c, &j, &err), err);
	assert_ok(catalog_expire(c, 11, &err), err);
	assert_int_equal(catalog_job_get(c, j.id, &j, &err), -ENOENT);
	assert_ok(catalog_job_last(c, &last, &err), err);
	assert_int_equal(last, 1800000000000);
}

static void test_expire__keeps_unfinished_and_younger(void **state)
{
	struct catalog *c = ((struct scratch *)*state)->c;
	struct cat_job old = sample_job(1), open = sample_job(2), young = sample_job(3), got;
	struct cat_event event = {.id = 7, .time = 50, .kind = "x"};
	struct err err = ERR_INIT;
	int64_t last;

	old.finished = 99;
	young.finished = 100;
	assert_ok(catalog_job_put(c, &old, &err), err);
	assert_ok(catalog_job_put(c, &open, &err), err);
	assert_ok(catalog_job_put(c, &young, &err), err);
	assert_ok(catalog_event_put(c, &event, &err), err);
	assert_ok(catalog_expire(c, 100, &err), err);
	assert_int_equal(catalog_job_get(c, 1, &got, &err), -ENOENT);
	assert_ok(catalog_job_get(c, 2, &got, &err), err);
	cat_job_release(&got);
	assert_ok(catalog_job_get(c, 3, &got, &err), err);
	cat_job_release(&got);
	assert_ok(catalog_event_last(c, &last, &err), err);
	assert_int_equal(last, 7); /* never again an id that somebody has seen */
}

static int copy_event(const struct cat_event *e, void *arg)
{
	struct cat_event *to = arg;

	*to = *e;
	to->data = e->data ? strdup(e->data) : NULL;
	return 1;
}

static void test_event__is_what_was_put(void **state)
{
	struct catalog *c = ((struct scratch *)*state)->c;
	struct cat_event e = {.id = 1, .time = 1, .kind = "site.created", .site = "s", .job = 3,
		.data = "{\"a\":1}"}, got;
	struct cat_event_filter f = {.after = 1};
	struct err err = ERR_INIT;
	int64_t id;

	assert_ok(catalog_event_put(c, &e, &err), err);
	e.id = 5;
	assert_ok(catalog_event_put(c, &e, &err), err);
	assert_int_equal(catalog_events(c, &f, copy_event, &got, &err), 1);
	assert_int_equal(got.id, 5);
	assert_text(got, e, kind);
	assert_text(got, e, site);
	assert_text(got, e, data);
	assert_int(got, e, job);
	assert_int(got, e, time);
	free((void *)(uintptr_t)got.data);
	assert_ok(catalog_event_last(c, &id, &err), err);
	assert_int_equal(id, 5);
}

static void test_transaction__is_one_commit_and_undone_by_rollback(void **state)
{
	struct catalog *c = ((struct scratch *)*state)->c;
	unsigned long before = catalog_commits(c);
	struct err err = ERR_INIT;

	assert_ok(catalog_begin(c, &err), err);
	assert_ok(put_each(c, 1, &err), err);
	catalog_rollback(c);
	catalog_rollback(c);
	assert_int_equal(count_each(c, 1), 0);
	assert_int_equal(catalog_commits(c), before);
	assert_ok(catalog_begin(c, &err), err);
	assert_ok(put_each(c, 1, &err), err);
	assert_ok(catalog_commit(c, &err), err);
	assert_int_equal(count_each(c, 1), EACH);
	assert_int_equal(catalog_commits(c), before + 1);
}

static void test_transaction__goes_on_after_a_refused_record(void **state)
{
	struct catalog *c = ((struct scratch *)*state)->c;
	struct cat_site a = sample_site(1), b = sample_site(2);
	struct err err = ERR_INIT;

	strcpy(b.name, a.name);
	assert_ok(catalog_begin(c, &err), err);
	assert_ok(catalog_site_put(c, &a, &err), err);
	assert_fails(catalog_site_put(c, &b, &err), EEXIST, "name_taken", err);
	assert_ok(catalog_commit(c, &err), err);
	assert_ok(catalog_site_get(c, a.id, &b, &err), err);
}

static void test_commits__counts_single_writes_and_not_reads(void **state)
{
	struct catalog *c = ((struct scratch *)*state)->c;
	unsigned long before = catalog_commits(c);
	struct cat_site site = sample_site(1);
	struct err err = ERR_INIT;

	assert_ok(catalog_site_put(c, &site, &err), err);
	assert_int_equal(catalog_commits(c), before + 1);
	assert_ok(catalog_site_get(c, site.id, &site, &err), err);
	assert_ok(catalog_site_delete(c, site.id, &err), err);
	assert_int_equal(catalog_commits(c), before + 2);
	assert_ok(catalog_site_delete(c, site.id, &err), err); /* nothing there: nothing written */
	assert_int_equal(catalog_commits(c), before + 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_site__comes_back_by_name_and_id),
		TEST(test_site__is_replaced_whole),
		TEST(test_site__name_is_taken_only_while_in_use),
		TEST(test_site__needs_its_pool_and_tenant),
		TEST(test_site_delete__takes_generations_and_labels_but_no_snapshot),
		TEST(test_pool__renamed_stays_the_pool_of_its_sites),
		TEST(test_pool__name_belongs_to_one_pool),
		TEST(test_generation__comes_back),
		TEST(test_snapshot__outlives_its_site_and_comes_back),
		TEST(test_snapshot__name_is_unique_within_its_site),
		TEST(test_snapshot_delete__takes_what_belongs_to_it),
		TEST(test_label__is_set_replaced_and_removed),
		TEST(test_label__takes_200_bytes_and_no_more),
		TEST(test_put__refuses_a_text_without_end),
		TEST(test_hold__comes_back_and_is_deleted),
		TEST(test_job__comes_back_with_its_texts),
		TEST(test_job__key_is_unique_with_its_actor),
		TEST(test_job_last__survives_expiry),
		TEST(test_expire__keeps_unfinished_and_younger),
		TEST(test_event__is_what_was_put),
		TEST(test_transaction__is_one_commit_and_undone_by_rollback),
		TEST(test_transaction__goes_on_after_a_refused_record),
		TEST(test_commits__counts_single_writes_and_not_reads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
