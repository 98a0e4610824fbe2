/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Run a program and catch what it says; on pipes, or on a terminal of the test's own. */
#ifndef TESTS_CLIENT_RUN_H
#define TESTS_CLIENT_RUN_H

#include <stddef.h>
#include <sys/types.h>

struct ran {
	int code; /* exit code; 128 + signal */
	char *out, *err;
};

/* `url` becomes FSD_URL. Words end with NULL. */
void run(struct ran *r, const char *url, const char *const words[]);
void ran_release(struct ran *r);

/* The same on a terminal of 100 columns, which gives what is seen on it as `out`; `keys` are typed
 * (with a pause until the text `after` was seen). */
void run_on_terminal(struct ran *r, const char *url, const char *after, const char *keys,
	const char *const words[]);

#endif
