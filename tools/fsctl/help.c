/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* --help, from the command table. */
#include <stdio.h>
#include <string.h>

#include "tools/fsctl/cli.h"

static void option_line(const char *name, char letter, const char *value, const char *help)
{
	char left[64];

	snprintf(left, sizeof(left), "%c%c%s --%s%s%s", letter ? '-' : ' ', letter ? letter : ' ',
		letter ? "," : " ", name, value ? " " : "", value ? value : "");
	printf("  %-26s %s\n", left, help);
}

static void global_lines(void)
{
	for (const struct global_option *g = global_options; g->name; g++)
		option_line(g->name, g->letter, g->value, g->help);
}

static void all_commands(void)
{
	char synopsis[256], left[320];

	puts("usage: fsctl COMMAND ... [OPTIONS]\n");
	for (const struct command *cmd = commands; cmd->words; cmd++) {
		struct command bare = *cmd;

		/* A new group: its noun is new. */
		if (cmd > commands && strchr(cmd->words, ' ') &&
			strncmp(cmd->words, cmd[-1].words, strcspn(cmd->words, " ") + 1) != 0)
			putchar('\n');
		bare.options[0] = (struct option){0};
		command_synopsis(&bare, synopsis, sizeof(synopsis));
		snprintf(left, sizeof(left), "%s%s", cmd->words, synopsis);
		printf("  %-38s %s\n", left, cmd->help);
	}
	puts("\noptions of all commands:");
	global_lines();
	puts("\nSOURCE is SITE, SITE@SNAP, SITE@latest, SITE@2026-11-22T03:00 (the newest before)\n"
	     "or SITE:7 (a generation). \"fsctl COMMAND --help\" says more, fsctl(1) everything.");
}

void print_help(const struct command *cmd)
{
	char synopsis[512];

	if (!cmd) {
		all_commands();
		return;
	}
	command_synopsis(cmd, synopsis, sizeof(synopsis));
	printf("usage: fsctl %s%s\n\n%s\n", cmd->words, synopsis, cmd->help);
	if (cmd->text)
		printf("%s\n", cmd->text);
	if (cmd->options[0].name)
		puts("\noptions:");
	for (const struct option *o = cmd->options; o->name; o++)
		option_line(o->name, 0, o->value, o->help);
	puts("\noptions of all commands:");
	global_lines();
}
