/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* fsctl(1) as roff (man(7) macros), from the command table. */
#include <stdio.h>
#include <string.h>

#include "tools/fsctl/cli.h"

/* Text in roff: hyphens that are typed, backslashes, and lines that begin like a request. */
static void put(const char *s)
{
	if (*s == '.' || *s == '\'')
		fputs("\\&", stdout);
	for (; *s; s++) {
		if (*s == '-')
			fputs("\\-", stdout);
		else if (*s == '\\')
			fputs("\\e", stdout);
		else if (*s == '"')
			fputs("\\(dq", stdout);
		else
			putchar(*s);
	}
}

static void line(const char *s)
{
	put(s);
	putchar('\n');
}

static void put_option(const char *name, char letter, const char *value, const char *help)
{
	puts(".TP");
	fputs("\\fB", stdout);
	if (letter)
		printf("\\-%c\\fR, \\fB", letter);
	put("--");
	put(name);
	fputs("\\fR", stdout);
	if (value) {
		fputs(" \\fI", stdout);
		put(value);
		fputs("\\fR", stdout);
	}
	putchar('\n');
	line(help);
}

static void command(const struct command *cmd)
{
	puts(".TP");
	fputs("\\fBfsctl ", stdout);
	put(cmd->words);
	fputs("\\fR", stdout);
	for (const struct arg *a = cmd->args; a->name; a++) {
		printf(" %s\\fI", a->flags & ARG_OPTIONAL ? "[" : "");
		put(a->name);
		printf("\\fR%s%s", a->flags & ARG_MANY ? "..." : "",
			a->flags & ARG_OPTIONAL ? "]" : "");
	}
	if (cmd->options[0].name)
		fputs(" [\\fIOPTIONS\\fR]", stdout);
	putchar('\n');
	printf("%c", cmd->help[0] >= 'a' && cmd->help[0] <= 'z' ? cmd->help[0] - 32 : cmd->help[0]);
	put(cmd->help + 1);
	puts(".");
	if (cmd->text)
		line(cmd->text);
	if (!cmd->options[0].name)
		return;
	puts(".RS");
	for (const struct option *o = cmd->options; o->name; o++)
		put_option(o->name, 0, o->value, o->help);
	puts(".RE");
}

static void lines(const char *const list[])
{
	for (; *list; list++)
		puts(*list);
}

static void section(const char *name, const char *const list[])
{
	printf(".SH %s\n", name);
	lines(list);
}

static const char *const sources[] = {
	"A \\fISOURCE\\fR is something with a tree:",
	".TP", "\\fISITE\\fR", "the live tree of a site",
	".TP", "\\fISITE\\fB@\\fISNAP\\fR", "a snapshot",
	".TP", "\\fISITE\\fB@latest\\fR", "its newest snapshot; undo snapshots do not count",
	".TP", "\\fISITE\\fB@2026\\-11\\-22T03:00\\fR",
	"the newest snapshot that was begun before that minute was over (or that day, second, part "
	"of a second, as much as is written); without a zone (Z, +02:00) it is this machine's time",
	".TP", "\\fISITE\\fB:7\\fR", "a generation",
	".PP", "Names begin with a\\-z or 0\\-9, go on with these, dot, underscore and hyphen, and "
	"have at most 200 bytes. These words are none: commands have them, or may have one day.",
	".PP",
	"backup balancer cancel check clone compact create delete diff doctor eject event "
	"export follow generation help history hold import init job key latest list log migrate "
	"node path platform policy pool prune publish recover refresh release rename restore "
	"rollback run scan set show site snapshot status store token undelete undo unlock "
	"verify version wait", NULL};

static const char *const description[] = {
	".B fsctl", "asks", ".BR fsd (8)", "to take, clone and restore the trees of web sites.",
	"Commands wait for their job and show how far it is on a terminal; interrupting the wait "
	"(^C) does not stop the job.", NULL};

static const char *const output[] = {
	"Lists are aligned tables on a terminal, without the columns that are empty; "
	"\\[u2026] at the end of the heads stands for those that find no room, and names of more "
	"than 40 columns are cut for them. Elsewhere lists are lines of tab\\-separated values "
	"with exact numbers and times in UTC. Control characters in names and paths are shown as "
	"\\exNN, unusual paths as C strings. Sizes on a terminal are in powers of 1024 (KiB, MiB, "
	"GiB).",
	".PP",
	"With \\fB\\-\\-json\\fR a list is {\\(dqitems\\(dq: [...], \\(dqnext\\(dq: CURSOR or "
	"null}, a read is the object, and what makes a job answers {\\(dqjob\\(dq: {...}} with "
	"what was made in \\(dqresult\\(dq. An error is an object with \\(dqcode\\(dq, "
	"\\(dqtitle\\(dq, \\(dqobject\\(dq, \\(dqreason\\(dq and \\(dqhint\\(dq on standard error; "
	"the output stays empty where a request was refused. \\fBevent follow\\fR prints an object "
	"a line. Sizes are bytes, durations seconds, times RFC 3339.",
	".PP", "With \\fB\\-\\-quiet\\fR only the name of what is new is printed, as a SOURCE "
	"where it is one.", NULL};

static const char *const checks[] = {
	".SS check",
	"\\fBok\\fR, or a line \\fIPATH\\fB: \\fIREASON\\fR for each thing that is wrong:",
	".TP", "\\fB.: site.json: \\fI...\\fR", "the site's document cannot be read or is damaged",
	".TP", "\\fBmeta.json: \\fI...\\fR", "the snapshot's document is",
	".TP", "\\fBgen/\\fIN\\fB: meta.json: \\fI...\\fR", "the document of generation N is",
	".TP", "\\fBgen/\\fIN\\fB: missing\\fR", "the generation is not there",
	".TP", "\\fBgen/\\fIN\\fB: no complete tree\\fR",
	"it has no tree, or one that was not made to its end",
	".TP", "\\fBgen/\\fIN\\fB: its tree is a plain directory, not a subvolume\\fR",
	"other hands or the copy driver made it: web servers can read it, but the btrfs driver can "
	"make no snapshot of it; copy it out of the pool and import it",
	".TP", "\\fBgen/\\fIN\\fB: a snapshot's tree is writable\\fR",
	"it was sealed when it was made, and other hands have opened it",
	".TP", "\\fIPATH\\fB: a mount point or nested subvolume is inside the tree\\fR",
	"neither a snapshot nor a copy can be made of it; unmount it, or move it out of the tree",
	".TP", "\\fIPATH\\fB: \\fI...\\fR", "this entry of the tree cannot be read",
	".SS pool check",
	"\\fBok\\fR, or a line \\fINAME\\fB: \\fIREASON\\fR for each difference; NAME is a site's, "
	"the id of a deleted site, either with \":N\" for a generation that is not live, or a "
	"site's id and a snapshot's name with a slash between them:",
	".TP", "\\fIKIND\\fB: not in the catalog\\fR",
	"a site, deleted site or snapshot that came into the pool by other hands, or before the "
	"catalog was lost; \\fBpool scan\\fR takes it in",
	".TP", "\\fIKIND\\fB: in the catalog only\\fR",
	"other hands took it out of the pool; put it back, or \\fBpool scan\\fR forgets it",
	".TP", "\\fIKIND\\fB: not the one in the catalog\\fR",
	"another site has its place (the id in site.json differs); \\fBpool scan\\fR goes by the "
	"pool",
	".TP", "\\fBsnapshot: its generation is not in it\\fR",
	"making it was broken off; \\fBstatus\\fR says what to do",
	".TP", "\\fBit has the id of \\fI...\\fR",
	"a copy of another site's directory; the line says how to make it one of its own",
	".TP", "\\fBa \\fIKIND\\fB of pool \\fI...\\fB cannot be read: \\fI...\\fR",
	"its document is missing or damaged; the line says what to put back",
	".TP", "\\fBsite.json: \\fI...\\fR", ".TQ", "\\fBmeta.json: \\fI...\\fR", ".TQ",
	"\\fBgen/\\fIN\\fB: \\fI...\\fR",
	"as of \\fBcheck\\fR, of a snapshot, a generation or a deleted site, whose entries are not "
	"read here; the line says what to put back",
	".TP", "\\fBthe live generation has no complete tree\\fR",
	"the site serves nothing, or a part; restore a snapshot of it",
	".TP", "\\fBits tree is a plain directory, not a subvolume\\fR",
	"the site is served, but can be neither snapshot nor cloned; the line says what to do",
	".TP", "\\fIREASON\\fB: \\fIHINT\\fR",
	"what else keeps a site from being served, and what mends it", NULL};

static const char *const codes[] = {
	".TP 6", "0", "done", ".TP", "1", "failed", ".TP", "2",
	"wrong usage, or a confirmation is missing; nothing was changed", ".TP", "3", "not found",
	".TP", "4", "in the way: exists, held, protected, has dependents, locked", ".TP", "5",
	"no space, or over a limit", ".TP", "6", "not allowed", ".TP", "7", "fsd cannot be reached",
	".TP", "8", "done in part; the result names what failed", ".TP", "130",
	"interrupted; a job that was asked for goes on", ".PP",
	"\\fBstatus \\-\\-check\\fR exits with 0 (ok), 1 (warning) or 2 (critical), \\fBdiff "
	"\\-\\-exit\\-code\\fR with 1 where there are differences.", NULL};

static const char *const environment[] = {".TP", "\\fBFSD_URL\\fR",
	"the daemon, where \\fB\\-\\-url\\fR does not name one; otherwise "
	"unix:///run/fsd/fsd.sock", ".TP", "\\fBTZ\\fR",
	"the zone of times that are typed without one, and of times in tables", NULL};

static const char *const examples[] = {
	".nf", "fsctl site import shop /var/www/shop", "fsctl snapshot shop@before\\-update",
	"fsctl clone shop@latest shop\\-staging \\-\\-expires 7d",
	"fsctl diff shop@before\\-update", "fsctl restore shop@before\\-update",
	"fsctl undo \"$(fsctl job list \\-\\-site shop \\-\\-undoable \\-\\-limit 1 \\-\\-quiet)\"",
	"cp new.php \"$(fsctl path shop)/index.php\"", ".fi", NULL};

void print_man(void)
{
	printf(".\\\" Made from the command table by fsctl \\-\\-generate\\-man.\n"
	       ".TH FSCTL 1 \"\" \"fsd %s\" \"User Commands\"\n"
	       ".SH NAME\nfsctl \\- snapshot, clone, restore and publish web site trees\n"
	       ".SH SYNOPSIS\n.B fsctl\n.I COMMAND\n[\\fIARGUMENTS\\fR] [\\fIOPTIONS\\fR]\n",
		FSC_VERSION);
	section("DESCRIPTION", description);
	puts(".SH OPTIONS");
	for (const struct global_option *g = global_options; g->name; g++)
		put_option(g->name, g->letter, g->value, g->help);
	section("SOURCES", sources);
	puts(".SH COMMANDS");
	for (const struct command *cmd = commands; cmd->words; cmd++)
		command(cmd);
	section("OUTPUT", output);
	lines(checks);
	section("EXIT STATUS", codes);
	section("ENVIRONMENT", environment);
	section("EXAMPLES", examples);
	puts(".SH SEE ALSO\n.BR libfsclient (3),\n.BR fsd (8),\n.BR fsd.conf (5)");
}
