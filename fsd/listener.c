/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fsd/listener.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "fsd/core/lock.h"
#include "snap/base/clock.h"
#include "snap/base/err.h"
#include "snap/base/fd.h"

static int make_folder(const char *path, struct err *err)
{
	_cleanup_free_ char *folder = strdup(path);
	char *slash = folder ? strrchr(folder, '/') : NULL;

	if (!folder)
		return err_sys(err, ENOMEM, "make the socket's folder", path);
	if (!slash || slash == folder)
		return 0;
	*slash = '\0';
	if (mkdir(folder, 0755) < 0 && errno != EEXIST)
		return err_sys(err, errno, "make the socket's folder", folder);
	return 0;
}

static int new_socket(const char *path, struct sockaddr_un *addr, int *fd, struct err *err)
{
	*addr = (struct sockaddr_un){.sun_family = AF_UNIX};
	if (strlen(path) >= sizeof(addr->sun_path))
		return err_sys(err, ENAMETOOLONG, "bind the socket", path);
	memcpy(addr->sun_path, path, strlen(path) + 1);
	*fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	return *fd < 0 ? err_sys(err, errno, "make a socket", path) : 0;
}

/* Remove a socket that nobody listens on. `fd`: -1, or a connection to who does. */
static int remove_stale(const char *path, int *fd, struct err *err)
{
	struct sockaddr_un addr;
	struct ucred cred = {.pid = 0};
	socklen_t len = sizeof(cred);
	struct stat st;
	int r;

	if (lstat(path, &st) < 0)
		return errno == ENOENT ? 0 : err_sys(err, errno, "examine the socket", path);
	if (!S_ISSOCK(st.st_mode))
		return err_set(err, EEXIST, "socket_taken", path, "exists and is not a socket");
	fd_close(fd);
	r = new_socket(path, &addr, fd, err);
	if (r < 0)
		return r;
	if (connect(*fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 && errno == ECONNREFUSED) {
		if (unlink(path) < 0 && errno != ENOENT)
			return err_sys(err, errno, "remove the old socket", path);
		return 0;
	}
	if (getsockopt(*fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0 || cred.pid <= 0)
		return err_set(err, EADDRINUSE, "socket_in_use", path,
			"another program listens here");
	return err_set(err, EADDRINUSE, "socket_in_use", path, "process %d listens here",
		(int)cred.pid);
}

/* The api process of a fsd that was killed listens until it has noticed that. */
static int await_stale(const char *path, struct err *err)
{
	const struct timespec pause = {.tv_nsec = 20 * NSEC_PER_MSEC};
	int64_t until = clock_mono() + LOCK_WAIT;
	_cleanup_fd_ int fd = -1;
	int r;

	while ((r = remove_stale(path, &fd, err)) == -EADDRINUSE && clock_mono() < until) {
		struct pollfd p = {.fd = fd, .events = POLLIN}; /* whose end ends this, too */

		poll(&p, 1, (int)((until - clock_mono()) / NSEC_PER_MSEC));
		nanosleep(&pause, NULL);
	}
	if (r == 0)
		err_clear(err);
	else if (r == -EADDRINUSE)
		err_hint(err, "stop it, or set another socket for this fsd");
	return r;
}

static int bind_0666(int fd, const struct sockaddr_un *addr, struct err *err)
{
	mode_t saved = umask(0111);
	int r = 0;

	if (bind(fd, (const struct sockaddr *)addr, sizeof(*addr)) < 0)
		r = err_sys(err, errno, "bind the socket", addr->sun_path);
	umask(saved);
	return r;
}

int listener_open(struct listener *l, const char *path, struct err *err)
{
	struct sockaddr_un addr;
	int r;

	*l = LISTENER_INIT;
	r = make_folder(path, err);
	if (r == 0)
		r = await_stale(path, err);
	if (r == 0)
		r = new_socket(path, &addr, &l->fd, err);
	if (r == 0)
		r = bind_0666(l->fd, &addr, err);
	if (r == 0) {
		l->path = strdup(path);
		r = l->path ? 0 : err_sys(err, ENOMEM, "bind the socket", path);
	}
	if (r == 0 && listen(l->fd, SOMAXCONN) < 0)
		r = err_sys(err, errno, "listen", path);
	if (r < 0)
		listener_release(l);
	return r;
}

void listener_release(struct listener *l)
{
	_cleanup_fd_ int fd = -1;

	fd_close(&l->fd);
	if (l->path)
		remove_stale(l->path, &fd, NULL);
	free(l->path);
	*l = LISTENER_INIT;
}
