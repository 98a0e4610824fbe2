/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The command table: parsing, help, completions and the man page are all made from it. A command
 * is added by one entry in table.c (and, where it prints something new, a printer in result.c).
 */
#ifndef FSCTL_TABLE_H
#define FSCTL_TABLE_H

#include <stdbool.h>
#include <stddef.h>

struct cli;

/* What stands in a word of the command line: how it is checked, sent and completed. */
enum word_kind {
	W_NONE,
	W_TEXT,	      /* anything */
	W_SITE,	      /* a site's name or id */
	W_DELETED,    /* a deleted site's, or the name it had */
	W_NEW,	      /* a name that does not exist yet */
	W_SOURCE,     /* SITE, SITE@SNAP, SITE@latest, SITE@TIME, SITE:N */
	W_SNAPSHOT,   /* SITE@SNAP only */
	W_NEW_SNAP,   /* SITE[@NAME]: sent as "site" and "name" */
	W_GENERATION, /* SITE:N: sent as "site" and "generation" */
	W_MAYBE_GEN,  /* SITE[:N] */
	W_POOL,
	W_JOB,
	W_UNDOABLE, /* a job that can be undone */
	W_DIR,	  /* a directory of the file server; relative ones are made absolute */
	W_FILE,	  /* a file that fsctl itself reads */
	W_PATHS,  /* paths within a tree: a list */
	W_PAIRS,  /* KEY=VALUE: a map */
	W_NUMBER, /* decimal */
	W_PARTS,  /* code,data,config: a list */
};

enum { ARG_OPTIONAL = 1, ARG_MANY = 2 };

struct arg {
	const char *name;  /* as help shows it: "SITE" */
	enum word_kind kind;
	const char *field; /* of the request or query; NULL: part of the path, or see kind */
	unsigned flags;
	const char *hint;  /* what may have been meant where fsd finds nothing of this name */
};

/* Options that mean something to fsctl itself rather than to fsd. */
enum local_option { LOCAL_NONE, LOCAL_CHECK, LOCAL_EXIT_CODE, LOCAL_MEASURE, LOCAL_LIMIT,
	LOCAL_CURSOR, LOCAL_TIMEOUT, LOCAL_LIST };

struct option {
	const char *name;  /* without the dashes */
	const char *value; /* as help shows it: "POOL"; NULL: a flag */
	enum word_kind kind;
	const char *field; /* of the request or query */
	const char *fixed; /* a flag that sends this text; NULL: it sends true */
	const char *choices; /* "a b c": for completions */
	enum local_option local;
	const char *help;
	const char *asks;     /* the kind of job that the command asks for with it, not its own */
	const char *not_with; /* "a b": other options that make no sense beside it */
};

struct global_option {
	const char *name;
	char letter; /* or 0 */
	const char *value;
	const char *help;
};

#define ARGS_MAX 3
#define OPTIONS_MAX 6

struct command {
	const char *words;    /* "site create" */
	const char *kind;     /* of the job it asks for; NULL: it only reads */
	const char *path;     /* of what it reads; each %s is the next argument */
	int (*run)(struct cli *); /* returns the exit code */
	const char *help;     /* one line */
	const char *text;     /* more, for the man page; or NULL */
	struct arg args[ARGS_MAX + 1];
	struct option options[OPTIONS_MAX + 1];
};

extern const struct command commands[]; /* ends with .words NULL */
extern const struct global_option global_options[]; /* ends with .name NULL */

/* "SITE [PATH...]", "--pool POOL", without brackets around the whole. Appended to a buffer. */
void command_synopsis(const struct command *cmd, char *out, size_t size);
/* By its words; NULL when there is none. */
const struct command *command_find(const char *word, const char *second);
/* Is it the first word of commands of two? */
bool is_noun(const char *word);

/* What may have been meant by a word that is none: the words of a command or the name of an option
 * (of `cmd`, which may be NULL, or of all); NULL where nothing is near. Static. */
const char *command_near(const char *word, const char *second);
const char *option_near(const struct command *cmd, const char *dashed);

#endif
