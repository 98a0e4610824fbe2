/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tools/fsctl/outline.h"

#include <stdlib.h>
#include <string.h>

#include "tools/fsctl/text.h"

#define ITEMS_MAX 20 /* of a list that are printed */
#define KEY_MAX 64

struct outline {
	/* Called for each line; `key` is "" where the line belongs to the one before. */
	void (*line)(struct outline *o, const char *key, const char *text);
	const char *head;
	size_t width; /* of the widest key */
	size_t n;     /* lines so far */
	bool human;
};

/* ---- one value ---- */

/* What is known by a name: a site, SITE@SNAPSHOT, SITE:GENERATION. */
static bool put_name(FILE *f, const struct fsc_value *v)
{
	const char *site = fsc_value_str(v, "site.name"), *name = fsc_value_str(v, "name");
	int64_t number = fsc_value_int(v, "number", 0);

	if (!name && !(site && number))
		return false;
	if (site) {
		put_safe(f, site);
		fputc(name ? '@' : ':', f);
	}
	if (name)
		put_safe(f, name);
	else
		fprintf(f, "%lld", (long long)number);
	return true;
}

static void put_text(FILE *f, const struct fsc_value *v, bool human)
{
	char *bytes = fsc_value_bytes(v, NULL), time[SIZE_TEXT];
	const char *text = fsc_value_str(v, NULL);

	if (human && strlen(text) < SIZE_TEXT)
		text = local_time(text, time);
	/* Bytes that JSON cannot carry are a path's. */
	if (bytes && strcmp(bytes, fsc_value_str(v, NULL)) != 0)
		put_quoted(f, bytes);
	else
		put_safe(f, text);
	free(bytes);
}

static void put_scalar(FILE *f, const struct fsc_value *v, bool human)
{
	char *json;

	if (fsc_value_type(v) == FSC_STR) {
		put_text(f, v, human);
	} else if (fsc_value_type(v) == FSC_BOOL) {
		fputs(fsc_value_bool(v, NULL, false) ? "yes" : "no", f);
	} else if (fsc_value_type(v) != FSC_OBJECT || !put_name(f, v)) {
		json = fsc_value_text(v, 0);
		put_safe(f, json ? json : "");
		free(json);
	}
}

static bool is_empty(const struct fsc_value *v)
{
	enum fsc_type type = fsc_value_type(v);

	return type == FSC_NULL ||
	       ((type == FSC_LIST || type == FSC_OBJECT) && fsc_value_count(v) == 0);
}

void outline_pairs(FILE *f, const struct fsc_value *object, bool human)
{
	const char *before = "";

	for (const char *key = NULL; (key = fsc_value_next(object, key));) {
		const struct fsc_value *v = fsc_value_member(object, key);

		if (is_empty(v))
			continue;
		fputs(before, f);
		put_safe(f, key);
		fputc('=', f);
		put_scalar(f, v, human);
		before = " ";
	}
}

/* ---- lines ---- */

static void emit(struct outline *o, const char *key, const struct fsc_value *v, bool pairs)
{
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	if (!f)
		return;
	if (pairs)
		outline_pairs(f, v, o->human);
	else
		put_scalar(f, v, o->human);
	if (fclose(f) == 0) {
		o->line(o, key, text);
		o->n++;
	}
	free(text);
}

static void walk_list(struct outline *o, const char *key, const struct fsc_value *list)
{
	size_t n = fsc_value_count(list);
	char more[64];

	for (size_t i = 0; i < n && i < ITEMS_MAX; i++) {
		const struct fsc_value *item = fsc_value_item(list, i);

		emit(o, i ? "" : key, item, fsc_value_type(item) == FSC_OBJECT);
	}
	if (n > ITEMS_MAX) {
		snprintf(more, sizeof(more), "... and %zu more (--json has them)", n - ITEMS_MAX);
		o->line(o, "", more);
	}
}

static void walk(struct outline *o, const char *prefix, const struct fsc_value *object)
{
	for (const char *key = NULL; (key = fsc_value_next(object, key));) {
		const struct fsc_value *v = fsc_value_member(object, key);
		char whole[KEY_MAX];

		snprintf(whole, sizeof(whole), "%s%s%s", prefix, *prefix ? "." : "", key);
		if (is_empty(v))
			continue;
		if (fsc_value_type(v) == FSC_LIST)
			walk_list(o, whole, v);
		else if (fsc_value_type(v) == FSC_OBJECT && !fsc_value_str(v, "name") &&
			 !fsc_value_int(v, "number", 0))
			walk(o, whole, v);
		else
			emit(o, whole, v, false);
	}
}

static void measure(struct outline *o, const char *key, const char *text)
{
	(void)text;
	o->width = strlen(key) > o->width ? strlen(key) : o->width;
}

static void print(struct outline *o, const char *key, const char *text)
{
	char *safe = safe_text(key);

	printf("%*s%-*s  %s\n", (int)strlen(o->head), o->n ? "" : o->head, (int)o->width,
		safe ? safe : "", text);
	free(safe);
}

void outline_print(const struct fsc_value *object, const char *head, bool human)
{
	struct outline o = {.line = measure, .head = head, .human = human};

	walk(&o, "", object);
	o.line = print;
	o.n = 0;
	walk(&o, "", object);
}
