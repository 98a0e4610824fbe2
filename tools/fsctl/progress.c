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

static void measure(struct progress *p, const struct fsc_progress *now)
{
	double t = seconds_now(), passed = t - p->last;
	double done = (double)(now->bytes_total ? now->bytes_done : now->entries_done);
	double rate;

	if (passed < 0.2)
		return;
	rate = done > p->last_done ? (done - p->last_done) / passed : 0;
	p->rate = p->rate > 0 ? 0.7 * p->rate + 0.3 * rate : rate;
	p->last = t;
	p->last_done = done;
}

static double fraction(const struct fsc_progress *now)
{
	uint64_t total = now->bytes_total ? now->bytes_total : now->entries_total;
	uint64_t done = now->bytes_total ? now->bytes_done : now->entries_done;

	if (!total)
		return -1;
	return done >= total ? 1 : (double)done / (double)total;
}

static void add(char *out, size_t size, const char *text)
{
	size_t len = strlen(out);

	snprintf(out + len, size - len, "%s", text);
}

static void numbers(const struct progress *p, const struct fsc_progress *now, char *out,
	size_t size)
{
	char a[SIZE_TEXT], b[SIZE_TEXT], text[128];
	uint64_t total = now->bytes_total ? now->bytes_total : now->entries_total;
	uint64_t done = now->bytes_total ? now->bytes_done : now->entries_done;

	out[0] = '\0';
	if (now->entries_done || now->entries_total) {
		snprintf(text, sizeof(text), now->entries_total ? "  %s/%s entries" : "  %s entries",
			count_text((int64_t)now->entries_done, a),
			count_text((int64_t)now->entries_total, b));
		add(out, size, text);
	}
	if (now->bytes_done || now->bytes_total) {
		snprintf(text, sizeof(text), now->bytes_total ? "  %s/%s" : "  %s",
			size_text((int64_t)now->bytes_done, a),
			size_text((int64_t)now->bytes_total, b));
		add(out, size, text);
	}
	if (p->rate > 0) {
		snprintf(text, sizeof(text), "  %s/s",
			now->bytes_total ? size_text((int64_t)p->rate, a) :
					   count_text((int64_t)p->rate, a));
		add(out, size, text);
		if (total > done) {
			snprintf(text, sizeof(text), "  %s left",
				seconds_text((double)(total - done) / p->rate + 1, a));
			add(out, size, text);
		}
	}
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
		numbers(p, now, tail, sizeof(tail));
		if (part >= 0)
			snprintf(percent, sizeof(percent), "  %3.0f%%", part * 100 - 0.499);
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

	if (!p->shown || fsc_job_ended(now->job))
		return 0;
	measure(p, now);
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
