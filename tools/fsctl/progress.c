/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tools/fsctl/progress.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include "tools/fsctl/text.h"

/* ---- ^C ---- */

void sigint_catch(struct sigint *s, struct cli *c)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigprocmask(SIG_BLOCK, &set, &s->old);
	/* Without one ^C waits for the answer: worse, but nothing is lost. */
	s->fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	fsc_set_wakeup(c->fsc, s->fd);
}

void sigint_release(struct sigint *s, struct cli *c)
{
	struct signalfd_siginfo info;

	fsc_set_wakeup(c->fsc, -1);
	if (s->fd >= 0) {
		/* What was pending has been obeyed. */
		while (read(s->fd, &info, sizeof(info)) > 0)
			;
		close(s->fd);
	}
	s->fd = -1;
	sigprocmask(SIG_SETMASK, &s->old, NULL);
}

/* ---- the bar ---- */

static double seconds_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

void progress_init(struct progress *p, const struct cli *c, const char *object)
{
	const char *term = getenv("TERM");
	char *safe = safe_text(object ? object : "");

	memset(p, 0, sizeof(*p));
	p->shown = !c->quiet && isatty(STDERR_FILENO) && !(term && strcmp(term, "dumb") == 0);
	snprintf(p->label, sizeof(p->label), "%s %.48s", c->cmd->words, safe ? safe : "");
	free(safe);
	p->start = p->last = seconds_now();
}

static void keep_pace(struct pace *pace, uint64_t done, double passed)
{
	double rate = (double)done > pace->done ? ((double)done - pace->done) / passed : 0;

	pace->rate = pace->rate > 0 ? 0.7 * pace->rate + 0.3 * rate : rate;
	pace->done = (double)done;
}

static void measure(struct progress *p, const struct fsc_progress *now)
{
	double t = seconds_now(), passed = t - p->last;

	if (passed < 0.2)
		return;
	keep_pace(&p->entries, now->entries_done, passed);
	keep_pace(&p->bytes, now->bytes_done, passed);
	p->last = t;
}

/* -1: not known. */
static double part_of(uint64_t done, uint64_t total)
{
	return !total ? -1 : done >= total ? 1 : (double)done / (double)total;
}

/* Entries or bytes, whichever is further from its end: small files take as long as entries. */
static bool by_bytes(const struct fsc_progress *now)
{
	double entries = part_of(now->entries_done, now->entries_total);
	double bytes = part_of(now->bytes_done, now->bytes_total);

	return bytes >= 0 && (entries < 0 || bytes <= entries);
}

static double fraction(const struct fsc_progress *now)
{
	return by_bytes(now) ? part_of(now->bytes_done, now->bytes_total) :
			       part_of(now->entries_done, now->entries_total);
}

static void add(char *out, size_t size, const char *text)
{
	size_t len = strlen(out);

	snprintf(out + len, size - len, "%s", text);
}

static void add_counts(uint64_t done, uint64_t total, bool bytes, char *out, size_t size)
{
	const char *(*text)(int64_t, char *) = bytes ? size_text : count_text;
	char a[SIZE_TEXT], b[SIZE_TEXT], whole[2 * SIZE_TEXT + 16];

	if (!done && !total)
		return;
	snprintf(whole, sizeof(whole), "  %s%s%s%s", text((int64_t)done, a), total ? "/" : "",
		total ? text((int64_t)total, b) : "", bytes ? "" : " entries");
	add(out, size, whole);
}

/* "  12.0 MiB/s  0:42 left" */
static void add_pace(const struct progress *p, const struct fsc_progress *now, char *out,
	size_t size)
{
	bool bytes = by_bytes(now);
	double rate = bytes ? p->bytes.rate : p->entries.rate;
	uint64_t total = bytes ? now->bytes_total : now->entries_total;
	uint64_t done = bytes ? now->bytes_done : now->entries_done;
	char a[SIZE_TEXT], text[SIZE_TEXT + 16];

	if (rate <= 0)
		return;
	snprintf(text, sizeof(text), "  %s/s",
		bytes ? size_text((int64_t)rate, a) : count_text((int64_t)rate, a));
	add(out, size, text);
	if (total > done) {
		snprintf(text, sizeof(text), "  %s left",
			seconds_text((double)(total - done) / rate + 1, a));
		add(out, size, text);
	}
}

/* Everything, or where that finds no room what tells most: the counts behind, and the pace. */
static void numbers(const struct progress *p, const struct fsc_progress *now, bool all, char *out,
	size_t size)
{
	out[0] = '\0';
	if (all || !by_bytes(now))
		add_counts(now->entries_done, now->entries_total, false, out, size);
	if (all || by_bytes(now))
		add_counts(now->bytes_done, now->bytes_total, true, out, size);
	add_pace(p, now, out, size);
}

static void bar(double part, int width, char *out)
{
	int full = (int)(part * width);

	*out++ = '[';
	for (int i = 0; i < width; i++)
		*out++ = i < full ? '=' : i == full ? '>' : ' ';
	strcpy(out, "]");
}

void progress_line(const struct progress *p, const struct fsc_progress *now, int width, char *out,
	size_t size)
{
	const char *state = fsc_value_str(now->job, "state");
	double part = fraction(now);
	char tail[256], percent[32] = "", text[64], shape[128] = "";
	int room;

	if (state && strcmp(state, "queued") == 0) {
		snprintf(out, size, "%s  waiting for its turn", p->label);
	} else {
		if (part >= 0)
			snprintf(percent, sizeof(percent), "  %3d%%", (int)(part * 100));
		numbers(p, now, true, tail, sizeof(tail));
		if ((int)(strlen(p->label) + strlen(percent) + strlen(tail)) > width)
			numbers(p, now, false, tail, sizeof(tail));
		room = width - (int)strlen(p->label) - (int)strlen(percent) - (int)strlen(tail) - 4;
		if (part >= 0 && room >= 8) {
			shape[0] = shape[1] = ' ';
			bar(part, room > 40 ? 40 : room, shape + 2);
		}
		if (part < 0 && !tail[0])
			snprintf(tail, sizeof(tail), "  %s",
				seconds_text(seconds_now() - p->start, text));
		snprintf(out, size, "%s%s%s%s", p->label, shape, percent, tail);
	}
	/* A line that wraps could not be taken back. */
	if (width > 0 && strlen(out) > (size_t)width)
		out[width] = '\0';
}

int progress_report(const struct fsc_progress *now, void *arg)
{
	struct progress *p = arg;
	char line[512];

	if (!p->shown)
		return 0;
	measure(p, now);
	/* What ends soon needs no bar. */
	if (!p->drawn && seconds_now() - p->start < 0.3)
		return 0;
	progress_line(p, now, (int)terminal_width(STDERR_FILENO) - 1, line, sizeof(line));
	fprintf(stderr, "\r%s\033[K", line);
	fflush(stderr);
	p->drawn = true;
	return 0;
}

void progress_clear(struct progress *p)
{
	if (p->drawn) {
		fputs("\r\033[K", stderr);
		fflush(stderr);
	}
	p->drawn = false;
}
