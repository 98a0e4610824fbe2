/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Completion scripts for bash and zsh, from the command table. Both find the words so far, then
 * offer commands, options, or names asked of fsd (which cost a fsctl run of a few milliseconds, and
 * are empty without a daemon).
 */
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "tools/fsctl/cli.h"

/* What completes a kind of word: an argument of __fsctl_names in both scripts. */
static const char *names_of(enum word_kind kind)
{
	switch (kind) {
	case W_SITE:
	case W_NEW_SNAP:
		return "sites";
	case W_SOURCE:
	case W_SNAPSHOT:
		return "sources";
	case W_GENERATION:
	case W_MAYBE_GEN:
		return "sites";
	case W_POOL:
		return "pools";
	case W_JOB:
		return "jobs";
	case W_UNDOABLE:
		return "undoable";
	case W_DELETED:
		return "deleted";
	case W_DIR:
		return "directory";
	case W_FILE:
		return "file";
	default:
		return "none";
	}
}

/* The second words of a noun, or the first words where noun is NULL, each once. */
static void words(const char *noun)
{
	size_t len = noun ? strlen(noun) : 0;
	const char *before = "";

	for (const struct command *cmd = commands; cmd->words; cmd++) {
		int first = (int)strcspn(cmd->words, " ");

		if (noun && strncmp(cmd->words, noun, len) == 0 && cmd->words[len] == ' ') {
			printf("%s%s", before, cmd->words + len + 1);
			before = " ";
		}
		if (!noun && (cmd == commands ||
				     strncmp(cmd->words, cmd[-1].words, (size_t)first + 1) != 0)) {
			printf("%s%.*s", before, first, cmd->words);
			before = " ";
		}
	}
}

static void global_words(void)
{
	for (const struct global_option *g = global_options; g->name; g++)
		printf(" --%s", g->name);
}

/* Options that take a value: the word behind them is no argument. */
static void valued_options(void)
{
	const char *before = "";

	for (const struct command *cmd = commands; cmd->words; cmd++) {
		for (const struct option *o = cmd->options; o->name; o++) {
			if (o->value) {
				printf("%s--%s", before, o->name);
				before = "|";
			}
		}
	}
	for (const struct global_option *g = global_options; g->name; g++) {
		if (g->value)
			printf("%s--%s", before, g->name);
	}
}

/* `case` branches that set opts and names for a command; shared by both shells. */
static void command_cases(void)
{
	for (const struct command *cmd = commands; cmd->words; cmd++) {
		printf("\t'%s')\n\t\topts='", cmd->words);
		for (const struct option *o = cmd->options; o->name; o++)
			printf("%s--%s", o == cmd->options ? "" : " ", o->name);
		fputs("'\n\t\targs='", stdout);
		for (const struct arg *a = cmd->args; a->name; a++)
			printf("%s%s", a == cmd->args ? "" : " ", names_of(a->kind));
		puts("'\n\t\t;;");
	}
}

/* `case` branches by option: what completes its value. */
static void value_cases(void)
{
	char seen[1024] = " ";

	for (const struct command *cmd = commands; cmd->words; cmd++) {
		for (const struct option *o = cmd->options; o->name; o++) {
			char mark[64];

			snprintf(mark, sizeof(mark), " %s ", o->name);
			if (!o->value || strstr(seen, mark))
				continue;
			strncat(seen, mark + 1, sizeof(seen) - strlen(seen) - 1);
			if (o->choices)
				printf("\t--%s) values='%s' ;;\n", o->name, o->choices);
			else
				printf("\t--%s) names=%s ;;\n", o->name, names_of(o->kind));
		}
	}
}

static const char names_function[] =
	"__fsctl_names() {\n"
	"\tcase $1 in\n"
	"\tsites) fsctl site list --quiet 2>/dev/null ;;\n"
	"\tdeleted) fsctl site list --deleted --quiet 2>/dev/null ;;\n"
	"\tsources)\n"
	"\t\tcase $2 in\n"
	"\t\t*@*) fsctl snapshot list \"${2%%@*}\" --quiet 2>/dev/null ;;\n"
	"\t\t*:*) fsctl generation list \"${2%%:*}\" --quiet 2>/dev/null ;;\n"
	"\t\t*) fsctl site list --quiet 2>/dev/null ;;\n"
	"\t\tesac ;;\n"
	"\tpools) fsctl pool list --quiet 2>/dev/null ;;\n"
	"\tjobs) fsctl job list --quiet --limit 100 2>/dev/null ;;\n"
	"\tundoable) fsctl job list --undoable --quiet --limit 100 2>/dev/null ;;\n"
	"\tesac\n"
	"}\n";

/* The first command of a noun; its noun is the next `*len` bytes. */
static bool begins_noun(const struct command *cmd, size_t *len)
{
	*len = strcspn(cmd->words, " ");
	if (!cmd->words[*len])
		return false;
	return cmd == commands || strncmp(cmd->words, cmd[-1].words, *len + 1) != 0;
}

/* `case` pattern of all two-word commands. */
static void two_words(void)
{
	const char *before = "";

	for (const struct command *cmd = commands; cmd->words; cmd++) {
		if (strchr(cmd->words, ' ')) {
			printf("%s'%s'", before, cmd->words);
			before = "|";
		}
	}
}

static void nouns(void)
{
	const char *before = "";
	size_t len;

	for (const struct command *cmd = commands; cmd->words; cmd++) {
		if (begins_noun(cmd, &len)) {
			printf("%s%.*s", before, (int)len, cmd->words);
			before = "|";
		}
	}
}

/*
 * From the array `typed` of whole words (without "fsctl" and the word under the cursor): the
 * command in `cmd`, the number of arguments in `n`, the last word in `last`, and in `skip` whether
 * that wants a value. "${x[@]}" is the same in both shells, indexes are not used.
 */
static void state_code(void)
{
	fputs("\tlocal cmd= noun= word= skip= last= opts= args= names=none values= n=0 i=0\n"
	      "\tfor word in \"${typed[@]}\"; do\n"
	      "\t\tlast=$word\n"
	      "\t\tif [ -n \"$skip\" ]; then skip=; continue; fi\n"
	      "\t\tcase $word in\n\t\t", stdout);
	valued_options();
	fputs(") skip=1 ;;\n"
	      "\t\t-*) ;;\n"
	      "\t\t*)\n"
	      "\t\t\tif [ -n \"$cmd\" ]; then n=$((n + 1))\n"
	      "\t\t\telif [ -n \"$noun\" ]; then\n"
	      "\t\t\t\tcase \"$noun $word\" in\n\t\t\t\t", stdout);
	two_words();
	fputs(") cmd=\"$noun $word\" ;;\n"
	      "\t\t\t\t*) cmd=$noun; n=1 ;;\n"
	      "\t\t\t\tesac\n"
	      "\t\t\telse\n"
	      "\t\t\t\tcase $word in\n\t\t\t\t", stdout);
	nouns();
	puts(") noun=$word ;;\n"
	     "\t\t\t\t*) cmd=$word ;;\n"
	     "\t\t\t\tesac\n"
	     "\t\t\tfi ;;\n"
	     "\t\tesac\n"
	     "\tdone");
}

/* No command yet: first words, or second ones. A noun that is a verb too takes arguments. */
static void word_choices(void)
{
	size_t len;

	puts("\t\tcase $noun in");
	for (const struct command *cmd = commands; cmd->words; cmd++) {
		char noun[64];

		if (!begins_noun(cmd, &len))
			continue;
		snprintf(noun, sizeof(noun), "%.*s", (int)len, cmd->words);
		printf("\t\t%s) values='", noun);
		words(noun);
		printf("'%s ;;\n", command_find(noun, NULL) ? "; names=sites" : "");
	}
	fputs("\t\t*) values='", stdout);
	words(NULL);
	puts("' ;;\n\t\tesac");
}

/* What fits under the cursor: `values`, `opts`, and the kind of `names`. */
static void choice_code(void)
{
	puts("\tcase $cmd in");
	command_cases();
	puts("\tesac\n"
	     "\tif [ -n \"$skip\" ]; then\n"
	     "\t\tcase $last in");
	value_cases();
	puts("\t\tesac\n"
	     "\t\topts=\n"
	     "\telif [ -z \"$cmd\" ]; then");
	word_choices();
	fputs("\t\topts='", stdout);
	global_words();
	puts("'\n"
	     "\telse");
	fputs("\t\topts=\"$opts", stdout);
	global_words();
	puts("\"\n"
	     "\t\tfor word in $args; do\n"
	     "\t\t\tif [ $i -eq $n ]; then names=$word; fi\n"
	     "\t\t\ti=$((i + 1))\n"
	     "\t\tdone\n"
	     "\tfi");
}

static void bash_completion(void)
{
	puts("# bash completion for fsctl(1); made by fsctl --generate-completion bash");
	fputs(names_function, stdout);
	puts("_fsctl() {\n"
	     "\tlocal cur prev cword words typed\n"
	     "\tif declare -F _get_comp_words_by_ref >/dev/null; then\n"
	     "\t\t_get_comp_words_by_ref -n '@:=' cur prev cword words\n"
	     "\telse\n"
	     "\t\tcur=${COMP_WORDS[COMP_CWORD]} cword=$COMP_CWORD words=(\"${COMP_WORDS[@]}\")\n"
	     "\tfi\n"
	     "\ttyped=(\"${words[@]:1:cword-1}\")");
	state_code();
	choice_code();
	puts("\tcase ${names}:${cur} in\n"
	     "\t*:-*|sources:*[@:]*) ;;\n"
	     "\tdirectory:*|file:*)\n"
	     "\t\tcompopt -o filenames 2>/dev/null\n"
	     "\t\tCOMPREPLY=($(compgen -A \"$names\" -- \"$cur\"))\n"
	     "\t\treturn ;;\n"
	     "\tsources:*) compopt -o nospace 2>/dev/null ;;\n"
	     "\tesac\n"
	     "\tif [ \"${cur#-}\" != \"$cur\" ]; then values=$opts\n"
	     "\telse values=\"$values $(__fsctl_names \"$names\" \"$cur\")\"\n"
	     "\tfi\n"
	     "\tCOMPREPLY=($(compgen -W \"$values\" -- \"$cur\"))\n"
	     "\tif declare -F __ltrim_colon_completions >/dev/null; then\n"
	     "\t\t__ltrim_colon_completions \"$cur\"\n"
	     "\tfi\n"
	     "}\n"
	     /* As bash-completion does, too: SITE@SNAP is one word. */
	     "shopt -u hostcomplete\n"
	     "complete -F _fsctl fsctl");
}

static void zsh_completion(void)
{
	puts("#compdef fsctl\n"
	     "# zsh completion for fsctl(1); made by fsctl --generate-completion zsh");
	fputs(names_function, stdout);
	puts("_fsctl() {\n"
	     "\tsetopt localoptions shwordsplit\n"
	     "\tlocal cur typed\n"
	     "\tcur=${words[$CURRENT]}\n"
	     "\ttyped=(\"${(@)words[2,CURRENT-1]}\")");
	state_code();
	choice_code();
	puts("\tcase ${names}:${cur} in\n"
	     "\t*:-*) compadd -- $opts ;;\n"
	     "\tdirectory:*) unsetopt shwordsplit; _files -/ ;;\n"
	     "\tfile:*) unsetopt shwordsplit; _files ;;\n"
	     "\tsources:*[@:]*) compadd -- $(__fsctl_names sources \"$cur\") ;;\n"
	     "\tsources:*) compadd -S '' -- $(__fsctl_names sources) ;;\n"
	     "\t*) compadd -- $values $(__fsctl_names \"$names\") ;;\n"
	     "\tesac\n"
	     "}\n"
	     "if [ \"$funcstack[1]\" = _fsctl ]; then _fsctl \"$@\"; "
	     "else compdef _fsctl fsctl; fi");
}

int print_completion(const char *shell)
{
	if (strcmp(shell, "bash") == 0)
		bash_completion();
	else if (strcmp(shell, "zsh") == 0)
		zsh_completion();
	else
		return -1;
	return 0;
}
