/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What fsctl says to who does not know it yet: help, and what was meant by a mistyped word. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fsd/core/id.h"
#include "fsd/core/request.h"
#include "tests/unit/client/run.h"
#include "tools/fsctl/cli.h"

static void test_help__is_there_for_every_command(void **state)
{
	(void)state;
	for (const struct command *cmd = commands; cmd->words; cmd++) {
		char words[64], want[80];
		char *second;
		struct ran r;

		strcpy(words, cmd->words);
		second = strchr(words, ' ');
		if (second)
			*second++ = '\0';
		run(&r, NULL, (const char *const[]){FSCTL, words, second ? second : "--help",
			"--help", NULL});
		snprintf(want, sizeof(want), "usage: fsctl %s", cmd->words);
		assert_int_equal(r.code, 0);
		assert_int_equal(strncmp(r.out, want, strlen(want)), 0);
		ran_release(&r);
	}
}

/* Fails with exit code 2 and this on standard error; no daemon is asked. */
static void refused(const char *const words[], const char *want)
{
	struct ran r;

	run(&r, "/nowhere", words);
	assert_int_equal(r.code, 2);
	assert_string_equal(r.out, "");
	assert_string_equal(r.err, want);
	ran_release(&r);
}

#define REFUSED(want, ...) refused((const char *const[]){FSCTL, __VA_ARGS__, NULL}, want)

static void test_usage__says_what_was_meant(void **state)
{
	(void)state;
	REFUSED("fsctl: snapshto: no such command\n"
		"hint: did you mean \"fsctl snapshot\"? fsctl --help lists all\n",
		"snapshto", "shop");
	REFUSED("fsctl: jobs: no such command\n"
		"hint: did you mean \"fsctl job list\"? fsctl --help lists all\n", "jobs");
	REFUSED("fsctl: site lsit: no such command\n"
		"hint: did you mean \"fsctl site list\"? fsctl --help lists all\n", "site", "lsit");
	REFUSED("fsctl: sit: no such command\n"
		"hint: did you mean \"fsctl site list\"? fsctl --help lists all\n", "sit", "lsit");
	REFUSED("fsctl: site foo: no such command\nhint: fsctl site --help lists them\n",
		"site", "foo");
	REFUSED("fsctl: xyzzy: no such command\nhint: fsctl --help lists them\n", "help", "xyzzy");
	REFUSED("fsctl: site: the second word of a command is missing\n"
		"hint: fsctl site --help lists its commands\n", "site");
	REFUSED("fsctl: restore --exatc: no such option\nhint: did you mean --exact?\n", "restore",
		"shop@a", "--exatc");
	REFUSED("fsctl: restore --verbose: no such option\nhint: fsctl restore --help\n", "restore",
		"shop@a", "--verbose");
	REFUSED("fsctl: job list --state runing: it is one of queued, running, done, failed, "
		"canceled\nhint: fsctl job list --help\n", "job", "list", "--state", "runing");
}

static void test_help__of_a_noun_lists_its_commands(void **state)
{
	const char *const ways[][3] = {{"help", "site"}, {"site", "--help"}};
	struct ran r;

	(void)state;
	for (int i = 0; i < 2; i++) {
		run(&r, NULL, (const char *const[]){FSCTL, ways[i][0], ways[i][1], NULL});
		assert_int_equal(r.code, 0);
		assert_non_null(strstr(r.out, "\n  site eject SITE DIR "));
		assert_null(strstr(r.out, "snapshot"));
		ran_release(&r);
	}
	/* A command that is a noun too. */
	run(&r, NULL, (const char *const[]){FSCTL, "help", "snapshot", NULL});
	assert_non_null(strstr(r.out, "usage: fsctl snapshot SITE[@NAME]"));
	assert_non_null(strstr(r.out, "\n  snapshot release SITE@SNAP "));
	ran_release(&r);
}

static void fits(const char *text, size_t width)
{
	for (const char *line = text; *line; line += strcspn(line, "\n") + 1) {
		if (strcspn(line, "\r\n") > width)
			fail_msg("longer than %zu: %.*s", width, (int)strcspn(line, "\n"), line);
	}
}

static void test_help__fits_the_terminal(void **state)
{
	struct ran r;

	(void)state;
	run(&r, NULL, (const char *const[]){FSCTL, "help", NULL});
	fits(r.out, 80);
	ran_release(&r);
	for (const struct command *cmd = commands; cmd->words; cmd++) {
		char command[256];

		snprintf(command, sizeof(command), "stty cols 60; exec %s %s --help", FSCTL,
			cmd->words);
		run_on_terminal(&r, NULL, "", NULL,
			(const char *const[]){"/bin/sh", "-c", command, NULL});
		assert_int_equal(r.code, 0);
		fits(r.out, 60);
		ran_release(&r);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_help__is_there_for_every_command),
		cmocka_unit_test(test_help__of_a_noun_lists_its_commands),
		cmocka_unit_test(test_help__fits_the_terminal),
		cmocka_unit_test(test_usage__says_what_was_meant),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
