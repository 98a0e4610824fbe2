/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tools/fsctl/progress.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include "tools/fsctl/job.h"
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

/* What an entry costs besides its content, as bytes that are copied in that time: some system
 * calls, and an inode and a name to write. The bar reaches its end with any such number; with none
 * a tree of small files would end in a jump, and with a huge one a large file would not move it. */
#define ENTRY_BYTES (16 << 10)
#define PACE_WINDOW 5 /* seconds; until then all there was */

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
	p->start = seconds_now();
}

static void keep_pace(struct pace *pace, uint64_t done, double passed, double share)
{
	pace->rate += share * (((double)done - pace->done) / passed - pace->rate);
	pace->done = (double)done;
}

void progress_measure(struct progress *p, const struct fsc_progress *now, double t)
{
	double passed = t - p->last, since = t - p->begun;

	/* Neither what was done before anybody looked, nor the time in which nothing was. */
	if (!p->begun || (!now->entries_done && !now->bytes_done)) {
		p->begun = p->last = t;
		p->entries.done = (double)now->entries_done;
		p->bytes.done = (double)now->bytes_done;
	} else if (passed >= 0.2) {
		double window = since < PACE_WINDOW ? since : PACE_WINDOW;
		double share = passed < window ? passed / window : 1;

		keep_pace(&p->entries, now->entries_done, passed, share);
		keep_pace(&p->bytes, now->bytes_done, passed, share);
		p->last = t;
	}
}

/* Both in one, that a large file moves the bar, and many small ones do. */
static double work(const struct fsc_progress *now, double entries, double bytes)
{
	return entries * ENTRY_BYTES + (now->bytes_total ? bytes : 0);
}

static double work_total(const struct fsc_progress *now)
{
	return work(now, (double)now->entries_total, (double)now->bytes_total);
}

static double work_done(const struct fsc_progress *now)
{
	return work(now, (double)now->entries_done, (double)now->bytes_done);
}

/* -1: not known. */
static double fraction(const struct fsc_progress *now)
{
	double total = work_total(now), done = work_done(now);

	return !now->entries_total ? -1 : done < total ? done / total : 1;
}

static void add(char *out, size_t size, const char *text)
{
	size_t len = strlen(out);

	snprintf(out + len, size - len, "%s", text);
}

static void add_counts(uint64_t done, uint64_t total, bool bytes, char *out, size_t size)
{
	const char *(*text)(int64_t, char *) = bytes ? size_text : count_text;
	const char *(*last)(int64_t, char *) = bytes ? size_text : entries_text;
	char a[SIZE_TEXT], b[SIZE_TEXT], whole[2 * SIZE_TEXT + 16];

	if (!done && !total)
		return;
	snprintf(whole, sizeof(whole), "  %s%s%s", total ? text((int64_t)done, a) : "",
		total ? "/" : "", last((int64_t)(total ? total : done), b));
	add(out, size, whole);
}

/* "  12.0 MiB/s  0:42 left" */
static void add_pace(const struct progress *p, const struct fsc_progress *now, char *out,
	size_t size)
{
	double rate = now->bytes_done ? p->bytes.rate : p->entries.rate;
	double pace = work(now, p->entries.rate, p->bytes.rate), part = fraction(now);
	char a[SIZE_TEXT], text[SIZE_TEXT + 16];

	if (rate > 0) {
		snprintf(text, sizeof(text), "  %s/s", now->bytes_done ?
			size_text((int64_t)rate, a) : count_text((int64_t)rate, a));
		add(out, size, text);
	}
	if (pace >= 1 && part >= 0 && part < 1) {
		snprintf(text, sizeof(text), "  %s left",
			seconds_text((work_total(now) - work_done(now)) / pace + 1, a));
		add(out, size, text);
	}
}

/* Everything, or where that finds no room what tells most: the counts that the rate is of. */
static void numbers(const struct progress *p, const struct fsc_progress *now, bool all, char *out,
	size_t size)
{
	out[0] = '\0';
	if (all || !now->bytes_done)
		add_counts(now->entries_done, now->entries_total, false, out, size);
	if (all || now->bytes_done)
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
		snprintf(out, size, "%s  %s", p->label, job_waits_for_pool(now->job)
			? "canceled; waiting for its pool" : "waiting for its turn");
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
	progress_measure(p, now, seconds_now());
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
