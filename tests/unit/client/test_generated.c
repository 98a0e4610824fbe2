/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is made from the command table: completions and the man page. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fsd/core/id.h"
#include "tests/unit/client/run.h"
#include "tools/fsctl/cli.h"

static char *generated(const char *option, const char *what)
{
	const char *words[] = {FSCTL, option, what, NULL};
	struct ran r;
	char *out;

	run(&r, NULL, words);
	assert_int_equal(r.code, 0);
	assert_string_equal(r.err, "");
	out = strdup(r.out);
	ran_release(&r);
	return out;
}

static void names_all(const char *text, const char *format)
{
	char want[128];

	for (const struct command *cmd = commands; cmd->words; cmd++) {
		snprintf(want, sizeof(want), "'%s'", cmd->words);
		if (!strstr(text, want))
			fail_msg("%s is not in it", want);
		for (const struct option *o = cmd->options; o->name; o++) {
			snprintf(want, sizeof(want), "%s%s", format, o->name);
			if (!strstr(text, want))
				fail_msg("%s is not in it", want);
		}
	}
	for (const struct global_option *g = global_options; g->name; g++) {
		snprintf(want, sizeof(want), "%s%s", format, g->name);
		if (!strstr(text, want))
			fail_msg("%s is not in it", want);
	}
}

static void test_completion__lists_every_word_and_option(void **state)
{
	char *bash = generated("--generate-completion", "bash");
	char *zsh = generated("--generate-completion", "zsh");

	(void)state;
	names_all(bash, "--");
	names_all(zsh, "--");
	free(bash);
	free(zsh);
}

/* A fsctl that knows two sites, their snapshots, the generations of one, a pool, and two jobs of
 * which one can be undone. */
#define NAMES                                                                                      \
	"fsctl() { case \"$*\" in 'site list'*) echo shop; echo staging;; "                        \
	"'snapshot list shop --'*) echo shop@n1;; 'job list --undoable'*) echo 0j1;; "             \
	"'pool list'*) echo main;; "                                                               \
	"'generation list shop --'*) echo shop:1; echo shop:2;; "                                  \
	"'job list'*) echo 0j2; echo 0j1;; esac; }\n"

static const struct {
	const char *line, *want; /* the last word is the one that is completed */
} completions[] = {
	{"fsctl cl", "clone"},
	{"fsctl site re", "rename"},
	{"fsctl site show s", "shop staging"},
	{"fsctl clone shop@", "shop@n1"},
	{"fsctl clone shop:", "shop:1 shop:2"},
	{"fsctl snapshot delete s", "shop staging"},
	{"fsctl snapshot delete shop@", "shop@n1"},
	{"fsctl site import new /proc/self/t", "/proc/self/task"},
	{"fsctl site import new /proc/self/cmdl", ""},
	{"fsctl site import --list /proc/self/cmdl", "/proc/self/cmdline"},
	{"fsctl snapshot hold shop@n1 --tag", "--tag"},
	{"fsctl pool show m", "main"},
	{"fsctl site create new --pool m", "main"},
	{"fsctl publish s", "shop staging"},
	{"fsctl clone shop --m", "--method"},
	{"fsctl clone --method re", "reflink"},
	{"fsctl --url x site sh", "show"},
	{"fsctl snapshot s", "show set shop staging"},
	{"fsctl site show --me", "--measure"},
	{"fsctl site set shop --js", "--json"},
	{"fsctl restore shop@n1 --o", "--only"},
	{"fsctl job show 0", "0j2 0j1"},
	{"fsctl undo 0", "0j1"},
};

static void offers(const char *shell, const char *script, const char *want)
{
	const char *words[] = {shell, "-c", script, NULL};
	struct ran r;

	run(&r, NULL, words);
	assert_string_equal(r.err, "");
	r.out[strcspn(r.out, "\n")] = '\0';
	if (strcmp(r.out, want) != 0)
		fail_msg("%s offers \"%s\", not \"%s\"", shell, r.out, want);
	ran_release(&r);
}

static void test_completion__bash_offers_what_fits(void **state)
{
	char script[2048];

	(void)state;
	for (size_t i = 0; i < sizeof(completions) / sizeof(completions[0]); i++) {
		snprintf(script, sizeof(script),
			NAMES "eval \"$(%s --generate-completion bash)\"\n"
			      "COMP_WORDS=(%s); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _fsctl; "
			      "echo \"${COMPREPLY[@]}\"", FSCTL, completions[i].line);
		offers("/bin/bash", script, completions[i].want);
	}
}

static void test_completion__zsh_offers_what_fits(void **state)
{
	char script[2048];

	(void)state;
	if (access("/usr/bin/zsh", X_OK) != 0) {
		print_message("skipped: zsh is not installed\n");
		skip();
	}
	for (size_t i = 0; i < sizeof(completions) / sizeof(completions[0]); i++) {
		/* The shell itself drops what does not begin like the word. */
		snprintf(script, sizeof(script),
			"compdef() { : }\n" NAMES "eval \"$(%s --generate-completion zsh)\"\n"
			"words=(%s); CURRENT=${#words}\n"
			"compadd() { while [[ $1 != -- ]] shift; shift\n"
			"print -r -- ${(M)@:#${words[-1]}*} }\n"
			"_files() { local those='*(N)'; [[ $1 = -/ ]] && those='*(N/)'\n"
			"print -r -- ${words[-1]}${~those} }\n_fsctl",
			FSCTL, completions[i].line);
		offers("/usr/bin/zsh", script, completions[i].want);
	}
}

static void test_man__names_every_command_and_option(void **state)
{
	char *man = generated("--generate-man", NULL), want[128];

	(void)state;
	for (const struct command *cmd = commands; cmd->words; cmd++) {
		snprintf(want, sizeof(want), "\\fBfsctl %s\\fR", cmd->words);
		if (!strstr(man, want))
			fail_msg("%s is not in it", want);
		for (const struct option *o = cmd->options; o->name; o++) {
			char *p = want + sprintf(want, "\\fB\\-\\-");

			for (const char *s = o->name; *s; s++)
				p = stpcpy(p, *s == '-' ? "\\-" : (char[]){*s, '\0'});
			if (!strstr(man, want))
				fail_msg("%s is not in it", want);
		}
	}
	free(man);
}

/* Whatever a check can find (fsd/op/pool.c, fsd/op/inspect.c) is explained. */
static void test_man__explains_what_checks_print(void **state)
{
	static const char *const texts[] = {"not in the catalog", "in the catalog only",
		"not the one in the catalog", "its generation is not in it", "it has the id of",
		"cannot be read", "the live generation has no complete tree", "no complete tree",
		"its tree is a plain directory, not a subvolume",
		"missing", "a snapshot's tree is writable",
		"a mount point or nested subvolume is inside the tree", "site.json"};
	char *man = generated("--generate-man", NULL), *from = strstr(man, "\n.SS check\n");

	(void)state;
	assert_non_null(from);
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		if (!strstr(from, texts[i]))
			fail_msg("%s is not in it", texts[i]);
	}
	free(man);
}

static void test_man__lists_the_words_that_are_no_names(void **state)
{
	char *man = generated("--generate-man", NULL);

	(void)state;
	if (!strstr(man, names_reserved))
		fail_msg("it does not have %s", names_reserved);
	free(man);
}

static void test_man__is_roff_without_warnings(void **state)
{
	char command[512];
	struct ran r;

	(void)state;
	if (access("/usr/bin/groff", X_OK) != 0) {
		print_message("skipped: groff is not installed\n");
		skip();
	}
	snprintf(command, sizeof(command), "%s --generate-man | groff -man -ww -z -Tutf8", FSCTL);
	run(&r, NULL, (const char *const[]){"/bin/sh", "-c", command, NULL});
	assert_int_equal(r.code, 0);
	assert_string_equal(r.err, "");
	ran_release(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_completion__lists_every_word_and_option),
		cmocka_unit_test(test_completion__bash_offers_what_fits),
		cmocka_unit_test(test_completion__zsh_offers_what_fits),
		cmocka_unit_test(test_man__names_every_command_and_option),
		cmocka_unit_test(test_man__lists_the_words_that_are_no_names),
		cmocka_unit_test(test_man__is_roff_without_warnings),
		cmocka_unit_test(test_man__explains_what_checks_print),
	};

	return cmocka_run_group_tests_name("generated", tests, NULL, NULL);
}
