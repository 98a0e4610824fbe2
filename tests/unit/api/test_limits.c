/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The limits of the api process: clients that are silent, slow or many, a worker that is stuck. */
#include <errno.h>
#include <grp.h>
#include <linux/sockios.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/unit/api/harness.h"

#define N(a) (sizeof(a) / sizeof((a)[0]))

static struct harness h;

static void begin(const struct api_limits *limits)
{
	harness_start(&h, limits, 0);
}

/* What libmicrohttpd itself refuses: an error status or the end of the connection, no more. After
 * some of it, it waits for more from a peer that has said there is none, until it is bored. */
static void test_garbage__gets_an_error_or_the_end_and_reaches_no_worker(void **state)
{
	static const struct {
		const char *data;
		size_t len;
	} cases[] = {
#define RAW(s) {s, sizeof(s) - 1}
		RAW("\r\n\r\n\r\n\r\nX"),
		RAW("GET\r\n\r\n"),
		RAW("GET /v1/status\r\n\r\n"),
		RAW("GET /v1/status HTTP/9.9\r\nHost: x\r\n\r\n"),
		RAW("GET /v1/status HTTP/1.1\r\n\r\n"),
		RAW("GET /v1/sta tus HTTP/1.1\r\nHost: x\r\n\r\n"),
		RAW("GET /v1/st\0atus HTTP/1.1\r\nHost: x\r\n\r\n"),
		RAW("GET http://x/v1/status HTTP/1.1\r\nHost: x\r\n\r\n"),
		RAW("GET * HTTP/1.1\r\nHost: x\r\n\r\n"),
		RAW("GET /v1/status HTTP/1.1\r\nHost: x\r\nno colon here\r\n\r\n"),
		RAW("POST /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n"),
		RAW("POST /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Length: 1x\r\n\r\n"),
		RAW("POST /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Length: 2, 2\r\n\r\n{}"),
		RAW("POST /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
		    "Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n"),
		RAW("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\xff\xff\r\n\r\n"),
		RAW("\0\0\0\0\0\0\0\0\0\0\0\0\r\n\r\n"),
	};
	struct api_limits limits = API_LIMITS;

	(void)state;
	limits.silent = API_SEC;
	begin(&limits);
	for (size_t i = 0; i < N(cases); i++) {
		int fd = client_open(&h);
		char data[4096];
		ssize_t n;
		unsigned status = 0;

		client_send_data(fd, cases[i].data, cases[i].len);
		shutdown(fd, SHUT_WR);
		n = recv(fd, data, sizeof(data) - 1, 0);
		data[n > 0 ? n : 0] = '\0';
		if (n > 0)
			assert_int_equal(sscanf(data, "HTTP/1.%*d %u ", &status), 1);
		if (status && (status < 400 || status > 505))
			fail_msg("case %zu got %u", i, status);
		close(fd);
	}
	worker_expect_nothing(&h);
	harness_stop(&h);
}

static void test_silent_client__is_closed(void **state)
{
	struct api_limits limits = API_LIMITS;
	int nothing, half, idle;

	(void)state;
	limits.silent = API_SEC;
	begin(&limits);
	nothing = client_open(&h);
	half = client_open(&h);
	idle = client_open(&h);
	client_send(half, "GET /v1/sta");
	client_send(idle, GET("/nothing"));
	client_expect(idle, 404, NULL);
	client_expect_end(nothing);
	client_expect_end(half);
	client_expect_end(idle);
	close(nothing);
	close(half);
	close(idle);
	harness_stop(&h);
}

static void test_slow_client__is_closed_however_busy_it_looks(void **state)
{
	struct api_limits limits = API_LIMITS;
	int fd, body;
	char c;

	(void)state;
	limits.request = API_SEC;
	begin(&limits);
	fd = client_open(&h);
	body = client_open(&h);
	client_send(fd, "GET /v1/status HTTP/1.1\r\nHost: x\r\nX-Slow: ");
	client_send(body, post_head("/v1/jobs", JSON_TYPE, 1000000));
	do {
		client_send(fd, "a");
		client_send(body, " ");
		poll(NULL, 0, 20);
	} while (recv(fd, &c, 1, MSG_DONTWAIT) < 0 && errno == EAGAIN);
	client_expect_end(body);
	close(fd);
	close(body);
	harness_stop(&h);
}

static void test_slow_reader__of_an_answer_is_closed(void **state)
{
	_cleanup_buf_ struct buf big = BUF_INIT;
	struct api_limits limits = API_LIMITS;
	struct pollfd p;
	int fd;

	(void)state;
	limits.deliver = API_SEC;
	begin(&limits);
	fd = client_open(&h);
	while (big.len < 10000000)
		buf_adds(&big, "0123456789");
	client_send(fd, GET("/v1/sites"));
	worker_expect(&h, OP_SITES);
	worker_answer(&h, h.in.id, 200, buf_str(&big));
	p = (struct pollfd){.fd = fd, .events = POLLRDHUP};
	do { /* a byte now and then, too slow to be worth it */
		char c[100];

		assert_true(recv(fd, c, sizeof(c), 0) > 0);
	} while (poll(&p, 1, 20) == 0);
	close(fd);
	harness_stop(&h);
}

static void test_bodies__beyond_their_share_of_memory_are_429(void **state)
{
	struct api_limits limits = API_LIMITS;
	static char part[600000];
	int first, second;

	(void)state;
	limits.bodies = 1000000;
	begin(&limits);
	memset(part, ' ', sizeof(part));
	first = client_open(&h);
	client_send(first, post_head("/v1/jobs", JSON_TYPE, 600000 + strlen(SNAPSHOT)));
	client_send_data(first, part, sizeof(part));
	second = client_open(&h);
	client_send(second, post_head("/v1/jobs", JSON_TYPE, 600000 + strlen(SNAPSHOT)));
	client_send_data(second, part, sizeof(part));
	client_send(second, SNAPSHOT);
	client_expect(second, 429, "too_many");
	client_send(first, SNAPSHOT);
	worker_expect(&h, OP_SNAPSHOT_CREATE);
	worker_answer(&h, h.in.id, 200, "{}");
	client_expect(first, 200, NULL);
	client_send(second, post_head("/v1/jobs", JSON_TYPE, 600000 + strlen(SNAPSHOT)));
	client_send_data(second, part, sizeof(part));
	client_send(second, SNAPSHOT);
	worker_expect(&h, OP_SNAPSHOT_CREATE);
	worker_answer(&h, h.in.id, 200, "{}");
	client_expect(second, 200, NULL);
	close(first);
	close(second);
	harness_stop(&h);
}

/* In a process of another user: may it have as many connections as the limit, and no more? */
static int crowd(uid_t uid, unsigned n)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		unsigned open = 0;
		char c;

		if (setgroups(0, NULL) < 0 || setresgid(uid, uid, uid) < 0 ||
			setresuid(uid, uid, uid) < 0)
			_exit(100);
		for (unsigned i = 0; i < n; i++) {
			int fd = client_open(&h);

			client_send(fd, GET("/nothing"));
			open += recv(fd, &c, 1, 0) == 1;
		}
		_exit(open);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void test_connections__of_one_user_leave_room_for_others(void **state)
{
	struct api_limits limits = API_LIMITS;

	(void)state;
	if (geteuid() != 0) {
		print_message("not root: cannot connect as other users\n");
		skip();
	}
	limits.connections_each = 5;
	begin(&limits);
	assert_int_equal(crowd(12345, 8), 5);
	harness_settle(&h);
	assert_int_equal(crowd(12345, 3), 3);
	assert_int_equal(crowd(0, 8), 8);
	harness_stop(&h);
}

static void test_silent_worker__is_503_and_told_to_forget(void **state)
{
	struct api_limits limits = API_LIMITS;
	uint64_t id;
	int fd;

	(void)state;
	limits.health = API_SEC / 10;
	limits.answer = API_SEC / 5;
	begin(&limits);
	fd = client_open(&h);
	client_send(fd, GET("/healthz"));
	worker_expect(&h, OP_HEALTH);
	id = h.in.id;
	client_expect(fd, 503, "worker_silent");
	worker_expect_abandon(&h, id);
	client_send(fd, GET("/v1/status"));
	worker_expect(&h, OP_STATUS);
	id = h.in.id;
	client_expect(fd, 503, "worker_silent");
	worker_expect_abandon(&h, id);
	worker_answer(&h, id, 200, "too late");
	while (!harness_serve(&h, fd, GET("/v1/pools"), OP_POOLS))
		;
	close(fd);
	harness_stop(&h);
}

/* A monitor wants to know it soon, whatever else may take its time. */
static void test_silent_worker__has_a_time_of_its_own_for_healthz(void **state)
{
	struct api_limits limits = API_LIMITS;
	int slow, fd;

	(void)state;
	limits.health = API_SEC / 10;
	limits.answer = 3600 * API_SEC;
	begin(&limits);
	slow = client_open(&h);
	client_send(slow, GET("/v1/status"));
	worker_expect(&h, OP_STATUS);
	fd = client_open(&h);
	client_send(fd, GET("/healthz"));
	client_expect(fd, 503, "worker_silent");
	worker_answer(&h, h.in.id, 200, "{}");
	client_expect(slow, 200, NULL);
	close(slow);
	close(fd);
	harness_stop(&h);
}

/* Until the api has taken what was sent. */
static void wait_until_read(int fd)
{
	int left = 1;

	for (int i = 0; left && i < 20000; i++) {
		assert_int_equal(ioctl(fd, SIOCOUTQ, &left), 0);
		if (left)
			poll(NULL, 0, 1);
	}
	assert_int_equal(left, 0);
}

/* More requests than the message socket holds, while the worker reads none: they wait, and those
 * whose clients leave are never sent. */
static void test_stuck_worker__does_not_fill_the_memory(void **state)
{
	struct api_limits limits = API_LIMITS;
	unsigned requests = 0, abandons = 0;
	int fds[1000];

	(void)state;
	begin(&limits);
	for (size_t i = 0; i < N(fds); i++) {
		fds[i] = client_open(&h);
		client_send(fds[i], GET("/v1/status"));
	}
	for (size_t i = 0; i < N(fds); i++)
		wait_until_read(fds[i]);
	for (size_t i = 0; i < N(fds); i++)
		close(fds[i]);
	harness_settle(&h);
	fds[0] = client_open(&h);
	client_send(fds[0], GET("/v1/pools"));
	for (;;) {
		assert_int_equal(msg_recv(h.msg, &h.in, REQUEST_SIZE_MAX), 1);
		requests += h.in.type == MSG_REQUEST;
		abandons += h.in.type == MSG_ABANDON;
		if (h.in.type == MSG_REQUEST && request_decode(h.in.body.data, h.in.body.len,
			&h.request, NULL) == 0 && h.request.op == OP_POOLS)
			break;
		msg_release(&h.in);
		request_release(&h.request);
	}
	print_message("%u of %zu requests reached the worker\n", requests - 1, N(fds));
	assert_int_equal(requests - 1, abandons);
	assert_true(requests < N(fds));
	worker_answer(&h, h.in.id, 200, "{}");
	client_expect(fds[0], 200, NULL);
	close(fds[0]);
	harness_stop(&h);
}

static void test_worker__that_dies_takes_the_api_along(void **state)
{
	struct api_limits limits = API_LIMITS;
	int waiting, idle, status;

	(void)state;
	begin(&limits);
	waiting = client_open(&h);
	idle = client_open(&h);
	client_send(waiting, GET("/v1/status"));
	worker_expect(&h, OP_STATUS);
	client_send(idle, GET("/nothing"));
	client_expect(idle, 404, NULL);
	msg_release(&h.in);
	request_release(&h.request);
	close(h.msg);
	assert_int_equal(waitpid(h.pid, &status, 0), h.pid);
	assert_int_equal(status, 0);
	client_expect_end(waiting);
	client_expect_end(idle);
	close(waiting);
	close(idle);
	unlink(h.socket);
	rmdir(h.dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_garbage__gets_an_error_or_the_end_and_reaches_no_worker),
		cmocka_unit_test(test_silent_client__is_closed),
		cmocka_unit_test(test_slow_client__is_closed_however_busy_it_looks),
		cmocka_unit_test(test_slow_reader__of_an_answer_is_closed),
		cmocka_unit_test(test_bodies__beyond_their_share_of_memory_are_429),
		cmocka_unit_test(test_connections__of_one_user_leave_room_for_others),
		cmocka_unit_test(test_silent_worker__is_503_and_told_to_forget),
		cmocka_unit_test(test_silent_worker__has_a_time_of_its_own_for_healthz),
		cmocka_unit_test(test_stuck_worker__does_not_fill_the_memory),
		cmocka_unit_test(test_worker__that_dies_takes_the_api_along),
	};

	return cmocka_run_group_tests_name("api limits", tests, NULL, NULL);
}
