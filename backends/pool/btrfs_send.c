/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The send ioctl writes to a pipe from a thread of its own; the caller's thread reads and parses.
 * Closing the pipe's reading end is how the ioctl is stopped early.
 */
#include "backends/pool/btrfs_send.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/btrfs.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "snap/base/err.h"
#include "snap/base/fd.h"

#define PIPE_BYTES (256 * 1024)
/* How soon a cancel is seen while the kernel is silent. */
#define POLL_MS 50

struct sender {
	int fd;
	int pipe[2];
	uint64_t parent;
	uint32_t version;
	int result;
};

static void *send_main(void *arg)
{
	struct sender *s = arg;
	struct btrfs_ioctl_send_args args = {
		.send_fd = s->pipe[1],
		.parent_root = s->parent,
		.flags = BTRFS_SEND_FLAG_NO_FILE_DATA,
	};

	if (s->version > 1) {
		args.flags |= BTRFS_SEND_FLAG_VERSION;
		args.version = s->version;
	}
	s->result = ioctl(s->fd, BTRFS_IOC_SEND, &args) < 0 ? -errno : 0;
	fd_close(&s->pipe[1]); /* the reader's end of file */
	return NULL;
}

/* With every signal blocked, so that SIGPIPE from a closed pipe stays with the thread. */
static int start(struct sender *s, pthread_t *thread)
{
	sigset_t all, old;
	int r;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r = -pthread_create(thread, NULL, send_main, s);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return r;
}

/* The next bytes; 0 at the end, -ECANCELED, -errno. */
static ssize_t read_some(int fd, void *data, size_t size, struct snap_ctx *ctx)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	for (;;) {
		ssize_t n;

		if (snap_canceled(ctx))
			return -ECANCELED;
		if (poll(&p, 1, POLL_MS) <= 0)
			continue;
		n = read(fd, data, size);
		if (n >= 0)
			return n;
		if (errno != EINTR)
			return -errno;
	}
}

/* *got counts the bytes, so that a refusal by the ioctl is told from a stream cut short. */
static int parse(int fd, struct send_stream *stream, size_t *got, struct snap_ctx *ctx,
	struct err *err)
{
	_cleanup_free_ char *data = malloc(PIPE_BYTES);
	ssize_t n;
	int r = 0;

	if (!data)
		return err_sys(err, ENOMEM, "read send stream", NULL);
	while (r == 0 && (n = read_some(fd, data, PIPE_BYTES, ctx)) != 0) {
		if (n < 0)
			return err_sys(err, (int)-n, "read send stream", NULL);
		*got += n;
		r = send_stream_feed(stream, data, n, err);
	}
	return r;
}

static int run(struct sender *s, struct send_stream *stream, size_t *got, struct snap_ctx *ctx,
	struct err *err)
{
	pthread_t thread;
	int r;

	*got = 0;
	if (pipe2(s->pipe, O_CLOEXEC) < 0)
		return err_sys(err, errno, "pipe", NULL);
	fcntl(s->pipe[0], F_SETPIPE_SZ, PIPE_BYTES); /* only faster */
	r = start(s, &thread);
	if (r < 0) {
		fd_close(&s->pipe[0]);
		fd_close(&s->pipe[1]);
		return err_sys(err, -r, "start a thread", NULL);
	}
	r = parse(s->pipe[0], stream, got, ctx, err);
	fd_close(&s->pipe[0]);
	pthread_join(thread, NULL);
	if (r == 0 && s->result < 0)
		return err_sys(err, -s->result, "btrfs send", NULL);
	return r < 0 ? r : send_stream_end(stream, err);
}

static int send_version(int fd, uint64_t parent, uint32_t version, size_t *got,
	struct snap_ctx *ctx, send_cmd_fn *fn, void *arg, struct err *err)
{
	struct sender s = {.fd = fd, .parent = parent, .version = version};
	struct send_stream *stream = NULL;
	int r = send_stream_new(fn, arg, &stream);

	if (r < 0)
		return err_sys(err, -r, "read send stream", NULL);
	r = run(&s, stream, got, ctx, err);
	send_stream_free(&stream);
	return r;
}

int btrfs_send(int fd, uint64_t parent, struct snap_ctx *ctx, send_cmd_fn *fn, void *arg,
	struct err *err)
{
	size_t got = 0;
	int r = send_version(fd, parent, 2, &got, ctx, fn, arg, err);

	/* Before 6.0 the kernel knew no versions; it refuses before it writes. */
	if (r == -EINVAL && got == 0)
		r = send_version(fd, parent, 1, &got, ctx, fn, arg, err);
	return r;
}
