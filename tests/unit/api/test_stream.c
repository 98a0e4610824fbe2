/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The event stream: cursors, wake-ups, signs of life, slow readers. */
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/unit/api/harness.h"

#define STREAM(query, headers) "GET /v1/events" query " HTTP/1.1\r\nHost: x\r\n" \
	"Accept: text/event-stream\r\n" headers "\r\n"

static struct harness h;

static int start(void **state)
{
	struct api_limits limits = API_LIMITS;

	(void)state;
	harness_start(&h, &limits, 41);
	return 0;
}

static int stop(void **state)
{
	(void)state;
	harness_stop(&h);
	return 0;
}

static void tell(uint64_t id)
{
	struct msg m = {.type = MSG_EVENT, .id = id};

	assert_int_equal(msg_send(h.msg, &m), 0);
}

/* The worker is asked for what comes after `after`, and answers with events up to `last`. */
static void give_page(int64_t after, int64_t first, int64_t last, bool more)
{
	_cleanup_buf_ struct buf b = BUF_INIT;

	worker_expect(&h, OP_EVENTS);
	assert_int_equal(request_int(&h.request, F_AFTER), after);
	assert_int_equal(request_int(&h.request, F_LIMIT), 100);
	buf_adds(&b, "{\"items\":[");
	for (int64_t id = first; id <= last; id++)
		buf_printf(&b, "%s{\"id\":\"%lld\",\"kind\":\"job.done\","
			"\"data\":{\"a\":\"x\\ny\"}}", id == first ? "" : ",", (long long)id);
	if (more)
		buf_printf(&b, "],\"next\":\"%lld\"}", (long long)last);
	else
		buf_adds(&b, "],\"next\":null}");
	worker_answer(&h, h.in.id, 200, buf_str(&b));
}

static void give(int64_t after, int64_t first, int64_t last)
{
	give_page(after, first, last, false);
}

static void test_stream__sends_events_as_they_come(void **state)
{
	int fd = client_open(&h);
	const char *text;

	(void)state;
	client_send(fd, STREAM("?after=7", ""));
	give(7, 8, 9);
	text = client_read_until(fd, "\r\n\r\n");
	assert_non_null(strstr(text, "HTTP/1.1 200 "));
	assert_non_null(strstr(text, "Content-Type: text/event-stream\r\n"));
	assert_non_null(strstr(text, "Transfer-Encoding: chunked\r\n"));
	client_read_until(fd, "id: 8\nevent: job.done\n"
		"data: {\"id\":\"8\",\"kind\":\"job.done\",\"data\":{\"a\":\"x\\ny\"}}\n\n");
	client_read_until(fd, "id: 9\nevent: job.done\ndata: {");
	worker_expect_nothing(&h); /* until it is told that there is more */
	tell(42);
	give(9, 42, 42);
	client_read_until(fd, "id: 42\n");
	tell(42);
	tell(41);
	worker_expect_nothing(&h);
	close(fd);
}

static void test_stream__begins_behind_the_newest_event(void **state)
{
	int fd = client_open(&h);

	(void)state;
	client_send(fd, STREAM("", ""));
	give(41, 1, 0);
	client_read_until(fd, "id: 41\n: fsd\n\n"); /* no event, but where it stands */
	tell(50);
	give(41, 50, 50);
	client_read_until(fd, "id: 50\n");
	close(fd);
}

static void test_stream__resumes_by_last_event_id(void **state)
{
	int fd = client_open(&h);

	(void)state;
	client_send(fd, STREAM("?after=3", "Last-Event-ID: 30\r\n"));
	give(30, 31, 31);
	client_read_until(fd, "id: 31\n");
	close(fd);
	fd = client_open(&h);
	client_send(fd, STREAM("", "Last-Event-ID: x\r\n"));
	client_expect(fd, 400, "bad_request");
	client_send(fd, STREAM("?after=-1", ""));
	client_expect(fd, 400, "bad_request");
	close(fd);
}

static void test_stream__fetches_page_after_page(void **state)
{
	int fd = client_open(&h);

	(void)state;
	client_send(fd, STREAM("?after=0", ""));
	give_page(0, 1, 100, true);
	client_read_until(fd, "id: 100\n");
	give_page(100, 101, 103, true); /* long ones: the page ended early */
	give_page(103, 104, 200, true);
	give(200, 201, 205);
	client_read_until(fd, "id: 205\n");
	worker_expect_nothing(&h);
	close(fd);
}

static void test_stream__that_is_refused_gets_the_problem(void **state)
{
	int fd = client_open(&h);

	(void)state;
	client_send(fd, STREAM("", ""));
	worker_expect(&h, OP_EVENTS);
	worker_answer(&h, h.in.id, 403, "{\"code\":\"forbidden\",\"status\":403}");
	client_expect(fd, 403, "forbidden");
	close(fd);
}

static void test_stream__ends_when_the_worker_refuses_later(void **state)
{
	int fd = client_open(&h);

	(void)state;
	client_send(fd, STREAM("", ""));
	give(41, 1, 0);
	client_read_until(fd, ": fsd\n\n");
	tell(42);
	worker_expect(&h, OP_EVENTS);
	worker_answer(&h, h.in.id, 403, "{}");
	client_read_until(fd, "0\r\n\r\n");
	close(fd);
}

static void test_events__without_the_accept_header_are_a_list(void **state)
{
	int fd = client_open(&h);

	(void)state;
	client_send(fd, "GET /v1/events?limit=5&after=2 HTTP/1.1\r\nHost: x\r\n"
		"Accept: application/json\r\n\r\n");
	worker_expect(&h, OP_EVENTS);
	assert_int_equal(request_int(&h.request, F_LIMIT), 5);
	worker_answer(&h, h.in.id, 200, "{\"items\":[]}");
	client_expect(fd, 200, NULL);
	close(fd);
}

static void test_stream__gives_signs_of_life(void **state)
{
	struct api_limits limits = API_LIMITS;
	int fd;

	(void)state;
	limits.keepalive = API_SEC / 20;
	harness_start(&h, &limits, 0);
	fd = client_open(&h);
	client_send(fd, STREAM("", ""));
	give(0, 1, 0);
	for (int i = 0; i < 5; i++)
		client_read_until(fd, ": alive\n\n");
	worker_expect_nothing(&h);
	close(fd);
	harness_stop(&h);
}

static void test_stream__that_hangs_up_is_noticed_while_it_sleeps(void **state)
{
	int fd = client_open(&h);

	(void)state;
	client_send(fd, STREAM("", ""));
	give(41, 1, 0);
	client_read_until(fd, ": fsd\n\n");
	close(fd);
	harness_settle(&h);
	tell(42);
	worker_expect_nothing(&h);
}

static void test_stream__that_hangs_up_while_it_asks_is_abandoned(void **state)
{
	int fd = client_open(&h);
	uint64_t id;

	(void)state;
	client_send(fd, STREAM("", ""));
	give(41, 1, 0);
	client_read_until(fd, ": fsd\n\n");
	tell(42);
	worker_expect(&h, OP_EVENTS);
	id = h.in.id;
	close(fd);
	worker_expect_abandon(&h, id);
}

static void test_streams__of_a_hundred_clients_are_all_woken(void **state)
{
	int fds[100];

	(void)state;
	for (int i = 0; i < 100; i++) {
		fds[i] = client_open(&h);
		client_send(fds[i], STREAM("", ""));
		give(41, 1, 0);
		client_read_until(fds[i], ": fsd\n\n");
	}
	tell(42);
	for (int i = 0; i < 100; i++)
		give(41, 42, 42);
	for (int i = 0; i < 100; i++) {
		client_read_until(fds[i], "id: 42\n");
		close(fds[i]);
	}
}

/* Has the api closed this connection? Waits up to `ms` for it. */
static bool hung_up(int fd, int ms)
{
	struct pollfd p = {.fd = fd};

	return poll(&p, 1, ms) == 1 && p.revents & POLLHUP;
}

/* A reader that stops reading stops the asking: what it does not take stays in the catalog. */
static void test_stream__of_a_stopped_reader_costs_one_page(void **state)
{
	struct api_limits limits = API_LIMITS;
	_cleanup_buf_ struct buf page = BUF_INIT;
	struct pollfd p;
	int fd, pages = 0;

	(void)state;
	limits.silent = API_SEC;
	harness_start(&h, &limits, 1000000);
	buf_adds(&page, "{\"items\":[");
	for (int i = 0; i < 100; i++)
		buf_printf(&page, "%s{\"id\":\"%d\",\"kind\":\"x\",\"data\":\"%01000d\"}",
			i ? "," : "", i + 1, i);
	buf_adds(&page, "],\"next\":\"100\"}");
	fd = client_open(&h);
	client_send(fd, STREAM("?after=0", ""));
	p = (struct pollfd){.fd = h.msg, .events = POLLIN};
	/* 100 kB a page; the socket takes some. Then nothing is asked for, until the stream is
	 * closed because nothing moves. */
	while (!hung_up(fd, 1)) {
		if (poll(&p, 1, 0) == 0)
			continue;
		worker_expect(&h, OP_EVENTS);
		worker_answer(&h, h.in.id, 200, buf_str(&page));
		tell(1000001 + pages++);
	}
	assert_in_range(pages, 2, 20);
	close(fd);
	harness_stop(&h);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)
#define LIMITED(name) cmocka_unit_test(name)
	const struct CMUnitTest tests[] = {
		TEST(test_stream__sends_events_as_they_come),
		TEST(test_stream__begins_behind_the_newest_event),
		TEST(test_stream__resumes_by_last_event_id),
		TEST(test_stream__fetches_page_after_page),
		TEST(test_stream__that_is_refused_gets_the_problem),
		TEST(test_stream__ends_when_the_worker_refuses_later),
		TEST(test_events__without_the_accept_header_are_a_list),
		LIMITED(test_stream__gives_signs_of_life),
		TEST(test_stream__that_hangs_up_is_noticed_while_it_sleeps),
		TEST(test_stream__that_hangs_up_while_it_asks_is_abandoned),
		TEST(test_streams__of_a_hundred_clients_are_all_woken),
		LIMITED(test_stream__of_a_stopped_reader_costs_one_page),
	};

	return cmocka_run_group_tests_name("api stream", tests, NULL, NULL);
}
