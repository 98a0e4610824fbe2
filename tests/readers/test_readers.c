/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Readers that resolve `live` once a page, in tight loops, while it is published at full speed:
 *
 *	test_readers FILESYSTEM [PUBLISHES]    btrfs, xfs or ext4, on an image of its own
 *	test_readers --watch SITE              only read the site directory, until stdin ends
 *	test_readers --write TREE MARK         a page that --watch knows
 *
 * Publishing is layout_publish(), the daemon's own. The readers are tried themselves too: they have
 * to notice a gap where the link is replaced in two steps, and a mixture where files are.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "fsd/worker/layout.h"
#include "snap/base/clock.h"
#include "snap/base/fd.h"
#include "tests/conformance/box.h"
#include "tests/readers/page.h"

#define PUBLISHES 2000
#define GENERATIONS 3
#define READERS PAGE_WAYS
#define SWITCHES 5		   /* what every reader must have seen, or it has seen nothing */
#define PATIENCE (240 * NSEC_PER_SEC) /* for what is a matter of seconds */

static const struct box *box;
static unsigned long publishes = PUBLISHES;

/* ---- a site ---- */

struct site {
	char path[128];
	int fd;
	struct page_readers readers;
	unsigned long published;
	int64_t deadline;
};

static void make_generation(int site, int64_t number)
{
	_cleanup_fd_ int wrapper = layout_stage_generation(site, number);
	_cleanup_fd_ int tree = -1;

	assert_true(wrapper >= 0);
	assert_int_equal(mkdirat(wrapper, LAYOUT_TREE, 0755), 0);
	tree = layout_open_tree(site, number);
	assert_true(tree >= 0);
	assert_int_equal(page_write(tree, number), 0);
}

static int set_up(void **state)
{
	static unsigned sites;
	static struct site s;

	snprintf(s.path, sizeof(s.path), "%s/site%u", box->pool, sites++);
	assert_int_equal(mkdir(s.path, 0755), 0);
	s.fd = open(s.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(s.fd >= 0);
	for (int64_t n = 1; n <= GENERATIONS; n++)
		make_generation(s.fd, n);
	assert_int_equal(layout_stage_live(s.fd, 1), 0);
	s.published = 0;
	s.deadline = clock_mono() + PATIENCE;
	assert_int_equal(page_readers_start(&s.readers, s.path, READERS), 0);
	*state = &s;
	return 0;
}

static int tear_down(void **state)
{
	struct site *s = *state;

	page_readers_stop(&s->readers);
	page_readers_release(&s->readers);
	fd_close(&s->fd);
	return 0;
}

static int64_t next_generation(struct site *s)
{
	return (int64_t)(++s->published % GENERATIONS) + 1;
}

static void publish(struct site *s)
{
	int64_t number = next_generation(s);

	assert_int_equal(layout_publish(s->fd, number, (int64_t)s->published), 0);
	if (s->published % 1000 == 0)
		assert_true(layout_sweep_site(s->fd, LEFT_OLD) >= 0);
}

static void say(const struct site *s, const struct page_tally *sum, int64_t since)
{
	print_message("%s: %lu publishes in %.1f s; %" PRIu64 " pages, %" PRIu64
		      " switches seen, %" PRIu64 " errors, %" PRIu64 " mixtures\n",
		box->fs, s->published, (double)(clock_mono() - since) / (double)NSEC_PER_SEC,
		sum->pages, sum->switches, sum->errors, sum->mixtures);
}

/* ---- tests ---- */

static void test_publish__shows_readers_no_error_and_no_mixture(void **state)
{
	struct site *s = *state;
	int64_t since = clock_mono();
	struct page_tally sum;

	/* How busy the machine is decides when a reader has seen enough, not what is right. */
	while (s->published < publishes || page_least_switches(&s->readers) < SWITCHES)
		publish(s);
	page_readers_stop(&s->readers);
	sum = page_sum(&s->readers);
	say(s, &sum, since);
	if (sum.errors || sum.mixtures)
		fail_msg("%s", sum.first);
}

static void test_readers__notice_a_gap(void **state)
{
	struct site *s = *state;

	for (struct page_tally sum = {0}; !sum.errors; sum = page_sum(&s->readers)) {
		char target[64];

		assert_true(clock_mono() < s->deadline);
		snprintf(target, sizeof(target), "gen/%" PRId64 "/tree", next_generation(s));
		assert_int_equal(unlinkat(s->fd, "live", 0), 0);
		assert_int_equal(symlinkat(target, s->fd, "live"), 0);
	}
}

static void test_readers__notice_a_mixture(void **state)
{
	_cleanup_fd_ int tree = -1;
	struct site *s = *state;

	tree = layout_open_tree(s->fd, 1);
	assert_true(tree >= 0);
	for (struct page_tally sum = {0}; !sum.mixtures; sum = page_sum(&s->readers)) {
		assert_true(clock_mono() < s->deadline);
		assert_int_equal(page_write(tree, next_generation(s)), 0);
	}
}

static int body(const struct box *b)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			test_publish__shows_readers_no_error_and_no_mixture, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_readers__notice_a_gap, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_readers__notice_a_mixture, set_up, tear_down),
	};

	box = b;
	return cmocka_run_group_tests(tests, NULL, NULL) ? 1 : 0;
}

/* ---- beside a daemon ---- */

/* Says "reading" once every reader does; one line for each reader at the end. */
static int watch(const char *path)
{
	struct page_readers r;
	int ret = page_readers_start(&r, path, PAGE_WAYS);

	if (ret < 0) {
		fprintf(stderr, "test_readers: %s: %s\n", path, strerror(-ret));
		return 2;
	}
	puts("reading");
	fflush(stdout);
	while (getchar() != EOF)
		;
	page_readers_stop(&r);
	for (unsigned i = 0; i < r.n; i++) {
		const struct page_tally *t = &r.tallies[i];

		printf("%s: %" PRIu64 " pages, %" PRIu64 " switches, %" PRIu64 " errors, %" PRIu64
		       " mixtures%s%s\n", page_way_name(i % PAGE_WAYS), t->pages, t->switches,
			t->errors, t->mixtures, *t->first ? ": " : "", t->first);
	}
	page_readers_release(&r);
	return 0;
}

static int write_page(const char *path, const char *mark)
{
	_cleanup_fd_ int tree = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int ret = tree < 0 ? -errno : page_write(tree, strtoll(mark, NULL, 10));

	if (ret < 0)
		fprintf(stderr, "test_readers: %s: %s\n", path, strerror(-ret));
	return ret < 0 ? 2 : 0;
}

static int usage(void)
{
	fputs("usage: test_readers FILESYSTEM [PUBLISHES] | --watch SITE | --write TREE MARK\n",
		stderr);
	return 2;
}

int main(int argc, char **argv)
{
	if (argc == 3 && strcmp(argv[1], "--watch") == 0)
		return watch(argv[2]);
	if (argc == 4 && strcmp(argv[1], "--write") == 0)
		return write_page(argv[2], argv[3]);
	if (argc < 2 || argc > 3 || *argv[1] == '-')
		return usage();
	if (argc == 3)
		publishes = strtoul(argv[2], NULL, 10);
	return box_run(argv[1], "", body);
}
