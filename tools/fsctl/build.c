/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* From the words of a command line to the request, or the path, that they ask for. */
#include "tools/fsctl/cli.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/fsctl/text.h"

#define FIELDS_MAX 24

/* A word taken apart: what is sent, by field. */
struct field {
	const char *name;
	char *text;	 /* owned */
	bool is_number;
	int number;
};

struct fields {
	struct field list[FIELDS_MAX];
	size_t n;
};

static int add(struct fields *f, const char *name, const char *text, size_t len)
{
	char *copy = strndup(text, len);

	if (!copy)
		return -ENOMEM;
	f->list[f->n++] = (struct field){.name = name, .text = copy};
	return 0;
}

static void release(struct fields *f)
{
	for (size_t i = 0; i < f->n; i++)
		free(f->list[i].text);
}

bool parse_number(const char *text, int *out)
{
	size_t len = strspn(text, "0123456789");
	long n;

	if (!len || text[len] || len > 10)
		return false;
	n = strtol(text, NULL, 10);
	if (n > 2147483647L)
		return false;
	*out = (int)n;
	return true;
}

/* SITE, then `mark` and the rest, which may be missing where `optional`. */
static int split(const struct cli *c, struct fields *f, const char *word, char mark,
	const char *second, bool optional)
{
	const char *at = strchr(word, mark);
	const char *wanted = mark == ':'
		? (optional ? "write SITE or SITE:N" : "write SITE:N")
		: (optional ? "write SITE or SITE@NAME" : "write SITE@SNAP");

	if ((!at && !optional) || (at && (at == word || !at[1])))
		return cli_usage(c, word, wanted);
	if (add(f, "site", word, at ? (size_t)(at - word) : strlen(word)) < 0 ||
		(at && add(f, second, at + 1, strlen(at + 1)) < 0))
		return cli_no_memory(c);
	if (at && mark == ':') {
		struct field *n = &f->list[f->n - 1];

		n->is_number = true;
		if (!parse_number(n->text, &n->number))
			return cli_usage(c, word, "the number of a generation is decimal");
	}
	return 0;
}

static int add_owned(const struct cli *c, struct fields *f, const char *name, char *text)
{
	if (!text)
		return cli_no_memory(c);
	f->list[f->n++] = (struct field){.name = name, .text = text};
	return 0;
}

static int source(const struct cli *c, struct fields *f, const char *name, const char *word)
{
	const char *at = strchr(word, '@');

	if (at && !at[1])
		return cli_usage(c, word, "the name of a snapshot is missing behind the @");
	return add_owned(c, f, name, source_absolute(word));
}

static int snapshot(const struct cli *c, struct fields *f, const char *name, const char *word)
{
	char *text;
	int r;

	if (name) {
		const char *at = strchr(word, '@');

		if (!at || at == word || !at[1])
			return cli_usage(c, word, "write SITE@SNAP");
		return source(c, f, name, word);
	}
	text = source_absolute(word);
	r = text ? split(c, f, text, '@', "snapshot", false) : cli_no_memory(c);
	free(text);
	return r;
}

static int directory(const struct cli *c, struct fields *f, const char *name, const char *word)
{
	char *path = path_absolute(word);

	if (path || errno == ENOMEM)
		return add_owned(c, f, name, path);
	return cli_error(c, errno == ENOENT ? FSC_EXIT_NOT_FOUND : FSC_EXIT_FAILED, "not_found",
		word, strerrordesc_np(errno), NULL);
}

static int number(const struct cli *c, struct fields *f, const char *name, const char *word)
{
	int n;

	if (!parse_number(word, &n))
		return cli_usage(c, word, "this is not a number");
	if (add(f, name, word, strlen(word)) < 0)
		return cli_no_memory(c);
	f->list[f->n - 1].is_number = true;
	f->list[f->n - 1].number = n;
	return 0;
}

/* One word into the fields it stands for; `name` as in the table. */
static int word(const struct cli *c, struct fields *f, enum word_kind kind, const char *name,
	const char *text)
{
	if (!*text)
		return cli_usage(c, NULL, "an argument is empty");
	switch (kind) {
	case W_NEW_SNAP:
		return split(c, f, text, '@', "name", true);
	case W_GENERATION:
		return split(c, f, text, ':', "generation", false);
	case W_MAYBE_GEN:
		return split(c, f, text, ':', "generation", true);
	case W_SNAPSHOT:
		return snapshot(c, f, name, text);
	case W_SOURCE:
		return source(c, f, name, text);
	case W_DIR:
		return directory(c, f, name, text);
	case W_NUMBER:
		return number(c, f, name, text);
	default:
		return add(f, name, text, strlen(text)) < 0 ? cli_no_memory(c) : 0;
	}
}

/* Everything but lists, maps and options that are fsctl's own. */
static int collect(const struct cli *c, struct fields *f)
{
	int r = 0;

	for (size_t i = 0; i < ARGS_MAX && c->cmd->args[i].name && r == 0; i++) {
		if (c->args[i])
			r = word(c, f, c->cmd->args[i].kind, c->cmd->args[i].field, c->args[i]);
	}
	for (size_t i = 0; c->cmd->options[i].name && r == 0; i++) {
		const struct option *o = &c->cmd->options[i];

		if (!c->options[i] || o->local || o->kind == W_PARTS)
			continue;
		if (!o->value)
			r = word(c, f, W_TEXT, o->field, o->fixed ? o->fixed : "true");
		else
			r = word(c, f, o->kind, o->field, c->options[i]);
	}
	return r;
}

/* ---- requests ---- */

static bool is_flag(const struct cli *c, const char *field)
{
	for (const struct option *o = c->cmd->options; o->name; o++) {
		if (!o->value && !o->fixed && o->field && strcmp(o->field, field) == 0)
			return true;
	}
	return false;
}

static int set_parts(struct fsc_request *req, const char *field, const char *text)
{
	char *copy = strdup(text), *save = NULL;
	const char *parts[16];
	size_t n = 0;
	int r;

	if (!copy)
		return -ENOMEM;
	for (char *p = strtok_r(copy, ",", &save); p && n < 16; p = strtok_r(NULL, ",", &save))
		parts[n++] = p;
	r = fsc_request_set_list(req, field, parts, n);
	free(copy);
	return r;
}

/* KEY=VALUE words; "label.KEY=" removes. */
static int set_pairs(const struct cli *c, struct fsc_request *req, const char *field)
{
	const char **keys = calloc(c->n_many * 2 + 1, sizeof(*keys));
	const char **values = keys ? keys + c->n_many : NULL;
	int r = keys ? 0 : cli_no_memory(c);

	for (size_t i = 0; i < c->n_many && r == 0; i++) {
		const char *eq = strchr(c->many[i], '=');

		if (!eq || eq == c->many[i]) {
			r = cli_usage(c, c->many[i], "write KEY=VALUE");
			break;
		}
		keys[i] = strndup(c->many[i], (size_t)(eq - c->many[i]));
		values[i] = !eq[1] && strncmp(c->many[i], "label.", 6) == 0 ? NULL : eq + 1;
		if (!keys[i])
			r = cli_no_memory(c);
	}
	if (r == 0 && fsc_request_set_map(req, field, keys, values, c->n_many) < 0)
		r = cli_no_memory(c);
	for (size_t i = 0; keys && i < c->n_many; i++)
		free((void *)(uintptr_t)keys[i]);
	free(keys);
	return r;
}

static int set_lists(const struct cli *c, struct fsc_request *req)
{
	for (const struct arg *a = c->cmd->args; a->name; a++) {
		if (!(a->flags & ARG_MANY) || !c->n_many)
			continue;
		if (a->kind == W_PAIRS)
			return set_pairs(c, req, a->field);
		if (fsc_request_set_list(req, a->field, c->many, c->n_many) < 0)
			return cli_no_memory(c);
	}
	for (size_t i = 0; c->cmd->options[i].name; i++) {
		const struct option *o = &c->cmd->options[i];

		if (c->options[i] && o->kind == W_PARTS &&
			set_parts(req, o->field, c->options[i]) < 0)
			return cli_no_memory(c);
	}
	return 0;
}

static void set_common(const struct cli *c, struct fsc_request *req)
{
	if (c->dry_run)
		fsc_request_set_bool(req, "dry_run", true);
	if (c->yes)
		fsc_request_set_bool(req, "confirm", true);
	if (c->note)
		fsc_request_set_str(req, "note", c->note);
}

/* An option may ask for another kind of job. */
static const char *kind_of(const struct cli *c)
{
	for (size_t i = 0; c->cmd->options[i].name; i++) {
		if (c->options[i] && c->cmd->options[i].asks)
			return c->cmd->options[i].asks;
	}
	return c->cmd->kind;
}

int build_request(struct cli *c, struct fsc_request **out)
{
	struct fsc_request *req = fsc_request_new(kind_of(c));
	struct fields f = {.n = 0};
	int r = req ? collect(c, &f) : cli_no_memory(c);

	for (size_t i = 0; i < f.n && r == 0; i++) {
		if (f.list[i].is_number)
			fsc_request_set_int(req, f.list[i].name, f.list[i].number);
		else if (is_flag(c, f.list[i].name))
			fsc_request_set_bool(req, f.list[i].name, true);
		else
			fsc_request_set_str(req, f.list[i].name, f.list[i].text);
	}
	if (r == 0)
		r = set_lists(c, req);
	release(&f);
	if (r) {
		fsc_request_free(&req);
		return r;
	}
	set_common(c, req);
	*out = req;
	return 0;
}

/* ---- paths ---- */

/* The template with each %s replaced by the next field; *used counts them. */
static char *fill(const char *template, const struct fields *f, size_t *used)
{
	char *out = NULL;
	size_t len;
	FILE *m = open_memstream(&out, &len);

	for (const char *p = template; m && *p; p++) {
		if (p[0] == '%' && p[1] == 's' && *used < f->n) {
			char *part = fsc_path("%s", f->list[(*used)++].text);

			fputs(part ? part : "", m);
			free(part);
			p++;
		} else {
			fputc(*p, m);
		}
	}
	return m && fclose(m) == 0 ? out : NULL;
}

int build_path(struct cli *c, char **out)
{
	struct fields f = {.n = 0};
	char *path = NULL;
	size_t used = 0;
	int r = collect(c, &f);

	if (r == 0) {
		path = fill(c->cmd->path, &f, &used);
		r = path ? 0 : cli_no_memory(c);
	}
	for (size_t i = used; i < f.n && r == 0; i++) {
		if (fsc_path_add(&path, f.list[i].name, f.list[i].text) < 0)
			r = cli_no_memory(c);
	}
	release(&f);
	if (r == 0)
		*out = path;
	else
		free(path);
	return r;
}
