/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Waiting for a job where ^C must not end it: SIGINT becomes readable on a descriptor that wakes
 * the library up. And the progress bar, on standard error and only on a terminal.
 */
#ifndef FSCTL_PROGRESS_H
#define FSCTL_PROGRESS_H

#include <signal.h>
#include <stdbool.h>

#include "tools/fsctl/cli.h"

struct sigint {
	int fd;
	sigset_t old;
};

/* From here on SIGINT interrupts calls of c->fsc with -EINTR ... */
void sigint_catch(struct sigint *s, struct cli *c);
/* ... and from here on it ends fsctl again. */
void sigint_release(struct sigint *s, struct cli *c);

struct progress {
	bool shown, drawn;
	char label[80];
	double start, begun, last; /* seconds: of waiting, of work, of the last measure */
	/* of entries and of bytes: how many a second, smoothed, and how many at `last` */
	struct pace {
		double rate, done;
	} entries, bytes;
};

void progress_init(struct progress *p, const struct cli *c, const char *object);
/* A fsc_progress_fn; `arg` is the struct progress. */
int progress_report(const struct fsc_progress *now, void *arg);
/* Take the bar away. */
void progress_clear(struct progress *p);
/* For the bar and its test: take note of how far it is at `t` seconds (monotonic, not 0) ... */
void progress_measure(struct progress *p, const struct fsc_progress *now, double t);
/* ... and one line, without controls, of at most `width` columns. */
void progress_line(const struct progress *p, const struct fsc_progress *now, int width, char *out,
	size_t size);

#endif
