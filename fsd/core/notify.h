/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Telling the service manager how the daemon is (sd_notify(3), the datagram protocol itself; no
 * library). Every call is a no-op without NOTIFY_SOCKET. For the worker's main thread.
 */
#ifndef FSD_CORE_NOTIFY_H
#define FSD_CORE_NOTIFY_H

#include <stdint.h>

/* Read NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID and remove them from the environment, so that
 * no child speaks for the daemon. Once, at the start. 1: somebody listens, 0: nobody. */
int notify_open(void);

/* The daemon serves (also: a reload has ended). */
void notify_ready(void);
void notify_reloading(void);
void notify_stopping(void);
/* One line for `systemctl status`. */
void notify_status(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* "I live"; said where a watchdog waits for it and the last time is long ago. Never blocks. */
void notify_watchdog(void);
/* How often notify_watchdog() is wanted, in ns (half of what the manager tolerates); 0: never. */
int64_t notify_watchdog_interval(void);

/* Have `fn` called once, by the first notify_ready(): where there is no manager, the program that
 * waits for its daemon in the background wants to know too. */
void notify_on_ready(void (*fn)(void));

#endif
