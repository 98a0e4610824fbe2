/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* fsctl as a program against a peer of the protocol: what it sends, prints and exits with. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/unit/client/peer.h"
#include "tests/unit/client/run.h"

struct world {
	struct peer *peer;
	struct ran ran;
};

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	w->peer = peer_start();
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	ran_release(&w->ran);
	peer_stop(&w->peer);
	free(w);
	return 0;
}

#define WORDS(...) ((const char *const[]){FSCTL, __VA_ARGS__, NULL})
static int fsctl_words(struct world *w, const char *const words[])
{
	ran_release(&w->ran);
	run(&w->ran, peer_url(w->peer), words);
	return w->ran.code;
}

static int terminal_words(struct world *w, const char *after, const char *keys,
	const char *const words[])
{
	ran_release(&w->ran);
	run_on_terminal(&w->ran, peer_url(w->peer), after, keys, words);
	return w->ran.code;
}

#define fsctl(w, ...) fsctl_words(w, WORDS(__VA_ARGS__))
#define fsctl_tty(w, after, keys, ...) terminal_words(w, after, keys, WORDS(__VA_ARGS__))

#define DONE(kind, result)                                                                         \
	"{\"job\":{\"id\":\"0j1\",\"kind\":\"" kind "\",\"state\":\"done\",\"site\":{"             \
	"\"id\":\"u\",\"name\":\"shop\"},\"result\":" result ",\"stats\":{\"seconds\":0.003,"      \
	"\"method\":\"snapshot\"},\"error\":null,\"undoable\":false}}"
#define SNAPSHOT_DONE                                                                              \
	DONE("snapshot", "{\"snapshot\":{\"site\":{\"id\":\"u\",\"name\":\"shop\"},"               \
			 "\"name\":\"n1\"}}")
#define RUNNING "{\"job\":{\"id\":\"0j1\",\"kind\":\"clone\",\"state\":\"running\"}}"

static const char *sent(struct world *w, size_t n)
{
	return strstr(peer_request(w->peer, n), "\r\n\r\n") + 4;
}

/* ---- requests ---- */

static void test_cli__requests_say_what_was_typed(void **state)
{
	static const struct {
		const char *words[8];
		const char *body;
	} cases[] = {
		{{"snapshot", "shop"}, "{\"kind\":\"snapshot\",\"site\":\"shop\"}"},
		{{"snapshot", "shop@n1", "--expires", "7d"},
			"{\"kind\":\"snapshot\",\"site\":\"shop\",\"name\":\"n1\","
			"\"expires\":\"7d\"}"},
		{{"--expires=7d", "snapshot", "shop"}, NULL},
		{{"snapshot", "--expires=7d", "shop"},
			"{\"kind\":\"snapshot\",\"site\":\"shop\",\"expires\":\"7d\"}"},
		{{"clone", "shop@2026-11-22T03:00", "new", "--method", "copy"},
			"{\"kind\":\"clone\",\"source\":\"shop@2026-11-22T02:00:59Z\","
			"\"name\":\"new\",\"method\":\"copy\"}"},
		{{"clone", "shop@2026-07-01", "new"},
			"{\"kind\":\"clone\",\"source\":\"shop@2026-07-01T21:59:59Z\","
			"\"name\":\"new\"}"},
		{{"clone", "shop@2026-11-22T03:00Z", "new"},
			"{\"kind\":\"clone\",\"source\":\"shop@2026-11-22T03:00Z\","
			"\"name\":\"new\"}"},
		{{"restore", "shop@n1", "a/b", "--exact", "-y", "c"},
			"{\"kind\":\"restore\",\"source\":\"shop@n1\",\"exact\":true,"
			"\"paths\":[\"a/b\",\"c\"],\"confirm\":true}"},
		{{"restore", "shop@n1", "--only", "code,data"},
			"{\"kind\":\"restore\",\"source\":\"shop@n1\","
			"\"only\":[\"code\",\"data\"]}"},
		{{"publish", "shop:7"},
			"{\"kind\":\"publish\",\"site\":\"shop\",\"generation\":7}"},
		{{"rollback", "shop"}, "{\"kind\":\"rollback\",\"site\":\"shop\"}"},
		{{"rollback", "shop:3"},
			"{\"kind\":\"rollback\",\"site\":\"shop\",\"generation\":3}"},
		{{"undo", "0j1", "--discard-since"},
			"{\"kind\":\"undo\",\"job\":\"0j1\",\"discard_since\":true}"},
		{{"diff", "shop@a", "shop", "x"},
			"{\"kind\":\"diff\",\"a\":\"shop@a\",\"b\":\"shop\",\"paths\":[\"x\"]}"},
		{{"diff", "shop@a", "x/y"},
			"{\"kind\":\"diff\",\"a\":\"shop@a\",\"paths\":[\"x/y\"]}"},
		{{"diff", "shop@a", "--", "--x"},
			"{\"kind\":\"diff\",\"a\":\"shop@a\",\"paths\":[\"--x\"]}"},
		{{"site", "import", "shop", "/var/www", "--link", "--note", "hi"},
			"{\"kind\":\"site-import\",\"name\":\"shop\",\"dir\":\"/var/www\","
			"\"mode\":\"link\",\"note\":\"hi\"}"},
		{{"site", "set", "shop", "protected=yes", "label.a=b=c", "label.x="},
			"{\"kind\":\"site-set\",\"site\":\"shop\",\"set\":{\"protected\":\"yes\","
			"\"label.a\":\"b=c\",\"label.x\":null}}"},
		{{"site", "delete", "shop", "--dry-run"},
			"{\"kind\":\"site-delete\",\"site\":\"shop\",\"dry_run\":true}"},
		{{"snapshot", "hold", "shop@n1", "--tag", "t"},
			"{\"kind\":\"snapshot-hold\",\"source\":\"shop@n1\",\"tag\":\"t\","
			"\"hold\":true}"},
		{{"snapshot", "release", "shop@n1"},
			"{\"kind\":\"snapshot-hold\",\"source\":\"shop@n1\",\"hold\":false}"},
		{{"generation", "delete", "shop:12"},
			"{\"kind\":\"generation-delete\",\"site\":\"shop\",\"generation\":12}"},
		{{"pool", "check", "main"}, "{\"kind\":\"pool-check\",\"pool\":\"main\"}"},
	};
	struct world *w = *state;
	size_t n = 0;

	peer_always(w->peer, "POST /v1/jobs", 200, SNAPSHOT_DONE);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const char *words[10] = {FSCTL};

		for (int k = 0; k < 8; k++)
			words[k + 1] = cases[i].words[k];
		ran_release(&w->ran);
		run(&w->ran, peer_url(w->peer), words);
		if (!cases[i].body) {
			assert_int_equal(w->ran.code, 2);
			continue;
		}
		assert_string_equal(sent(w, n++), cases[i].body);
	}
}

static void test_cli__what_is_measured_is_what_is_shown(void **state)
{
	struct world *w = *state;

	peer_always(w->peer, "POST /v1/jobs", 200, DONE("snapshot-measure", "{}"));
	peer_always(w->peer, "GET /v1/sites/", 200, "{}");
	assert_int_equal(fsctl(w, "snapshot", "show", "shop@2026-11-22 03:00", "--measure"), 0);
	assert_string_equal(sent(w, 0), "{\"kind\":\"snapshot-measure\","
		"\"source\":\"shop@2026-11-22T02:00:59Z\",\"dry_run\":false}");
	assert_non_null(strstr(peer_request(w->peer, 1),
		"/shop/snapshots/2026-11-22T02%3A00%3A59Z "));
}

static void test_cli__relative_directories_are_made_absolute(void **state)
{
	struct world *w = *state;
	char cwd[1024], want[2048];

	assert_non_null(getcwd(cwd, sizeof(cwd)));
	peer_always(w->peer, "POST /v1/jobs", 200, SNAPSHOT_DONE);
	fsctl(w, "site", "import", "shop", "./a//b/.");
	snprintf(want, sizeof(want), "\"dir\":\"%s/a/b\"", cwd);
	assert_non_null(strstr(sent(w, 0), want));
	fsctl(w, "site", "eject", "shop", "..");
	*strrchr(cwd, '/') = '\0';
	snprintf(want, sizeof(want), "\"dir\":\"%s\"", cwd[0] ? cwd : "/");
	assert_non_null(strstr(sent(w, 1), want));
}

static void test_cli__paths_that_are_not_utf8_are_escaped(void **state)
{
	struct world *w = *state;

	peer_always(w->peer, "POST /v1/jobs", 200, SNAPSHOT_DONE);
	fsctl(w, "restore", "shop@a", "caf\xe9\\x", "caf\xc3\xa9");
	assert_non_null(strstr(sent(w, 0),
		"[\"\xef\xbf\xbd" "caf\\\\xe9\\\\\\\\x\",\"caf\xc3\xa9\"]"));
}

static void test_cli__reads_ask_for_the_right_paths(void **state)
{
	static const struct {
		const char *words[6];
		const char *start;
	} cases[] = {
		{{"site", "list", "--pool", "main", "--deleted"},
			"GET /v1/sites?pool=main&deleted=true&limit=1000 "},
		{{"site", "show", "a/b"}, "GET /v1/sites/a%2Fb "},
		{{"snapshot", "list", "shop", "--limit", "5"},
			"GET /v1/snapshots?site=shop&limit=5 "},
		{{"snapshot", "show", "shop@2026-11-22 03:00"},
			"GET /v1/sites/shop/snapshots/2026-11-22T02%3A00%3A59Z "},
		{{"generation", "list", "shop"}, "GET /v1/sites/shop/generations "},
		{{"job", "list", "--state", "failed", "--cursor=c 1"},
			"GET /v1/jobs?state=failed&limit=1000&cursor=c%201 "},
		{{"job", "log", "0j1", "--after", "7"},
			"GET /v1/jobs/0j1/log?limit=1000&after=7 "},
		{{"pool", "show", "main"}, "GET /v1/pools/main "},
		{{"pool", "list"}, "GET /v1/pools "},
		{{"path", "shop@x"}, "GET /v1/path?source=shop%40x "},
		{{"status"}, "GET /v1/status "},
		{{"event", "list"}, "GET /v1/events?limit=1000 "},
	};
	struct world *w = *state;

	peer_always(w->peer, "GET ", 200, "{\"items\":[],\"next\":null,\"path\":\"/x\"}");
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const char *words[8] = {FSCTL};
		const char *request;

		for (int k = 0; k < 6; k++)
			words[k + 1] = cases[i].words[k];
		ran_release(&w->ran);
		run(&w->ran, peer_url(w->peer), words);
		assert_int_equal(w->ran.code, 0);
		request = peer_request(w->peer, i);
		if (strncmp(request, cases[i].start, strlen(cases[i].start)) != 0)
			fail_msg("want %s\ngot %s", cases[i].start, request);
	}
}

/* ---- wrong usage ---- */

static void test_cli__wrong_usage_is_exit_2_and_asks_nothing(void **state)
{
	static const char *const cases[][6] = {
		{"snapshot"}, {"snapshot", "shop@"}, {"snapshot", "@n"}, {"snapshot", "a", "b"},
		{"snapshot", ""}, {"clone", "shop"}, {"clone", "shop@", "new"}, {"publish", "shop"},
		{"publish", "shop:"}, {"publish", "shop:x"}, {"publish", "shop:99999999999"},
		{"snapshot", "delete", "shop"}, {"snapshot", "delete", "shop@"},
		{"snapshot", "delete", "@x"}, {"snapshot", "show", "shop"},
		{"snapshot", "show", "shop", "--measure"}, {"frobnicate"},
		{"site", "frobnicate"}, {"site"}, {"job", "wait"}, {"snapshot", "shop", "--nope"},
		{"snapshot", "shop", "-x"}, {"snapshot", "shop", "--expires"},
		{"snapshot", "shop", "--json=1"}, {"clone", "a", "b", "--pool", "x", "--pool=y"},
		{"site", "set", "shop"}, {"site", "set", "shop", "nonsense"},
		{"site", "list", "--limit", "0"}, {"site", "list", "--limit", "-1"},
		{"site", "list", "--limit", "1x"}, {"--url", "https://x", "status"},
		{"--url", "nonsense", "status"},
	};
	struct world *w = *state;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const char *words[8] = {FSCTL};

		for (int k = 0; k < 6; k++)
			words[k + 1] = cases[i][k];
		ran_release(&w->ran);
		run(&w->ran, peer_url(w->peer), words);
		if (w->ran.code != 2)
			fail_msg("%s %s: exit %d", cases[i][0], cases[i][1], w->ran.code);
		assert_string_equal(w->ran.out, "");
		assert_true(strncmp(w->ran.err, "fsctl: ", 7) == 0);
	}
	assert_int_equal(peer_requests(w->peer), 0);
}

/* ---- answers ---- */

static void test_cli__a_snapshot_is_named(void **state)
{
	struct world *w = *state;

	peer_always(w->peer, "POST /v1/jobs", 200, SNAPSHOT_DONE);
	assert_int_equal(fsctl(w, "snapshot", "shop"), 0);
	assert_string_equal(w->ran.out, "snapshot shop@n1 taken (snapshot, 3 ms)\n");
	assert_string_equal(w->ran.err, "");
	assert_int_equal(fsctl(w, "snapshot", "shop", "--quiet"), 0);
	assert_string_equal(w->ran.out, "shop@n1\n");
	assert_int_equal(fsctl(w, "snapshot", "shop", "--json"), 0);
	assert_true(strncmp(w->ran.out, "{\"job\": {\"id\": \"0j1\"", 20) == 0);
	assert_non_null(strstr(w->ran.out, "\"result\": {\"snapshot\""));
}

static void test_cli__waits_for_the_job_unless_told_not_to(void **state)
{
	struct world *w = *state;

	peer_always(w->peer, "POST /v1/jobs", 202, RUNNING);
	peer_always(w->peer, "GET /v1/jobs/0j1", 200,
		"{\"id\":\"0j1\",\"kind\":\"clone\",\"state\":\"done\","
		"\"result\":{\"site\":{\"name\":\"new\"}}}");
	assert_int_equal(fsctl(w, "clone", "shop", "new"), 0);
	assert_string_equal(w->ran.out, "site new made\n");
	assert_int_equal(fsctl(w, "clone", "shop", "new", "--no-wait"), 0);
	assert_string_equal(w->ran.out, "job 0j1 is running\n");
	assert_int_equal(fsctl(w, "clone", "shop", "new", "--no-wait", "-q"), 0);
	assert_string_equal(w->ran.out, "0j1\n");
	assert_int_equal(fsctl(w, "job", "wait", "0j1", "--json"), 0);
	assert_true(strncmp(w->ran.out, "{\"job\": {\"id\": \"0j1\"", 20) == 0);
}

static void test_cli__a_refused_request_leaves_the_output_empty(void **state)
{
	static const struct {
		int status, code;
	} cases[] = {{400, 2}, {403, 6}, {404, 3}, {409, 4}, {413, 2}, {428, 2}, {429, 5}, {500, 1},
		{503, 1}, {507, 5}};
	struct world *w = *state;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		peer_always(w->peer, "POST /v1/jobs", cases[i].status,
			"{\"code\":\"c_d\",\"title\":\"t\",\"object\":\"shop\","
			"\"reason\":\"no such site\",\"hint\":\"look around\"}");
		assert_int_equal(fsctl(w, "snapshot", "shop"), cases[i].code);
		assert_string_equal(w->ran.out, "");
		assert_string_equal(w->ran.err,
			"fsctl: snapshot shop: no such site\nhint: look around\n");
		assert_int_equal(fsctl(w, "snapshot", "shop", "--json"), cases[i].code);
		assert_string_equal(w->ran.out, "");
		assert_string_equal(w->ran.err,
			"{\"code\": \"c_d\", \"title\": \"t\", \"object\": \"shop\", "
			"\"reason\": \"no such site\", \"hint\": \"look around\"}\n");
	}
}

static void test_cli__an_option_is_named_as_it_is_typed(void **state)
{
	struct world *w = *state;

	peer_always(w->peer, "GET /v1/events", 400, "{\"code\":\"bad_request\","
		"\"object\":\"after\",\"reason\":\"it is not a whole number\"}");
	assert_int_equal(fsctl(w, "event", "list", "--after", "x"), 2);
	assert_string_equal(w->ran.err, "fsctl: event list --after: it is not a whole number\n");
	peer_always(w->peer, "POST /v1/jobs", 400, "{\"code\":\"bad_request\","
		"\"object\":\"expires\",\"reason\":\"no\"}");
	assert_int_equal(fsctl(w, "snapshot", "shop", "--expires=x"), 2);
	assert_string_equal(w->ran.err, "fsctl: snapshot --expires: no\n");
	assert_int_equal(fsctl(w, "snapshot", "expires"), 2);
	assert_string_equal(w->ran.err, "fsctl: snapshot expires: no\n");
}

static void test_cli__a_path_that_was_taken_for_a_source_is_explained(void **state)
{
	struct world *w = *state;

	peer_always(w->peer, "POST /v1/jobs", 404, "{\"code\":\"not_found\",\"object\":\"docs\","
		"\"reason\":\"there is no such site\",\"hint\":\"fsctl site list\"}");
	assert_int_equal(fsctl(w, "diff", "shop@a", "docs"), 3);
	assert_string_equal(w->ran.err, "fsctl: diff docs: there is no such site\n"
		"hint: PATHs stand behind \"--\": fsctl diff A -- PATH\n");
	assert_int_equal(fsctl(w, "diff", "docs"), 3);
	assert_non_null(strstr(w->ran.err, "hint: fsctl site list\n"));
}

static void test_cli__a_failed_job_is_printed_and_is_an_error(void **state)
{
	struct world *w = *state;

	peer_always(w->peer, "POST /v1/jobs", 200,
		"{\"job\":{\"id\":\"0j1\",\"kind\":\"clone\",\"state\":\"failed\",\"result\":null,"
		"\"error\":{\"code\":\"no_space\",\"status\":507,\"object\":\"main\","
		"\"reason\":\"the pool is full\",\"hint\":\"delete something\"}}}");
	assert_int_equal(fsctl(w, "clone", "shop", "new"), 5);
	assert_string_equal(w->ran.out, "");
	assert_string_equal(w->ran.err,
		"fsctl: clone main: the pool is full\nhint: delete something\n");
	assert_int_equal(fsctl(w, "clone", "shop", "new", "--json"), 5);
	assert_non_null(strstr(w->ran.out, "\"state\": \"failed\""));
	assert_non_null(strstr(w->ran.err, "\"code\": \"no_space\""));
}

static void test_cli__a_job_done_in_part_is_exit_8(void **state)
{
	struct world *w = *state;

	peer_always(w->peer, "POST /v1/jobs", 200,
		DONE("restore", "{\"site\":{\"name\":\"shop\"},\"paths\":[{\"path\":\"a\","
				"\"change\":\"M\"}],\"failed\":[{\"path\":\"b\","
				"\"reason\":\"is in use\"}]}"));
	assert_int_equal(fsctl(w, "restore", "shop@a", "a", "b"), 8);
	assert_string_equal(w->ran.out, "M a\n");
	assert_string_equal(w->ran.err, "fsctl: not done: b: is in use\n");
}

static void test_cli__nobody_there_is_exit_7(void **state)
{
	struct world *w = *state;

	run(&w->ran, "unix:///nonexistent/sock", WORDS("status", "--check"));
	assert_int_equal(w->ran.code, 7);
	assert_non_null(strstr(w->ran.err, "fsctl: /nonexistent/sock: fsd is not running"));
	assert_non_null(strstr(w->ran.err, "hint: "));
}

static void test_cli__a_script_must_say_yes(void **state)
{
	struct world *w = *state;

	peer_always(w->peer, "POST /v1/jobs", 428,
		"{\"code\":\"confirmation_needed\",\"object\":\"shop\","
		"\"reason\":\"delete the site shop?\",\"hint\":null}");
	assert_int_equal(fsctl(w, "site", "delete", "shop"), 2);
	assert_string_equal(w->ran.err,
		"fsctl: site delete shop: delete the site shop?\nhint: say --yes to confirm\n");
	assert_string_equal(w->ran.out, "");
	assert_int_equal(peer_requests(w->peer), 1);
}

static void test_cli__plans_are_printed(void **state)
{
	struct world *w = *state;

	peer_always(w->peer, "POST /v1/jobs", 200,
		"{\"plan\":{\"kind\":\"restore\",\"steps\":[\"make generation 8\",\"publish it\"],"
		"\"method\":\"snapshot\",\"entries\":1234,\"bytes\":5000000,"
		"\"measured_at\":\"2026-11-22T03:00:05.000000000Z\","
		"\"warnings\":[\"3 files are newer\"],\"confirm\":\"sure?\"}}");
	assert_int_equal(fsctl(w, "restore", "shop@a", "-n"), 0);
	assert_string_equal(w->ran.out,
		"nothing was changed; this would be done:\n"
		"  1. make generation 8\n  2. publish it\n"
		"method: snapshot\n"
		"size: 1,234 entries, 4.8 MiB, as measured at 2026-11-22 04:00:05\n"
		"warning: 3 files are newer\n"
		"asks: sure?\n");
	assert_int_equal(fsctl(w, "restore", "shop@a", "-n", "--json"), 0);
	assert_true(strncmp(w->ran.out, "{\"plan\": {", 10) == 0);
}

static void test_cli__diff_lines_and_its_exit_code(void **state)
{
	struct world *w = *state;

	peer_always(w->peer, "POST /v1/jobs", 200,
		DONE("diff", "{\"items\":[{\"change\":\"+\",\"path\":\"a b\",\"from\":null},"
			     "{\"change\":\"R\",\"path\":\"new\",\"from\":\"old\"},"
			     "{\"change\":\"M\",\"path\":\"x\\u001b[31m\\n\",\"from\":null},"
			     "{\"change\":\"m\",\"path\":\"\\ufffd\\\\xff\",\"from\":null}],"
			     "\"counts\":{\"+\":1}}"));
	assert_int_equal(fsctl(w, "diff", "shop@a"), 0);
	assert_string_equal(w->ran.out,
		"+ a b\nR old -> new\nM \"x\\033[31m\\n\"\nm \"\\377\"\n");
	assert_int_equal(fsctl(w, "diff", "shop@a", "--exit-code"), 1);
	assert_int_equal(fsctl(w, "diff", "shop@a", "--json"), 0);
	assert_true(strncmp(w->ran.out, "{\"items\": [{\"change\": \"+\"", 24) == 0);
	assert_non_null(strstr(w->ran.out, "\"next\": null"));
	peer_always(w->peer, "POST /v1/jobs", 200, DONE("diff", "{\"items\":[],\"counts\":{}}"));
	assert_int_equal(fsctl(w, "diff", "shop@a", "--exit-code"), 0);
	assert_string_equal(w->ran.out, "");
}

static void test_cli__check_says_what_is_wrong(void **state)
{
	struct world *w = *state;

	peer_always(w->peer, "POST /v1/jobs", 200, DONE("check", "{\"ok\":true,\"problems\":[]}"));
	assert_int_equal(fsctl(w, "check", "shop"), 0);
	assert_string_equal(w->ran.out, "ok\n");
	peer_always(w->peer, "POST /v1/jobs", 200,
		DONE("check", "{\"ok\":false,\"problems\":[{\"path\":\"live\","
			"\"reason\":\"dangles\"}]}"));
	assert_int_equal(fsctl(w, "check", "shop"), 1);
	assert_string_equal(w->ran.out, "live: dangles\n");
}

static void test_cli__lists_go_through_all_pages_and_stop_at_the_limit(void **state)
{
	struct world *w = *state;

	peer_always(w->peer, "GET /v1/sites?limit=1000 ", 200,
		"{\"items\":[{\"name\":\"a\",\"pool\":\"main\",\"bytes\":{\"logical\":1500}},"
		"{\"name\":\"b\",\"labels\":{\"k\":\"v\",\"l\":\"w\"}}],\"next\":\"c1\"}");
	peer_always(w->peer, "GET /v1/sites?limit=1000&cursor=c1 ", 200,
		"{\"items\":[{\"name\":\"c\\n\\u001b\"}],\"next\":null}");
	peer_always(w->peer, "GET /v1/sites?limit=1 ", 200,
		"{\"items\":[{\"name\":\"a\"}],\"next\":\"c\\\"1\"}");
	assert_int_equal(fsctl(w, "site", "list"), 0);
	assert_string_equal(w->ran.out,
		"a\tmain\t\t\t\t\t1500\t\t\t\n"
		"b\t\t\t\t\t\t\t\t\tk=v,l=w\n"
		"c\\x0a\\x1b\t\t\t\t\t\t\t\t\t\n");
	assert_int_equal(fsctl(w, "site", "list", "--quiet"), 0);
	assert_string_equal(w->ran.out, "a\nb\nc\\x0a\\x1b\n");
	assert_int_equal(fsctl(w, "site", "list", "--json"), 0);
	assert_true(strncmp(w->ran.out, "{\"items\": [\n{\"name\": \"a\"", 24) == 0);
	assert_non_null(strstr(w->ran.out, "\n], \"next\": null}\n"));
	assert_int_equal(fsctl(w, "site", "list", "--json", "--limit", "1"), 0);
	assert_string_equal(w->ran.out,
		"{\"items\": [\n{\"name\": \"a\"}\n], \"next\": \"c\\\"1\"}\n");
	/* Also where more came than was asked for. */
	peer_always(w->peer, "GET /v1/sites?limit=1 ", 200,
		"{\"items\":[{\"name\":\"a\"},{\"name\":\"b\"}],\"next\":null}");
	assert_int_equal(fsctl(w, "site", "list", "-q", "--limit", "1"), 0);
	assert_string_equal(w->ran.out, "a\n");
}

static void test_cli__a_list_that_breaks_is_no_whole_json(void **state)
{
	struct world *w = *state;

	peer_always(w->peer, "GET /v1/sites?limit=1000 ", 200,
		"{\"items\":[{\"name\":\"a\"}],\"next\":\"c1\"}");
	peer_always(w->peer, "GET /v1/sites?limit=1000&cursor=c1 ", 500, "{\"reason\":\"broken\"}");
	assert_int_equal(fsctl(w, "site", "list", "--json"), 1);
	assert_null(strstr(w->ran.out, "next"));
	assert_int_equal(fsctl(w, "site", "list", "--quiet"), 1);
	assert_string_equal(w->ran.out, "a\n");
	assert_non_null(strstr(w->ran.err, "broken"));
}

static void test_cli__status_checks_for_monitors(void **state)
{
	static const char *const states[] = {"ok", "warning", "critical"};
	struct world *w = *state;

	for (int i = 0; i < 3; i++) {
		char json[256];

		snprintf(json, sizeof(json), "{\"version\":\"1\",\"state\":\"%s\",\"pools\":[],"
			"\"problems\":[{\"severity\":\"warning\",\"object\":\"main\","
			"\"reason\":\"is full\",\"hint\":\"delete\"}]}", states[i]);
		peer_always(w->peer, "GET /v1/status", 200, json);
		assert_int_equal(fsctl(w, "status", "--check"), i);
		assert_non_null(strstr(w->ran.out, "warning: main: is full\n  hint: delete\n"));
		assert_int_equal(fsctl(w, "status"), 0);
	}
}

static void test_cli__show_prints_members_a_line_each(void **state)
{
	struct world *w = *state;

	peer_always(w->peer, "GET /v1/pools/main", 200,
		"{\"name\":\"main\",\"driver\":\"copy\",\"online\":true,\"bytes\":{\"total\":5},"
		"\"probe\":[\"btrfs: no, not a btrfs\",\"copy: yes\"],\"reason\":null}");
	assert_int_equal(fsctl(w, "pool", "show", "main"), 0);
	assert_string_equal(w->ran.out,
		"pool          main\ndriver        copy\nonline        yes\nsize          5\n"
		"probed        btrfs: no, not a btrfs\n              copy: yes\n");
}

static void test_cli__show_prints_objects_as_aligned_lines(void **state)
{
	struct world *w = *state;

	peer_always(w->peer, "GET /v1/jobs/0j1", 200,
		"{\"id\":\"0j1\",\"kind\":\"diff\",\"site\":{\"id\":\"u\",\"name\":\"shop\"},"
		"\"args\":{\"a\":\"shop@x\",\"confirm\":true,\"paths\":[\"a\",\"b\\u001b\"]},"
		"\"result\":{\"site\":{\"id\":\"u\",\"name\":\"shop\",\"labels\":{\"k\":\"v\"}},"
		"\"snapshot\":{\"site\":{\"name\":\"shop\"},\"name\":\"n1\"},"
		"\"generation\":{\"site\":{\"name\":\"shop\"},\"number\":7},"
		"\"items\":[{\"change\":\"R\",\"path\":\"\\ufffd\\\\xff\",\"from\":null}],"
		"\"counts\":{\"+\":2},\"failed\":[],\"warnings\":null}}");
	assert_int_equal(fsctl(w, "job", "show", "0j1"), 0);
	assert_string_equal(w->ran.out,
		"job            0j1\nkind           diff\nabout          shop\n"
		"arguments      a        shop@x\n"
		"               confirm  yes\n"
		"               paths    a\n"
		"                        b\\x1b\n"
		"result         site        shop\n"
		"               snapshot    shop@n1\n"
		"               generation  shop:7\n"
		"               items       change=R path=\"\\377\"\n"
		"               counts.+    2\n");
	peer_always(w->peer, "GET /v1/jobs/0j1", 200,
		"{\"id\":\"0j1\",\"result\":{\"sites\":{\"added\":[]}},\"args\":{}}");
	assert_int_equal(fsctl(w, "job", "show", "0j1"), 0);
	assert_string_equal(w->ran.out, "job            0j1\n");
}

static void test_cli__path_prints_the_bytes(void **state)
{
	struct world *w = *state;

	peer_always(w->peer, "GET /v1/path", 200, "{\"path\":\"\\ufffd/srv/\\\\xe9\"}");
	assert_int_equal(fsctl(w, "path", "shop"), 0);
	assert_string_equal(w->ran.out, "/srv/\xe9\n");
}

static void test_cli__nothing_from_outside_drives_a_terminal(void **state)
{
	struct world *w = *state;

	peer_always(w->peer, "POST /v1/jobs", 404,
		"{\"code\":\"x\",\"object\":\"\\u001b]0;x\\u0007\","
		"\"reason\":\"a\\u009bb\\u202ec\",\"hint\":\"\\r\\n\"}");
	assert_int_equal(fsctl(w, "snapshot", "shop"), 3);
	assert_string_equal(w->ran.err,
		"fsctl: snapshot \\x1b]0;x\\x07: a\\x9bb\\u202ec\nhint: \\x0d\\x0a\n");
	assert_int_equal(fsctl(w, "snapshot", "shop", "--json"), 3);
	assert_null(strchr(w->ran.err, '\x1b'));
}

static void test_cli__cancel_waits_for_the_end(void **state)
{
	struct world *w = *state;

	peer_always(w->peer, "POST /v1/jobs/0j1/cancel", 202, RUNNING);
	peer_always(w->peer, "GET /v1/jobs/0j1", 200, "{\"id\":\"0j1\",\"state\":\"canceled\"}");
	assert_int_equal(fsctl(w, "job", "cancel", "0j1"), 0);
	assert_string_equal(w->ran.out, "job 0j1 is canceled\n");
	peer_always(w->peer, "GET /v1/jobs/0j1", 200, "{\"id\":\"0j1\",\"state\":\"done\"}");
	assert_int_equal(fsctl(w, "job", "cancel", "0j1"), 4);
}

static void test_cli__scan_without_a_pool_scans_all(void **state)
{
	struct world *w = *state;

	peer_always(w->peer, "GET /v1/pools", 200,
		"{\"items\":[{\"name\":\"one\"},{\"name\":\"two\"}],\"next\":null}");
	peer_always(w->peer, "POST /v1/jobs", 200,
		DONE("pool-scan", "{\"sites\":{\"added\":[\"a\",\"b\"]},\"snapshots\":{}}"));
	assert_int_equal(fsctl(w, "pool", "scan"), 0);
	assert_int_equal(peer_requests(w->peer), 3);
	assert_non_null(strstr(sent(w, 2), "\"pool\":\"two\""));
	assert_non_null(strstr(w->ran.out, "  sites: 2 added (a, b)\n"
					   "  deleted sites: as they were\n"
					   "  snapshots: as they were\n"));
}

static void test_cli__a_full_output_is_an_error_and_a_closed_one_is_not(void **state)
{
	struct world *w = *state;
	char command[256];

	peer_always(w->peer, "POST /v1/jobs", 200, SNAPSHOT_DONE);
	snprintf(command, sizeof(command), "%s snapshot shop >/dev/full", FSCTL);
	run(&w->ran, peer_url(w->peer), (const char *const[]){"/bin/sh", "-c", command, NULL});
	assert_int_equal(w->ran.code, 1);
	assert_non_null(strstr(w->ran.err, "No space"));
	ran_release(&w->ran);
	snprintf(command, sizeof(command), "trap '' PIPE; (%s snapshot shop; echo $? >&2) | true",
		FSCTL);
	run(&w->ran, peer_url(w->peer), (const char *const[]){"/bin/sh", "-c", command, NULL});
	/* Depending on who is first; in neither case is there more than the code. */
	assert_string_equal(w->ran.err, "0\n");
}

/* ---- on a terminal ---- */

static void test_cli__tables_are_aligned_on_a_terminal(void **state)
{
	struct world *w = *state;

	peer_always(w->peer, "GET /v1/snapshots", 200,
		"{\"items\":[{\"site\":{\"name\":\"shop\"},\"name\":\"n1\","
		"\"time\":\"2026-11-22T03:00:00.123Z\",\"kind\":\"user\",\"method\":\"snapshot\","
		"\"consistency\":\"atomic\"}],\"next\":null}");
	assert_int_equal(fsctl_tty(w, "", NULL, "snapshot", "list"), 0);
	assert_true(strncmp(w->ran.out, "SNAPSHOT TIME", 13) == 0);
	assert_non_null(strstr(w->ran.out, "shop@n1  2026-11-22 04:00:00 user"));
}

static void test_cli__events_are_of_names_and_say_what_they_know(void **state)
{
	struct world *w = *state;

	peer_always(w->peer, "GET /v1/events", 200,
		"{\"items\":[{\"id\":\"1\",\"kind\":\"job.done\",\"site\":null,\"job\":\"0j1\","
		"\"data\":{}},{\"id\":\"2\",\"kind\":\"late\",\"site\":"
		"{\"id\":\"u\",\"name\":\"shop\"},\"data\":{\"snapshot\":\"undo-1\",\"total\":2}}"
		"],\"next\":null}");
	assert_int_equal(fsctl_tty(w, "", NULL, "event", "list"), 0);
	assert_string_equal(w->ran.out, "ID KIND     SITE JOB DATA\r\n"
		"1  job.done      0j1\r\n"
		"2  late     shop     snapshot=undo-1 total=2\r\n");
	assert_int_equal(fsctl(w, "event", "list"), 0);
	assert_non_null(strstr(w->ran.out, "\tlate\tshop\t\t{\"snapshot\": \"undo-1\""));
}

static void test_cli__a_job_is_about_a_site_or_a_pool(void **state)
{
	struct world *w = *state;

	peer_always(w->peer, "GET /v1/jobs", 200,
		"{\"items\":[{\"id\":\"0j2\",\"kind\":\"pool-scan\",\"site\":null,"
		"\"pool\":\"main\"},"
		"{\"id\":\"0j1\",\"kind\":\"clone\",\"site\":{\"name\":\"shop\"},"
		"\"pool\":\"main\"}],\"next\":null}");
	assert_int_equal(fsctl_tty(w, "", NULL, "job", "list"), 0);
	assert_string_equal(w->ran.out, "JOB KIND      ABOUT\r\n0j2 pool-scan main\r\n"
		"0j1 clone     shop\r\n");
}

static void test_cli__a_table_fits_the_terminal(void **state)
{
	struct world *w = *state;

	peer_always(w->peer, "GET /v1/sites/shop/generations", 200,
		"{\"items\":[{\"site\":{\"name\":\"shop\"},\"number\":1,\"live\":false,"
		"\"created\":\"2026-11-22T03:00:00.123Z\",\"method\":\"copy\","
		"\"consistency\":\"settled\",\"origin\":\"/var/www/customers/a-long-name/shop\","
		"\"retired\":\"2026-11-22T04:00:00Z\",\"retired_by\":\"1m0000000\"},"
		"{\"site\":{\"name\":\"shop\"},\"number\":2,\"live\":true,"
		"\"created\":\"2026-11-22T04:00:00Z\",\"method\":\"copy\","
		"\"consistency\":\"atomic\",\"origin\":\"shop@a\",\"retired\":null}],"
		"\"next\":null}");
	/* 100 columns: the origin is cut. */
	assert_int_equal(fsctl_tty(w, "", NULL, "generation", "list", "shop"), 0);
	assert_string_equal(w->ran.out,
		"GENERATION LIVE CREATED             METHOD CONSISTENCY ORIGIN          "
		"RETIRED             BY JOB\r\n"
		"shop:1     no   2026-11-22 04:00:00 copy   settled     /var/www/custo\u2026 "
		"2026-11-22 05:00:00 1m0000000\r\n"
		"shop:2     yes  2026-11-22 05:00:00 copy   atomic      shop@a\r\n");
	/* 60: the last columns find no room. */
	terminal_words(w, "", NULL, (const char *const[]){"/bin/sh", "-c",
		"stty cols 60; exec " FSCTL " generation list shop", NULL});
	assert_string_equal(w->ran.out,
		"GENERATION LIVE CREATED             METHOD CONSISTENCY \u2026\r\n"
		"shop:1     no   2026-11-22 04:00:00 copy   settled\r\n"
		"shop:2     yes  2026-11-22 05:00:00 copy   atomic\r\n");
}

static void test_cli__a_bar_is_shown_and_taken_away(void **state)
{
	struct world *w = *state;

	peer_answer(w->peer, 202, RUNNING);
	/* It is drawn from 0.3 s on, and the pauses between looks grow to 0.2 s. */
	for (int i = 0; i < 9; i++)
		peer_answer(w->peer, 200,
			"{\"id\":\"0j1\",\"state\":\"running\",\"progress\":{\"entries_done\":250,"
			"\"entries_total\":1000,\"bytes_done\":2500000,\"bytes_total\":10000000}}");
	peer_answer(w->peer, 200, "{\"id\":\"0j1\",\"kind\":\"clone\",\"state\":\"done\","
				  "\"result\":{\"site\":{\"name\":\"new\"}}}");
	assert_int_equal(fsctl_tty(w, "", NULL, "clone", "shop", "new"), 0);
	assert_int_equal(strncmp(peer_request(w->peer, 0), "POST /v1/jobs HTTP", 18), 0);
	assert_non_null(strstr(w->ran.out, "\rclone shop  ["));
	assert_non_null(strstr(w->ran.out, "25%  250/1,000 entries  2.4 MiB/9.5 MiB"));
	assert_non_null(strstr(w->ran.out, "\r\033[Ksite new made\r\n"));
}

static void test_cli__interrupting_the_wait_leaves_the_job(void **state)
{
	struct world *w = *state;

	peer_answer(w->peer, 202, RUNNING);
	peer_always(w->peer, "GET /v1/jobs/0j1", 200, "{\"id\":\"0j1\",\"state\":\"running\","
				  "\"progress\":{\"entries_done\":1,\"entries_total\":2}}");
	assert_int_equal(fsctl_tty(w, "1/2 entries", "\x03", "clone", "shop", "new"), 130);
	assert_non_null(strstr(w->ran.out, "job 0j1 goes on"));
	assert_non_null(strstr(w->ran.out, "fsctl job wait 0j1"));
	assert_non_null(strstr(w->ran.out, "fsctl job cancel 0j1"));
	/* Nothing was asked for but the job and looks at it. */
	for (size_t i = 1; i < peer_requests(w->peer); i++)
		assert_int_equal(strncmp(peer_request(w->peer, i), "GET /v1/jobs/0j1 ", 17), 0);
}

static void test_cli__a_person_is_asked(void **state)
{
	struct world *w = *state;

	for (int i = 0; i < 2; i++) {
		peer_answer(w->peer, 428, "{\"code\":\"confirmation_needed\",\"object\":\"shop\","
					  "\"reason\":\"12 files are newer than the snapshot\"}");
	}
	peer_answer(w->peer, 200, DONE("restore", "{\"site\":{\"name\":\"shop\"},"
						  "\"generation\":8,\"retired\":7}"));
	assert_int_equal(fsctl_tty(w, "[y/N]", "n\n", "restore", "shop@a"), 2);
	assert_non_null(strstr(w->ran.out, "12 files are newer than the snapshot? [y/N]"));
	assert_non_null(strstr(w->ran.out, "nothing was changed"));
	assert_int_equal(fsctl_tty(w, "[y/N]", "y\n", "restore", "shop@a"), 0);
	assert_non_null(strstr(w->ran.out, "generation 8 is live, 7 is retired"));
	assert_non_null(strstr(sent(w, 2), "\"confirm\":true"));
}

static void test_cli__a_site_is_deleted_only_by_its_name(void **state)
{
	struct world *w = *state;

	for (int i = 0; i < 3; i++) {
		peer_answer(w->peer, 428, "{\"code\":\"confirmation_needed\",\"object\":\"shop\","
					  "\"reason\":\"delete the site shop?\"}");
	}
	peer_answer(w->peer, 200, DONE("site-delete", "{\"site\":{\"name\":\"shop\"}}"));
	assert_int_equal(fsctl_tty(w, "to delete it: ", "y\n", "site", "delete", "shop"), 2);
	assert_int_equal(fsctl_tty(w, "to delete it: ", "\x04", "site", "delete", "shop"), 2);
	assert_int_equal(fsctl_tty(w, "to delete it: ", "shop\n", "site", "delete", "shop"), 0);
	assert_non_null(strstr(sent(w, 3), "\"confirm\":true"));
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_cli__requests_say_what_was_typed),
		T(test_cli__what_is_measured_is_what_is_shown),
		T(test_cli__relative_directories_are_made_absolute),
		T(test_cli__paths_that_are_not_utf8_are_escaped),
		T(test_cli__reads_ask_for_the_right_paths),
		T(test_cli__wrong_usage_is_exit_2_and_asks_nothing),
		T(test_cli__a_snapshot_is_named),
		T(test_cli__waits_for_the_job_unless_told_not_to),
		T(test_cli__a_refused_request_leaves_the_output_empty),
		T(test_cli__an_option_is_named_as_it_is_typed),
		T(test_cli__a_path_that_was_taken_for_a_source_is_explained),
		T(test_cli__a_failed_job_is_printed_and_is_an_error),
		T(test_cli__a_job_done_in_part_is_exit_8),
		T(test_cli__nobody_there_is_exit_7),
		T(test_cli__a_script_must_say_yes),
		T(test_cli__plans_are_printed),
		T(test_cli__diff_lines_and_its_exit_code),
		T(test_cli__check_says_what_is_wrong),
		T(test_cli__lists_go_through_all_pages_and_stop_at_the_limit),
		T(test_cli__a_list_that_breaks_is_no_whole_json),
		T(test_cli__status_checks_for_monitors),
		T(test_cli__show_prints_members_a_line_each),
		T(test_cli__show_prints_objects_as_aligned_lines),
		T(test_cli__path_prints_the_bytes),
		T(test_cli__nothing_from_outside_drives_a_terminal),
		T(test_cli__cancel_waits_for_the_end),
		T(test_cli__scan_without_a_pool_scans_all),
		T(test_cli__a_full_output_is_an_error_and_a_closed_one_is_not),
		T(test_cli__tables_are_aligned_on_a_terminal),
		T(test_cli__events_are_of_names_and_say_what_they_know),
		T(test_cli__a_job_is_about_a_site_or_a_pool),
		T(test_cli__a_table_fits_the_terminal),
		T(test_cli__a_bar_is_shown_and_taken_away),
		T(test_cli__interrupting_the_wait_leaves_the_job),
		T(test_cli__a_person_is_asked),
		T(test_cli__a_site_is_deleted_only_by_its_name),
	};

	return cmocka_run_group_tests_name("cli", tests, NULL, NULL);
}
