/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* site import: one directory, or all that a list names. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/fsctl/cli.h"
#include "tools/fsctl/job.h"

struct lines {
	const char *file; /* for messages */
	struct line {
		char *name, *dir;
	} *items;
	size_t n, size;
};

static void lines_release(struct lines *l)
{
	for (; l->n; l->n--) {
		free(l->items[l->n - 1].name);
		free(l->items[l->n - 1].dir);
	}
	free(l->items);
}

static int add_line(const struct cli *c, struct lines *l, const char *name, const char *dir)
{
	struct line *line;

	if (l->n == l->size) {
		size_t size = l->size ? 2 * l->size : 64;
		void *items = realloc(l->items, size * sizeof(*l->items));

		if (!items)
			return cli_no_memory(c);
		l->items = items;
		l->size = size;
	}
	line = &l->items[l->n++];
	line->name = strdup(name);
	line->dir = strdup(dir);
	return line->name && line->dir ? 0 : cli_no_memory(c);
}

/* "NAME DIR": the directory is all that follows, so it may hold spaces. Empty lines and those that
 * begin with # say nothing. */
static int read_line(const struct cli *c, struct lines *l, char *text, unsigned number)
{
	char *name = text + strspn(text, " \t"), *dir;
	char reason[512];

	name[strcspn(name, "\n")] = '\0';
	if (!*name || *name == '#')
		return 0;
	dir = name + strcspn(name, " \t");
	if (*dir) {
		*dir++ = '\0';
		dir += strspn(dir, " \t");
	}
	if (*dir)
		return add_line(c, l, name, dir);
	snprintf(reason, sizeof(reason), "line %u of %.300s is not \"NAME DIR\"", number, l->file);
	return cli_usage(c, NULL, reason);
}

static int read_lines(const struct cli *c, struct lines *l)
{
	FILE *f = strcmp(l->file, "-") == 0 ? stdin : fopen(l->file, "re");
	unsigned number = 0;
	char *text = NULL;
	size_t size = 0;
	int r = 0;

	if (!f)
		return cli_error(c, errno == ENOENT ? FSC_EXIT_NOT_FOUND : FSC_EXIT_FAILED,
			"cannot_read", l->file, strerrordesc_np(errno), NULL);
	while (r == 0 && getline(&text, &size, f) >= 0)
		r = read_line(c, l, text, ++number);
	if (r == 0 && ferror(f))
		r = cli_error(c, FSC_EXIT_FAILED, "cannot_read", l->file, strerrordesc_np(errno),
			NULL);
	free(text);
	if (f != stdin)
		fclose(f);
	return r;
}

/* One job after the other; an error of one is told and the next goes on. */
static int import_each(struct cli *c, const struct lines *l)
{
	size_t failed = 0, printed = 0;
	int r = 0, last = 0;

	for (size_t i = 0; i < l->n && r != FSC_EXIT_INTERRUPTED && r != FSC_EXIT_UNREACHABLE;
	     i++) {
		c->args[0] = l->items[i].name;
		c->args[1] = l->items[i].dir;
		r = job_item(c, &printed);
		if (r) {
			failed++;
			last = r;
		}
	}
	if (r == FSC_EXIT_INTERRUPTED || r == FSC_EXIT_UNREACHABLE || failed == l->n)
		return last;
	return failed ? FSC_EXIT_PARTIAL : 0;
}

static int import_list(struct cli *c, const char *file)
{
	struct lines l = {.file = file};
	int r = read_lines(c, &l);

	if (r == 0) {
		if (c->json)
			fputs("{\"items\": [\n  ", stdout);
		r = import_each(c, &l);
		if (c->json)
			fputs("], \"next\": null}\n", stdout);
	}
	c->args[0] = c->args[1] = NULL;
	lines_release(&l);
	return r;
}

int run_import(struct cli *c)
{
	const char *file = cli_local(c, LOCAL_LIST);

	if (file && c->args[0])
		return cli_usage(c, NULL, "--list stands in the place of NAME and DIR");
	if (!file && !c->args[1])
		return cli_usage(c, NULL, c->args[0] ? "DIR is missing"
					     : "NAME and DIR, or --list, are missing");
	return file ? import_list(c, file) : run_job(c);
}
