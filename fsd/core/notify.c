/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fsd/core/notify.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "snap/base/clock.h"
#include "snap/base/fd.h"

static struct sockaddr_un manager;
static socklen_t manager_len; /* 0: nobody listens */
static int sock = -1;
static void (*on_ready)(void);
static int64_t interval;

/* A path, or "@" and an abstract name. */
static int set_manager(const char *text)
{
	size_t len = strlen(text);

	if ((text[0] != '/' && text[0] != '@') || len >= sizeof(manager.sun_path))
		return 0;
	manager = (struct sockaddr_un){.sun_family = AF_UNIX};
	memcpy(manager.sun_path, text, len);
	if (text[0] == '@')
		manager.sun_path[0] = '\0';
	manager_len = offsetof(struct sockaddr_un, sun_path) + len + (text[0] == '/');
	sock = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	return sock >= 0;
}

static int64_t read_interval(const char *usec, const char *pid)
{
	char *end;
	long long n;

	if (!usec || (pid && strtoll(pid, &end, 10) != getpid()))
		return 0;
	n = strtoll(usec, &end, 10);
	return n > 0 && n < INT64_MAX / 1000 && !*end ? n * 1000 / 2 : 0;
}

int notify_open(void)
{
	const char *text = getenv("NOTIFY_SOCKET");
	int listens;

	fd_close(&sock);
	manager_len = 0;
	listens = text && set_manager(text);
	interval = listens ? read_interval(getenv("WATCHDOG_USEC"), getenv("WATCHDOG_PID")) : 0;
	unsetenv("NOTIFY_SOCKET");
	unsetenv("WATCHDOG_USEC");
	unsetenv("WATCHDOG_PID");
	return listens;
}

/* The manager's troubles are not the daemon's: a failed send is ignored (sd_notify(3) advises). */
static void tell(const char *state)
{
	if (sock >= 0)
		(void)!sendto(sock, state, strlen(state), MSG_NOSIGNAL,
			(struct sockaddr *)&manager, manager_len);
}

void notify_ready(void)
{
	void (*fn)(void) = on_ready;

	tell("READY=1");
	if (fn) {
		on_ready = NULL;
		fn();
	}
}

void notify_reloading(void)
{
	char state[80];

	/* Type=notify-reload wants the time at which the reload began, in us. */
	snprintf(state, sizeof(state), "RELOADING=1\nMONOTONIC_USEC=%lld",
		(long long)(clock_mono() / 1000));
	tell(state);
}

void notify_stopping(void)
{
	tell("STOPPING=1");
}

void notify_status(const char *fmt, ...)
{
	char state[512] = "STATUS=";
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(state + 7, sizeof(state) - 7, fmt, ap);
	va_end(ap);
	tell(state);
}

/* The main loop says it after every message; a manager that is behind must not hold it up. */
void notify_watchdog(void)
{
	static const char state[] = "WATCHDOG=1";
	static int64_t last;
	int64_t now = clock_mono();

	if (!interval || (last && now - last < interval / 2))
		return;
	if (sendto(sock, state, strlen(state), MSG_NOSIGNAL | MSG_DONTWAIT,
		    (struct sockaddr *)&manager, manager_len) > 0)
		last = now;
}

int64_t notify_watchdog_interval(void)
{
	return interval;
}

void notify_on_ready(void (*fn)(void))
{
	on_ready = fn;
}
