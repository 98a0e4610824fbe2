/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The api process as its clients meet it: requests, answers, malformed and hostile input. */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/sockios.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/unit/api/harness.h"

#define N(a) (sizeof(a) / sizeof((a)[0]))
#define GET(path) "GET " path " HTTP/1.1\r\nHost: x\r\n\r\n"
#define JSON_TYPE "Content-Type: application/json\r\n"
#define SNAPSHOT "{\"kind\":\"snapshot\",\"site\":\"a\"}"

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

/* The head of a POST; the body follows. Borrowed until the next call. */
static const char *post_head(const char *target, const char *headers, size_t len)
{
	static char head[1000];

	snprintf(head, sizeof(head), "POST %s HTTP/1.1\r\nHost: x\r\n%sContent-Length: %zu\r\n\r\n",
		target, headers, len);
	return head;
}

static void post(int fd, const char *target, const char *headers, const char *body)
{
	client_send(fd, post_head(target, headers, strlen(body)));
	client_send(fd, body);
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

/* ---- with limits of their own ---- */

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
#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)
#define LIMITED(name) cmocka_unit_test(name)
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
		LIMITED(test_garbage__gets_an_error_or_the_end_and_reaches_no_worker),
		LIMITED(test_silent_client__is_closed),
		LIMITED(test_slow_client__is_closed_however_busy_it_looks),
		LIMITED(test_slow_reader__of_an_answer_is_closed),
		LIMITED(test_bodies__beyond_their_share_of_memory_are_429),
		LIMITED(test_connections__of_one_user_leave_room_for_others),
		LIMITED(test_silent_worker__is_503_and_told_to_forget),
		LIMITED(test_silent_worker__has_a_time_of_its_own_for_healthz),
		LIMITED(test_stuck_worker__does_not_fill_the_memory),
		LIMITED(test_worker__that_dies_takes_the_api_along),
	};

	return cmocka_run_group_tests_name("api http", tests, NULL, NULL);
}
