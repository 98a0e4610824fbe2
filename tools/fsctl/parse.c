/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The command line against the command table. Options may stand anywhere; "--" ends them. */
#include "tools/fsctl/cli.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct parser {
	struct cli *c;
	char **argv;
	int argc, at;
	const char *word; /* a first word that wants a second one */
	size_t n_args;
	bool options_over;
};

const char *cli_local(const struct cli *c, enum local_option local)
{
	for (size_t i = 0; c->cmd && c->cmd->options[i].name; i++) {
		if (c->cmd->options[i].local == local)
			return c->options[i];
	}
	return NULL;
}

static int set_global(struct parser *p, const struct global_option *g, const char *value)
{
	struct cli *c = p->c;
	const struct {
		const char *name;
		bool *flag;
		const char **text;
	} where[] = {{"json", &c->json}, {"quiet", &c->quiet}, {"yes", &c->yes},
		{"dry-run", &c->dry_run}, {"no-wait", &c->no_wait}, {"help", &c->help},
		{"version", &c->version}, {"note", NULL, &c->note}, {"url", NULL, &c->url}};

	for (size_t i = 0; i < sizeof(where) / sizeof(where[0]); i++) {
		if (strcmp(where[i].name, g->name) != 0)
			continue;
		if (where[i].flag)
			*where[i].flag = true;
		else
			*where[i].text = value;
	}
	return 0;
}

/* The value of an option: behind "=", or the next word. NULL after an error. */
static const char *take_value(struct parser *p, const char *name, const char *inlined)
{
	if (inlined)
		return inlined;
	if (p->at + 1 < p->argc)
		return p->argv[++p->at];
	cli_usage(p->c, name, "this option wants a value");
	return NULL;
}

static int give(struct parser *p, const char *name, const char *value_name, const char *inlined,
	const char **value)
{
	*value = "";
	if (value_name) {
		*value = take_value(p, name, inlined);
		return *value ? 0 : FSC_EXIT_USAGE;
	}
	return inlined ? cli_usage(p->c, name, "this option takes no value") : 0;
}

int cli_no_such_command(const struct cli *c, const char *word, const char *second)
{
	char shown[128], hint[192];
	const char *meant = command_near(word, second);
	bool known = second && is_noun(word);

	snprintf(shown, sizeof(shown), "%s%s%s", word, known ? " " : "", known ? second : "");
	if (meant)
		snprintf(hint, sizeof(hint), "did you mean \"fsctl %s\"? fsctl --help lists all",
			meant);
	else
		snprintf(hint, sizeof(hint), "fsctl %s%s--help lists them",
			is_noun(word) ? word : "", is_noun(word) ? " " : "");
	return cli_error(c, FSC_EXIT_USAGE, "usage", shown, "no such command", hint);
}

static int no_such_option(const struct parser *p, const char *shown)
{
	const struct command *cmd = p->c->cmd;
	const char *meant = option_near(cmd, shown);
	char hint[128];

	if (!meant)
		return cli_usage(p->c, shown,
			cmd ? "no such option"
			    : "no such option (those of a command come after it)");
	snprintf(hint, sizeof(hint), "did you mean --%s?", meant);
	return cli_error(p->c, FSC_EXIT_USAGE, "usage", shown, "no such option", hint);
}

static int incomplete(const struct cli *c)
{
	char hint[96];

	snprintf(hint, sizeof(hint), "fsctl %s --help lists its commands", c->noun);
	return cli_error(c, FSC_EXIT_USAGE, "usage", c->noun,
		"the second word of a command is missing", hint);
}

static int long_option(struct parser *p, const char *text)
{
	size_t len = strcspn(text, "=");
	const char *inlined = text[len] ? text + len + 1 : NULL, *value;
	const struct command *cmd = p->c->cmd;
	char shown[64];
	int r;

	snprintf(shown, sizeof(shown), "--%.*s", (int)(len < 40 ? len : 40), text);
	for (size_t i = 0; cmd && cmd->options[i].name; i++) {
		const struct option *o = &cmd->options[i];

		if (strlen(o->name) != len || memcmp(o->name, text, len) != 0)
			continue;
		if (p->c->options[i] && o->value)
			return cli_usage(p->c, shown, "this option may be given only once");
		r = give(p, shown, o->value, inlined, &value);
		if (r == 0)
			p->c->options[i] = value;
		return r;
	}
	for (const struct global_option *g = global_options; g->name; g++) {
		if (strlen(g->name) != len || memcmp(g->name, text, len) != 0)
			continue;
		r = give(p, shown, g->value, inlined, &value);
		return r ? r : set_global(p, g, value);
	}
	return no_such_option(p, shown);
}

static int short_options(struct parser *p, const char *letters)
{
	for (; *letters; letters++) {
		const struct global_option *g = global_options;
		char shown[3] = {'-', *letters, '\0'};

		while (g->name && g->letter != *letters)
			g++;
		if (!g->name)
			return cli_usage(p->c, shown, "no such option");
		set_global(p, g, NULL);
	}
	return 0;
}

static bool takes_many(const struct command *cmd, size_t i)
{
	return cmd->args[i].name && (cmd->args[i].flags & ARG_MANY);
}

/* A SOURCE that may be missing: a word with a slash, or behind "--", is a PATH instead. */
static bool skips(const struct parser *p, const struct arg *a, const char *word)
{
	return a->name && a->kind == W_SOURCE && (a->flags & ARG_OPTIONAL) && a[1].name &&
		(p->options_over || strchr(word, '/'));
}

static int argument(struct parser *p, const char *word)
{
	const struct command *cmd = p->c->cmd;

	if (skips(p, &cmd->args[p->n_args], word))
		p->n_args++;
	if (takes_many(cmd, p->n_args)) {
		p->c->many[p->c->n_many++] = word;
		return 0;
	}
	if (!cmd->args[p->n_args].name)
		return cli_usage(p->c, word, "one word too many");
	p->c->args[p->n_args++] = word;
	return 0;
}

/* A word that is no option: of the command's name, or an argument. */
static int plain_word(struct parser *p, const char *word)
{
	struct cli *c = p->c;

	if (c->cmd)
		return argument(p, word);
	if (!p->word && is_noun(word)) {
		p->word = word;
		return 0;
	}
	if (!p->word) {
		c->cmd = command_find(word, NULL);
		return c->cmd ? 0 : cli_no_such_command(c, word, p->argv[p->at + 1]);
	}
	c->cmd = command_find(p->word, word);
	if (c->cmd)
		return 0;
	/* "snapshot" is a verb too: what follows is its argument. */
	c->cmd = command_find(p->word, NULL);
	return c->cmd ? argument(p, word) : cli_no_such_command(c, p->word, word);
}

static int one_word(struct parser *p)
{
	const char *word = p->argv[p->at];

	if (p->options_over || word[0] != '-' || !word[1])
		return plain_word(p, word);
	if (strcmp(word, "--") == 0) {
		p->options_over = true;
		return 0;
	}
	/* An option of a verb that is a noun too ("snapshot --expires 7d shop"). */
	if (!p->c->cmd && p->word && word[1] == '-' && command_find(p->word, NULL)) {
		const struct command *verb = command_find(p->word, NULL);
		size_t len = strcspn(word + 2, "=");

		for (const struct option *o = verb->options; o->name; o++) {
			if (strlen(o->name) == len && memcmp(o->name, word + 2, len) == 0)
				p->c->cmd = verb;
		}
	}
	return word[1] == '-' ? long_option(p, word + 2) : short_options(p, word + 1);
}

/* Is `word` one of the words of `list`? */
static bool is_in(const char *list, const char *word)
{
	size_t len = strlen(word);

	for (; list && *list; list += strcspn(list, " "), list += *list == ' ') {
		if (strcspn(list, " ") == len && memcmp(list, word, len) == 0)
			return true;
	}
	return false;
}

/* The words of `list` with commas between them. */
static void enumerate(const char *list, char *out, size_t size)
{
	size_t at = 0;

	for (; *list && at + 3 < size; list++) {
		if (*list == ' ')
			out[at++] = ',';
		out[at++] = *list;
	}
	out[at] = '\0';
}

static int check_choices(const struct cli *c)
{
	char shown[64], reason[160], words[128];

	for (size_t i = 0; c->cmd->options[i].name; i++) {
		const struct option *o = &c->cmd->options[i];

		if (!c->options[i] || !o->choices || o->kind != W_TEXT ||
			is_in(o->choices, c->options[i]))
			continue;
		snprintf(shown, sizeof(shown), "--%s %.32s", o->name, c->options[i]);
		enumerate(o->choices, words, sizeof(words));
		snprintf(reason, sizeof(reason), "it is one of %s", words);
		return cli_usage(c, shown, reason);
	}
	return 0;
}

static int check_together(const struct cli *c)
{
	char shown[64], reason[128];

	for (size_t i = 0; c->cmd->options[i].name; i++) {
		const struct option *o = &c->cmd->options[i];

		for (size_t k = 0; c->options[i] && c->cmd->options[k].name; k++) {
			if (!c->options[k] || !is_in(o->not_with, c->cmd->options[k].name))
				continue;
			snprintf(shown, sizeof(shown), "--%s", c->cmd->options[k].name);
			snprintf(reason, sizeof(reason), "this option makes no sense with --%s",
				o->name);
			return cli_usage(c, shown, reason);
		}
	}
	return 0;
}

static int check_complete(struct parser *p)
{
	struct cli *c = p->c;
	char reason[128];

	if (!c->cmd && p->word)
		c->cmd = command_find(p->word, NULL);
	c->noun = c->cmd ? NULL : p->word;
	if (c->help || c->version)
		return 0;
	if (!c->cmd)
		return c->noun ? incomplete(c) : 0;
	for (size_t i = 0; c->cmd->args[i].name; i++) {
		const struct arg *a = &c->cmd->args[i];
		bool given = a->flags & ARG_MANY ? c->n_many > 0 : c->args[i] != NULL;

		if (given || (a->flags & ARG_OPTIONAL))
			continue;
		snprintf(reason, sizeof(reason), "%s is missing", a->name);
		return cli_usage(c, NULL, reason);
	}
	return check_choices(c) ? FSC_EXIT_USAGE : check_together(c);
}

/* Errors found early must know of --json too. */
static bool wants_json(int argc, char **argv)
{
	for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
		if (strcmp(argv[i], "--json") == 0)
			return true;
	}
	return false;
}

int cli_parse(struct cli *c, int argc, char **argv)
{
	struct parser p = {.c = c, .argv = argv, .argc = argc};
	int r = 0;

	memset(c, 0, sizeof(*c));
	c->json = wants_json(argc, argv);
	c->many = calloc((size_t)argc + 1, sizeof(*c->many));
	if (!c->many)
		return cli_no_memory(c);
	for (p.at = 1; p.at < argc && r == 0; p.at++)
		r = one_word(&p);
	return r ? r : check_complete(&p);
}

void cli_release(struct cli *c)
{
	free(c->many);
	c->many = NULL;
	fsc_close(&c->fsc);
}
