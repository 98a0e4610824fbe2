/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* libfsclient against a peer of the protocol: exchanges, errors, retries, waits, lists, events. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "client/fsclient.h"
#include "tests/unit/client/peer.h"

struct world {
	struct peer *peer;
	struct fsc *fsc;
	struct fsc_error err;
};

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	w->peer = peer_start();
	assert_int_equal(fsc_open(peer_url(w->peer), &w->fsc, &w->err), 0);
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	fsc_close(&w->fsc);
	if (w->peer)
		peer_stop(&w->peer);
	free(w);
	return 0;
}

/* ---- values and texts ---- */

static struct fsc_value *parse(const char *text)
{
	struct fsc_value *v = NULL;

	assert_int_equal(fsc_value_parse(text, strlen(text), &v), 0);
	return v;
}

static void test_value__getters_find_members_and_survive_absence(void **state)
{
	struct fsc_value *v = parse("{\"a\":{\"b\":\"x\",\"n\":7,\"f\":1.5,\"t\":true,\"0\":null},"
				    "\"l\":[1,2,3]}");
	const char *key = NULL;

	(void)state;
	assert_string_equal(fsc_value_str(v, "a.b"), "x");
	assert_int_equal(fsc_value_int(v, "a.n", -1), 7);
	assert_true(fsc_value_real(v, "a.f", 0) == 1.5);
	assert_true(fsc_value_bool(v, "a.t", false));
	assert_int_equal(fsc_value_count(fsc_value_at(v, "l")), 3);
	assert_int_equal(fsc_value_int(fsc_value_item(fsc_value_at(v, "l"), 2), NULL, 0), 3);
	assert_null(fsc_value_str(v, "a.n"));
	assert_null(fsc_value_str(v, "a.b.c"));
	assert_null(fsc_value_str(v, "nothing.at.all"));
	assert_null(fsc_value_str(NULL, "a"));
	assert_int_equal(fsc_value_int(v, "a.b", -1), -1);
	assert_int_equal(fsc_value_count(NULL), 0);
	assert_null(fsc_value_item(v, 0));
	assert_int_equal(fsc_value_type(fsc_value_at(v, "a.0")), FSC_NULL);
	key = fsc_value_next(v, key);
	assert_string_equal(key, "a");
	key = fsc_value_next(v, key);
	assert_string_equal(key, "l");
	assert_null(fsc_value_next(v, key));
	assert_null(fsc_value_next(NULL, NULL));
	fsc_value_free(&v);
	assert_null(v);
}

static void test_value__duplicate_keys_and_garbage_are_refused(void **state)
{
	struct fsc_value *v = NULL;

	(void)state;
	assert_int_equal(fsc_value_parse("{\"a\":1,\"a\":2}", 13, &v), -EBADMSG);
	assert_int_equal(fsc_value_parse("{\"a\":1}x", 8, &v), -EBADMSG);
	assert_int_equal(fsc_value_parse("", 0, &v), -EBADMSG);
	assert_int_equal(fsc_value_parse("\"\xff\"", 3, &v), -EBADMSG);
	assert_null(v);
}

static void test_value__bytes_undo_the_escaped_form(void **state)
{
	struct fsc_value *v = parse("[\"\\ufffdcaf\\\\xe9\\\\\\\\x\",\"plain\\\\xe9\"]");
	char *bytes = fsc_value_bytes(fsc_value_item(v, 0), NULL);

	(void)state;
	assert_string_equal(bytes, "caf\xe9\\x");
	free(bytes);
	bytes = fsc_value_bytes(fsc_value_item(v, 1), NULL);
	assert_string_equal(bytes, "plain\\xe9");
	free(bytes);
	fsc_value_free(&v);
}

static void test_path__encodes_what_is_put_in(void **state)
{
	char *path = fsc_path("/v1/sites/%s/snapshots/%s?n=%d", "a/../b", "2026-11-22T03:00 ?&", 5);

	(void)state;
	assert_string_equal(path,
		"/v1/sites/a%2F..%2Fb/snapshots/2026-11-22T03%3A00%20%3F%26?n=5");
	assert_int_equal(fsc_path_add(&path, "label", "a=b"), 0);
	assert_int_equal(fsc_path_add(&path, "x", NULL), 0);
	assert_non_null(strstr(path, "?n=5&label=a%3Db"));
	assert_null(strstr(path, "x"));
	free(path);
}

/* ---- handles ---- */

static void test_open__refuses_what_it_cannot_speak(void **state)
{
	struct fsc *fsc = NULL;
	struct fsc_error err;
	char path[200];

	(void)state;
	assert_int_equal(fsc_open("https://fsd.example.net:9443", &fsc, &err), -EPROTONOSUPPORT);
	assert_string_equal(err.code, "unsupported_url");
	assert_int_equal(err.exit, FSC_EXIT_USAGE);
	assert_non_null(strstr(err.reason, "TCP"));
	assert_int_equal(fsc_open("relative/path", &fsc, &err), -EINVAL);
	assert_int_equal(fsc_open("unix://relative", &fsc, NULL), -EINVAL);
	memset(path, 'a', sizeof(path));
	path[0] = '/';
	path[sizeof(path) - 1] = '\0';
	assert_int_equal(fsc_open(path, &fsc, &err), -ENAMETOOLONG);
	assert_null(fsc);
}

static void test_open__takes_the_url_from_the_environment(void **state)
{
	struct world *w = *state;
	struct fsc *fsc = NULL;
	struct fsc_value *v = NULL;

	setenv("FSD_URL", peer_url(w->peer), 1);
	assert_int_equal(fsc_open(NULL, &fsc, &w->err), 0);
	unsetenv("FSD_URL");
	peer_answer(w->peer, 200, "{\"state\":\"ok\"}");
	assert_int_equal(fsc_get(fsc, "/v1/status", &v, &w->err), 0);
	fsc_value_free(&v);
	fsc_close(&fsc);
}

static void test_get__nobody_there_is_unreachable(void **state)
{
	struct fsc *fsc = NULL;
	struct fsc_value *v = NULL;
	struct fsc_error err;

	(void)state;
	assert_int_equal(fsc_open("/nonexistent/fsd.sock", &fsc, &err), 0);
	assert_int_equal(fsc_get(fsc, "/v1/status", &v, &err), -ECONNREFUSED);
	assert_string_equal(err.code, "unreachable");
	assert_int_equal(err.exit, FSC_EXIT_UNREACHABLE);
	assert_string_equal(err.object, "/nonexistent/fsd.sock");
	assert_int_not_equal(err.hint[0], 0);
	fsc_close(&fsc);
}

/* ---- exchanges ---- */

static int get(struct world *w, struct fsc_value **v)
{
	return fsc_get(w->fsc, "/v1/status", v, &w->err);
}

static void test_get__keeps_the_connection_for_the_next_request(void **state)
{
	struct world *w = *state;
	struct fsc_value *v = NULL;

	peer_answer(w->peer, 200, "{\"n\":1}");
	peer_say(w->peer, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
			  "3\r\n{\"n\r\n4\r\n\":2}\r\n0\r\n\r\n", PEER_KEEP);
	assert_int_equal(get(w, &v), 0);
	assert_int_equal(fsc_value_int(v, "n", 0), 1);
	fsc_value_free(&v);
	assert_int_equal(get(w, &v), 0);
	assert_int_equal(fsc_value_int(v, "n", 0), 2);
	fsc_value_free(&v);
	assert_non_null(strstr(peer_request(w->peer, 0), "GET /v1/status HTTP/1.1\r\nHost: "));
}

static void test_get__problems_become_errors(void **state)
{
	static const struct {
		int status, num, exit;
	} cases[] = {{400, EINVAL, 2}, {403, EACCES, 6}, {404, ENOENT, 3}, {409, EBUSY, 4},
		{413, E2BIG, 2}, {428, EAGAIN, 2}, {429, EUSERS, 5}, {500, EIO, 1}, {503, EIO, 1},
		{507, ENOSPC, 5}};
	struct world *w = *state;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct fsc_value *v = NULL;

		peer_answer(w->peer, cases[i].status,
			"{\"code\":\"some_code\",\"title\":\"T\",\"object\":\"shop\","
			"\"reason\":\"no such site\",\"hint\":\"look\"}");
		assert_int_equal(get(w, &v), -cases[i].num);
		assert_int_equal(w->err.exit, cases[i].exit);
		assert_int_equal(w->err.http, cases[i].status);
		assert_string_equal(w->err.code, "some_code");
		assert_string_equal(w->err.object, "shop");
		assert_string_equal(w->err.reason, "no such site");
		assert_string_equal(w->err.hint, "look");
		assert_null(v);
	}
}

static void test_get__a_problem_that_is_none_still_says_something(void **state)
{
	struct world *w = *state;
	struct fsc_value *v = NULL;

	peer_answer(w->peer, 500, "<html>");
	assert_int_equal(get(w, &v), -EIO);
	assert_non_null(strstr(w->err.reason, "500"));
}

static void test_get__garbage_is_a_bad_response(void **state)
{
	static const char *const answers[] = {
		"SSH-2.0-OpenSSH\r\n",
		"HTTP/1.1 200 OK\r\n\r\n{}",
		"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{x}",
		"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
	};
	struct world *w = *state;

	for (size_t i = 0; i < 4; i++) {
		struct fsc_value *v = NULL;

		peer_say(w->peer, answers[i], PEER_CLOSE);
		assert_int_equal(get(w, &v), -EPROTO);
		assert_string_equal(w->err.code, "bad_response");
		assert_null(v);
	}
}

static void test_get__silence_is_a_timeout(void **state)
{
	struct world *w = *state;
	struct fsc_value *v = NULL;

	fsc_set_timeout(w->fsc, 50);
	peer_say(w->peer, "HTTP/1.1 200 OK\r\nContent-Le", PEER_HANG);
	assert_int_equal(get(w, &v), -ETIMEDOUT);
	assert_int_equal(w->err.exit, FSC_EXIT_UNREACHABLE);
	fsc_set_timeout(w->fsc, 60000);
	/* The late answer to this request must not be taken for the next one's. */
	peer_answer(w->peer, 200, "{\"n\":2}");
	assert_int_equal(get(w, &v), 0);
	assert_int_equal(fsc_value_int(v, "n", 0), 2);
	fsc_value_free(&v);
}

static void test_get__the_wakeup_descriptor_interrupts(void **state)
{
	struct world *w = *state;
	struct fsc_value *v = NULL;
	int fd = eventfd(1, EFD_CLOEXEC);

	peer_say(w->peer, "", PEER_HANG);
	fsc_set_wakeup(w->fsc, fd);
	assert_int_equal(get(w, &v), -EINTR);
	assert_int_equal(w->err.exit, FSC_EXIT_INTERRUPTED);
	close(fd);
}

static void test_get__a_connection_closed_while_idle_is_replaced(void **state)
{
	struct world *w = *state;
	struct fsc_value *v = NULL;

	peer_say(w->peer, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", PEER_CLOSE);
	peer_answer(w->peer, 200, "{\"n\":2}");
	assert_int_equal(get(w, &v), 0);
	fsc_value_free(&v);
	assert_int_equal(get(w, &v), 0);
	assert_int_equal(fsc_value_int(v, "n", 0), 2);
	fsc_value_free(&v);
}

static void test_get__refuses_paths_that_would_break_the_request(void **state)
{
	struct world *w = *state;
	struct fsc_value *v = NULL;

	assert_int_equal(fsc_get(w->fsc, "/v1/x HTTP/1.1\r\nEvil: 1", &v, &w->err), -EINVAL);
	assert_int_equal(fsc_get(w->fsc, "v1", &v, &w->err), -EINVAL);
	assert_int_equal(peer_requests(w->peer), 0);
}

/* ---- jobs ---- */

#define RUNNING "{\"job\":{\"id\":\"01\",\"kind\":\"snapshot\",\"state\":\"running\"}}"

static struct fsc_request *request(void)
{
	struct fsc_request *req = fsc_request_new("snapshot");

	assert_non_null(req);
	assert_int_equal(fsc_request_set_str(req, "site", "shop"), 0);
	return req;
}

/* The value of a header in a request, malloc'd. */
static char *header(const char *text, const char *name)
{
	const char *at = strstr(text, name);

	assert_non_null(at);
	at += strlen(name) + 2;
	return strndup(at, strcspn(at, "\r"));
}

static void test_submit__sends_every_kind_of_argument(void **state)
{
	static const char *const items[] = {"a", "b\xff"};
	static const char *const keys[] = {"protected", "label.x"};
	static const char *const values[] = {"yes", NULL};
	struct world *w = *state;
	struct fsc_request *req = request();
	struct fsc_value *v = NULL, *sent;
	char *text;

	fsc_request_set_bool(req, "exact", true);
	fsc_request_set_int(req, "generation", 7);
	fsc_request_set_list(req, "paths", items, 2);
	fsc_request_set_map(req, "set", keys, values, 2);
	peer_answer(w->peer, 202, RUNNING);
	assert_int_equal(fsc_submit(w->fsc, req, 5, &v, &w->err), 0);
	assert_string_equal(fsc_value_str(v, "job.id"), "01");
	fsc_value_free(&v);
	assert_non_null(strstr(peer_request(w->peer, 0), "POST /v1/jobs?wait=5 HTTP/1.1\r\n"));
	sent = parse(strstr(peer_request(w->peer, 0), "\r\n\r\n") + 4);
	text = fsc_value_text(sent, 0);
	assert_string_equal(text,
		"{\"kind\": \"snapshot\", \"site\": \"shop\", \"exact\": true, \"generation\": 7, "
		"\"paths\": [\"a\", \"\xef\xbf\xbd" "b\\\\xff\"], "
		"\"set\": {\"protected\": \"yes\", \"label.x\": null}}");
	free(text);
	fsc_value_free(&sent);
	fsc_request_free(&req);
}

static void test_submit__a_lost_answer_is_asked_for_again_under_the_same_key(void **state)
{
	struct world *w = *state;
	struct fsc_request *req = request();
	struct fsc_value *v = NULL;
	char *first, *second;

	peer_say(w->peer, "", PEER_CLOSE);
	peer_say(w->peer, "HTTP/1.1 202 Acc", PEER_CLOSE);
	peer_answer(w->peer, 202, RUNNING);
	assert_int_equal(fsc_submit(w->fsc, req, 0, &v, &w->err), 0);
	fsc_value_free(&v);
	assert_int_equal(peer_requests(w->peer), 3);
	first = header(peer_request(w->peer, 0), "Idempotency-Key");
	second = header(peer_request(w->peer, 2), "Idempotency-Key");
	assert_string_equal(first, second);
	assert_string_equal(first, fsc_request_key(req));
	assert_int_equal(strlen(first), 32);
	free(first);
	free(second);
	fsc_request_free(&req);
}

static void test_submit__a_changed_request_gets_a_new_key(void **state)
{
	struct world *w = *state;
	struct fsc_request *req = request();
	struct fsc_value *v = NULL;
	char *key = strdup(fsc_request_key(req));

	peer_answer(w->peer, 428, "{\"code\":\"confirmation_needed\",\"reason\":\"sure?\"}");
	assert_int_equal(fsc_submit(w->fsc, req, 0, &v, &w->err), -EAGAIN);
	assert_string_equal(w->err.code, "confirmation_needed");
	assert_string_equal(key, fsc_request_key(req));
	assert_int_equal(fsc_request_set_bool(req, "confirm", true), 0);
	assert_string_not_equal(key, fsc_request_key(req));
	free(key);
	fsc_request_free(&req);
}

static void test_submit__a_bad_argument_is_reported_and_not_sent(void **state)
{
	struct world *w = *state;
	struct fsc_request *req = request();
	struct fsc_value *v = NULL;

	assert_int_equal(fsc_request_set_str(req, "name", NULL), -EINVAL);
	assert_int_equal(fsc_submit(w->fsc, req, 0, &v, &w->err), -EINVAL);
	assert_string_equal(w->err.code, "bad_request");
	assert_int_equal(peer_requests(w->peer), 0);
	fsc_request_free(&req);
}

static int note_progress(const struct fsc_progress *p, void *arg)
{
	uint64_t *seen = arg;

	*seen = p->entries_done;
	return p->entries_done >= 100;
}

#define PROGRESS(n)                                                                                \
	"{\"id\":\"01\",\"state\":\"running\",\"progress\":{\"entries_done\":" #n                  \
	",\"entries_total\":500,\"bytes_done\":1,\"bytes_total\":2}}"

struct seen {
	unsigned calls;
	uint64_t done[4], total[4];
};

static int note_all(const struct fsc_progress *p, void *arg)
{
	struct seen *seen = arg;

	assert_true(seen->calls < 4);
	seen->done[seen->calls] = p->entries_done;
	seen->total[seen->calls++] = p->entries_total;
	return 0;
}

static void test_wait__reports_progress_that_never_goes_back(void **state)
{
	struct world *w = *state;
	struct fsc_value *job = NULL;
	struct seen seen = {0};

	peer_answer(w->peer, 200, PROGRESS(10));
	/* fsd was stopped, and the job begins anew. */
	peer_answer(w->peer, 200, "{\"id\":\"01\",\"state\":\"queued\",\"progress\":null}");
	peer_answer(w->peer, 200, PROGRESS(5));
	peer_answer(w->peer, 200, PROGRESS(20));
	peer_answer(w->peer, 200,
		"{\"id\":\"01\",\"state\":\"done\",\"progress\":null,\"result\":{}}");
	assert_int_equal(fsc_job_wait(w->fsc, "01", note_all, &seen, -1, &job, &w->err), 0);
	assert_true(fsc_job_ended(job));
	assert_int_equal(fsc_job_outcome(job, NULL), 0);
	assert_non_null(strstr(peer_request(w->peer, 0), "GET /v1/jobs/01 "));
	assert_memory_equal(seen.done, ((uint64_t[]){10, 10, 10, 20}), sizeof(seen.done));
	assert_memory_equal(seen.total, ((uint64_t[]){500, 500, 500, 500}), sizeof(seen.total));
	fsc_value_free(&job);
}

static void test_wait__the_callback_can_stop_it(void **state)
{
	struct world *w = *state;
	struct fsc_value *job = NULL;
	uint64_t seen = 0;

	peer_answer(w->peer, 200, PROGRESS(100));
	assert_int_equal(fsc_job_wait(w->fsc, "01", note_progress, &seen, -1, &job, &w->err),
		-ECANCELED);
	assert_int_equal(w->err.exit, FSC_EXIT_INTERRUPTED);
	assert_int_equal(seen, 100);
	assert_null(job);
}

static void test_wait__ends_in_time(void **state)
{
	struct world *w = *state;
	struct fsc_value *job = NULL;

	peer_always(w->peer, "GET /v1/jobs/01", 200, PROGRESS(1));
	assert_int_equal(fsc_job_wait(w->fsc, "01", NULL, NULL, 120, &job, &w->err), -ETIMEDOUT);
	assert_string_equal(w->err.code, "timeout");
	assert_int_equal(fsc_job_wait(w->fsc, "01", NULL, NULL, 0, &job, &w->err), -ETIMEDOUT);
	assert_null(job);
}

static void test_wait__goes_on_over_a_lost_connection(void **state)
{
	struct world *w = *state;
	struct fsc_value *job = NULL;

	peer_answer(w->peer, 200, PROGRESS(1));
	peer_say(w->peer, "", PEER_CLOSE);
	peer_answer(w->peer, 200, "{\"id\":\"01\",\"state\":\"canceled\"}");
	assert_int_equal(fsc_job_wait(w->fsc, "01", NULL, NULL, -1, &job, &w->err), 0);
	assert_int_equal(fsc_job_outcome(job, &w->err), -ECANCELED);
	fsc_value_free(&job);
}

static void test_wait__goes_on_where_the_connection_is_lost_late(void **state)
{
	struct world *w = *state;
	struct fsc_value *job = NULL;

	/* Longer than fsd may be away, and again in the same request. */
	peer_say(w->peer, "", PEER_LATE);
	peer_say(w->peer, "", PEER_LATE);
	peer_answer(w->peer, 200, "{\"id\":\"01\",\"state\":\"done\"}");
	assert_int_equal(fsc_job_wait(w->fsc, "01", NULL, NULL, -1, &job, &w->err), 0);
	assert_int_equal(peer_requests(w->peer), 3);
	fsc_value_free(&job);
}

static void test_outcome__names_success_parts_and_errors(void **state)
{
	struct fsc_value *done = parse("{\"state\":\"done\",\"result\":{\"failed\":[]}}");
	struct fsc_value *part = parse("{\"state\":\"done\",\"result\":{\"failed\":["
				       "{\"path\":1}]}}");
	struct fsc_value *full = parse("{\"state\":\"failed\",\"error\":{\"code\":\"no_space\","
				       "\"status\":507,\"reason\":\"the pool is full\"}}");
	struct fsc_value *queued = parse("{\"state\":\"queued\"}");
	struct fsc_error err;

	(void)state;
	assert_int_equal(fsc_job_outcome(done, &err), 0);
	assert_int_equal(fsc_job_outcome(part, &err), 1);
	assert_int_equal(fsc_job_outcome(full, &err), -ENOSPC);
	assert_int_equal(err.exit, FSC_EXIT_LIMIT);
	assert_string_equal(err.reason, "the pool is full");
	assert_int_equal(fsc_job_outcome(queued, &err), -EINPROGRESS);
	fsc_value_free(&done);
	fsc_value_free(&part);
	fsc_value_free(&full);
	fsc_value_free(&queued);
}

static void test_cancel__answers_the_job(void **state)
{
	struct world *w = *state;
	struct fsc_value *job = NULL;

	peer_answer(w->peer, 202, RUNNING);
	peer_answer(w->peer, 409, "{\"code\":\"job_ended\"}");
	assert_int_equal(fsc_job_cancel(w->fsc, "01", &job, &w->err), 0);
	assert_string_equal(fsc_value_str(job, "id"), "01");
	fsc_value_free(&job);
	assert_int_equal(fsc_job_cancel(w->fsc, "01", &job, &w->err), -EBUSY);
	assert_non_null(strstr(peer_request(w->peer, 0), "POST /v1/jobs/01/cancel HTTP/1.1\r\n"));
}

/* ---- lists ---- */

static void test_list__goes_through_all_pages(void **state)
{
	struct world *w = *state;
	struct fsc_list *list = fsc_list_new(w->fsc, "/v1/sites?label=a");
	const struct fsc_value *item;
	int sum = 0, n = 0;

	peer_answer(w->peer, 200, "{\"items\":[1,2],\"next\":\"c/1\"}");
	peer_answer(w->peer, 200, "{\"items\":[],\"next\":\"c2\"}");
	peer_answer(w->peer, 200, "{\"items\":[3],\"next\":null}");
	while (fsc_list_next(list, &item, &w->err) == 1) {
		sum += (int)fsc_value_int(item, NULL, 0);
		n++;
	}
	assert_int_equal(n, 3);
	assert_int_equal(sum, 6);
	assert_int_equal(fsc_list_next(list, &item, &w->err), 0);
	assert_non_null(strstr(peer_request(w->peer, 1), "/v1/sites?label=a&cursor=c%2F1 "));
	assert_non_null(strstr(peer_request(w->peer, 2), "/v1/sites?label=a&cursor=c2 "));
	fsc_list_free(&list);
}

static void test_list__events_continue_after_an_id(void **state)
{
	struct world *w = *state;
	struct fsc_list *list = fsc_list_new(w->fsc, "/v1/jobs/01/log");
	const struct fsc_value *item;

	peer_answer(w->peer, 200, "{\"items\":[1],\"next\":17}");
	peer_answer(w->peer, 200, "{\"items\":[],\"next\":null}");
	while (fsc_list_next(list, &item, &w->err) == 1)
		;
	assert_non_null(strstr(peer_request(w->peer, 1), "/v1/jobs/01/log?after=17 "));
	fsc_list_free(&list);
}

static void test_list__a_cursor_that_stands_still_is_an_error(void **state)
{
	struct world *w = *state;
	struct fsc_list *list = fsc_list_new(w->fsc, "/v1/sites");
	const struct fsc_value *item;
	int r;

	peer_always(w->peer, "GET /v1/sites", 200, "{\"items\":[1],\"next\":\"same\"}");
	while ((r = fsc_list_next(list, &item, &w->err)) == 1)
		;
	assert_int_equal(r, -EPROTO);
	assert_int_equal(peer_requests(w->peer), 2);
	fsc_list_free(&list);
}

/* ---- events ---- */

#define STREAM "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n" \
	       "Transfer-Encoding: chunked\r\n\r\n"

static void test_events__come_once_each_over_a_lost_connection(void **state)
{
	struct world *w = *state;
	struct fsc_events *events = NULL;
	const struct fsc_value *e;

	peer_say(w->peer, STREAM "26\r\nid: 5\ndata: {\"n\":5}\n\nid: 6\ndata: {\"n\r\n",
		PEER_CLOSE);
	peer_say(w->peer, STREAM "16\r\nid: 6\ndata: {\"n\":6}\n\n\n\r\n", PEER_HANG);
	assert_int_equal(fsc_events_open(w->fsc, "4", &events, &w->err), 0);
	assert_int_equal(fsc_events_next(events, 5000, &e, &w->err), 1);
	assert_int_equal(fsc_value_int(e, "n", 0), 5);
	assert_int_equal(fsc_events_next(events, 5000, &e, &w->err), 1);
	assert_int_equal(fsc_value_int(e, "n", 0), 6);
	assert_int_equal(fsc_events_next(events, 20, &e, &w->err), 0);
	assert_non_null(strstr(peer_request(w->peer, 0), "Last-Event-ID: 4\r\n"));
	assert_non_null(strstr(peer_request(w->peer, 0), "Accept: text/event-stream\r\n"));
	assert_non_null(strstr(peer_request(w->peer, 1), "Last-Event-ID: 5\r\n"));
	fsc_events_free(&events);
}

static void test_events__are_not_missed_before_the_first(void **state)
{
	struct world *w = *state;
	struct fsc_events *events = NULL;
	const struct fsc_value *e;

	peer_say(w->peer, STREAM "d\r\nid: 7\n: fsd\n\n\r\n", PEER_CLOSE);
	peer_say(w->peer, STREAM "16\r\nid: 8\ndata: {\"n\":8}\n\n\n\r\n", PEER_HANG);
	assert_int_equal(fsc_events_open(w->fsc, NULL, &events, &w->err), 0);
	assert_int_equal(fsc_events_next(events, 5000, &e, &w->err), 1);
	assert_int_equal(fsc_value_int(e, "n", 0), 8);
	assert_null(strstr(peer_request(w->peer, 0), "Last-Event-ID"));
	assert_non_null(strstr(peer_request(w->peer, 1), "Last-Event-ID: 7\r\n"));
	fsc_events_free(&events);
}

static void test_events__a_refusal_is_an_error(void **state)
{
	struct world *w = *state;
	struct fsc_events *events = NULL;
	const struct fsc_value *e;

	peer_answer(w->peer, 403, "{\"code\":\"forbidden\",\"reason\":\"not you\"}");
	assert_int_equal(fsc_events_open(w->fsc, NULL, &events, &w->err), 0);
	assert_int_equal(fsc_events_next(events, 5000, &e, &w->err), -EACCES);
	assert_string_equal(w->err.reason, "not you");
	fsc_events_free(&events);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_value__getters_find_members_and_survive_absence),
		cmocka_unit_test(test_value__duplicate_keys_and_garbage_are_refused),
		cmocka_unit_test(test_value__bytes_undo_the_escaped_form),
		cmocka_unit_test(test_path__encodes_what_is_put_in),
		cmocka_unit_test(test_open__refuses_what_it_cannot_speak),
		T(test_open__takes_the_url_from_the_environment),
		cmocka_unit_test(test_get__nobody_there_is_unreachable),
		T(test_get__keeps_the_connection_for_the_next_request),
		T(test_get__problems_become_errors),
		T(test_get__a_problem_that_is_none_still_says_something),
		T(test_get__garbage_is_a_bad_response),
		T(test_get__silence_is_a_timeout),
		T(test_get__the_wakeup_descriptor_interrupts),
		T(test_get__a_connection_closed_while_idle_is_replaced),
		T(test_get__refuses_paths_that_would_break_the_request),
		T(test_submit__sends_every_kind_of_argument),
		T(test_submit__a_lost_answer_is_asked_for_again_under_the_same_key),
		T(test_submit__a_changed_request_gets_a_new_key),
		T(test_submit__a_bad_argument_is_reported_and_not_sent),
		T(test_wait__reports_progress_that_never_goes_back),
		T(test_wait__the_callback_can_stop_it),
		T(test_wait__ends_in_time),
		T(test_wait__goes_on_over_a_lost_connection),
		T(test_wait__goes_on_where_the_connection_is_lost_late),
		cmocka_unit_test(test_outcome__names_success_parts_and_errors),
		T(test_cancel__answers_the_job),
		T(test_list__goes_through_all_pages),
		T(test_list__events_continue_after_an_id),
		T(test_list__a_cursor_that_stands_still_is_an_error),
		T(test_events__come_once_each_over_a_lost_connection),
		T(test_events__are_not_missed_before_the_first),
		T(test_events__a_refusal_is_an_error),
	};

	return cmocka_run_group_tests_name("client", tests, NULL, NULL);
}
