/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The command table against what it must agree with: the parser, and the daemon's table of requests
 * and reserved names.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fsd/core/id.h"
#include "fsd/core/request.h"
#include "tools/fsctl/cli.h"

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
	};

	return cmocka_run_group_tests_name("table", tests, NULL, NULL);
}
