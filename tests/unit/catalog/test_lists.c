/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Lists: order, filters, pages, and that no list walks more than it answers. */
#include "tests/unit/catalog/support.h"

/* The names, or ids, that a list gave, separated by blanks. */
struct seen {
	struct buf text;
	unsigned n, stop_after;
};

static int see(struct seen *seen, const char *word)
{
	if (seen->n++)
		buf_adds(&seen->text, " ");
	buf_adds(&seen->text, word);
	return seen->n == seen->stop_after ? 42 : 0;
}

static int see_site(const struct cat_site *s, void *arg)
{
	return see(arg, s->name);
}

static int see_snapshot(const struct cat_snapshot *s, void *arg)
{
	return see(arg, s->name);
}

static int see_pool(const struct cat_pool *p, void *arg)
{
	return see(arg, p->name);
}

static int see_number(struct seen *seen, int64_t n)
{
	char text[24];

	snprintf(text, sizeof(text), "%lld", (long long)n);
	return see(seen, text);
}

static int see_generation(const struct cat_generation *g, void *arg)
{
	return see_number(arg, g->number);
}

static int see_job(const struct cat_job *j, void *arg)
{
	return see_number(arg, j->id);
}

static int see_event(const struct cat_event *e, void *arg)
{
	return see_number(arg, e->id);
}

#define assert_list(call, want)                                                                    \
	do {                                                                                       \
		struct seen seen = {BUF_INIT, 0, 0};                                               \
		struct err err_ = ERR_INIT;                                                        \
		assert_ok(call, err_);                                                             \
		assert_string_equal(buf_str(&seen.text), want);                                    \
		buf_release(&seen.text);                                                           \
	} while (0)

#define assert_sites(want, ...)                                                                    \
	assert_list(catalog_sites(c, &(struct cat_site_filter){__VA_ARGS__}, see_site, &seen,      \
			    &err_),                                                                \
		want)
#define assert_snapshots(want, ...)                                                                \
	assert_list(catalog_snapshots(c, &(struct cat_snapshot_filter){__VA_ARGS__}, see_snapshot, \
			    &seen, &err_),                                                         \
		want)
#define assert_jobs(want, ...)                                                                     \
	assert_list(catalog_jobs(c, &(struct cat_job_filter){__VA_ARGS__}, see_job, &seen, &err_), \
		want)
#define assert_events(want, ...)                                                                   \
	assert_list(catalog_events(c, &(struct cat_event_filter){__VA_ARGS__}, see_event, &seen,   \
			    &err_),                                                                \
		want)

static void put_site(struct catalog *c, unsigned i, const char *name, const char *pool,
	int64_t deleted)
{
	struct cat_site s = sample_site(i);
	struct err err = ERR_INIT;

	strcpy(s.name, name);
	strcpy(s.pool, pool);
	s.deleted = deleted;
	assert_ok(catalog_site_put(c, &s, &err), err);
}

static void test_sites__are_filtered_ordered_and_paged(void **state)
{
	struct catalog *c = ((struct scratch *)*state)->c;
	struct cat_pool pool = sample_pool(1);
	struct err err = ERR_INIT;
	struct cat_pool_count has;
	char id[CAT_ID_SIZE];

	assert_ok(catalog_pool_put(c, &pool, &err), err);
	put_site(c, 1, "c", "pool0", 0);
	put_site(c, 2, "a.b", "pool1", 0);
	put_site(c, 3, "a-b", "pool0", 0);
	put_site(c, 4, "gone", "pool0", 9);
	put_site(c, 5, "gone", "pool1", 8);
	assert_ok(catalog_label_set(c, sample_id('s', 1, id), "env", "prod", &err), err);
	assert_ok(catalog_label_set(c, sample_id('s', 2, id), "env", "test=1", &err), err);

	assert_sites("a-b a.b c", 0);
	assert_sites("a-b a.b", .limit = 2);
	assert_sites("c", .limit = 2, .after = "a.b");
	assert_sites("", .after = "c");
	assert_sites("a-b c", .pool = "pool0");
	assert_sites("a.b c", .label = "env");
	assert_sites("c", .label = "env=prod");
	assert_sites("a.b", .label = "env=test=1");
	assert_sites("", .label = "env=");
	assert_sites("", .pool = "pool1", .label = "env=prod");
	assert_sites("gone gone", .deleted = true);
	assert_sites("gone", .deleted = true, .after = sample_id('s', 4, id));
	put_site(c, 6, "other", "pool0", 7);
	put_site(c, 7, "gone", "pool0", 7);
	assert_ok(catalog_label_set(c, sample_id('s', 4, id), "when", "last", &err), err);
	assert_sites("gone gone gone", .deleted = true, .name = "gone");
	assert_sites("gone", .deleted = true, .name = "gone", .label = "when=last", .limit = 1);
	assert_sites("c", .name = "c");
	assert_sites("", .name = "gone");
	assert_list(catalog_pools(c, see_pool, &seen, &err_), "pool0 pool1");
	assert_ok(catalog_pool_count(c, "pool0", &has, &err), err);
	assert_int_equal(has.sites, 2);
	assert_int_equal(has.deleted, 3);
	assert_int_equal(has.snapshots, 0);
	assert_int_equal(has.unfinished, 0);
}

static void test_pool__is_forgotten_when_nothing_is_left_of_it(void **state)
{
	struct catalog *c = ((struct scratch *)*state)->c;
	struct cat_pool pool = sample_pool(1);
	struct err err = ERR_INIT;
	char id[CAT_ID_SIZE];

	assert_ok(catalog_pool_put(c, &pool, &err), err);
	put_site(c, 1, "a", "pool1", 9);
	assert_fails(catalog_pool_delete(c, "pool1", &err), EINVAL, "bad_reference", err);
	assert_list(catalog_pools(c, see_pool, &seen, &err_), "pool0 pool1");
	assert_ok(catalog_site_delete(c, sample_id('s', 1, id), &err), err);
	assert_ok(catalog_pool_delete(c, "pool1", &err), err);
	assert_list(catalog_pools(c, see_pool, &seen, &err_), "pool0");
	assert_ok(catalog_pool_delete(c, "pool1", &err), err); /* there is none: well */
}

static void test_list__stops_with_the_callbacks_value(void **state)
{
	struct catalog *c = ((struct scratch *)*state)->c;
	struct seen got = {.stop_after = 2};
	struct err err = ERR_INIT;

	put_site(c, 1, "a", "pool0", 0);
	put_site(c, 2, "b", "pool0", 0);
	put_site(c, 3, "c", "pool0", 0);
	assert_int_equal(catalog_sites(c, &(struct cat_site_filter){0}, see_site, &got, &err), 42);
	assert_string_equal(buf_str(&got.text), "a b");
	buf_release(&got.text);
	assert_sites("a b c", 0);
}

struct nested {
	struct catalog *c;
	unsigned depth, calls;
};

static int nest(const struct cat_site *s, void *arg)
{
	struct nested *n = arg;
	struct err err = ERR_INIT;

	(void)s;
	n->calls++;
	if (n->depth == 0)
		return 0;
	n->depth--;
	assert_ok(catalog_sites(n->c, &(struct cat_site_filter){0}, nest, n, &err), err);
	n->depth++;
	return 0;
}

static void test_list__can_be_asked_again_inside_its_callback(void **state)
{
	struct nested n = {.c = ((struct scratch *)*state)->c, .depth = 3};
	struct err err = ERR_INIT;

	put_site(n.c, 1, "a", "pool0", 0);
	put_site(n.c, 2, "b", "pool0", 0);
	assert_ok(catalog_sites(n.c, &(struct cat_site_filter){0}, nest, &n, &err), err);
	assert_int_equal(n.calls, 2 + 4 + 8 + 16);
}

static void test_statements__make_room_when_there_are_many(void **state)
{
	struct nested n = {.c = ((struct scratch *)*state)->c, .depth = SQL_STATEMENTS - 2};
	struct err err = ERR_INIT;
	char sql[32];
	int64_t got;

	put_site(n.c, 1, "a", "pool0", 0);
	for (int i = 0; i < 3 * SQL_STATEMENTS; i++) {
		snprintf(sql, sizeof(sql), "SELECT %d", i);
		assert_ok(sql_int(n.c, sql, NULL, &got, &err), err);
		assert_int_equal(got, i);
	}
	assert_int_equal(n.c->n_statements, SQL_STATEMENTS);
	assert_ok(catalog_sites(n.c, &(struct cat_site_filter){0}, nest, &n, &err), err);
	assert_int_equal(n.calls, SQL_STATEMENTS - 1);
}

static int refuse_deeper(const struct cat_site *s, void *arg)
{
	struct nested *n = arg;
	struct err err = ERR_INIT;
	int r;

	(void)s;
	n->calls++;
	r = catalog_sites(n->c, &(struct cat_site_filter){0}, refuse_deeper, n, &err);
	return r;
}

static void test_statements__all_busy_is_an_error(void **state)
{
	struct nested n = {.c = ((struct scratch *)*state)->c};
	struct err err = ERR_INIT;

	put_site(n.c, 1, "a", "pool0", 0);
	assert_int_equal(
		catalog_sites(n.c, &(struct cat_site_filter){0}, refuse_deeper, &n, &err), -EMFILE);
	assert_int_equal(n.calls, SQL_STATEMENTS);
	assert_int_equal(n.c->n_statements, SQL_STATEMENTS);
}

static void test_generations__ascend(void **state)
{
	struct catalog *c = ((struct scratch *)*state)->c;
	struct cat_generation g = {.number = 10};
	struct err err = ERR_INIT;
	char id[CAT_ID_SIZE];

	put_site(c, 1, "a", "pool0", 0);
	put_site(c, 2, "b", "pool0", 0);
	sample_id('s', 2, g.site);
	assert_ok(catalog_generation_put(c, &g, &err), err);
	g.number = 9;
	assert_ok(catalog_generation_put(c, &g, &err), err);
	sample_id('s', 1, g.site);
	g.number = 11;
	assert_ok(catalog_generation_put(c, &g, &err), err);
	assert_list(catalog_generations(c, sample_id('s', 2, id), see_generation, &seen, &err_),
		"9 10");
	assert_list(catalog_retired(c, NULL, see_generation, &seen, &err_), "");
	g.retired = 1;
	assert_ok(catalog_generation_put(c, &g, &err), err);
	sample_id('s', 2, g.site);
	g.number = 9;
	assert_ok(catalog_generation_put(c, &g, &err), err);
	assert_list(catalog_retired(c, NULL, see_generation, &seen, &err_), "11 9");
	assert_list(catalog_retired(c, "pool0", see_generation, &seen, &err_), "11 9");
	assert_list(catalog_retired(c, "pool1", see_generation, &seen, &err_), "");
	put_site(c, 1, "a", "pool0", 5);
	assert_list(catalog_retired(c, "pool0", see_generation, &seen, &err_), "9");
}

static void test_lists__of_what_has_expired(void **state)
{
	struct catalog *c = ((struct scratch *)*state)->c;
	const int64_t times[] = {0, 7, 9};
	struct err err = ERR_INIT;

	for (unsigned i = 0; i < 3; i++) {
		struct cat_site site = sample_site(i);
		struct cat_snapshot snapshot = sample_snapshot(i);

		site.expires = snapshot.expires = times[i];
		assert_ok(catalog_site_put(c, &site, &err), err);
		assert_ok(catalog_snapshot_put(c, &snapshot, &err), err);
	}
	assert_sites("", .expired_by = 6);
	assert_sites("site-000001", .expired_by = 7);
	assert_sites("site-000001 site-000002", .expired_by = 9);
	assert_snapshots("", .expired_by = 6);
	assert_snapshots("snap-000001", .expired_by = 7);
	assert_snapshots("snap-000001 snap-000002", .expired_by = 9);
}

static void test_lists__of_what_is_to_be_looked_at(void **state)
{
	struct catalog *c = ((struct scratch *)*state)->c;
	struct cat_snapshot snapshot;
	struct err err = ERR_INIT;

	for (unsigned i = 0; i < 2; i++) {
		snapshot = sample_snapshot(i);
		snapshot.look = 7 * i;
		assert_ok(catalog_snapshot_put(c, &snapshot, &err), err);
	}
	assert_snapshots("snap-000001", .to_look_at = true);
	snapshot.look = 0;
	assert_ok(catalog_snapshot_put(c, &snapshot, &err), err);
	assert_snapshots("", .to_look_at = true);
}

static void put_snapshot(struct catalog *c, unsigned i, const char *name, int64_t created)
{
	struct cat_snapshot s = sample_snapshot(i);
	struct err err = ERR_INIT;

	strcpy(s.name, name);
	s.created = created;
	if (i >= 10) {
		sample_id('s', 1, s.site);
		strcpy(s.site_name, "other");
	}
	assert_ok(catalog_snapshot_put(c, &s, &err), err);
}

static void test_snapshots__are_filtered_ordered_and_paged(void **state)
{
	struct catalog *c = ((struct scratch *)*state)->c;
	char site[CAT_ID_SIZE], id[CAT_ID_SIZE];
	struct err err = ERR_INIT;

	put_snapshot(c, 1, "late", 30);
	put_snapshot(c, 2, "early", 10);
	put_snapshot(c, 4, "same-2", 20);
	put_snapshot(c, 3, "same-1", 20);
	put_snapshot(c, 10, "other", 15);
	sample_id('s', 0, site);
	assert_ok(catalog_label_set(c, sample_id('n', 4, id), "k", "v", &err), err);

	assert_snapshots("early other same-1 same-2 late", 0);
	assert_snapshots("early same-1 same-2 late", .site = site);
	assert_snapshots("early same-1 same-2 late", .site_name = "site-000000");
	assert_snapshots("late same-2 same-1 early", .site = site, .newest_first = true);
	assert_snapshots("same-2", .label = "k=v");
	assert_snapshots("same-2 same-1", .site = site, .not_after = 29, .newest_first = true,
		.limit = 2);
	assert_snapshots("same-2 late", .after = sample_id('n', 3, id), .after_time = 20);
	assert_snapshots("same-2", .after = sample_id('n', 3, id), .after_time = 20, .limit = 1);
	assert_snapshots("same-1 early", .site = site, .newest_first = true,
		.after = sample_id('n', 4, id), .after_time = 20);
}

static void test_snapshots__page_goes_on_behind_a_deleted_one(void **state)
{
	struct catalog *c = ((struct scratch *)*state)->c;
	struct err err = ERR_INIT;
	char id[CAT_ID_SIZE];

	put_snapshot(c, 1, "a", 10);
	put_snapshot(c, 2, "b", 20);
	put_snapshot(c, 3, "c", 30);
	assert_ok(catalog_snapshot_delete(c, sample_id('n', 2, id), &err), err);
	assert_snapshots("c", .after = id, .after_time = 20);
	assert_snapshots("a", .after = id, .after_time = 20, .newest_first = true);
}

static void put_job(struct catalog *c, int64_t id, const char *state, const char *site_name)
{
	struct cat_job j = sample_job(id);
	struct err err = ERR_INIT;

	strcpy(j.state, state);
	strcpy(j.site_name, site_name);
	sample_id('s', site_name[0], j.site);
	assert_ok(catalog_job_put(c, &j, &err), err);
}

static void test_jobs__are_filtered_ordered_and_paged(void **state)
{
	struct catalog *c = ((struct scratch *)*state)->c;
	char id[CAT_ID_SIZE];

	put_job(c, 1, "done", "a");
	put_job(c, 2, "queued", "b");
	put_job(c, 3, "failed", "a");
	put_job(c, 4, "queued", "a");
	assert_jobs("4 3 2 1", 0);
	assert_jobs("1 2 3 4", .oldest_first = true);
	assert_jobs("3 2", .before = 4, .limit = 2);
	assert_jobs("2 4", .state = "unfinished", .oldest_first = true);
	assert_jobs("3", .state = "failed");
	assert_jobs("4 3 1", .site = "a");
	assert_jobs("4 3 1", .site = sample_id('s', 'a', id));
	assert_jobs("4", .site = "a", .state = "unfinished");
}

static void put_event(struct catalog *c, int64_t id, const char *site, int64_t job)
{
	struct cat_event e = {.id = id, .time = 1, .kind = "x", .job = job};
	struct err err = ERR_INIT;

	strcpy(e.site, site);
	assert_ok(catalog_event_put(c, &e, &err), err);
}

static void test_events__are_filtered_and_paged(void **state)
{
	struct catalog *c = ((struct scratch *)*state)->c;

	put_event(c, 1, "a", 5);
	put_event(c, 2, "b", 6);
	put_event(c, 3, "", 0);
	put_event(c, 4, "a", 6);
	assert_events("1 2 3 4", 0);
	assert_events("3 4", .after = 2);
	assert_events("1 2", .limit = 2);
	assert_events("2 4", .job = 6);
	assert_events("1 4", .site = "a");
	assert_events("4", .site = "a", .after = 1, .limit = 1);
}

/* ---- the plans ---- */

static void plan_of(struct catalog *c, const char *sql, struct buf *plan)
{
	struct buf text = BUF_INIT;
	sqlite3_stmt *s;

	buf_printf(&text, "EXPLAIN QUERY PLAN %s", sql);
	assert_int_equal(sqlite3_prepare_v2(c->db, buf_str(&text), -1, &s, NULL), SQLITE_OK);
	while (sqlite3_step(s) == SQLITE_ROW)
		buf_printf(plan, "%s; ", (const char *)sqlite3_column_text(s, 3));
	sqlite3_finalize(s);
	buf_release(&text);
}

/* The query asked last goes along this index, which has the list's order: no page looks at more
 * rows than it answers, or sorts them. */
static void assert_plan(struct catalog *c, const char *index)
{
	const char *sql = sqlite3_sql(c->statements[0]);
	_cleanup_buf_ struct buf plan = BUF_INIT;

	plan_of(c, sql, &plan);
	if (strstr(buf_str(&plan), "TEMP B-TREE") || !strstr(buf_str(&plan), index))
		fail_msg("%s\n%s", sql, buf_str(&plan));
}

static void test_plans__walk_an_index_in_the_lists_order(void **state)
{
	struct catalog *c = ((struct scratch *)*state)->c;
	struct cat_site site;
	struct cat_snapshot snapshot;
	struct cat_job job;
	struct err err = ERR_INIT;

	assert_sites("", .after = "a", .limit = 1);
	assert_plan(c, "sites_in_use (name>?)");
	assert_sites("", .pool = "p", .after = "a", .limit = 1);
	assert_plan(c, "sites_in_pool (pool=? AND name>?)");
	assert_sites("", .deleted = true, .after = "a", .limit = 1);
	assert_plan(c, "sites_deleted (id>?)");
	assert_sites("", .deleted = true, .name = "a", .limit = 1);
	assert_plan(c, "sites_deleted_name (name=?)");
	assert_sites("", .expired_by = 3);
	assert_plan(c, "sites_expires (expires<?)");
	assert_list(catalog_retired(c, NULL, see_generation, &seen, &err_), "");
	assert_plan(c, "generations_retired");
	assert_list(catalog_retired(c, "p", see_generation, &seen, &err_), "");
	assert_plan(c, "sites_in_pool (pool=?)");
	catalog_site_get(c, "x", &site, &err);
	assert_plan(c, "sites_in_use (name=?)");
	assert_snapshots("", .limit = 1);
	assert_plan(c, "snapshots_time");
	assert_snapshots("", .expired_by = 3);
	assert_plan(c, "snapshots_expires (expires<?)");
	assert_snapshots("", .to_look_at = true);
	assert_plan(c, "snapshots_look");
	assert_snapshots("", .after = "a", .after_time = 1, .limit = 1);
	assert_plan(c, "snapshots_time ((created,id)>(?,?))");
	assert_snapshots("", .site = "a", .limit = 1);
	assert_plan(c, "snapshots_of_site (site=?)");
	assert_snapshots("", .site = "a", .after = "x", .after_time = 1, .newest_first = true,
		.limit = 1);
	assert_plan(c, "snapshots_of_site (site=? AND (created,id)<(?,?))");
	assert_snapshots("", .site_name = "a", .not_after = 3, .newest_first = true, .limit = 1);
	assert_plan(c, "snapshots_of_name (site_name=? AND created<?)");
	catalog_snapshot_get(c, "x", "y", &snapshot, &err);
	assert_plan(c, "snapshots_name (site=? AND name=?)");
	assert_jobs("", .before = 10, .limit = 1);
	assert_plan(c, "PRIMARY KEY (rowid<?)");
	assert_jobs("", .state = "done", .limit = 1);
	assert_plan(c, "jobs_state (state=?)");
	catalog_job_by_key(c, "a", "b", &job, &err);
	assert_plan(c, "jobs_key (actor=? AND key=?)");
	assert_events("", .after = 10, .limit = 1);
	assert_plan(c, "PRIMARY KEY (rowid>?)");
	assert_events("", .job = 3, .after = 10, .limit = 1);
	assert_plan(c, "events_job (job=? AND id>?)");
	assert_events("", .site = "x", .after = 10, .limit = 1);
	assert_plan(c, "events_site (site=? AND id>?)");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_sites__are_filtered_ordered_and_paged),
		TEST(test_pool__is_forgotten_when_nothing_is_left_of_it),
		TEST(test_list__stops_with_the_callbacks_value),
		TEST(test_list__can_be_asked_again_inside_its_callback),
		TEST(test_statements__make_room_when_there_are_many),
		TEST(test_statements__all_busy_is_an_error),
		TEST(test_generations__ascend),
		TEST(test_lists__of_what_has_expired),
		TEST(test_lists__of_what_is_to_be_looked_at),
		TEST(test_snapshots__are_filtered_ordered_and_paged),
		TEST(test_snapshots__page_goes_on_behind_a_deleted_one),
		TEST(test_jobs__are_filtered_ordered_and_paged),
		TEST(test_events__are_filtered_and_paged),
		TEST(test_plans__walk_an_index_in_the_lists_order),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
