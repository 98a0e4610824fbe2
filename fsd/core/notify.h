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

/* The daemon serves (also: a reload has ended). The first call also writes one byte 0 to the
 * descriptor of notify_ready_fd() and closes it. */
void notify_ready(void);
void notify_reloading(void);
void notify_stopping(void);
/* One line for `systemctl status`. */
void notify_status(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* "I live". */
void notify_watchdog(void);
/* How often notify_watchdog() is wanted, in ns (half of what the manager tolerates); 0: never. */
int64_t notify_watchdog_interval(void);

/* The pipe to a parent that waits until the daemon in the background is ready. Owned from now on. */
void notify_ready_fd(int fd);

#endif
