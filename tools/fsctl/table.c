/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tools/fsctl/table.h"

#include <stdio.h>
#include <string.h>

#include "tools/fsctl/cli.h"

const struct global_option global_options[] = {
	{"json", 0, NULL, "print JSON, errors too (on standard error)"},
	{"quiet", 'q', NULL, "print only the new id or name"},
	{"yes", 'y', NULL, "answer every \"sure?\" with yes"},
	{"dry-run", 'n', NULL, "say what would be done, change nothing"},
	{"no-wait", 0, NULL, "do not wait for the job to end, print it"},
	{"note", 0, "TEXT", "keep this text with the job"},
	{"url", 0, "URL", "the daemon: unix:///run/fsd/fsd.sock"},
	{"help", 'h', NULL, "say how a command is used"},
	{"version", 'V', NULL, "print the version"},
	{0},
};

#define OPT_POOL(text) {"pool", "POOL", W_POOL, "pool", .help = text}
#define OPT_EXPIRES(text) {"expires", "TIME", W_TEXT, "expires", .help = text}
#define OPT_LABEL {"label", "KEY[=VALUE]", W_TEXT, "label", .help = "only those with this label"}
#define OPT_LIMIT {"limit", "N", W_NUMBER, .local = LOCAL_LIMIT, .help = "stop after N items"}
#define OPT_CURSOR {"cursor", "C", W_TEXT, .local = LOCAL_CURSOR, \
	.help = "go on where \"next\" of an earlier list points"}
#define OPT_AFTER {"after", "ID", W_TEXT, .local = LOCAL_CURSOR, \
	.help = "only what came after this event"}
#define OPT_MEASURE {"measure", NULL, W_NONE, .local = LOCAL_MEASURE, \
	.help = "count its entries and bytes first"}
#define OPT_TAG {"tag", "TAG", W_TEXT, "tag", .help = "name of the hold (\"default\")"}

const struct command commands[] = {
	{"snapshot", "snapshot", NULL, run_job, "take a snapshot of a site",
		"Without a NAME the snapshot is named by the time in UTC (20261122t030000z).",
		{{"SITE[@NAME]", W_NEW_SNAP}},
		{OPT_EXPIRES("delete it after this time (7d, 24h, or never)")}},
	{"clone", "clone", NULL, run_job, "make a new site from a source",
		"Where the pool can do it the clone shares its storage with the source and costs "
		"the same whatever the size.",
		{{"SOURCE", W_SOURCE, "source"}, {"NEW", W_NEW, "name"}},
		{OPT_POOL("the new site's pool (the source's)"),
			{"method", "METHOD", W_TEXT, "method",
				.choices = "snapshot reflink hardlink copy",
				.help = "how: snapshot, reflink, hardlink or copy (the pool's "
					"best)"},
			OPT_EXPIRES("delete it after this time (7d, 24h, or never)")}},
	{"restore", "restore", NULL, run_job, "bring a site back to a snapshot",
		"The whole tree becomes a new generation of the site, which is published; the one "
		"before is kept and \"fsctl undo\" brings it back. With PATHs only these are put "
		"in place, each by one rename; what they replace is kept for undo. A directory "
		"becomes what it was: what was made in it since goes with what is replaced, and a "
		"warning counts it. With --to nothing of the site is touched.",
		{{"SOURCE", W_SOURCE, "source"},
			{"PATH", W_PATHS, "paths", ARG_OPTIONAL | ARG_MANY}},
		{{"only", "PARTS", W_PARTS, "only", .choices = "code data config",
			 .help = "only these parts: code,data,config"},
			{"exact", NULL, W_NONE, "exact",
				.help = "also remove data that the snapshot does not have (code "
					"always goes)"},
			{"site", "SITE", W_SITE, "site", .help = "restore into this site"},
			{"to", "DIR", W_DIR, "dir", .asks = "restore-to", .not_with = "exact site",
				.help = "write a copy to the new directory DIR, leave the site "
					"alone"}}},
	{"publish", "publish", NULL, run_job, "make another generation the live one",
		"The switch is atomic: who reads \"live\" sees one generation or the other.",
		{{"SITE:N", W_GENERATION}}, {{0}}},
	{"rollback", "rollback", NULL, run_job, "go back to the generation live before",
		NULL, {{"SITE[:N]", W_MAYBE_GEN}}, {{0}}},
	{"undo", "undo", NULL, run_job, "undo a job",
		"\"fsctl job list --undoable\" lists the jobs that can be undone, unless what that "
		"needs was deleted since.",
		{{"JOB", W_UNDOABLE, "job"}},
		{{"discard-since", NULL, W_NONE, "discard_since",
			.help = "also throw away what changed since the job"}}},
	{"diff", "diff", NULL, run_diff, "compare two trees",
		"A alone is compared with the live tree of the same site. Each difference is one "
		"line: + added, - removed, M content changed, m metadata changed, R renamed (old "
		"-> new). A file whose content changed while its size and time did not is found "
		"between a tree and a copy of it (a site and its snapshot, or its clone); between "
		"two copies, as two snapshots, only where the pool's driver is btrfs. Paths with "
		"unusual characters are quoted as in C. PATHs come after B; after \"--\" every "
		"word is a PATH. A PATH that is in neither tree is an error (exit code 3). Up to "
		"100,000 differences are printed; \"fsctl job show\" has their numbers and the "
		"first hundred.",
		{{"A", W_SOURCE, "a"},
			{"B", W_SOURCE, "b", ARG_OPTIONAL,
				"PATHs stand behind \"--\": fsctl diff A -- PATH"},
			{"PATH", W_PATHS, "paths", ARG_OPTIONAL | ARG_MANY}},
		{{"exit-code", NULL, W_NONE, .local = LOCAL_EXIT_CODE,
			.help = "exit with 1 where there are differences"}}},
	{"path", NULL, "/v1/path", run_path, "print where a tree is",
		"SITE prints the path of \"live\", which always leads to the live generation; "
		"SITE@SNAP and SITE:N print the tree itself.",
		{{"SOURCE", W_SOURCE, "source"}}, {{0}}},
	{"check", "check", NULL, run_check, "compare a tree with what is known of it",
		"Prints \"ok\", or a line for each thing that is wrong, and exits with 1; OUTPUT "
		"in fsctl(1) says what each means.", {{"SOURCE", W_SOURCE, "source"}}, {{0}}},
	{"status", NULL, "/v1/status", run_status, "say how the daemon and its pools are",
		NULL, {{0}},
		{{"check", NULL, W_NONE, .local = LOCAL_CHECK,
			.help = "for monitors: exit with 0 (ok), 1 (warning) or 2 (critical)"}}},

	{"site create", "site-create", NULL, run_job, "make a site", NULL,
		{{"NAME", W_NEW, "name"}},
		{OPT_POOL("its pool (the only one)"),
			{"from", "SOURCE", W_SOURCE, "from", .help = "its content (empty)"},
			OPT_EXPIRES("delete it after this time (7d, 24h, or never)")}},
	{"site import", "site-import", NULL, run_import, "bring in a directory as a site",
		"The directory is copied, sharing storage where possible, and left alone. Where "
		"--move has to copy, and with --link, it is kept beside as DIR.fsd-JOB for a "
		"while, since somebody may still write there. With --list many are brought in, one "
		"after another: each line of FILE is \"NAME DIR\"; one that fails is told, and the "
		"next goes on.",
		{{"NAME", W_NEW, "name", ARG_OPTIONAL}, {"DIR", W_DIR, "dir", ARG_OPTIONAL}},
		{OPT_POOL("its pool (the only one)"),
			{"move", NULL, W_NONE, "mode", "move",
				.help = "move it instead of copying, by rename where possible"},
			{"link", NULL, W_NONE, "mode", "link", .not_with = "move",
				.help = "and put a link to the live tree in the directory's place"},
			{"list", "FILE", W_FILE, .local = LOCAL_LIST,
				.help = "bring in all that FILE names (\"-\": standard input)"}}},
	{"site eject", "site-eject", NULL, run_job, "give a site back as a plain directory",
		"The site leaves fsd; its snapshots stay until they are deleted.",
		{{"SITE", W_SITE, "site"}, {"DIR", W_DIR, "dir"}}, {{0}}},
	{"site list", NULL, "/v1/sites", run_list, "list sites", NULL, {{0}},
		{OPT_POOL("only those of this pool"), OPT_LABEL,
			{"deleted", NULL, W_NONE, "deleted",
				.help = "list deleted ones instead, and what brings them back"},
			OPT_LIMIT, OPT_CURSOR}},
	{"site show", NULL, "/v1/sites/%s", run_show, "show a site", NULL,
		{{"SITE", W_SITE}},
		{OPT_MEASURE}},
	{"site set", "site-set", NULL, run_job, "set properties of a site",
		"KEY is protected (yes, no), expires (7d, 24h, never) or label.NAME; "
		"\"label.NAME=\" removes a label. There may be 100 labels.",
		{{"SITE", W_SITE, "site"}, {"KEY=VALUE", W_PAIRS, "set", ARG_MANY}}, {{0}}},
	{"site rename", "site-rename", NULL, run_job, "rename a site", NULL,
		{{"SITE", W_SITE, "site"}, {"NEW", W_NEW, "name"}}, {{0}}},
	{"site delete", "site-delete", NULL, run_job, "delete a site",
		"Asks for the name again. Its snapshots stay; \"fsctl undo\" brings it back for a "
		"while.",
		{{"SITE", W_SITE, "site"}}, {{0}}},
	{"site undelete", "site-undelete", NULL, run_job, "bring back a deleted site",
		"By its id, or by the name it had where no other deleted site had it; as NEW "
		"where its name is taken. \"fsctl undo\" of the deletion does the same, unless its "
		"job is not known any more: the catalog was lost.",
		{{"SITE", W_DELETED, "site"}, {"NEW", W_NEW, "name", ARG_OPTIONAL}}, {{0}}},

	{"snapshot list", NULL, "/v1/snapshots", run_list, "list snapshots, oldest first", NULL,
		{{"SITE", W_SITE, "site", ARG_OPTIONAL}}, {OPT_LABEL, OPT_LIMIT, OPT_CURSOR}},
	{"snapshot show", NULL, "/v1/sites/%s/snapshots/%s", run_show, "show a snapshot", NULL,
		{{"SITE@SNAP", W_SNAPSHOT}}, {OPT_MEASURE}},
	{"snapshot set", "snapshot-set", NULL, run_job, "set properties of a snapshot",
		"KEY is expires (7d, 24h, never) or label.NAME; \"label.NAME=\" removes a label. "
		"There may be 100 labels.",
		{{"SITE@SNAP", W_SNAPSHOT, "source"}, {"KEY=VALUE", W_PAIRS, "set", ARG_MANY}},
		{{0}}},
	{"snapshot delete", "snapshot-delete", NULL, run_job, "delete a snapshot",
		"This cannot be undone.", {{"SITE@SNAP", W_SNAPSHOT, "source"}}, {{0}}},
	{"snapshot hold", "snapshot-hold", NULL, run_hold, "protect a snapshot from deletion", NULL,
		{{"SITE@SNAP", W_SNAPSHOT, "source"}}, {OPT_TAG}},
	{"snapshot release", "snapshot-hold", NULL, run_release, "take a hold back",
		"Where it was the last and the snapshot has expired meanwhile, it is deleted "
		"within a minute or so, and \"--dry-run\" and the answer say so.",
		{{"SITE@SNAP", W_SNAPSHOT, "source"}}, {OPT_TAG}},

	{"generation create", "generation-create", NULL, run_job,
		"make a generation that is not live yet",
		"Work in it where \"fsctl path SITE:N\" says, then publish it.",
		{{"SITE", W_SITE, "site"}},
		{{"from", "SOURCE", W_SOURCE, "from",
			.help = "its content (the live generation's)"}}},
	{"generation list", NULL, "/v1/sites/%s/generations", run_list,
		"list the generations of a site", NULL, {{"SITE", W_SITE}}, {{0}}},
	{"generation delete", "generation-delete", NULL, run_job,
		"delete a generation that is not live", NULL, {{"SITE:N", W_GENERATION}}, {{0}}},

	{"job list", NULL, "/v1/jobs", run_list, "list jobs, newest first", NULL, {{0}},
		{{"state", "STATE", W_TEXT, "state",
			 .choices = "queued running done failed canceled",
			 .help = "only queued, running, done, failed or canceled ones"},
			{"site", "SITE", W_SITE, "site", .help = "only those of this site"},
			{"undoable", NULL, W_NONE, "undoable",
				.help = "only those that \"fsctl undo\" takes back"},
			OPT_LIMIT, OPT_CURSOR}},
	{"job show", NULL, "/v1/jobs/%s", run_show, "show a job", NULL, {{"JOB", W_JOB}}, {{0}}},
	{"job log", NULL, "/v1/jobs/%s/log", run_list, "list the events of a job", NULL,
		{{"JOB", W_JOB}}, {OPT_AFTER, OPT_LIMIT}},
	{"job wait", NULL, NULL, run_job_wait, "wait for a job to end",
		"Prints and exits as the command that asked for it would have.",
		{{"JOB", W_JOB}},
		{{"timeout", "SECONDS", W_NUMBER, .local = LOCAL_TIMEOUT,
			.help = "give up after so many seconds (exit code 1)"}}},
	{"job cancel", NULL, "/v1/jobs/%s", run_job_cancel, "stop a job",
		"What it began is undone. A job that has ended is left as it is (exit code 4). One "
		"that waits for a directory whose disk is not mounted gives that up.",
		{{"JOB", W_JOB}}, {{0}}},

	{"pool list", NULL, "/v1/pools", run_list, "list pools", NULL, {{0}}, {{0}}},
	{"pool show", NULL, "/v1/pools/%s", run_show,
		"show a pool and why it has its driver", NULL,
		{{"POOL", W_POOL}}, {{0}}},
	{"pool scan", "pool-scan", NULL, run_pool_scan,
		"make the catalog what the pools hold",
		"Without a POOL all pools are scanned, one after another.",
		{{"POOL", W_POOL, "pool", ARG_OPTIONAL}}, {{0}}},
	{"pool check", "pool-check", NULL, run_check, "compare a pool with the catalog",
		"Prints \"ok\", or a line for each difference, and exits with 1; OUTPUT in "
		"fsctl(1) says what each means.", {{"POOL", W_POOL, "pool"}}, {{0}}},

	{"event list", NULL, "/v1/events", run_list, "list events, oldest first", NULL, {{0}},
		{OPT_AFTER, OPT_LIMIT}},
	{"event follow", NULL, NULL, run_event_follow, "print events as they come", NULL, {{0}},
		{OPT_AFTER}},
	{0},
};

const struct command *command_find(const char *word, const char *second)
{
	char words[64];

	snprintf(words, sizeof(words), "%s%s%s", word, second ? " " : "", second ? second : "");
	for (const struct command *cmd = commands; cmd->words; cmd++) {
		if (strcmp(cmd->words, words) == 0)
			return cmd;
	}
	return NULL;
}

bool is_noun(const char *word)
{
	size_t len = strlen(word);

	for (const struct command *cmd = commands; cmd->words; cmd++) {
		if (strncmp(cmd->words, word, len) == 0 && cmd->words[len] == ' ')
			return true;
	}
	return false;
}

static void add(char *out, size_t size, const char *before, const char *text, const char *after)
{
	size_t len = strlen(out);

	snprintf(out + len, size - len, "%s%s%s", before, text, after);
}

void command_synopsis(const struct command *cmd, char *out, size_t size)
{
	out[0] = '\0';
	for (const struct arg *a = cmd->args; a->name; a++) {
		const char *many = a->flags & ARG_MANY ? "..." : "";

		add(out, size, a->flags & ARG_OPTIONAL ? " [" : " ", a->name, many);
		add(out, size, a->flags & ARG_OPTIONAL ? "]" : "", "", "");
	}
	for (const struct option *o = cmd->options; o->name; o++) {
		add(out, size, " [--", o->name, o->value ? " " : "");
		add(out, size, o->value ? o->value : "", "]", "");
	}
}
