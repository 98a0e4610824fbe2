/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* --help, from the command table, for the width of the terminal. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tools/fsctl/cli.h"
#include "tools/fsctl/text.h"

#define WIDTH_MAX 100 /* longer lines are hard to read */

/* Where it is piped into a pager, that shares the terminal of standard error. */
static size_t width(void)
{
	size_t columns = terminal_width(isatty(STDOUT_FILENO) ? STDOUT_FILENO : STDERR_FILENO);

	return columns < WIDTH_MAX ? columns : WIDTH_MAX;
}

/* `left`, then `help` from column `at` on: in the next line where `left` is too long. */
static void entry(const char *left, size_t at, const char *help)
{
	size_t len = strlen(left) + 2;

	printf("  %s", left);
	if (len + 1 > at) {
		putchar('\n');
		len = 0;
	}
	printf("%*s", (int)(at - len), "");
	put_wrapped(stdout, help, at, at, width());
}

static void option_line(const char *name, char letter, const char *value, const char *help)
{
	char left[64];

	snprintf(left, sizeof(left), "%c%c%s --%s%s%s", letter ? '-' : ' ', letter ? letter : ' ',
		letter ? "," : " ", name, value ? " " : "", value ? value : "");
	entry(left, 29, help);
}

static void global_lines(void)
{
	puts("\noptions of all commands:");
	for (const struct global_option *g = global_options; g->name; g++)
		option_line(g->name, g->letter, g->value, g->help);
}

static void command_line(const struct command *cmd)
{
	struct command bare = *cmd;
	char synopsis[256], left[320];

	bare.options[0] = (struct option){0};
	command_synopsis(&bare, synopsis, sizeof(synopsis));
	snprintf(left, sizeof(left), "%s%s", cmd->words, synopsis);
	entry(left, width() < 80 ? 28 : 39, cmd->help);
}

static void all_commands(void)
{
	puts("usage: fsctl COMMAND ... [OPTIONS]\n");
	for (const struct command *cmd = commands; cmd->words; cmd++) {
		/* A new group: its noun is new. */
		if (cmd > commands && strchr(cmd->words, ' ') &&
			strncmp(cmd->words, cmd[-1].words, strcspn(cmd->words, " ") + 1) != 0)
			putchar('\n');
		command_line(cmd);
	}
	global_lines();
	putchar('\n');
	put_wrapped(stdout, "SOURCE is SITE, SITE@SNAP, SITE@latest, SITE@2026-11-22T03:00 (the "
		"newest by then) or SITE:7 (a generation). \"fsctl COMMAND --help\" says more, "
		"fsctl(1) everything.", 0, 0, width());
}

/* "snapshot" is both: a command and the first word of others. */
static void commands_of(const char *noun)
{
	size_t len = strlen(noun);

	for (const struct command *cmd = commands; cmd->words; cmd++) {
		if (strncmp(cmd->words, noun, len) == 0 && cmd->words[len] == ' ')
			command_line(cmd);
	}
}

void print_noun_help(const char *noun)
{
	printf("usage: fsctl %s COMMAND ... [OPTIONS]\n\n", noun);
	commands_of(noun);
	putchar('\n');
	put_wrapped(stdout, "\"fsctl COMMAND --help\" says more, fsctl(1) everything.", 0, 0,
		width());
}

void print_help(const struct command *cmd)
{
	char synopsis[512];

	if (!cmd) {
		all_commands();
		return;
	}
	command_synopsis(cmd, synopsis, sizeof(synopsis));
	printf("usage: fsctl %s", cmd->words);
	put_wrapped(stdout, synopsis, strlen("usage: fsctl ") + strlen(cmd->words), 8, width());
	printf("\n%s\n", cmd->help);
	if (cmd->text)
		put_wrapped(stdout, cmd->text, 0, 0, width());
	if (cmd->options[0].name)
		puts("\noptions:");
	for (const struct option *o = cmd->options; o->name; o++)
		option_line(o->name, 0, o->value, o->help);
	if (is_noun(cmd->words)) {
		printf("\nother commands of \"%s\":\n", cmd->words);
		commands_of(cmd->words);
	}
	global_lines();
}
