/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The command table against everything made from it and everything it must agree with: the parser,
 * help, completions, the man page, and the daemon's table of requests and reserved names.
 */
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
#include "tools/fsctl/progress.h"
#include "tools/fsctl/text.h"

/* ---- the parser ---- */

static const char *sample(enum word_kind kind)
{
	switch (kind) {
	case W_SNAPSHOT:
		return "shop@n1";
	case W_GENERATION:
		return "shop:7";
	case W_NUMBER:
		return "5";
	case W_PAIRS:
		return "label.a=b";
	case W_DIR:
		return "/srv/x";
	default:
		return "shop";
	}
}

/* A value of an option: the first one that there is, where they are listed. */
static void sample_of(const struct option *o, char *out, size_t size)
{
	const char *value = o->choices ? o->choices : sample(o->kind);
	int len = o->choices ? (int)strcspn(value, " ") : (int)strlen(value);

	snprintf(out, size, "--%s%s%.*s", o->name, o->value ? "=" : "", o->value ? len : 0, value);
}

/* Does either say that it makes no sense beside the other? */
static bool clash(const struct option *a, const struct option *b)
{
	char list[64], name[32];

	for (int i = 0; i < 2; i++) {
		snprintf(list, sizeof(list), " %s ", (i ? b : a)->not_with ?: "");
		snprintf(name, sizeof(name), " %s ", (i ? a : b)->name);
		if (strstr(list, name))
			return true;
	}
	return false;
}

/*
 * As many options as a command takes together, beginning with `first` (NULL: none): every option is
 * the first of one such choice, and only the first may ask for another kind of job.
 */
static bool chosen(const struct command *cmd, const struct option *first, const struct option *o)
{
	if (!first || o == first)
		return o == first;
	if (o->asks || clash(o, first))
		return false;
	for (const struct option *e = cmd->options; e < o; e++) {
		if (e != first && clash(e, o) && chosen(cmd, first, e))
			return false;
	}
	return true;
}

/* Each choice of options in turn: NULL, then every option; false behind the last. */
static bool next_choice(const struct command *cmd, const struct option **first)
{
	*first = *first ? *first + 1 : cmd->options;
	return (*first)->name;
}

/* "fsctl WORDS ARGS OPTIONS" of a command; the words stay valid until the next call. */
static int command_line(const struct command *cmd, const struct option *first, char **argv)
{
	static char words[64], option[16][64];
	char *second;
	int n = 0, k = 0;

	strcpy(words, cmd->words);
	second = strchr(words, ' ');
	argv[n++] = (char *)(uintptr_t)"fsctl";
	argv[n++] = words;
	if (second) {
		*second = '\0';
		argv[n++] = second + 1;
	}
	for (const struct arg *a = cmd->args; a->name; a++)
		argv[n++] = (char *)(uintptr_t)sample(a->kind);
	for (const struct option *o = cmd->options; o->name; o++) {
		if (!chosen(cmd, first, o))
			continue;
		sample_of(o, option[k], sizeof(option[k]));
		argv[n++] = option[k++];
	}
	argv[n] = NULL;
	return n;
}

static void test_table__every_command_parses_with_all_its_words(void **state)
{
	(void)state;
	for (const struct command *cmd = commands; cmd->words; cmd++) {
		const struct option *first = NULL;

		do {
			char *argv[24];
			int argc = command_line(cmd, first, argv);
			struct cli c;

			if (cli_parse(&c, argc, argv) != 0 || c.cmd != cmd)
				fail_msg("%s does not parse", cmd->words);
			for (int i = 0; cmd->args[i].name; i++)
				assert_true(c.args[i] || c.n_many == 1);
			for (int i = 0; cmd->options[i].name; i++)
				assert_int_equal(c.options[i] != NULL,
					chosen(cmd, first, &cmd->options[i]));
			cli_release(&c);
		} while (next_choice(cmd, &first));
	}
}

static void becomes(const struct command *cmd, const struct option *first)
{
	struct fsc_request *req = NULL;
	char *argv[24], *path = NULL;
	struct cli c;

	assert_int_equal(cli_parse(&c, command_line(cmd, first, argv), argv), 0);
	if (cmd->kind && build_request(&c, &req) != 0)
		fail_msg("%s is no request", cmd->words);
	if (cmd->path && build_path(&c, &path) != 0)
		fail_msg("%s is no path", cmd->words);
	assert_true(!path || (*path == '/' && !strstr(path, "%s")));
	free(path);
	fsc_request_free(&req);
	cli_release(&c);
}

static void test_table__every_command_becomes_a_request_or_a_path(void **state)
{
	(void)state;
	for (const struct command *cmd = commands; cmd->words; cmd++) {
		const struct option *first = NULL;

		do {
			becomes(cmd, first);
		} while (next_choice(cmd, &first));
	}
}

static void test_table__what_makes_no_sense_together_is_refused(void **state)
{
	int refused = 0;

	(void)state;
	for (const struct command *cmd = commands; cmd->words; cmd++) {
		for (const struct option *o = cmd->options; o->name; o++) {
			for (const struct option *e = cmd->options; e < o; e++) {
				char *argv[26], text[2][64];
				int argc = command_line(cmd, NULL, argv);
				struct cli c;

				for (int i = 0; i < 2; i++) {
					sample_of(i ? o : e, text[i], sizeof(text[i]));
					argv[argc++] = text[i];
				}
				argv[argc] = NULL;
				assert_int_equal(cli_parse(&c, argc, argv) != 0, clash(o, e));
				refused += clash(o, e);
				cli_release(&c);
			}
		}
	}
	assert_true(refused >= 3); /* import: move and link; restore: to, with exact and site */
}

/* ---- the daemon ---- */

static const struct op_spec *op_of_path(const char *path)
{
	for (int op = 1; op < OP_COUNT; op++) {
		const char *a = op_specs[op].path, *b = path;
		bool same = a != NULL;

		while (same && (*a || *b)) {
			if (*a == '{' && strncmp(b, "%s", 2) == 0) {
				a = strchr(a, '}') + 1;
				b += 2;
			} else {
				same = *a++ == *b++;
			}
		}
		if (same)
			return &op_specs[op];
	}
	return NULL;
}

static int field_by_name(const char *name)
{
	for (int f = 1; f < F_COUNT; f++) {
		if (strcmp(field_specs[f].name, name) == 0)
			return f;
	}
	return F_NONE;
}

/* Is the field one that the operation takes, and of the type that is sent? */
static void takes(const char *words, const struct op_spec *spec, const char *name,
	enum field_type type)
{
	int f = field_by_name(name);

	for (int i = 0; f && i < OP_FIELDS_MAX && spec->fields[i]; i++) {
		if ((spec->fields[i] & ~OP_REQUIRED) == f && field_specs[f].type == type)
			return;
	}
	fail_msg("%s sends %s, which fsd does not take", words, name);
}

static void check_word(const char *words, const struct op_spec *spec, enum word_kind kind,
	const char *field, bool flag)
{
	switch (kind) {
	case W_NEW_SNAP:
		takes(words, spec, "site", T_STRING);
		takes(words, spec, "name", T_STRING);
		break;
	case W_GENERATION:
	case W_MAYBE_GEN:
		takes(words, spec, "site", T_STRING);
		takes(words, spec, "generation", T_INT);
		break;
	case W_PATHS:
	case W_PARTS:
		takes(words, spec, field, T_LIST);
		break;
	case W_PAIRS:
		takes(words, spec, field, T_MAP);
		break;
	default:
		if (field)
			takes(words, spec, field, flag ? T_BOOL : T_STRING);
	}
}

static void check_sent(const struct command *cmd, const struct option *first)
{
	const char *kind = first && first->asks ? first->asks : cmd->kind;
	const struct op_spec *spec = op_of_path(kind ? "" : cmd->path);

	if (kind && op_by_kind(kind))
		spec = &op_specs[op_by_kind(kind)];
	if (!spec)
		fail_msg("%s asks for what fsd does not have", cmd->words);
	for (const struct arg *a = cmd->args; a->name; a++)
		check_word(cmd->words, spec, a->kind, a->field, false);
	for (const struct option *o = cmd->options; o->name; o++) {
		if (chosen(cmd, first, o))
			check_word(cmd->words, spec, o->kind, o->field, !o->value && !o->fixed);
	}
}

static void test_table__fsd_takes_what_is_sent(void **state)
{
	(void)state;
	for (const struct command *cmd = commands; cmd->words; cmd++) {
		const struct option *first = NULL;

		do {
			if (cmd->kind || cmd->path)
				check_sent(cmd, first);
		} while (next_choice(cmd, &first));
	}
}

static bool sends(const struct command *cmd, int f)
{
	for (const struct arg *a = cmd->args; a->name; a++) {
		bool site = a->kind == W_NEW_SNAP || a->kind == W_GENERATION ||
			a->kind == W_MAYBE_GEN;

		if ((a->field && field_by_name(a->field) == f) || (site && f == F_SITE) ||
			(a->kind == W_GENERATION && f == F_GENERATION))
			return true;
	}
	return f == F_HOLD; /* run_hold() and run_release() */
}

static void test_table__what_fsd_requires_is_sent(void **state)
{
	(void)state;
	for (const struct command *cmd = commands; cmd->words; cmd++) {
		const struct op_spec *spec = cmd->kind ? &op_specs[op_by_kind(cmd->kind)] : NULL;

		for (int i = 0; spec && i < OP_FIELDS_MAX && spec->fields[i]; i++) {
			if ((spec->fields[i] & OP_REQUIRED) &&
				!sends(cmd, spec->fields[i] & ~OP_REQUIRED))
				fail_msg("%s lacks %s", cmd->words,
					field_specs[spec->fields[i] & ~OP_REQUIRED].name);
		}
	}
}

static bool asks_for(const struct command *cmd, const char *kind)
{
	for (const struct option *o = cmd->options; o->name; o++) {
		if (o->asks && strcmp(o->asks, kind) == 0)
			return true;
	}
	return cmd->kind && strcmp(cmd->kind, kind) == 0;
}

static void test_table__every_job_has_a_command(void **state)
{
	(void)state;
	for (int op = OP_NONE + 1; op < OP_COUNT; op++) {
		/* "show --measure"; "undo"; housekeeping */
		bool found = op == OP_SITE_MEASURE || op == OP_SNAPSHOT_MEASURE ||
			     op == OP_GENERATION_RETIRE;

		for (const struct command *cmd = commands; cmd->words && op_is_job(op); cmd++)
			found |= asks_for(cmd, op_specs[op].name);
		if (op_is_job(op) && !found)
			fail_msg("no command asks for %s", op_specs[op].name);
	}
}

static void test_table__no_site_can_be_called_like_a_command(void **state)
{
	(void)state;
	for (const struct command *cmd = commands; cmd->words; cmd++) {
		char words[64], *save = NULL;

		strcpy(words, cmd->words);
		for (char *w = strtok_r(words, " ", &save); w; w = strtok_r(NULL, " ", &save)) {
			if (name_check(w, NULL) == 0)
				fail_msg("a site could be called %s", w);
		}
	}
}

/* ---- generated texts ---- */

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
	"'snapshot list --quiet'*) echo shop@n1; echo staging@n2;; 'pool list'*) echo main;; "     \
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
	{"fsctl snapshot delete s", "shop@n1 staging@n2"},
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
			"compadd() { shift; print -r -- ${(M)@:#${words[-1]}*} }\n_fsctl",
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

static struct fsc_progress part(uint64_t entries, uint64_t mib)
{
	return (struct fsc_progress){.entries_done = entries, .entries_total = 6400,
		.bytes_done = mib << 20, .bytes_total = 100 << 20};
}

static void line_is(const struct progress *p, struct fsc_progress now, int width, const char *want)
{
	char out[512];

	progress_line(p, &now, width, out, sizeof(out));
	assert_string_equal(out, want);
}

/* An entry counts as 16 KiB: 6,400 as much as 100 MiB. */
static void test_progress__goes_by_entries_and_bytes_together(void **state)
{
	struct progress p = {.label = "clone shop", .entries.rate = 32, .bytes.rate = 1 << 20};
	struct fsc_progress now;

	(void)state;
	/* One large file, of which no entry is done yet. */
	line_is(&p, part(0, 50), 79,
		"clone shop   25%  0/6,400 entries  50.0 MiB/100 MiB  1.0 MiB/s  1:41 left");
	line_is(&p, part(3200, 0), 75,
		"clone shop   25%  3,200/6,400 entries  0 B/100 MiB  32/s  1:41 left");
	line_is(&p, part(6399, 100), 60,
		"clone shop   99%  100 MiB/100 MiB  1.0 MiB/s  1.0 s left");
	line_is(&p, part(6400, 100), 50, "clone shop  100%  100 MiB/100 MiB  1.0 MiB/s");
	/* Where only the entries are counted. */
	now = (struct fsc_progress){.entries_done = 64, .entries_total = 128};
	line_is(&p, now, 60, "clone shop   50%  64/128 entries  32/s  3.0 s left");
}

static void test_progress__says_no_more_than_is_known(void **state)
{
	struct progress p = {.label = "clone shop", .entries.rate = 32, .bytes.rate = 1 << 20};
	struct fsc_progress now = {.entries_done = 500, .bytes_done = 20 << 20};

	(void)state;
	line_is(&p, now, 79, "clone shop  500 entries  20.0 MiB  1.0 MiB/s");
}

static void measure(struct progress *p, uint64_t entries, uint64_t mib, double t)
{
	struct fsc_progress now = part(entries, mib);

	progress_measure(p, &now, t);
}

static void test_progress__measures_the_pace_of_the_work_alone(void **state)
{
	struct progress p = {.label = "clone shop"}, late = p;

	(void)state;
	/* Waiting and counting take no part in it. */
	measure(&p, 0, 0, 100);
	measure(&p, 0, 0, 200);
	measure(&p, 64, 1, 201);
	line_is(&p, part(64, 1), 60, "clone shop    1%  1.0 MiB/100 MiB  1.0 MiB/s  1:40 left");
	/* One second that is ten times as fast does not make it ten times as fast. */
	measure(&p, 128, 2, 202);
	measure(&p, 192, 3, 203);
	measure(&p, 832, 13, 204);
	assert_true(p.bytes.rate > 3.2 * (1 << 20) && p.bytes.rate < 3.3 * (1 << 20));
	for (int i = 1; i <= 40; i++)
		measure(&p, 832 + 64 * i, 13 + i, 204 + i);
	assert_true(p.bytes.rate > (1 << 20) && p.bytes.rate < 1.01 * (1 << 20));
	/* Nor does what was done before anybody looked. */
	measure(&late, 3200, 50, 100);
	measure(&late, 3264, 51, 101);
	line_is(&late, part(3264, 51), 60,
		"clone shop   51%  51.0 MiB/100 MiB  1.0 MiB/s  50.0 s left");
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

/* ---- texts for people ---- */

static void test_text__sizes_counts_and_durations(void **state)
{
	char text[SIZE_TEXT];

	(void)state;
	assert_string_equal(size_text(0, text), "0 B");
	assert_string_equal(size_text(999, text), "999 B");
	assert_string_equal(size_text(1024, text), "1.0 KiB");
	assert_string_equal(size_text(1023 * 1024, text), "1023 KiB");
	assert_string_equal(size_text(1024 * 1024 - 1, text), "1.0 MiB");
	assert_string_equal(size_text(1234567890123LL, text), "1.1 TiB");
	assert_string_equal(count_text(0, text), "0");
	assert_string_equal(count_text(1234567, text), "1,234,567");
	assert_string_equal(count_text(-1234, text), "-1,234");
	assert_string_equal(entries_text(1, text), "1 entry");
	assert_string_equal(entries_text(1234, text), "1,234 entries");
	assert_string_equal(entries_text(INT64_MIN, text), "-9,223,372,036,854,775,808 entries");
	assert_string_equal(seconds_text(0.0031, text), "3 ms");
	assert_string_equal(seconds_text(12.34, text), "12.3 s");
	assert_string_equal(seconds_text(125, text), "2:05");
	assert_string_equal(seconds_text(3725, text), "1:02:05");
}

static void source_is(const char *text, const char *want)
{
	char *out = source_absolute(text);

	assert_string_equal(out, want);
	free(out);
}

static void test_text__times_without_a_zone_are_this_machines(void **state)
{
	(void)state;
	setenv("TZ", "Europe/Berlin", 1);
	source_is("shop@2026-11-22T03:00", "shop@2026-11-22T02:00:59Z");
	source_is("shop@2026-07-22T03:00:05.25", "shop@2026-07-22T01:00:05.25Z");
	source_is("shop@2026-11-22 03:00", "shop@2026-11-22T02:00:59Z");
	source_is("shop@2026-11-22 03:00:00", "shop@2026-11-22T02:00:00Z");
	source_is("shop@2026-11-22", "shop@2026-11-22T22:59:59Z");
	/* These have one, or are none. */
	source_is("shop@2026-11-22T03:00Z", "shop@2026-11-22T03:00Z");
	source_is("shop@2026-11-22T03:00+02:00", "shop@2026-11-22T03:00+02:00");
	source_is("shop@20261122t030000z", "shop@20261122t030000z");
	source_is("shop@2026-11-22-before", "shop@2026-11-22-before");
	source_is("shop@2026-13-22", "shop@2026-13-22");
	source_is("shop@2026-11-31", "shop@2026-11-31");
	source_is("shop@2027-02-29T03:00", "shop@2027-02-29T03:00");
	source_is("shop@latest", "shop@latest");
	source_is("shop:7", "shop:7");
	source_is("shop", "shop");
}

static void path_is(const char *text, const char *want)
{
	char *out = path_absolute(text);

	if (want)
		assert_string_equal(out, want);
	else
		assert_null(out);
	free(out);
}

static void test_text__relative_directories_are_made_absolute(void **state)
{
	char dir[] = "/tmp/fsctl-XXXXXX", want[64], typed[64];

	(void)state;
	assert_non_null(mkdtemp(dir));
	assert_int_equal(chdir(dir), 0);
	path_is("/a/../b", "/a/../b");
	snprintf(want, sizeof(want), "%s/new/x", dir);
	path_is("./new//x/", want);
	path_is(".", dir);
	path_is("..", "/tmp");
	path_is("../", "/tmp");
	path_is("../new", "/tmp/new");
	path_is("../../new/", "/new");
	path_is("missing/../new", NULL);
	/* Not where the link leads. */
	assert_int_equal(symlink("/etc", "link"), 0);
	snprintf(typed, sizeof(typed), "../%s/link", dir + strlen("/tmp/"));
	snprintf(want, sizeof(want), "%s/link", dir);
	path_is(typed, want);
	assert_int_equal(unlink("link"), 0);
	assert_int_equal(chdir("/"), 0);
	assert_int_equal(rmdir(dir), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_table__every_command_parses_with_all_its_words),
		cmocka_unit_test(test_table__every_command_becomes_a_request_or_a_path),
		cmocka_unit_test(test_table__what_makes_no_sense_together_is_refused),
		cmocka_unit_test(test_table__fsd_takes_what_is_sent),
		cmocka_unit_test(test_table__what_fsd_requires_is_sent),
		cmocka_unit_test(test_table__every_job_has_a_command),
		cmocka_unit_test(test_table__no_site_can_be_called_like_a_command),
		cmocka_unit_test(test_completion__lists_every_word_and_option),
		cmocka_unit_test(test_completion__bash_offers_what_fits),
		cmocka_unit_test(test_completion__zsh_offers_what_fits),
		cmocka_unit_test(test_man__names_every_command_and_option),
		cmocka_unit_test(test_man__lists_the_words_that_are_no_names),
		cmocka_unit_test(test_man__is_roff_without_warnings),
		cmocka_unit_test(test_man__explains_what_checks_print),
		cmocka_unit_test(test_progress__goes_by_entries_and_bytes_together),
		cmocka_unit_test(test_progress__says_no_more_than_is_known),
		cmocka_unit_test(test_progress__measures_the_pace_of_the_work_alone),
		cmocka_unit_test(test_text__sizes_counts_and_durations),
		cmocka_unit_test(test_text__relative_directories_are_made_absolute),
		cmocka_unit_test(test_text__times_without_a_zone_are_this_machines),
	};

	return cmocka_run_group_tests_name("table", tests, NULL, NULL);
}
