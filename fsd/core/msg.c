/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fsd/core/msg.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "snap/base/fd.h"

/* Both ends are one build on one machine: native byte order. */
struct header {
	uint32_t magic;
	uint16_t type;
	uint16_t status;
	uint64_t id;
	uint64_t len;	 /* of the body */
	uint32_t passed; /* 1: the body is in the descriptor that comes along */
	uint32_t zero;
};

#define MAGIC 0x6d647366 /* "fsdm" */
#define SEALS (F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)
/* More than one is a mistake already, but all that arrive must be closed. */
#define FDS_MAX 4

union control {
	struct cmsghdr align;
	char space[CMSG_SPACE(FDS_MAX * sizeof(int))];
};

void msg_release(struct msg *m)
{
	buf_release(&m->body);
	*m = MSG_INIT;
}

/* ---- sending ---- */

/* A sealed memfd with the body: what was checked once cannot change or shrink any more. */
static int body_to_fd(const struct buf *body)
{
	_cleanup_fd_ int fd = memfd_create("fsd-body", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	int r;

	if (fd < 0)
		return -errno;
	r = fd_write_all(fd, body->data, body->len);
	if (r < 0)
		return r;
	if (fcntl(fd, F_ADD_SEALS, SEALS) < 0)
		return -errno;
	r = fd;
	fd = -1;
	return r;
}

static void attach(struct msghdr *mh, union control *control, int fd)
{
	struct cmsghdr *c;

	memset(control, 0, sizeof(*control));
	mh->msg_control = control;
	mh->msg_controllen = CMSG_SPACE(sizeof(int));
	c = CMSG_FIRSTHDR(mh);
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &fd, sizeof(int));
}

static int send_all(int sock, const struct msghdr *mh)
{
	for (;;) {
		if (sendmsg(sock, mh, MSG_NOSIGNAL) >= 0)
			return 0;
		if (errno == EAGAIN) {
			struct pollfd p = {.fd = sock, .events = POLLOUT};

			if (poll(&p, 1, -1) < 0 && errno != EINTR)
				return -errno;
		} else if (errno == ECONNRESET) {
			return -EPIPE;
		} else if (errno != EINTR) {
			return -errno;
		}
	}
}

int msg_send(int sock, const struct msg *m)
{
	_cleanup_fd_ int fd = -1;
	struct header h = {MAGIC, m->type, m->status, m->id, m->body.len, 0, 0};
	struct iovec iov[2] = {{&h, sizeof(h)}, {m->body.data, m->body.len}};
	struct msghdr mh = {.msg_iov = iov, .msg_iovlen = 2};
	union control control;

	if (buf_error(&m->body) < 0)
		return buf_error(&m->body);
	if (m->body.len > MSG_BODY_MAX)
		return -EMSGSIZE;
	if (m->body.len > MSG_INLINE_MAX) {
		fd = body_to_fd(&m->body);
		if (fd < 0)
			return fd;
		h.passed = 1;
		mh.msg_iovlen = 1;
		attach(&mh, &control, fd);
	}
	return send_all(sock, &mh);
}

/* ---- receiving ---- */

struct passed {
	int fds[FDS_MAX];
	int n;
};

static void passed_close(struct passed *p)
{
	for (int i = 0; i < p->n; i++)
		fd_close(&p->fds[i]);
}

static void collect(struct msghdr *mh, struct passed *p)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(mh); c; c = CMSG_NXTHDR(mh, c)) {
		int n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (int i = 0; i < n && p->n < FDS_MAX; i++)
			memcpy(&p->fds[p->n++], CMSG_DATA(c) + i * sizeof(int), sizeof(int));
	}
}

/* Only a fully sealed memfd answers F_GET_SEALS so: reading it cannot block or come up short. */
static int body_from_fd(int fd, uint64_t len, struct buf *body)
{
	int seals = fcntl(fd, F_GET_SEALS);
	struct stat st;
	size_t done = 0;

	if (seals < 0 || (seals & SEALS) != SEALS || fstat(fd, &st) < 0 ||
		(uint64_t)st.st_size != len)
		return -EBADMSG;
	if (!buf_reserve(body, len))
		return -ENOMEM;
	while (done < len) {
		ssize_t n = pread(fd, body->data + done, len - done, done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EBADMSG;
		done += n;
	}
	body->len = len;
	body->data[len] = '\0';
	return 0;
}

static int check(const struct header *h, const struct msghdr *mh, size_t got,
	const struct passed *p, size_t body_max)
{
	if (got < sizeof(*h) || (mh->msg_flags & (MSG_TRUNC | MSG_CTRUNC)))
		return -EBADMSG;
	if (h->magic != MAGIC || h->type < MSG_REQUEST || h->type > MSG_EVENT || h->passed > 1 ||
		h->zero || p->n != (int)h->passed)
		return -EBADMSG;
	if (h->passed ? got != sizeof(*h) : got != sizeof(*h) + h->len)
		return -EBADMSG;
	return h->len > body_max ? -EMSGSIZE : 0;
}

static ssize_t receive(int sock, struct msghdr *mh)
{
	ssize_t n;

	do
		n = recvmsg(sock, mh, MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno == ECONNRESET ? 0 : -errno;
	return n;
}

int msg_recv(int sock, struct msg *m, size_t body_max)
{
	__attribute__((cleanup(passed_close))) struct passed passed = {.n = 0};
	char inlined[MSG_INLINE_MAX];
	struct header h;
	union control control;
	struct iovec iov[2] = {{&h, sizeof(h)}, {inlined, sizeof(inlined)}};
	struct msghdr mh = {.msg_iov = iov, .msg_iovlen = 2, .msg_control = &control,
		.msg_controllen = sizeof(control)};
	ssize_t n = receive(sock, &mh);
	int r;

	if (n <= 0)
		return n;
	collect(&mh, &passed);
	r = check(&h, &mh, n, &passed, body_max);
	if (r == 0 && h.passed)
		r = body_from_fd(passed.fds[0], h.len, &m->body);
	else if (r == 0 && h.len)
		buf_add(&m->body, inlined, h.len);
	if (r == 0)
		r = buf_error(&m->body);
	if (r < 0) {
		msg_release(m);
		return r;
	}
	m->type = h.type;
	m->status = h.status;
	m->id = h.id;
	return 1;
}
