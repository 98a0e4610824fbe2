/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One run of fsctl: what was asked on the command line, and what every command uses. */
#ifndef FSCTL_CLI_H
#define FSCTL_CLI_H

#include <stdbool.h>
#include <stddef.h>

#include "client/fsclient.h"
#include "tools/fsctl/table.h"

struct cli {
	const struct command *cmd; /* NULL: none was named */
	const char *noun;	   /* "site", where the second word of a command is missing */
	/* global options */
	bool json, quiet, yes, dry_run, no_wait, help, version;
	const char *note, *url;
	/* of the command, in the order of its table entry; NULL: not given */
	const char *args[ARGS_MAX];
	const char *options[OPTIONS_MAX]; /* a flag: "" */
	/* words of the argument that takes many */
	const char **many;
	size_t n_many;
	struct fsc *fsc; /* opened by cli_connect() */
};

/* ---- parse.c ---- */

/* 0, or the exit code after an error was printed. Words are borrowed from argv. */
int cli_parse(struct cli *c, int argc, char **argv);
void cli_release(struct cli *c);
/* The value of a local option; NULL: not given. */
const char *cli_local(const struct cli *c, enum local_option local);

/* ---- build.c ---- */

/* The request or the path that the words ask for: 0 and the caller's, or the exit code after an
 * error was printed. */
int build_request(struct cli *c, struct fsc_request **out);
int build_path(struct cli *c, char **out);
/* Decimal, 0 to 2^31-1. */
bool parse_number(const char *text, int *out);

/* ---- print.c ---- */

/* Print an error as the contract of commands wants it; returns its exit code. */
int cli_fail(const struct cli *c, const struct fsc_error *err);
/* An error of fsctl's own. */
int cli_error(const struct cli *c, int exit_code, const char *code, const char *object,
	const char *reason, const char *hint);
int cli_usage(const struct cli *c, const char *object, const char *reason);
int cli_no_such_command(const struct cli *c, const char *word, const char *second);
int cli_no_memory(const struct cli *c);
/* Write out what was printed. 0, or the errno (> 0) of the first failure so far. */
int flush_output(void);
/* The value as JSON: indented on a terminal, else in one line. */
void print_json(const struct fsc_value *v);
/* {"NAME": value} */
void print_json_as(const char *name, const struct fsc_value *v);
/* 0, or the exit code of cli_fail(). */
int cli_connect(struct cli *c);

/* ---- commands ---- */

int run_job(struct cli *c);
int run_import(struct cli *c);
int run_hold(struct cli *c);
int run_release(struct cli *c);
int run_diff(struct cli *c);
int run_check(struct cli *c);
int run_pool_scan(struct cli *c);
int run_job_wait(struct cli *c);
int run_job_cancel(struct cli *c);
int run_list(struct cli *c);
int run_show(struct cli *c);
int run_path(struct cli *c);
int run_status(struct cli *c);
int run_event_follow(struct cli *c);

/* ---- generated texts: help.c, complete.c, man.c ---- */

void print_help(const struct command *cmd); /* NULL: all commands */
void print_noun_help(const char *noun);
int print_completion(const char *shell);    /* 0, or -1: no such shell */
void print_man(void);

#endif
