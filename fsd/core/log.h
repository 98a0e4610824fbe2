/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The daemon's log: the journal when standard error is connected to it (JOURNAL_STREAM), standard
 * error as text otherwise. Fields are pairs of a name ("job", "site", "pool", ...) and a value;
 * in the journal FSD_JOB=..., in text ` job=...` behind the message. Never a secret.
 */
#ifndef FSD_CORE_LOG_H
#define FSD_CORE_LOG_H

#include <syslog.h>

struct err;

/* `process`: "fsd" or "fsd-api"; static storage. Before this call messages go to standard error. */
void log_open(const char *process, int level);
void log_level(int level);
/* The daemon leaves its terminal: what went to standard error as text goes to syslog(3) instead. */
void log_background(void);

/* Message, then NULL-terminated pairs of strings: log_msg(LOG_INFO, "job done", "job", id, NULL).
 * A pair whose value is NULL or "" is left out. Thread-safe; one write for each message. */
void log_msg(int level, const char *message, ...) __attribute__((sentinel));
/* The same with an error: object, reason and hint behind the message ("MESSAGE: OBJECT: REASON;
 * HINT"); in the journal as fields too. */
void log_err(int level, const char *message, const struct err *err, ...) __attribute__((sentinel));

#endif
