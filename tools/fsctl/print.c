/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Errors and JSON, as the contract of commands wants them. */
#include "tools/fsctl/cli.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/fsctl/text.h"

static void problem_member(const char *name, const char *text, const char *after)
{
	fprintf(stderr, "\"%s\": ", name);
	if (*text)
		put_json_string(stderr, text);
	else
		fputs("null", stderr);
	fputs(after, stderr);
}

static void print_problem(const struct fsc_error *e, const char *hint)
{
	fputc('{', stderr);
	problem_member("code", e->code, ", ");
	problem_member("title", e->title, ", ");
	problem_member("object", e->object, ", ");
	problem_member("reason", e->reason, ", ");
	problem_member("hint", hint, "}\n");
}

/* The first error of standard output; a failed fflush() tells only once. */
static int output_errno;

int flush_output(void)
{
	errno = 0;
	if ((fflush(stdout) != 0 || ferror(stdout)) && !output_errno)
		output_errno = errno ? errno : EIO;
	return output_errno;
}

/* The hint of the argument that was not found, or fsd's. */
static const char *hint_of(const struct cli *c, const struct fsc_error *e)
{
	for (size_t i = 0; c->cmd && e->exit == FSC_EXIT_NOT_FOUND && c->cmd->args[i].name; i++) {
		if (c->cmd->args[i].hint && c->args[i] && strcmp(c->args[i], e->object) == 0)
			return c->cmd->args[i].hint;
	}
	return e->hint;
}

/* Is it the value of an option that fsd did not understand? It knows options as fields. */
static bool is_option(const struct cli *c, const struct fsc_error *e)
{
	for (size_t i = 0; c->cmd && e->exit == FSC_EXIT_USAGE && c->cmd->options[i].name; i++) {
		const struct option *o = &c->cmd->options[i];

		if (c->options[i] && strcmp(o->field ? o->field : o->name, e->object) == 0)
			return true;
	}
	return false;
}

int cli_fail(const struct cli *c, const struct fsc_error *e)
{
	const char *hint = hint_of(c, e);

	/* Whatever was printed before stands before the error where both go to one file. */
	flush_output();
	if (c->json) {
		print_problem(e, hint);
		return e->exit;
	}
	fputs("fsctl: ", stderr);
	if (c->cmd && e->exit != FSC_EXIT_UNREACHABLE)
		fprintf(stderr, "%s%s", c->cmd->words, e->object[0] ? " " : ": ");
	if (e->object[0]) {
		fputs(is_option(c, e) ? "--" : "", stderr);
		put_safe(stderr, e->object);
		fputs(": ", stderr);
	}
	put_safe(stderr, e->reason);
	fputc('\n', stderr);
	if (hint[0]) {
		fputs("hint: ", stderr);
		put_safe(stderr, hint);
		fputc('\n', stderr);
	}
	return e->exit;
}

int cli_error(const struct cli *c, int exit_code, const char *code, const char *object,
	const char *reason, const char *hint)
{
	struct fsc_error e = {.num = EINVAL, .exit = exit_code};

	snprintf(e.code, sizeof(e.code), "%s", code);
	snprintf(e.title, sizeof(e.title), "%s", strcmp(code, "usage") == 0 ? "wrong usage" : code);
	snprintf(e.object, sizeof(e.object), "%s", object ? object : "");
	snprintf(e.reason, sizeof(e.reason), "%s", reason);
	snprintf(e.hint, sizeof(e.hint), "%s", hint ? hint : "");
	return cli_fail(c, &e);
}

int cli_usage(const struct cli *c, const char *object, const char *reason)
{
	char hint[256];

	if (c->cmd)
		snprintf(hint, sizeof(hint), "fsctl %s --help", c->cmd->words);
	else
		snprintf(hint, sizeof(hint), "fsctl --help");
	return cli_error(c, FSC_EXIT_USAGE, "usage", object, reason, hint);
}

int cli_no_memory(const struct cli *c)
{
	return cli_error(c, FSC_EXIT_FAILED, "no_memory", NULL, "out of memory", NULL);
}

static char *json_text(const struct fsc_value *v)
{
	return fsc_value_text(v, isatty(STDOUT_FILENO) ? 2 : 0);
}

void print_json(const struct fsc_value *v)
{
	char *text = json_text(v);

	if (text)
		puts(text);
	free(text);
}

void print_json_as(const char *name, const struct fsc_value *v)
{
	char *text = json_text(v);

	if (text)
		printf("{\"%s\": %s}\n", name, text);
	free(text);
}

int cli_connect(struct cli *c)
{
	struct fsc_error err;

	return fsc_open(c->url, &c->fsc, &err) < 0 ? cli_fail(c, &err) : 0;
}
