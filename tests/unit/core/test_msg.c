/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Messages between the processes, over real socket pairs. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "fsd/core/msg.h"

/* What the header of a message is made of; see msg.c. */
struct wire {
	uint32_t magic;
	uint16_t type, status;
	uint64_t id, len;
	uint32_t passed, zero;
};
#define MAGIC 0x6d647366
#define WIRE(...) ((struct wire){MAGIC, MSG_REPLY, __VA_ARGS__})

struct pair {
	int a, b, fds;
};

static int open_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	int n = 0;

	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

static int setup(void **state)
{
	static struct pair p;
	int fds[2];

	p.fds = open_fds();
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0)
		return -1;
	p.a = fds[0];
	p.b = fds[1];
	*state = &p;
	return 0;
}

/* Also: no descriptor that came along was left open. */
static int teardown(void **state)
{
	struct pair *p = *state;

	close(p->a);
	if (p->b >= 0)
		close(p->b);
	return open_fds() == p->fds ? 0 : -1;
}

static void round_trip(struct pair *p, size_t len)
{
	struct msg out = {.type = MSG_REPLY, .status = 507, .id = 1ull << 60 | len}, in = MSG_INIT;
	struct buf *b = &out.body;

	for (size_t i = 0; i < len; i++)
		buf_add(b, &(char){(char)(i * 7)}, 1);
	assert_int_equal(msg_send(p->a, &out), 0);
	assert_int_equal(msg_recv(p->b, &in, len), 1);
	assert_int_equal(in.type, MSG_REPLY);
	assert_int_equal(in.status, 507);
	assert_true(in.id == out.id);
	assert_int_equal(in.body.len, len);
	if (len)
		assert_memory_equal(in.body.data, out.body.data, len);
	msg_release(&in);
	msg_release(&out);
}

static void test_msg__arrives_whole_inline_and_as_a_descriptor(void **state)
{
	round_trip(*state, 0);
	round_trip(*state, 1);
	round_trip(*state, MSG_INLINE_MAX);
	round_trip(*state, MSG_INLINE_MAX + 1);
	round_trip(*state, 5000000);
}

static void test_msg__larger_than_allowed_is_refused(void **state)
{
	struct pair *p = *state;
	struct msg out = {.type = MSG_REQUEST}, in = MSG_INIT;

	for (int i = 0; i < 2; i++) {
		while (out.body.len < (i ? MSG_INLINE_MAX + 100 : 100))
			buf_adds(&out.body, "x");
		assert_int_equal(msg_send(p->a, &out), 0);
		assert_int_equal(msg_recv(p->b, &in, out.body.len - 1), -EMSGSIZE);
		assert_null(in.body.data);
	}
	msg_release(&out);
}

static void test_msg__tells_that_the_other_side_is_gone(void **state)
{
	struct pair *p = *state;
	struct msg out = {.type = MSG_ABANDON, .id = 7}, in = MSG_INIT;

	assert_int_equal(msg_send(p->b, &out), 0);
	close(p->b);
	p->b = -1;
	assert_int_equal(msg_recv(p->a, &in, 0), 1);
	assert_int_equal(msg_recv(p->a, &in, 0), 0);
	assert_int_equal(msg_send(p->a, &out), -EPIPE);
}

static void test_msg__on_a_nonblocking_socket_says_that_nothing_is_there(void **state)
{
	struct pair *p = *state;
	struct msg in = MSG_INIT;

	assert_int_equal(fcntl(p->b, F_SETFL, O_NONBLOCK), 0);
	assert_int_equal(msg_recv(p->b, &in, 100), -EAGAIN);
}

static void *send_many(void *arg)
{
	struct pair *p = arg;
	struct msg out = {.type = MSG_REPLY};
	intptr_t r = 0;

	while (out.body.len < 20000)
		buf_adds(&out.body, "0123456789");
	for (out.id = 0; r == 0 && out.id < 1000; out.id++)
		r = msg_send(p->a, &out);
	msg_release(&out);
	return (void *)r;
}

/* Far more than the socket's buffer holds, from a socket that would not block by itself. */
static void test_msg__waits_while_the_socket_is_full(void **state)
{
	struct pair *p = *state;
	struct msg in = MSG_INIT;
	pthread_t t;
	void *r;

	assert_int_equal(fcntl(p->a, F_SETFL, O_NONBLOCK), 0);
	assert_int_equal(pthread_create(&t, NULL, send_many, p), 0);
	for (uint64_t i = 0; i < 1000; i++) {
		assert_int_equal(msg_recv(p->b, &in, 20000), 1);
		assert_true(in.id == i && in.body.len == 20000);
		msg_release(&in);
	}
	assert_int_equal(pthread_join(t, &r), 0);
	assert_null(r);
}

/* Send raw bytes with descriptors, and see that they are refused. */
static void refused(struct pair *p, const void *data, size_t len, const int *fds, int n)
{
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(8 * sizeof(int))];
	} control = {0};
	struct iovec iov = {(void *)(uintptr_t)data, len};
	struct msghdr mh = {.msg_iov = &iov, .msg_iovlen = 1};
	struct msg in = MSG_INIT;

	if (n) {
		struct cmsghdr *c = &control.align;

		mh.msg_control = &control;
		mh.msg_controllen = CMSG_SPACE(n * sizeof(int));
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(n * sizeof(int));
		memcpy(CMSG_DATA(c), fds, n * sizeof(int));
	}
	assert_int_equal(sendmsg(p->a, &mh, 0), len);
	assert_int_equal(msg_recv(p->b, &in, 1 << 20), -EBADMSG);
	assert_null(in.body.data);
}

static void test_msg__malformed_is_refused(void **state)
{
	struct pair *p = *state;
	struct wire w[] = {
		{1, MSG_REPLY},
		{MAGIC, 0},
		{MAGIC, MSG_EVENT + 1},
		WIRE(.len = 1),
		WIRE(.len = UINT64_MAX),
		WIRE(.passed = 1),
		WIRE(.passed = 2),
		WIRE(.zero = 1),
	};
	char long_one[sizeof(struct wire) + MSG_INLINE_MAX + 1] = {0};

	for (size_t i = 0; i < sizeof(w) / sizeof(w[0]); i++)
		refused(p, &w[i], sizeof(w[i]), NULL, 0);
	w[0] = (struct wire){MAGIC, MSG_REPLY};
	refused(p, &w[0], sizeof(w[0]) - 1, NULL, 0);
	memcpy(long_one, &w[0], sizeof(w[0]));
	refused(p, long_one, sizeof(w[0]) + 1, NULL, 0);
	((struct wire *)long_one)->len = MSG_INLINE_MAX + 1;
	refused(p, long_one, sizeof(long_one), NULL, 0);
}

static int memfd(size_t size, int seals)
{
	int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, size), 0);
	assert_int_equal(fcntl(fd, F_ADD_SEALS, seals), 0);
	return fd;
}

static void test_msg__takes_no_descriptor_it_did_not_expect(void **state)
{
	const int all = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;
	struct pair *p = *state;
	struct wire with = WIRE(.passed = 1, .len = 100), without = {MAGIC, MSG_REPLY};
	int good = memfd(100, all), other, pipefd[2];
	int many[8] = {good, good, good, good, good, good, good, good};

	refused(p, &without, sizeof(without), &good, 1);
	refused(p, &with, sizeof(with), many, 2);
	refused(p, &with, sizeof(with), many, 8);
	for (int seal = F_SEAL_SHRINK; seal <= F_SEAL_WRITE; seal <<= 1) {
		other = memfd(100, all & ~seal & ~F_SEAL_SEAL);
		refused(p, &with, sizeof(with), &other, 1);
		close(other);
	}
	other = memfd(99, all);
	refused(p, &with, sizeof(with), &other, 1);
	close(other);
	assert_int_equal(pipe2(pipefd, O_CLOEXEC), 0);
	refused(p, &with, sizeof(with), &pipefd[0], 1);
	close(pipefd[0]);
	close(pipefd[1]);
	close(good);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_msg__arrives_whole_inline_and_as_a_descriptor),
		TEST(test_msg__larger_than_allowed_is_refused),
		TEST(test_msg__tells_that_the_other_side_is_gone),
		TEST(test_msg__on_a_nonblocking_socket_says_that_nothing_is_there),
		TEST(test_msg__waits_while_the_socket_is_full),
		TEST(test_msg__malformed_is_refused),
		TEST(test_msg__takes_no_descriptor_it_did_not_expect),
	};

	return cmocka_run_group_tests_name("msg", tests, NULL, NULL);
}
