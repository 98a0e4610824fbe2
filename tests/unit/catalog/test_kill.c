/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A writer process is killed at any instant, over and over, on the same catalog. What it had
 * acknowledged is there, the transaction it was in is whole or absent, and the file is sound.
 */
#include "tests/unit/catalog/support.h"

#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "snap/base/clock.h"

#define ROUNDS 150

/* Write record after record, telling each number once its commit has returned. */
static void write_until_killed(const char *path, unsigned from, int tell)
{
	struct err err = ERR_INIT;
	struct catalog *c;
	unsigned i = from;

	if (catalog_open(path, CATALOG_CREATE, &c, &err) < 0)
		_exit(1);
	for (;; i++) {
		if (catalog_begin(c, &err) < 0 || put_each(c, i, &err) < 0 ||
			catalog_commit(c, &err) < 0)
			_exit(1);
		if (write(tell, &i, sizeof(i)) != sizeof(i))
			_exit(1);
	}
}

/* Busy, since sleeping is coarser than a commit. */
static void spend(int64_t ns)
{
	int64_t end = clock_mono() + ns;

	while (clock_mono() < end)
		;
}

/* Returns the last number acknowledged, from - 1 if none. */
static unsigned run_and_kill(const char *path, unsigned from, unsigned acks, int64_t then_ns)
{
	unsigned last = from - 1, got;
	int fds[2], status;
	pid_t pid;

	assert_int_equal(pipe(fds), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		write_until_killed(path, from, fds[1]);
	close(fds[1]);
	for (unsigned i = 0; i < acks && read(fds[0], &got, sizeof(got)) == sizeof(got); i++)
		last = got;
	spend(then_ns);
	kill(pid, SIGKILL);
	while (read(fds[0], &got, sizeof(got)) == sizeof(got))
		last = got;
	close(fds[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status)); /* it failed by itself otherwise */
	return last;
}

static void test_writer__killed_at_any_time_leaves_whole_transactions(void **state)
{
	struct scratch *s = *state;
	unsigned next = 1, seed = 1, cut = 0;

	for (int round = 0; round < ROUNDS; round++) {
		struct err err = ERR_INIT;
		unsigned last = run_and_kill(s->path, next, rand_r(&seed) % 4,
			rand_r(&seed) % 3000 * 1000);
		int found;

		assert_ok(catalog_open(s->path, CATALOG_CREATE, &s->c, &err), err);
		assert_ok(catalog_check(s->c, &err), err);
		for (unsigned i = next; i <= last; i++)
			assert_int_equal(count_each(s->c, i), EACH);
		found = count_each(s->c, last + 1);
		assert_true(found == 0 || found == EACH);
		cut += found == 0;
		assert_int_equal(count_each(s->c, last + 2), 0);
		next = last + 1 + (found == EACH);
		catalog_close(&s->c);
		if (round % 10 == 9) { /* and from the start: killed while making the schema */
			remove(s->path);
			next = 1;
		}
	}
	print_message("%d rounds, %u ended inside a transaction or before one\n", ROUNDS, cut);
	assert_true(cut > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST_BARE(test_writer__killed_at_any_time_leaves_whole_transactions),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
