/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What jobs have made, in a line or two for people, or as the bare name for scripts. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/fsctl/job.h"
#include "tools/fsctl/text.h"

static const char *str(const struct fsc_value *v, const char *path)
{
	const char *s = fsc_value_str(v, path);

	return s ? s : "?";
}

static void safe(const struct fsc_value *v, const char *path)
{
	put_safe(stdout, str(v, path));
}

/* " (snapshot, atomic, 12,345 entries, 1.2 GiB, 3 ms)": what the job's stats know. */
static void print_stats(const struct fsc_value *job)
{
	static const char *const words[] = {"stats.method", "stats.consistency"};
	char text[SIZE_TEXT];
	const char *comma = " (";
	int64_t n;

	for (int i = 0; i < 2; i++) {
		const char *word = fsc_value_str(job, words[i]);

		if (word && *word) {
			fputs(comma, stdout);
			put_safe(stdout, word);
			comma = ", ";
		}
	}
	n = fsc_value_int(job, "stats.entries", 0);
	if (n > 0) {
		printf("%s%s", comma, entries_text(n, text));
		comma = ", ";
	}
	n = fsc_value_int(job, "stats.bytes", 0);
	if (n > 0) {
		printf("%s%s", comma, size_text(n, text));
		comma = ", ";
	}
	if (fsc_value_real(job, "stats.seconds", -1) >= 0) {
		printf("%s%s", comma, seconds_text(fsc_value_real(job, "stats.seconds", 0), text));
		comma = ", ";
	}
	if (comma[0] == ',')
		putchar(')');
}

static void print_undo(const struct fsc_value *job)
{
	char text[SIZE_TEXT];

	if (!fsc_value_bool(job, "undoable", false))
		return;
	fputs("\"fsctl undo ", stdout);
	safe(job, "id");
	fputs("\" takes it back", stdout);
	if (fsc_value_str(job, "result.site.kept_until"))
		printf(" until %s", local_time(str(job, "result.site.kept_until"), text));
	putchar('\n');
}

/* What an import put aside. */
static void print_kept(const struct fsc_value *result)
{
	char text[SIZE_TEXT];

	if (!fsc_value_str(result, "kept.path"))
		return;
	fputs("what was copied is kept as ", stdout);
	safe(result, "kept.path");
	printf(" until %s\n", local_time(str(result, "kept.until"), text));
}

static void print_snapshot(const struct fsc_value *result)
{
	fputs("snapshot ", stdout);
	safe(result, "snapshot.site.name");
	putchar('@');
	safe(result, "snapshot.name");
}

static void made_site(const struct fsc_value *job, const struct fsc_value *result,
	const char *what)
{
	fputs("site ", stdout);
	safe(result, "site.name");
	printf(" %s", what);
	print_stats(job);
	putchar('\n');
}

static void print_switch(const struct fsc_value *job, const struct fsc_value *result)
{
	int64_t live = fsc_value_int(result, "generation", 0);
	int64_t retired = fsc_value_int(result, "retired", 0);

	fputs("site ", stdout);
	safe(result, "site.name");
	if (live)
		printf(": generation %lld is live", (long long)live);
	if (retired)
		printf(", %lld is retired", (long long)retired);
	print_stats(job);
	putchar('\n');
}

static void print_setting(const char *text, const char *key)
{
	bool expires = strcmp(key, "expires") == 0;
	char time[SIZE_TEXT];

	if (!text)
		fputs(expires ? "never" : "none", stdout);
	else
		put_safe(stdout, expires ? local_time(text, time) : text);
}

/* What was set, a line each: "  label.customer  none -> acme". */
static void print_settings(const struct fsc_value *set)
{
	size_t n = fsc_value_count(set), width = 0;

	for (size_t i = 0; i < n; i++) {
		size_t len = strlen(str(fsc_value_item(set, i), "key"));

		width = len > width ? len : width;
	}
	for (size_t i = 0; i < n; i++) {
		const struct fsc_value *item = fsc_value_item(set, i);
		const char *key = str(item, "key"), *from = fsc_value_str(item, "from");
		const char *to = fsc_value_str(item, "to");

		fputs("  ", stdout);
		put_safe(stdout, key);
		printf("%*s", (int)(width - strlen(key)) + 2, "");
		print_setting(from, key);
		if (strcmp(from ? from : "", to ? to : "") != 0) {
			fputs(" -> ", stdout);
			print_setting(to, key);
			putchar('\n');
		} else {
			puts(", as it was");
		}
	}
}

static void print_paths(const struct fsc_value *job, const struct fsc_value *paths)
{
	if (!fsc_value_count(paths)) {
		fputs("site ", stdout);
		safe(job, "site.name");
		puts(": nothing differed");
	}
	for (size_t i = 0; i < fsc_value_count(paths); i++) {
		const struct fsc_value *item = fsc_value_item(paths, i);
		char *path = fsc_value_bytes(item, "path");

		safe(item, "change");
		putchar(' ');
		put_quoted(stdout, path ? path : "?");
		putchar('\n');
		free(path);
	}
}

bool problems_print(const struct fsc_value *result)
{
	const struct fsc_value *problems = fsc_value_at(result, "problems");

	for (size_t i = 0; i < fsc_value_count(problems); i++) {
		const struct fsc_value *item = fsc_value_item(problems, i);
		char *path = fsc_value_bytes(item, "path");

		put_quoted(stdout, path ? path : str(item, "object"));
		fputs(": ", stdout);
		safe(item, "reason");
		putchar('\n');
		free(path);
	}
	return fsc_value_count(problems) > 0;
}

/* "sites: 2 added (a, b), 1 removed (c)" */
static void print_changes(const char *what, const struct fsc_value *changes)
{
	static const char *const kinds[] = {"added", "removed", "changed"};
	bool any = false;

	printf("%s:", what);
	for (int i = 0; i < 3; i++) {
		const struct fsc_value *names = fsc_value_at(changes, kinds[i]);
		size_t n = fsc_value_count(names);

		if (!n)
			continue;
		printf("%s %zu %s (", any ? "," : "", n, kinds[i]);
		for (size_t k = 0; k < n && k < 20; k++) {
			fputs(k ? ", " : "", stdout);
			put_safe(stdout, str(fsc_value_item(names, k), NULL));
		}
		fputs(n > 20 ? ", ...)" : ")", stdout);
		any = true;
	}
	puts(any ? "" : " as they were");
}

static void print_failed(const struct fsc_value *result)
{
	const struct fsc_value *failed = fsc_value_at(result, "failed");

	for (size_t i = 0; i < fsc_value_count(failed); i++) {
		const struct fsc_value *item = fsc_value_item(failed, i);
		char *path = fsc_value_bytes(item, "path");

		fputs("fsctl: not done: ", stderr);
		put_quoted(stderr, path ? path : str(item, "object"));
		if (fsc_value_str(item, "reason")) {
			fputs(": ", stderr);
			put_safe(stderr, fsc_value_str(item, "reason"));
		}
		fputc('\n', stderr);
		free(path);
	}
}

static void print_warnings(const struct fsc_value *result)
{
	const struct fsc_value *warnings = fsc_value_at(result, "warnings");

	for (size_t i = 0; i < fsc_value_count(warnings); i++) {
		const char *text = fsc_value_str(fsc_value_item(warnings, i), NULL);

		fputs("fsctl: warning: ", stderr);
		put_safe(stderr, text ? text : str(fsc_value_item(warnings, i), "reason"));
		fputc('\n', stderr);
	}
}

/* ---- by kind ---- */

static const struct {
	const char *kind, *site, *snapshot; /* what was done to the one or the other */
} verbs[] = {
	{"snapshot", .snapshot = "taken"},
	{"snapshot-delete", .snapshot = "deleted"},
	{"snapshot-set", .snapshot = "set"},
	{"snapshot-measure", .snapshot = "measured"},
	{"clone", .site = "made"},
	{"site-create", .site = "made"},
	{"site-import", .site = "imported"},
	{"site-set", .site = "set"},
	{"site-measure", .site = "measured"},
	{"site-delete", .site = "deleted"},
	{"site-undelete", .site = "is back"},
};

static void print_dir(const struct fsc_value *job, const struct fsc_value *result)
{
	char *dir = fsc_value_bytes(result, "dir");

	put_quoted(stdout, dir ? dir : "?");
	print_stats(job);
	putchar('\n');
	free(dir);
}

static void print_eject(const struct fsc_value *job, const struct fsc_value *result)
{
	fputs("site ", stdout);
	safe(result, "site.name");
	fputs(" ejected to ", stdout);
	print_dir(job, result);
}

static void print_copy(const struct fsc_value *job, const struct fsc_value *result)
{
	safe(result, "source");
	fputs(" copied to ", stdout);
	print_dir(job, result);
}

static void print_generation(const struct fsc_value *job, const struct fsc_value *result,
	const char *what)
{
	const struct fsc_value *g = fsc_value_at(result, "generation");

	fputs("generation ", stdout);
	put_safe(stdout, fsc_value_str(g, "site.name") ? str(g, "site.name")
							       : str(job, "site.name"));
	printf(":%lld %s", (long long)fsc_value_int(g, "number", 0), what);
	print_stats(job);
	putchar('\n');
}

static void print_rename(const struct fsc_value *job, const struct fsc_value *result)
{
	(void)job;
	fputs("site renamed to ", stdout);
	safe(result, "site.name");
	putchar('\n');
}

static void print_hold(const struct fsc_value *job, const struct fsc_value *result)
{
	bool held = fsc_value_bool(result, "snapshot.hold", false);

	print_snapshot(result);
	puts(fsc_value_bool(job, "args.hold", held) ? " held" :
		held				    ? " released, still held by others" :
						      " released");
}

static void print_scan(const struct fsc_value *job, const struct fsc_value *result)
{
	fputs("pool ", stdout);
	put_safe(stdout, fsc_value_str(job, "pool") ? str(job, "pool") : str(job, "args.pool"));
	putchar('\n');
	print_changes("  sites", fsc_value_at(result, "sites"));
	print_changes("  deleted sites", fsc_value_at(result, "deleted"));
	print_changes("  snapshots", fsc_value_at(result, "snapshots"));
}

static bool print_verb(const char *kind, const struct fsc_value *job,
	const struct fsc_value *result)
{
	for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++) {
		if (strcmp(verbs[i].kind, kind) != 0)
			continue;
		if (verbs[i].site) {
			made_site(job, result, verbs[i].site);
		} else {
			print_snapshot(result);
			printf(" %s", verbs[i].snapshot);
			print_stats(job);
			putchar('\n');
		}
		print_settings(fsc_value_at(result, "set"));
		return true;
	}
	return false;
}

static void print_undone_set(const struct fsc_value *job, const struct fsc_value *result)
{
	if (fsc_value_at(result, "snapshot")) {
		print_snapshot(result);
		puts(" set back");
	} else {
		made_site(job, result, "set back");
	}
	print_settings(fsc_value_at(result, "set"));
}

static void print_undone_hold(const struct fsc_value *result)
{
	print_snapshot(result);
	puts(fsc_value_bool(result, "snapshot.hold", false) ? " is held" : " is held no more");
}

/* An undone job answers with the object of the job that was undone: go by what is there. */
static void print_any(const struct fsc_value *job, const struct fsc_value *result)
{
	if (fsc_value_type(fsc_value_at(result, "paths")) == FSC_LIST)
		print_paths(job, fsc_value_at(result, "paths"));
	else if (fsc_value_type(fsc_value_at(result, "generation")) == FSC_INT)
		print_switch(job, result);
	else if (fsc_value_at(result, "set"))
		print_undone_set(job, result);
	else if (fsc_value_at(result, "site"))
		made_site(job, result,
			fsc_value_str(result, "site.deleted") ? "deleted" : "is back");
	else if (fsc_value_at(result, "snapshot"))
		print_undone_hold(result);
	else
		printf("job %s is done\n", str(job, "id"));
}

static void print_kind(const struct cli *c, const char *kind, const struct fsc_value *job,
	const struct fsc_value *result)
{
	if (print_verb(kind, job, result))
		return;
	if (strcmp(kind, "site-eject") == 0)
		print_eject(job, result);
	else if (strcmp(kind, "restore-to") == 0)
		print_copy(job, result);
	else if (strcmp(kind, "site-rename") == 0)
		print_rename(job, result);
	else if (strcmp(kind, "generation-create") == 0)
		print_generation(job, result, "made");
	else if (strcmp(kind, "generation-delete") == 0)
		print_generation(job, result, "deleted");
	else if (strcmp(kind, "snapshot-hold") == 0)
		print_hold(job, result);
	else if (strcmp(kind, "pool-scan") == 0)
		print_scan(job, result);
	else if (strcmp(kind, "diff") == 0)
		diff_print(c, job);
	else if (strstr(kind, "check"))
		problems_print(result);
	else
		print_any(job, result);
}

static void quiet_dir(const struct fsc_value *result)
{
	char *dir = fsc_value_bytes(result, "dir");

	puts(dir ? dir : "");
	free(dir);
}

/* The bare address of what is new: it can be used as a SOURCE. Nothing where nothing is new. */
static void print_quiet(const char *kind, const struct fsc_value *job,
	const struct fsc_value *result)
{
	if (strcmp(kind, "snapshot") == 0)
		printf("%s@%s\n", str(result, "snapshot.site.name"), str(result, "snapshot.name"));
	else if (strcmp(kind, "generation-create") == 0)
		printf("%s:%lld\n", str(job, "site.name"),
			(long long)fsc_value_int(result, "generation.number", 0));
	else if (strcmp(kind, "clone") == 0 || strcmp(kind, "site-create") == 0 ||
		strcmp(kind, "site-import") == 0 || strcmp(kind, "site-rename") == 0 ||
		strcmp(kind, "site-undelete") == 0)
		printf("%s\n", str(result, "site.name"));
	else if (strcmp(kind, "restore") == 0 && fsc_value_int(result, "generation", 0) > 0)
		printf("%s:%lld\n", str(result, "site.name"),
			(long long)fsc_value_int(result, "generation", 0));
	else if (strcmp(kind, "restore-to") == 0)
		quiet_dir(result);
}

void result_print(const struct cli *c, const struct fsc_value *job)
{
	const struct fsc_value *result = fsc_value_at(job, "result");
	const char *kind = str(job, "kind");

	if (c->quiet) {
		print_quiet(kind, job, result);
	} else {
		print_kind(c, kind, job, result);
		print_kept(result);
		print_undo(job);
	}
	flush_output();
	print_warnings(result);
	print_failed(result);
}

void plan_print(const struct fsc_value *plan)
{
	const struct fsc_value *steps = fsc_value_at(plan, "steps");
	const struct fsc_value *warnings = fsc_value_at(plan, "warnings");
	char a[SIZE_TEXT], b[SIZE_TEXT], c[SIZE_TEXT];

	puts("nothing was changed; this would be done:");
	for (size_t i = 0; i < fsc_value_count(steps); i++) {
		printf("  %zu. ", i + 1);
		put_safe(stdout, str(fsc_value_item(steps, i), NULL));
		putchar('\n');
	}
	if (fsc_value_str(plan, "method")) {
		fputs("method: ", stdout);
		safe(plan, "method");
		putchar('\n');
	}
	if (fsc_value_int(plan, "entries", 0) > 0 || fsc_value_int(plan, "bytes", 0) > 0)
		printf("size: %s, %s, as measured at %s\n",
			entries_text(fsc_value_int(plan, "entries", 0), a),
			size_text(fsc_value_int(plan, "bytes", 0), b),
			local_time(str(plan, "measured_at"), c));
	for (size_t i = 0; i < fsc_value_count(warnings); i++) {
		fputs("warning: ", stdout);
		put_safe(stdout, str(fsc_value_item(warnings, i), NULL));
		putchar('\n');
	}
	if (fsc_value_str(plan, "confirm")) {
		fputs("asks: ", stdout);
		safe(plan, "confirm");
		putchar('\n');
	}
}
