/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Many connections, long waits, and clients that leave while they wait. */
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/unit/api/harness.h"

#define WAIT "GET /v1/jobs/1m80k4ptk?wait=60 HTTP/1.1\r\nHost: x\r\n\r\n"
#define MANY 1000

static struct harness h;
static int fds[MANY];
static uint64_t ids[MANY];

static int start(void **state)
{
	struct api_limits limits = API_LIMITS;

	(void)state;
	harness_start(&h, &limits, 0);
	return 0;
}

static int stop(void **state)
{
	(void)state;
	harness_stop(&h);
	return 0;
}

/* `n` clients that wait, each in a request that the worker has. */
static void wait_many(int n)
{
	for (int i = 0; i < n; i++)
		fds[i] = client_open(&h);
	for (int i = 0; i < n; i++) {
		client_send(fds[i], WAIT);
		worker_expect(&h, OP_JOB);
		assert_int_equal(request_int(&h.request, F_WAIT), 60);
		ids[i] = h.in.id;
	}
}

static void close_many(int n)
{
	for (int i = 0; i < n; i++)
		close(fds[i]);
}

static void test_hang_up__while_waiting_is_told_to_the_worker_at_once(void **state)
{
	(void)state;
	wait_many(3);
	close(fds[1]);
	worker_expect_abandon(&h, ids[1]);
	worker_answer(&h, ids[1], 200, "nobody's");
	worker_answer(&h, ids[0], 200, "{}");
	client_expect(fds[0], 200, NULL);
	shutdown(fds[2], SHUT_RDWR);
	worker_expect_abandon(&h, ids[2]);
	close(fds[0]);
	close(fds[2]);
}

static void test_hang_up__of_a_killed_process_is_seen(void **state)
{
	pid_t pid = fork();
	int status;

	(void)state;
	if (pid == 0) {
		client_send(client_open(&h), WAIT);
		for (;;)
			pause();
	}
	worker_expect(&h, OP_JOB);
	assert_int_equal(kill(pid, SIGKILL), 0);
	worker_expect_abandon(&h, h.in.id);
	assert_int_equal(waitpid(pid, &status, 0), pid);
}

static void test_hang_up__with_unread_bytes_on_the_way_is_seen(void **state)
{
	(void)state;
	wait_many(1);
	client_send(fds[0], WAIT WAIT "GET /v1/sta");
	close(fds[0]);
	worker_expect_abandon(&h, ids[0]);
	harness_settle(&h);
	worker_expect_nothing(&h);
}

/* A client that says "this was all" still wants its answer. */
static void test_half_close__is_no_hang_up(void **state)
{
	(void)state;
	wait_many(1);
	shutdown(fds[0], SHUT_WR);
	worker_expect_nothing(&h);
	worker_answer(&h, ids[0], 200, "{}");
	client_expect(fds[0], 200, NULL);
	client_expect_end(fds[0]);
	close(fds[0]);
}

static void test_wait__looked_at_again_and_again_stays_one_request(void **state)
{
	struct api_limits limits = API_LIMITS;

	(void)state;
	limits.resume = API_SEC / 100;
	harness_start(&h, &limits, 0);
	wait_many(10);
	for (int i = 0; i < 20; i++) {
		poll(NULL, 0, 10);
		worker_expect_nothing(&h);
	}
	for (int i = 0; i < 10; i++) {
		worker_answer(&h, ids[i], 200, "{}");
		client_expect(fds[i], 200, NULL);
	}
	close_many(10);
	harness_stop(&h);
}

/* The slow clients' clock does not run while it is us who let them wait. */
static void test_wait__may_last_longer_than_a_silent_client_may(void **state)
{
	struct api_limits limits = API_LIMITS;
	struct pollfd p;

	(void)state;
	limits.silent = API_SEC;
	limits.request = API_SEC;
	limits.deliver = API_SEC;
	harness_start(&h, &limits, 0);
	wait_many(1);
	p = (struct pollfd){.fd = fds[0], .events = POLLIN};
	assert_int_equal(poll(&p, 1, 2500), 0);
	worker_answer(&h, ids[0], 200, "{}");
	client_expect(fds[0], 200, NULL);
	close(fds[0]);
	harness_stop(&h);
}

static void test_thousand_connections__are_all_served(void **state)
{
	(void)state;
	for (int i = 0; i < MANY; i++)
		fds[i] = client_open(&h);
	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < MANY; i++)
			client_send(fds[i], "GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n");
		for (int i = 0; i < MANY; i++) {
			worker_expect(&h, OP_STATUS);
			worker_answer(&h, h.in.id, 200, "{}");
		}
		for (int i = 0; i < MANY; i++)
			client_expect(fds[i], 200, NULL);
	}
	close_many(MANY);
}

/* While they wait, others are served; waiting costs no CPU; then all are answered. */
static void test_thousand_waits__cost_no_cpu_and_are_all_answered(void **state)
{
	struct pollfd p;
	long cpu;

	(void)state;
	wait_many(MANY);
	worker_expect_nothing(&h); /* which is another client being served */
	cpu = harness_cpu(&h);
	p = (struct pollfd){.fd = h.msg, .events = POLLIN};
	assert_int_equal(poll(&p, 1, 2000), 0);
	cpu = harness_cpu(&h) - cpu;
	print_message("%d waiting for 2 s: %ld ms of CPU\n", MANY, cpu);
	assert_in_range(cpu, 0, 20);
	for (int i = MANY; i-- > 0;)
		worker_answer(&h, ids[i], 200, "{}");
	for (int i = 0; i < MANY; i++)
		client_expect(fds[i], 200, NULL);
	close_many(MANY);
}

static void test_thousand_waits__that_hang_up_are_all_abandoned(void **state)
{
	unsigned char seen[MANY] = {0};

	(void)state;
	wait_many(MANY);
	close_many(MANY);
	for (int n = 0; n < MANY; n++) {
		int i = 0;

		worker_expect_abandon(&h, 0);
		while (i < MANY && ids[i] != h.in.id)
			i++;
		assert_true(i < MANY && !seen[i]);
		seen[i] = 1;
	}
	harness_settle(&h);
	worker_expect_nothing(&h);
}

/* Answers and hang-ups that cross each other on the way. */
static void test_answers__that_meet_hang_ups_harm_nobody(void **state)
{
	(void)state;
	for (int round = 0; round < 20; round++) {
		wait_many(100);
		for (int i = 0; i < 100; i++) {
			if (i % 3 != round % 3)
				close(fds[i]);
			worker_answer(&h, ids[i], 200, "{}");
		}
		for (int i = 0; i < 100; i++) {
			if (i % 3 == round % 3) {
				client_expect(fds[i], 200, NULL);
				close(fds[i]);
			}
		}
		/* Whether the api saw the hang-up or the answer first is open. */
		for (struct pollfd p = {.fd = h.msg, .events = POLLIN}; poll(&p, 1, 0) > 0;)
			worker_expect_abandon(&h, 0);
	}
	harness_settle(&h);
	for (struct pollfd p = {.fd = h.msg, .events = POLLIN}; poll(&p, 1, 0) > 0;)
		worker_expect_abandon(&h, 0);
	worker_expect_nothing(&h);
}

/* More than it takes at once: the rest waits its turn and is served. */
static void test_connections__beyond_the_limit_wait_in_the_backlog(void **state)
{
	struct api_limits limits = API_LIMITS;
	struct pollfd p;

	(void)state;
	limits.connections = 10;
	harness_start(&h, &limits, 0);
	wait_many(10);
	fds[10] = client_open(&h);
	client_send(fds[10], "GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n");
	p = (struct pollfd){.fd = h.msg, .events = POLLIN};
	assert_int_equal(poll(&p, 1, 100), 0);
	close(fds[3]);
	worker_expect_abandon(&h, ids[3]);
	worker_expect(&h, OP_STATUS);
	worker_answer(&h, h.in.id, 200, "{}");
	client_expect(fds[10], 200, NULL);
	for (int i = 0; i < 11; i++) {
		if (i != 3)
			close(fds[i]);
	}
	for (int i = 0; i < 9; i++)
		worker_expect_abandon(&h, 0);
	harness_stop(&h);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)
#define LIMITED(name) cmocka_unit_test(name)
	const struct CMUnitTest tests[] = {
		TEST(test_hang_up__while_waiting_is_told_to_the_worker_at_once),
		TEST(test_hang_up__of_a_killed_process_is_seen),
		TEST(test_hang_up__with_unread_bytes_on_the_way_is_seen),
		TEST(test_half_close__is_no_hang_up),
		LIMITED(test_wait__looked_at_again_and_again_stays_one_request),
		LIMITED(test_wait__may_last_longer_than_a_silent_client_may),
		TEST(test_thousand_connections__are_all_served),
		TEST(test_thousand_waits__cost_no_cpu_and_are_all_answered),
		TEST(test_thousand_waits__that_hang_up_are_all_abandoned),
		TEST(test_answers__that_meet_hang_ups_harm_nobody),
		LIMITED(test_connections__beyond_the_limit_wait_in_the_backlog),
	};
	struct rlimit lim;

	getrlimit(RLIMIT_NOFILE, &lim);
	lim.rlim_cur = lim.rlim_max;
	setrlimit(RLIMIT_NOFILE, &lim);
	return cmocka_run_group_tests_name("api wait", tests, NULL, NULL);
}
