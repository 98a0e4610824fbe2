/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fsd/core/lock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "snap/base/clock.h"
#include "snap/base/err.h"
#include "snap/base/fd.h"

#define TEXT_MAX 1024
#define POLL_NS (20 * NSEC_PER_MSEC)

/* What the holder wrote: lines KEY=VALUE. */
struct holder {
	char pid[32], command[64], host[80], since[TIME_TEXT_SIZE];
};

static void take_value(const char *text, const char *key, char *out, size_t size)
{
	const char *s = strstr(text, key);

	snprintf(out, size, "%.*s", s ? (int)strcspn(s + strlen(key), "\n") : 1,
		s ? s + strlen(key) : "?");
}

static void read_holder(int fd, struct holder *h)
{
	char text[TEXT_MAX] = "\n";
	ssize_t n = pread(fd, text + 1, sizeof(text) - 2, 0);

	text[n > 0 ? n + 1 : 1] = '\0';
	for (char *s = text + 1; *s; s++) {
		if (*s != '\n' && (*s < 0x20 || *s == 0x7f))
			*s = '?';
	}
	take_value(text, "\npid=", h->pid, sizeof(h->pid));
	take_value(text, "\ncommand=", h->command, sizeof(h->command));
	take_value(text, "\nhost=", h->host, sizeof(h->host));
	take_value(text, "\nsince=", h->since, sizeof(h->since));
}

static int held(int fd, const char *object, struct err *err)
{
	struct holder h;

	read_holder(fd, &h);
	err_set(err, EBUSY, "locked", object, "is held by %s, pid %s on %s since %s", h.command,
		h.pid, h.host, h.since);
	err_hint(err, "stop that process first");
	return -EBUSY;
}

/* The text is for people; a lock without it is as good, so a full disk does not matter. */
static void write_holder(int fd)
{
	struct utsname host;
	char text[TEXT_MAX], since[TIME_TEXT_SIZE];

	uname(&host);
	snprintf(text, sizeof(text), "pid=%d\ncommand=%s\nhost=%s\nsince=%s\n", (int)getpid(),
		program_invocation_short_name, host.nodename, time_format(clock_real(), since));
	if (ftruncate(fd, 0) == 0)
		(void)!pwrite(fd, text, strlen(text), 0);
}

static int open_file(int dirfd, const char *name, int flags, const char *object, int *fd,
	struct err *err)
{
	struct stat st;

	*fd = openat(dirfd, name, flags | O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600);
	if (*fd < 0 && errno == ELOOP)
		return err_set(err, ELOOP, "bad_lock", object,
			"the lock file %s is a symbolic link", name);
	if (*fd < 0 || fstat(*fd, &st) < 0)
		return err_sys(err, errno, "open the lock file", object);
	if (!S_ISREG(st.st_mode))
		return err_set(err, EINVAL, "bad_lock", object,
			"the lock file %s is not a regular file", name);
	return 0;
}

/* Does the name still lead to the file that was locked? */
static bool still_there(int dirfd, const char *name, int fd)
{
	struct stat a, b;

	return fstat(fd, &a) == 0 && fstatat(dirfd, name, &b, AT_SYMLINK_NOFOLLOW) == 0 &&
	       a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

/* 1: locked, 0: held by another, or the file was replaced meanwhile; -errno. */
static int try_lock(int dirfd, const char *name, int fd)
{
	if (flock(fd, LOCK_EX | LOCK_NB) < 0)
		return errno == EWOULDBLOCK || errno == EINTR ? 0 : -errno;
	return still_there(dirfd, name, fd);
}

/* `flags`: O_CREAT or 0. */
static int wait_for(int dirfd, const char *name, int flags, const char *object, int64_t wait,
	int *out, struct err *err)
{
	const struct timespec pause = {.tv_nsec = POLL_NS};
	int64_t until = clock_mono() + wait;

	for (;;) {
		_cleanup_fd_ int fd = -1;
		int r = open_file(dirfd, name, flags, object, &fd, err);

		if (r < 0)
			return r;
		r = try_lock(dirfd, name, fd);
		if (r < 0)
			return err_sys(err, -r, "lock", object);
		if (r > 0) {
			*out = fd;
			fd = -1;
			return 0;
		}
		if (clock_mono() >= until)
			return held(fd, object, err);
		nanosleep(&pause, NULL);
	}
}

int lock_take(int dirfd, const char *name, const char *object, int64_t wait, int *fd,
	struct err *err)
{
	int r = wait_for(dirfd, name, O_CREAT, object, wait, fd, err);

	if (r == 0)
		write_holder(*fd);
	return r;
}

int lock_wait(int dirfd, const char *name, const char *object, int64_t wait, struct err *err)
{
	_cleanup_fd_ int fd = -1;

	return wait_for(dirfd, name, 0, object, wait, &fd, err);
}
