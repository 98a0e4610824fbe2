/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One Unix socket: connecting, sending and receiving, each of which a deadline or the wake-up
 * descriptor ends. Never raises SIGPIPE. */
#include "client/internal.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

int64_t fsc_now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* Until `fd` (-1: nothing) is ready for `events`. 0, -ETIMEDOUT or -EINTR. */
static int wait_for(int fd, short events, int wake, int64_t deadline)
{
	struct pollfd fds[2] = {{.fd = wake, .events = POLLIN}, {.fd = fd, .events = events}};

	for (;;) {
		int64_t left = deadline < 0 ? -1 : deadline - fsc_now_ms();
		int n;

		if (deadline >= 0 && left < 0)
			left = 0;
		n = poll(fds, 2, left > INT32_MAX ? INT32_MAX : (int)left);
		if (n < 0 && errno != EINTR && errno != EAGAIN)
			return -errno;
		if (n > 0 && fds[0].revents)
			return -EINTR;
		if (n > 0)
			return 0;
		if (n == 0 && deadline >= 0 && fsc_now_ms() >= deadline)
			return -ETIMEDOUT;
	}
}

int fsc_conn_pause(struct fsc_conn *c, int64_t deadline)
{
	int r = wait_for(-1, 0, c->wake, deadline);

	return r == -ETIMEDOUT ? 0 : r;
}

int fsc_conn_open(struct fsc_conn *c, const struct sockaddr_un *addr, int64_t deadline)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int r = 0;

	if (fd < 0)
		return -errno;
	/*
	 * EAGAIN: the queue of the listening socket is full (unix(7)); poll() cannot wait for
	 * room in it, so look again.
	 */
	while (connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) < 0) {
		r = -errno;
		if (r != -EAGAIN && r != -EINTR)
			break;
		r = deadline >= 0 && fsc_now_ms() >= deadline ?
			-ETIMEDOUT :
			fsc_conn_pause(c, fsc_now_ms() + 5);
		if (r < 0)
			break;
	}
	if (r < 0) {
		close(fd);
		return r;
	}
	c->fd = fd;
	c->pos = c->len = 0;
	return 0;
}

void fsc_conn_close(struct fsc_conn *c)
{
	if (c->fd >= 0)
		close(c->fd);
	c->fd = -1;
	c->pos = c->len = 0;
}

int fsc_conn_send(struct fsc_conn *c, const char *data, size_t len, int64_t deadline)
{
	while (len) {
		ssize_t n = send(c->fd, data, len, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno == EAGAIN) {
			int r = wait_for(c->fd, POLLOUT, c->wake, deadline);

			if (r < 0)
				return r;
			continue;
		}
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		data += n;
		len -= (size_t)n;
	}
	return 0;
}

int fsc_conn_fill(struct fsc_conn *c, int64_t deadline)
{
	for (;;) {
		int r = wait_for(c->fd, POLLIN, c->wake, deadline);
		ssize_t n;

		if (r < 0)
			return r;
		n = recv(c->fd, c->in, sizeof(c->in), MSG_DONTWAIT);
		if (n < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		if (n < 0)
			return -errno;
		c->pos = 0;
		c->len = (size_t)n;
		return n > 0;
	}
}

bool fsc_conn_stale(const struct fsc_conn *c)
{
	struct pollfd p = {.fd = c->fd, .events = POLLIN};

	return c->pos < c->len || poll(&p, 1, 0) != 0;
}
