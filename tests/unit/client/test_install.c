/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * libfsclient as others get it: installed, found by pkg-config, the example built against that and
 * nothing of the source tree, and run.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/client/peer.h"
#include "tests/unit/client/run.h"

struct world {
	struct peer *peer;
	char root[64];
	struct ran ran;
};

static int shell(struct world *w, const char *script)
{
	char *whole;

	ran_release(&w->ran);
	assert_true(asprintf(&whole,
			    "set -e; root=%s; cd $root; build=" BUILD "; source=" SOURCE
			    "; cc='" COMPILER "'\n"
			    "pc=$(find . -name fsclient.pc); "
			    "lib=$root/$(dirname $(dirname ${pc:-./.}))\n"
			    "export PKG_CONFIG_PATH=$lib/pkgconfig PKG_CONFIG_SYSROOT_DIR=$root\n"
			    "export LD_LIBRARY_PATH=$lib\n%s", w->root, script) > 0);
	run(&w->ran, peer_url(w->peer), (const char *const[]){"/bin/sh", "-c", whole, NULL});
	free(whole);
	return w->ran.code;
}

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	strcpy(w->root, "/tmp/fsc-install-XXXXXX");
	assert_non_null(mkdtemp(w->root));
	w->peer = peer_start();
	*state = w;
	if (shell(w, "meson install -C $build --no-rebuild --quiet --destdir $root") != 0)
		fail_msg("%s%s", w->ran.out, w->ran.err);
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	shell(w, "cd /; rm -r $root");
	ran_release(&w->ran);
	peer_stop(&w->peer);
	free(w);
	return 0;
}

static void test_install__the_example_builds_and_runs(void **state)
{
	struct world *w = *state;

	if (shell(w, "cp $source/client/example.c . && $cc -Wall -Wextra -Werror -o example "
		     "example.c $(pkg-config --cflags --libs fsclient)") != 0)
		fail_msg("%s%s", w->ran.out, w->ran.err);
	peer_answer(w->peer, 202, "{\"job\":{\"id\":\"0j1\",\"state\":\"queued\"}}");
	peer_answer(w->peer, 200, "{\"id\":\"0j1\",\"state\":\"running\","
				  "\"progress\":{\"entries_done\":3,\"entries_total\":9}}");
	peer_answer(w->peer, 200, "{\"id\":\"0j1\",\"state\":\"done\","
				  "\"result\":{\"snapshot\":{\"name\":\"n1\"}}}");
	peer_answer(w->peer, 200, "{\"items\":[{\"name\":\"n1\",\"time\":\"T\",\"hold\":true}],"
				  "\"next\":null}");
	assert_int_equal(shell(w, "./example shop"), 0);
	assert_string_equal(w->ran.out, "made shop@n1\nn1  T  held: yes\n");
	assert_non_null(strstr(w->ran.err, "3 of 9 entries\n"));
	peer_answer(w->peer, 404, "{\"object\":\"shop\",\"reason\":\"no such site\"}");
	assert_int_equal(shell(w, "./example shop"), 3);
	assert_string_equal(w->ran.err, "shop: no such site\n");
}

static void test_install__the_header_stands_alone(void **state)
{
	struct world *w = *state;

	if (shell(w, "printf '%s\\n' '#include <fsclient.h>' "
		     "'int main(void) { return fsc_version()[0] != 0x30; }' >h.c\n"
		     "$cc -std=c99 -pedantic -Wall -Wextra -Werror h.c -o h "
		     "$(pkg-config --cflags --libs fsclient) && ./h") != 0)
		fail_msg("%s%s", w->ran.out, w->ran.err);
}

static void test_install__exactly_the_documented_symbols_are_exported(void **state)
{
	struct world *w = *state;

	if (shell(w, "nm -D --defined-only $lib/libfsclient.so | "
		     "sed -n 's/.* T \\(.*\\)@@FSC_0.1$/\\1/p' | sort >exported\n"
		     "sed -n '/^FSC_PUBLIC/s/.*[ *]\\(fsc_[a-z_]*\\)(.*/\\1/p' "
		     "$(find . -name fsclient.h) | sort >declared\n"
		     "diff declared exported; test -s exported\n"
		     "nm -D --defined-only $lib/libfsclient.so | grep ' [TDBRV] ' | "
		     "grep -v '@@FSC_0.1$' && exit 1; exit 0") != 0)
		fail_msg("%s%s", w->ran.out, w->ran.err);
}

static void test_install__jansson_does_not_show(void **state)
{
	struct world *w = *state;

	shell(w, "pkg-config --cflags --libs fsclient; grep -l jansson $(find . -name fsclient.h)");
	assert_null(strstr(w->ran.out, "jansson"));
	assert_null(strstr(w->ran.out, "fsclient.h"));
}

static void test_install__fsctl_comes_with_its_pages_and_completions(void **state)
{
	struct world *w = *state;

	shell(w, "find . -type f | sed 's|.*/\\(share\\|bin\\)/||' | sort");
	assert_non_null(strstr(w->ran.out, "man/man1/fsctl.1\n"));
	assert_non_null(strstr(w->ran.out, "man/man3/libfsclient.3\n"));
	assert_non_null(strstr(w->ran.out, "doc/fsd/operations.md\n")); /* errors name it */
	assert_non_null(strstr(w->ran.out, "bash-completion/completions/fsctl\n"));
	assert_non_null(strstr(w->ran.out, "zsh/site-functions/_fsctl\n"));
	assert_int_equal(shell(w, "$(find . -path '*/bin/fsctl') --version"), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_install__the_example_builds_and_runs),
		cmocka_unit_test(test_install__the_header_stands_alone),
		cmocka_unit_test(test_install__exactly_the_documented_symbols_are_exported),
		cmocka_unit_test(test_install__jansson_does_not_show),
		cmocka_unit_test(test_install__fsctl_comes_with_its_pages_and_completions),
	};

	return cmocka_run_group_tests_name("install", tests, setup, teardown);
}
