/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* fsctl: the command line of fsd. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "tools/fsctl/cli.h"

/* What the build makes other files from; see meson.build. */
static int generate(int argc, char **argv)
{
	if (argc == 2 && strcmp(argv[1], "--generate-man") == 0) {
		print_man();
		return 0;
	}
	if (argc == 3 && strcmp(argv[1], "--generate-completion") == 0) {
		if (print_completion(argv[2]) == 0)
			return 0;
		fputs("fsctl: --generate-completion bash or zsh\n", stderr);
		return FSC_EXIT_USAGE;
	}
	return -1;
}

static void help_for(const struct command *cmd, const char *noun)
{
	if (!cmd && noun)
		print_noun_help(noun);
	else
		print_help(cmd);
}

/* "fsctl help [COMMAND]" */
static int help(int argc, char **argv)
{
	const char *word = argc > 2 ? argv[2] : NULL, *second = argc > 3 ? argv[3] : NULL;
	const struct command *cmd = word ? command_find(word, second) : NULL;

	if (argc < 2 || strcmp(argv[1], "help") != 0)
		return -1;
	if (word && !cmd && (second || !is_noun(word)))
		return cli_no_such_command(&(struct cli){0}, word, second);
	help_for(cmd, word);
	return 0;
}

static int run(struct cli *c, int argc, char **argv)
{
	int r = cli_parse(c, argc, argv);

	if (r)
		return r;
	if (c->version) {
		printf("fsctl %s (libfsclient %s)\n", FSC_VERSION, fsc_version());
		return 0;
	}
	if (c->help) {
		help_for(c->cmd, c->noun);
		return 0;
	}
	if (!c->cmd)
		return cli_usage(c, NULL, "a command is missing");
	r = cli_connect(c);
	return r ? r : c->cmd->run(c);
}

/* A reader that went away is no error of ours; a full disk is. */
static int close_output(int r)
{
	int num = flush_output();

	if (num == 0 || num == EPIPE)
		return r;
	fprintf(stderr, "fsctl: standard output: %s\n", strerror(num));
	return r ? r : FSC_EXIT_FAILED;
}

int main(int argc, char **argv)
{
	struct cli c = {0};
	int r = generate(argc, argv);

	/* Lines of programs that share a log stay whole. */
	setvbuf(stderr, NULL, _IOLBF, BUFSIZ);
	if (r < 0)
		r = help(argc, argv);
	if (r < 0)
		r = run(&c, argc, argv);
	cli_release(&c);
	return close_output(r);
}
