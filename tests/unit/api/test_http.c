/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The api process as its clients meet it: requests, answers, malformed and hostile input. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/unit/api/harness.h"

#define N(a) (sizeof(a) / sizeof((a)[0]))

static struct harness h;

/* What ends a connection there is what the test is about, not its silence. */
static int start(void **state)
{
	struct api_limits limits = API_LIMITS;

	(void)state;
	limits.silent = limits.request = 3600 * API_SEC;
	harness_start(&h, &limits, 0);
	return 0;
}

static int stop(void **state)
{
	(void)state;
	harness_stop(&h);
	return 0;
}

/* ---- what reaches the worker ---- */

static void test_request__reaches_the_worker_typed_with_the_peers_ids(void **state)
{
	int fd = client_open(&h), n = getgroups(0, NULL);

	(void)state;
	client_send(fd, GET("/v1/sites?limit=7&label=color%3Dbl%C3%BCe&deleted=true&cursor=a+b"));
	worker_expect(&h, OP_SITES);
	assert_int_equal(request_int(&h.request, F_LIMIT), 7);
	assert_true(request_bool(&h.request, F_DELETED));
	assert_string_equal(request_str(&h.request, F_LABEL), "color=bl\xc3\xbc" "e");
	assert_string_equal(request_str(&h.request, F_CURSOR), "a b");
	assert_false(request_has(&h.request, F_POOL));
	assert_int_equal(h.request.actor.uid, geteuid());
	assert_int_equal(h.request.actor.gids[0], getegid());
	assert_in_range(h.request.actor.n_gids, 1, n + 1);
	worker_answer(&h, h.in.id, 200, "{\"items\":[],\"next\":null}");
	client_expect(fd, 200, NULL);
	client_send(fd, GET("/v1/sites/shop/snapshots/2026-11-22T03%3A00%3A00%2B01:00"));
	worker_expect(&h, OP_SNAPSHOT);
	assert_string_equal(request_str(&h.request, F_SITE), "shop");
	assert_string_equal(request_str(&h.request, F_SNAPSHOT), "2026-11-22T03:00:00+01:00");
	worker_answer(&h, h.in.id, 404, "{}");
	client_expect(fd, 404, NULL);
	close(fd);
}

static void test_job__fields_come_from_body_query_and_header(void **state)
{
	int fd = client_open(&h);

	(void)state;
	post(fd, "/v1/jobs?wait=5",
		"Idempotency-Key: abc\r\nContent-Type: Application/JSON; charset=UTF-8\r\n",
		"{\"kind\":\"restore\",\"source\":\"shop@a\",\"paths\":[\"x/y\",\"z\"],"
		"\"confirm\":true}");
	worker_expect(&h, OP_RESTORE);
	assert_string_equal(request_str(&h.request, F_SOURCE), "shop@a");
	assert_string_equal(request_str(&h.request, F_KEY), "abc");
	assert_int_equal(request_int(&h.request, F_WAIT), 5);
	assert_true(request_bool(&h.request, F_CONFIRM));
	assert_int_equal(h.request.values[F_PATHS].n, 2);
	worker_answer(&h, h.in.id, 200, "{}");
	client_expect(fd, 200, NULL);
	client_send(fd, "POST /v1/jobs/1m80k4ptk/cancel HTTP/1.1\r\nHost: x\r\n\r\n");
	worker_expect(&h, OP_JOB_CANCEL);
	assert_string_equal(request_str(&h.request, F_JOB), "1m80k4ptk");
	worker_answer(&h, h.in.id, 202, "{\"job\":{\"id\":\"1m80k4ptk\"}}");
	client_expect(fd, 202, NULL);
	close(fd);
}

/* ---- what reaches the client ---- */

static void ask(int fd, const char *request, enum op op, unsigned status, const char *body,
	struct answer *a)
{
	client_send(fd, request);
	worker_expect(&h, op);
	worker_answer(&h, h.in.id, status, body);
	client_read(fd, a, strncmp(request, "HEAD", 4) == 0);
	assert_int_equal(a->status, status);
}

static void test_answer__passes_bodies_through_with_their_types(void **state)
{
	int fd = client_open(&h);
	struct answer a;

	(void)state;
	ask(fd, GET("/v1/status"), OP_STATUS, 200, "{ \"state\" : \"ok\" }", &a);
	assert_string_equal(buf_str(&a.body), "{ \"state\" : \"ok\" }");
	assert_string_equal(answer_header(&a, "Content-Type"), "application/json");
	assert_string_equal(answer_header(&a, "Cache-Control"), "no-store");
	assert_string_equal(answer_header(&a, "Location"), "");
	answer_release(&a);
	ask(fd, GET("/v1/status"), OP_STATUS, 403, "{\"code\":\"forbidden\"}", &a);
	assert_string_equal(answer_header(&a, "Content-Type"), "application/problem+json");
	answer_release(&a);
	ask(fd, GET("/metrics"), OP_METRICS, 200, "fsd_up 1\n", &a);
	assert_string_equal(answer_header(&a, "Content-Type"), "text/plain; version=0.0.4");
	assert_string_equal(buf_str(&a.body), "fsd_up 1\n");
	answer_release(&a);
	ask(fd, GET("/metrics"), OP_METRICS, 503, "{}", &a);
	assert_string_equal(answer_header(&a, "Content-Type"), "application/problem+json");
	answer_release(&a);
	close(fd);
}

static void test_answer__of_an_accepted_job_says_where_it_is(void **state)
{
	char job[500];
	int fd = client_open(&h);
	struct answer a;

	(void)state;
	strcpy(job, post_head("/v1/jobs", JSON_TYPE, strlen(SNAPSHOT)));
	strcat(job, SNAPSHOT);
	ask(fd, job, OP_SNAPSHOT_CREATE, 202, "{\"job\":{\"id\":\"1m80k4ptk\",\"x\":1}}", &a);
	assert_string_equal(answer_header(&a, "Location"), "/v1/jobs/1m80k4ptk");
	answer_release(&a);
	ask(fd, job, OP_SNAPSHOT_CREATE, 202, "{\"job\":{\"id\":\"a\\r\\nX: y\"}}", &a);
	assert_string_equal(answer_header(&a, "Location"), "");
	assert_string_equal(answer_header(&a, "X"), "");
	answer_release(&a);
	ask(fd, job, OP_SNAPSHOT_CREATE, 200, "{\"job\":{\"id\":\"1m80k4ptk\"}}", &a);
	assert_string_equal(answer_header(&a, "Location"), "");
	answer_release(&a);
	close(fd);
}

static void test_answer__of_head_has_no_body_and_keeps_the_connection(void **state)
{
	int fd = client_open(&h);
	struct answer a;

	(void)state;
	ask(fd, "HEAD /v1/status HTTP/1.1\r\nHost: x\r\n\r\n", OP_STATUS, 200, "{\"a\":1}", &a);
	assert_string_equal(answer_header(&a, "Content-Length"), "7");
	ask(fd, GET("/v1/pools"), OP_POOLS, 200, "{}", &a);
	answer_release(&a);
	close(fd);
}

static void test_answer__of_many_megabytes_arrives_whole(void **state)
{
	_cleanup_buf_ struct buf big = BUF_INIT;
	int fd = client_open(&h);
	struct answer a;

	(void)state;
	while (big.len < 5000000)
		buf_printf(&big, "%zu,", big.len);
	ask(fd, GET("/v1/sites"), OP_SITES, 200, buf_str(&big), &a);
	assert_int_equal(a.body.len, big.len);
	assert_memory_equal(a.body.data, big.data, big.len);
	answer_release(&a);
	close(fd);
}

static void test_method__that_a_path_does_not_know_is_told_those_it_knows(void **state)
{
	static const struct {
		const char *request, *allow;
	} cases[] = {
		{"PUT /v1/sites/shop HTTP/1.1\r\nHost: x\r\n\r\n", "GET, HEAD"},
		{"DELETE /v1/jobs HTTP/1.1\r\nHost: x\r\n\r\n", "GET, HEAD, POST"},
		{"GET /v1/jobs/1m80k4ptk/cancel HTTP/1.1\r\nHost: x\r\n\r\n", "POST"},
		{"POST /healthz HTTP/1.1\r\nHost: x\r\n\r\n", "GET, HEAD"},
		{"OPTIONS /v1/status HTTP/1.1\r\nHost: x\r\n\r\n", "GET, HEAD"},
		{"get /v1/status HTTP/1.1\r\nHost: x\r\n\r\n", "GET, HEAD"},
		{"FROBNICATE /v1/status HTTP/1.1\r\nHost: x\r\n\r\n", "GET, HEAD"},
	};

	(void)state;
	for (size_t i = 0; i < N(cases); i++) {
		int fd = client_open(&h);
		struct answer a;

		client_send(fd, cases[i].request);
		client_read(fd, &a, false);
		assert_int_equal(a.status, 405);
		assert_string_equal(answer_header(&a, "Allow"), cases[i].allow);
		answer_release(&a);
		close(fd);
	}
	worker_expect_nothing(&h);
}

/* ---- refused, and the connection goes on ---- */

static void test_request__that_is_wrong_is_a_problem_and_reaches_no_worker(void **state)
{
	static const struct {
		const char *request;
		unsigned status;
		const char *code;
	} cases[] = {
		{GET("/"), 404, "not_found"},
		{GET("/v1/site"), 404, "not_found"},
		{GET("/v1/sites/"), 404, "not_found"},
		{GET("/v1/sites/a/b"), 404, "not_found"},
		{GET("/V1/sites"), 404, "not_found"},
		{GET("//v1/sites"), 404, "not_found"},
		{GET("/v1/../v1/sites"), 404, "not_found"},
		{GET("/v1/sites/SHOP"), 400, "bad_name"},
		{GET("/v1/sites/a%2Fb"), 400, "bad_name"},
		{GET("/v1/sites/%2e%2e"), 400, "bad_name"},
		{GET("/v1/sites/%"), 400, "bad_request"},
		{GET("/v1/sites/%4"), 400, "bad_request"},
		{GET("/v1/sites/%zz"), 400, "bad_request"},
		{GET("/v1/sites/a%00b"), 400, "bad_request"},
		{GET("/v1/sites?limit=0"), 400, "bad_request"},
		{GET("/v1/sites?limit=1001"), 400, "bad_request"},
		{GET("/v1/sites?limit=-1"), 400, "bad_request"},
		{GET("/v1/sites?limit="), 400, "bad_request"},
		{GET("/v1/sites?limit"), 400, "bad_request"},
		{GET("/v1/sites?limit=99999999999999999999"), 400, "bad_request"},
		{GET("/v1/sites?limit=1&limit=1"), 400, "bad_request"},
		{GET("/v1/sites?deleted=1"), 400, "bad_request"},
		{GET("/v1/sites?site=a"), 400, "bad_request"},
		{GET("/v1/sites?=a"), 400, "bad_request"},
		{GET("/v1/sites?label=%ff"), 400, "bad_request"},
		{GET("/v1/sites/a?site=a"), 400, "bad_request"},
		{GET("/v1/path"), 400, "bad_request"},
		{GET("/v1/path?source=a@"), 400, "bad_source"},
		{GET("/v1/jobs/0"), 400, "bad_request"},
		{GET("/v1/jobs/1m80k4ptk?wait=61"), 400, "bad_request"},
	};
	int fd = client_open(&h);

	(void)state;
	for (size_t i = 0; i < N(cases); i++) {
		client_send(fd, cases[i].request);
		client_expect(fd, cases[i].status, cases[i].code);
	}
	close(fd);
	worker_expect_nothing(&h);
}

static void test_job__that_is_wrong_is_a_problem_and_reaches_no_worker(void **state)
{
	static const char *const bodies[] = {
		"{}",
		"[]",
		"1",
		"",
		"{\"kind\":1}",
		"{\"kind\":\"status\"}",
		"{\"kind\":\"snapshot\",\"site\":\"a\",\"site\":\"b\"}",
		"{\"kind\":\"snapshot\",\"site\":\"a\",\"x\":\"b\"}",
		"{\"kind\":\"snapshot\",\"site\":1}",
		"{\"kind\":\"snapshot\",\"site\":\"a\",\"wait\":1}",
	};
	int fd = client_open(&h);

	(void)state;
	for (size_t i = 0; i < N(bodies); i++) {
		post(fd, "/v1/jobs", JSON_TYPE, bodies[i]);
		client_expect(fd, 400, "bad_request");
	}
	post(fd, "/v1/jobs", "", SNAPSHOT);
	client_expect(fd, 415, "bad_content_type");
	post(fd, "/v1/jobs", "Content-Type: text/plain\r\n", SNAPSHOT);
	client_expect(fd, 415, "bad_content_type");
	post(fd, "/v1/jobs", "Content-Type: application/jsonx\r\n", SNAPSHOT);
	client_expect(fd, 415, "bad_content_type");
	post(fd, "/v1/jobs", "Content-Type: application/json; charset=latin1\r\n", SNAPSHOT);
	client_expect(fd, 415, "bad_content_type");
	post(fd, "/v1/jobs/1m80k4ptk/cancel", JSON_TYPE, "{\"x\":1}");
	client_expect(fd, 400, "bad_request");
	post(fd, "/v1/jobs/1m80k4ptk/cancel", JSON_TYPE, "{\"kind\":\"undo\"}");
	client_expect(fd, 400, "bad_request");
	post(fd, "/v1/jobs?site=a", JSON_TYPE, SNAPSHOT);
	client_expect(fd, 400, "bad_request");
	client_expect_end(fd); /* it was refused before its body */
	close(fd);
	worker_expect_nothing(&h);
}

/* ---- refused, and nothing more is read from the connection ---- */

static void test_head__that_is_ambiguous_ends_the_connection(void **state)
{
	static const char *const cases[] = {
		"Content-Length: 30\r\nContent-Length: 30\r\n",
		"Content-Length: 0\r\nContent-Length: 30\r\n",
		"Content-Length: 30\r\nTransfer-Encoding: chunked\r\n",
		"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
		"Transfer-Encoding: gzip, chunked\r\n",
		"Transfer-Encoding: identity\r\nContent-Length: 30\r\n",
		"Content-Length: 30\r\nContent-Type: text/plain\r\n",
		"Content-Length: 30\r\nIdempotency-Key: a\r\nidempotency-key: b\r\n",
		"Content-Length: 30\r\nHost: y\r\n",
	};

	(void)state;
	for (size_t i = 0; i < N(cases); i++) {
		int fd = client_open(&h);

		client_send(fd, "POST /v1/jobs HTTP/1.1\r\nHost: x\r\n"
			"Content-Type: application/json\r\n");
		client_send(fd, cases[i]);
		client_send(fd, "\r\n" SNAPSHOT);
		client_send(fd, GET("/v1/status"));
		client_expect(fd, 400, "bad_request");
		client_expect_end(fd);
		close(fd);
	}
	worker_expect_nothing(&h);
}

static void test_body__where_none_is_taken_ends_the_connection(void **state)
{
	int fd = client_open(&h);

	(void)state;
	client_send(fd, "GET /v1/status HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n");
	client_expect(fd, 400, "bad_request");
	client_expect_end(fd);
	close(fd);
	worker_expect_nothing(&h);
}

static void test_head__that_is_huge_is_refused(void **state)
{
	_cleanup_buf_ struct buf big = BUF_INIT;
	int fd;

	(void)state;
	for (int kind = 0; kind < 3; kind++) {
		buf_reset(&big);
		buf_adds(&big, kind == 0 ? "GET /v1/sites/" : "GET /v1/status HTTP/1.1\r\n"
			"Host: x\r\nX-Long: ");
		while (big.len < 200000)
			buf_printf(&big, kind == 2 ? "a\r\nX-%zu: " : "%zu", big.len);
		buf_adds(&big, kind == 0 ? " HTTP/1.1\r\nHost: x\r\n\r\n" : "\r\n\r\n");
		fd = client_open(&h);
		client_send_data(fd, big.data, big.len);
		shutdown(fd, SHUT_WR);
		for (char data[4096]; recv(fd, data, sizeof(data), 0) > 0;)
			assert_true(strncmp(data, "HTTP/1.1 2", 10) != 0);
		close(fd);
	}
	worker_expect_nothing(&h);
}

static void test_path__longer_than_any_name_is_refused(void **state)
{
	_cleanup_buf_ struct buf get = BUF_INIT;
	int fd = client_open(&h);

	(void)state;
	buf_adds(&get, "GET /v1/sites/");
	while (get.len < 5000)
		buf_adds(&get, "aaaaaaaaaa");
	buf_adds(&get, " HTTP/1.1\r\nHost: x\r\n\r\n");
	client_send(fd, buf_str(&get));
	client_expect(fd, 400, "bad_request");
	close(fd);
}

/* ---- bodies ---- */

#define POST(fd, buf) post(fd, "/v1/jobs", JSON_TYPE, buf_str(buf))

static void test_body__of_more_than_a_mebibyte_is_413(void **state)
{
	_cleanup_buf_ struct buf body = BUF_INIT;
	int fd = client_open(&h);

	(void)state;
	while (body.len < (1 << 20) + 1)
		buf_adds(&body, " ");
	POST(fd, &body);
	client_expect(fd, 413, "too_large");
	client_expect_end(fd);
	close(fd);
	fd = client_open(&h); /* its length is enough to know it */
	client_send(fd, post_head("/v1/jobs", JSON_TYPE, body.len));
	client_expect(fd, 413, "too_large");
	client_expect_end(fd);
	close(fd);
	body.data[--body.len] = '\0'; /* as much as is allowed, but nothing but blanks */
	fd = client_open(&h);
	POST(fd, &body);
	client_expect(fd, 400, "bad_request");
	close(fd);
	worker_expect_nothing(&h);
}

static void test_body__of_more_than_a_mebibyte_in_chunks_is_413(void **state)
{
	static char chunk[65536 + 16];
	int fd = client_open(&h);

	(void)state;
	memset(chunk, ' ', sizeof(chunk));
	memcpy(chunk, "10000\r\n", 7);
	memcpy(chunk + 7 + 65536, "\r\n", 2);
	client_send(fd, "POST /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
		"Transfer-Encoding: chunked\r\n\r\n");
	for (int i = 0; i < 17; i++)
		client_send_data(fd, chunk, 7 + 65536 + 2);
	client_send(fd, "0\r\n\r\n");
	client_expect(fd, 413, "too_large");
	/* One that never ends is cut off. */
	client_send(fd, "POST /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
		"Transfer-Encoding: chunked\r\n\r\n");
	for (int i = 0; i < 400; i++)
		client_send_data(fd, chunk, 7 + 65536 + 2);
	client_expect_end(fd);
	close(fd);
	worker_expect_nothing(&h);
}

static void test_body__in_chunks_or_after_100_continue_is_taken(void **state)
{
	int fd = client_open(&h);

	(void)state;
	client_send(fd, "POST /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
		"Transfer-Encoding: chunked\r\n\r\n"
		"11\r\n{\"kind\":\"snapshot\r\nd\r\n\",\"site\":\"a\"}\r\n0\r\n\r\n");
	worker_expect(&h, OP_SNAPSHOT_CREATE);
	worker_answer(&h, h.in.id, 200, "{}");
	client_expect(fd, 200, NULL);
	client_send(fd, post_head("/v1/jobs", JSON_TYPE "Expect: 100-continue\r\n",
		strlen(SNAPSHOT)));
	client_read_until(fd, "HTTP/1.1 100 Continue\r\n\r\n");
	client_send(fd, SNAPSHOT);
	worker_expect(&h, OP_SNAPSHOT_CREATE);
	worker_answer(&h, h.in.id, 200, "{}");
	client_expect(fd, 200, NULL);
	close(fd);
}

static void test_body__deeply_nested_or_cut_is_refused(void **state)
{
	static const char *const ends[] = {"", "]", "}", "1", "\"", "\\"};
	int fd = client_open(&h);

	(void)state;
	for (size_t i = 0; i < N(ends); i++) {
		_cleanup_buf_ struct buf body = BUF_INIT;

		buf_adds(&body, "{\"kind\":\"snapshot\",\"site\":");
		while (body.len < 1000000)
			buf_adds(&body, i % 2 ? "[[[[[[[[[[" : "{\"a\":{\"a\":");
		buf_adds(&body, ends[i]);
		POST(fd, &body);
		client_expect(fd, 400, "bad_request");
	}
	close(fd);
	worker_expect_nothing(&h);
}

static void test_body__of_many_items_is_taken_up_to_the_limit(void **state)
{
	int fd = client_open(&h);

	(void)state;
	for (int n = REQUEST_ITEMS_MAX; n <= REQUEST_ITEMS_MAX + 1; n++) {
		_cleanup_buf_ struct buf body = BUF_INIT;

		buf_adds(&body, "{\"kind\":\"restore\",\"source\":\"s@a\",\"paths\":[\"x\"");
		for (int i = 1; i < n; i++)
			buf_adds(&body, ",\"dir/file-of-forty-bytes-or-so-and-more-here\"");
		buf_adds(&body, "]}");
		POST(fd, &body);
		if (n > REQUEST_ITEMS_MAX) {
			client_expect(fd, 400, "bad_request");
			continue;
		}
		worker_expect(&h, OP_RESTORE);
		assert_int_equal(h.request.values[F_PATHS].n, n);
		worker_answer(&h, h.in.id, 200, "{}");
		client_expect(fd, 200, NULL);
	}
	close(fd);
}

static void test_paths__of_any_bytes_come_through(void **state)
{
	_cleanup_buf_ struct buf body = BUF_INIT;
	int fd = client_open(&h);

	(void)state;
	buf_adds(&body, "{\"kind\":\"site-import\",\"name\":\"a\","
		"\"dir\":\"\\ufffd/srv/\\\\xff\\\\\\\\\"}");
	POST(fd, &body);
	worker_expect(&h, OP_SITE_IMPORT);
	assert_string_equal(request_str(&h.request, F_DIR), "/srv/\xff\\");
	worker_answer(&h, h.in.id, 200, "{}");
	client_expect(fd, 200, NULL);
	close(fd);
}

/* ---- connections ---- */

static void test_connection__serves_pipelined_requests_in_order(void **state)
{
	int fd = client_open(&h);
	uint64_t first;

	(void)state;
	client_send(fd, GET("/v1/status") GET("/nothing") GET("/v1/pools") GET("/v1/jobs"));
	worker_expect(&h, OP_STATUS);
	first = h.in.id;
	worker_answer(&h, first, 200, "1");
	worker_expect(&h, OP_POOLS);
	assert_true(h.in.id != first);
	worker_answer(&h, first, 200, "late"); /* an answer twice is nobody's */
	worker_answer(&h, h.in.id, 200, "2");
	worker_expect(&h, OP_JOBS);
	worker_answer(&h, h.in.id, 200, "3");
	assert_non_null(strstr(client_read_until(fd, "\r\n\r\n1"), " 200 "));
	client_expect(fd, 404, "not_found");
	assert_non_null(strstr(client_read_until(fd, "\r\n\r\n2"), " 200 "));
	assert_non_null(strstr(client_read_until(fd, "\r\n\r\n3"), " 200 "));
	close(fd);
}

static void test_connection__of_http_1_0_is_closed_after_the_answer(void **state)
{
	int fd = client_open(&h);

	(void)state;
	client_send(fd, "GET /v1/status HTTP/1.0\r\n\r\n");
	worker_expect(&h, OP_STATUS);
	worker_answer(&h, h.in.id, 200, "{}");
	client_expect(fd, 200, NULL);
	client_expect_end(fd);
	close(fd);
}

static void test_connection__dropped_at_any_byte_leaves_nothing(void **state)
{
	char request[500];

	(void)state;
	strcpy(request, post_head("/v1/jobs", JSON_TYPE, strlen(SNAPSHOT)));
	strcat(request, SNAPSHOT);
	for (size_t len = 0; len < strlen(request); len++) {
		int fd = client_open(&h);

		client_send_data(fd, request, len);
		if (len % 2)
			shutdown(fd, SHUT_WR);
		close(fd);
	}
	harness_settle(&h);
	worker_expect_nothing(&h);
}

static void test_process__ignores_signals_meant_for_the_worker(void **state)
{
	(void)state;
	assert_int_equal(kill(h.pid, SIGTERM) | kill(h.pid, SIGINT) | kill(h.pid, SIGHUP), 0);
	worker_expect_nothing(&h);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)
	const struct CMUnitTest tests[] = {
		TEST(test_request__reaches_the_worker_typed_with_the_peers_ids),
		TEST(test_job__fields_come_from_body_query_and_header),
		TEST(test_answer__passes_bodies_through_with_their_types),
		TEST(test_answer__of_an_accepted_job_says_where_it_is),
		TEST(test_answer__of_head_has_no_body_and_keeps_the_connection),
		TEST(test_answer__of_many_megabytes_arrives_whole),
		TEST(test_method__that_a_path_does_not_know_is_told_those_it_knows),
		TEST(test_request__that_is_wrong_is_a_problem_and_reaches_no_worker),
		TEST(test_head__that_is_ambiguous_ends_the_connection),
		TEST(test_body__where_none_is_taken_ends_the_connection),
		TEST(test_head__that_is_huge_is_refused),
		TEST(test_path__longer_than_any_name_is_refused),
		TEST(test_body__of_more_than_a_mebibyte_is_413),
		TEST(test_body__of_more_than_a_mebibyte_in_chunks_is_413),
		TEST(test_body__in_chunks_or_after_100_continue_is_taken),
		TEST(test_body__deeply_nested_or_cut_is_refused),
		TEST(test_body__of_many_items_is_taken_up_to_the_limit),
		TEST(test_paths__of_any_bytes_come_through),
		TEST(test_connection__serves_pipelined_requests_in_order),
		TEST(test_connection__of_http_1_0_is_closed_after_the_answer),
		TEST(test_connection__dropped_at_any_byte_leaves_nothing),
		TEST(test_process__ignores_signals_meant_for_the_worker),
		TEST(test_job__that_is_wrong_is_a_problem_and_reaches_no_worker),
	};

	return cmocka_run_group_tests_name("api http", tests, NULL, NULL);
}
