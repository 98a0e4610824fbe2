/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Readers with handles of their own, while a writer commits: no waiting, no mixture. */
#include "tests/unit/catalog/support.h"

#include <pthread.h>
#include <stdatomic.h>

#define SITES 20
#define COMMITS 400
#define READERS 3

struct reader {
	pthread_t thread;
	const char *path;
	atomic_bool *stop;
	unsigned lists;
	struct err err;
	const char *wrong;
	int64_t live; /* what the list saw, and never less than before */
};

/* Every transaction gives all sites the same generation. */
static int same(const struct cat_site *site, void *arg)
{
	struct reader *r = arg;

	if (r->live == -1)
		r->live = site->live;
	return site->live == r->live ? 0 : 1;
}

static void *read_lists(void *arg)
{
	struct reader *r = arg;
	int64_t before = 0;
	struct catalog *c;
	bool last;

	if (catalog_open(r->path, CATALOG_READ_ONLY, &c, &r->err) < 0)
		return NULL;
	do {
		last = atomic_load(r->stop);
		r->live = -1;
		if (catalog_sites(c, &(struct cat_site_filter){0}, same, r, &r->err) != 0) {
			r->wrong = r->err.num ? "a list failed" : "a list mixed two commits";
			break;
		}
		if (r->live < before) {
			r->wrong = "a list went back in time";
			break;
		}
		before = r->live;
		r->lists++;
	} while (!last);
	catalog_close(&c);
	return NULL;
}

static void set_all(struct catalog *c, int64_t live)
{
	struct err err = ERR_INIT;

	assert_ok(catalog_begin(c, &err), err);
	for (unsigned i = 0; i < SITES; i++) {
		struct cat_site site = sample_site(i);

		site.live = live;
		assert_ok(catalog_site_put(c, &site, &err), err);
	}
	assert_ok(catalog_commit(c, &err), err);
}

static void test_readers__see_whole_commits_in_order(void **state)
{
	struct scratch *s = *state;
	struct reader readers[READERS] = {0};
	atomic_bool stop = false;

	set_all(s->c, 1);
	for (int i = 0; i < READERS; i++) {
		readers[i].path = s->path;
		readers[i].stop = &stop;
		assert_int_equal(
			pthread_create(&readers[i].thread, NULL, read_lists, &readers[i]), 0);
	}
	for (int64_t live = 2; live < COMMITS; live++)
		set_all(s->c, live);
	atomic_store(&stop, true);
	for (int i = 0; i < READERS; i++) {
		pthread_join(readers[i].thread, NULL);
		if (readers[i].wrong || readers[i].err.num)
			fail_msg("%s: %s", readers[i].wrong, readers[i].err.reason);
		assert_int_equal(readers[i].live, COMMITS - 1);
	}
}

/* A reader in the middle of a list holds nothing up and keeps its view. */
struct middle {
	struct catalog *writer;
	unsigned seen;
};

static int write_meanwhile(const struct cat_site *site, void *arg)
{
	struct middle *m = arg;

	assert_int_equal(site->live, 1);
	if (m->seen++ == 0)
		set_all(m->writer, 2);
	return 0;
}

static void test_writer__does_not_wait_for_a_reader(void **state)
{
	struct scratch *s = *state;
	struct middle m = {.writer = s->c};
	struct err err = ERR_INIT;
	struct catalog *reader;

	set_all(s->c, 1);
	assert_ok(catalog_open(s->path, CATALOG_READ_ONLY, &reader, &err), err);
	assert_ok(catalog_sites(reader, &(struct cat_site_filter){0}, write_meanwhile, &m, &err),
		err);
	assert_int_equal(m.seen, SITES);
	catalog_close(&reader);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_readers__see_whole_commits_in_order),
		TEST(test_writer__does_not_wait_for_a_reader),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
