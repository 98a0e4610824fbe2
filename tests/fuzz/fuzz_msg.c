/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A packet on the message socket, with as many descriptors as its first byte says. */
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fsd/core/msg.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(int ok)
{
	if (!ok)
		abort();
}

static int sealed(void)
{
	int fd = memfd_create("fuzz", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	must(fd >= 0 && ftruncate(fd, 64) == 0);
	must(fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) == 0);
	return fd;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static int pair[2] = {-1, -1}, fd;
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(8 * sizeof(int))];
	} control = {0};
	int n = size ? data[0] % 9 : 0;
	struct iovec iov = {(void *)(uintptr_t)(data + 1), size ? size - 1 : 0};
	struct msghdr mh = {.msg_iov = &iov, .msg_iovlen = 1};
	struct msg m = MSG_INIT;
	int r;

	if (pair[0] < 0) {
		must(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0);
		fd = sealed();
	}
	if (size < 2 || size > 65536)
		return 0;
	if (n) {
		mh.msg_control = &control;
		mh.msg_controllen = CMSG_SPACE(n * sizeof(int));
		control.align.cmsg_level = SOL_SOCKET;
		control.align.cmsg_type = SCM_RIGHTS;
		control.align.cmsg_len = CMSG_LEN(n * sizeof(int));
		for (int i = 0; i < n; i++)
			memcpy(CMSG_DATA(&control.align) + i * sizeof(int), &fd, sizeof(int));
	}
	must(sendmsg(pair[0], &mh, 0) == (ssize_t)size - 1);
	r = msg_recv(pair[1], &m, 1 << 20);
	must(r == 1 || (r < 0 && !m.body.data));
	msg_release(&m);
	r = dup(fd);
	must(r >= 0 && r < 64); /* none is left open */
	close(r);
	return 0;
}
