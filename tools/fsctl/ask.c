/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* "Sure?": fsd says when a request wants an answer; a person at a terminal is asked. */
#include "tools/fsctl/ask.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/fsctl/text.h"

static int not_confirmed(const struct cli *c, const struct fsc_error *err)
{
	return cli_error(c, FSC_EXIT_USAGE, "not_confirmed", err->object,
		"not confirmed, nothing was changed", NULL);
}

static int in_a_script(const struct cli *c, const struct fsc_error *err)
{
	struct fsc_error e = *err;

	if (!strstr(e.hint, "--yes"))
		snprintf(e.hint, sizeof(e.hint), "say --yes to confirm");
	return cli_fail(c, &e);
}

/* A line without its end and the blanks around it; false at the end of the file. */
static bool read_line(char *line, size_t size)
{
	size_t len, skip;

	if (!fgets(line, (int)size, stdin))
		return false;
	len = strlen(line);
	while (len && isspace((unsigned char)line[len - 1]))
		line[--len] = '\0';
	skip = strspn(line, " \t");
	memmove(line, line + skip, len - skip + 1);
	return true;
}

static bool is_yes(const char *line)
{
	return strcasecmp(line, "y") == 0 || strcasecmp(line, "yes") == 0;
}

int ask_confirm(const struct cli *c, const struct fsc_error *err)
{
	bool by_name = strcmp(c->cmd->words, "site delete") == 0;
	const char *name = c->args[0] ? c->args[0] : "";
	char line[512] = "";

	if (!isatty(STDIN_FILENO) || !isatty(STDERR_FILENO))
		return in_a_script(c, err);
	put_safe(stderr, err->reason);
	if (by_name) {
		fputs("\nType the name of the site to delete it: ", stderr);
	} else {
		fprintf(stderr, "%s [y/N] ", strchr(err->reason, '?') ? "" : "?");
	}
	fflush(stderr);
	if (!read_line(line, sizeof(line))) {
		fputc('\n', stderr);
		return not_confirmed(c, err);
	}
	if (by_name ? strcmp(line, name) == 0 : is_yes(line))
		return 0;
	return not_confirmed(c, err);
}
