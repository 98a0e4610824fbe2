/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/unit/api/harness.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include <jansson.h>

#include "snap/base/err.h"

#define PATIENCE 60000 /* ms */

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED true
#else
#define SANITIZED false
#endif

/* ---- the process ---- */

static int listen_at(const char *path)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(sun.sun_path, sizeof(sun.sun_path), "%s", path);
	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&sun, sizeof(sun)), 0);
	assert_int_equal(chmod(path, 0666), 0);
	assert_int_equal(listen(fd, 4096), 0);
	return fd;
}

static void run_child(int listen_fd, int msg, const struct api_limits *limits)
{
	struct api_args args = {.listen_fds = {listen_fd}, .n_listen = 1, .msg_fd = msg,
		.uid = geteuid() == 0 ? 65534 : (uid_t)-1, .gid = 65534, .limits = *limits,
		.no_fence = SANITIZED};
	struct err err = ERR_INIT;
	int r = api_main(&args, &err);

	if (r < 0)
		fprintf(stderr, "api: %s: %s\n", err.code, err.reason);
	exit(r < 0 ? 1 : 0);
}

/* The api process has started its threads when it accepts. */
static void wait_for_health(struct harness *h)
{
	int fd;

	for (bool served = false; !served; close(fd)) {
		fd = client_open(h);
		served = harness_serve(h, fd,
			"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", OP_HEALTH);
		client_expect_end(fd);
	}
}

void harness_start(struct harness *h, const struct api_limits *limits, uint64_t newest)
{
	struct msg ready = {.type = MSG_READY, .id = newest};
	int listen_fd, pair[2];

	*h = (struct harness){.dir = "/tmp/test_api.XXXXXX"};
	assert_non_null(mkdtemp(h->dir));
	assert_int_equal(chmod(h->dir, 0755), 0);
	snprintf(h->socket, sizeof(h->socket), "%s/sock", h->dir);
	listen_fd = listen_at(h->socket);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	fflush(NULL);
	h->pid = fork();
	assert_true(h->pid >= 0);
	if (h->pid == 0) {
		close(pair[0]);
		run_child(listen_fd, pair[1], limits);
	}
	close(listen_fd);
	close(pair[1]);
	h->msg = pair[0];
	assert_int_equal(msg_send(h->msg, &ready), 0);
	wait_for_health(h);
	h->fds = harness_fds(h);
	for (int n; (n = harness_fds(h)) < h->fds; h->fds = n)
		; /* the connection above may still be there */
	harness_settle(h);
}

int harness_fds(const struct harness *h)
{
	char path[64];
	DIR *d;
	int n = 0;

	snprintf(path, sizeof(path), "/proc/%d/fd", h->pid);
	d = opendir(path);
	if (!d)
		return -1; /* not root, and the process is not dumpable */
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

void harness_settle(struct harness *h)
{
	int fds, quiet = 0;

	/* Connections are gone from its table one step after their sockets are closed here. */
	for (int i = 0; i < PATIENCE && quiet < 3; i++) {
		fds = harness_fds(h);
		if (fds < h->fds)
			h->fds = fds;
		quiet = fds <= h->fds ? quiet + 1 : 0;
		poll(NULL, 0, 1);
	}
	assert_true(quiet >= 3);
}

void harness_stop(struct harness *h)
{
	int status;

	harness_settle(h);
	msg_release(&h->in);
	request_release(&h->request);
	close(h->msg);
	assert_int_equal(waitpid(h->pid, &status, 0), h->pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	unlink(h->socket);
	rmdir(h->dir);
}

long harness_cpu(const struct harness *h)
{
	struct timespec ts;
	clockid_t clock;

	assert_int_equal(clock_getcpuclockid(h->pid, &clock), 0);
	assert_int_equal(clock_gettime(clock, &ts), 0);
	return ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* ---- the worker ---- */

static void receive(struct harness *h)
{
	struct pollfd p = {.fd = h->msg, .events = POLLIN};

	msg_release(&h->in);
	request_release(&h->request);
	assert_int_equal(poll(&p, 1, PATIENCE), 1);
	assert_int_equal(msg_recv(h->msg, &h->in, REQUEST_SIZE_MAX), 1);
}

void worker_expect(struct harness *h, enum op op)
{
	struct err err = ERR_INIT;

	receive(h);
	assert_int_equal(h->in.type, MSG_REQUEST);
	if (request_decode(h->in.body.data, h->in.body.len, &h->request, &err) < 0)
		fail_msg("the api sent a bad request: %s: %s", err.object, err.reason);
	assert_int_equal(h->request.op, op);
}

void worker_expect_abandon(struct harness *h, uint64_t id)
{
	receive(h);
	assert_int_equal(h->in.type, MSG_ABANDON);
	if (id)
		assert_true(h->in.id == id);
}

void worker_answer(struct harness *h, uint64_t id, unsigned status, const char *body)
{
	struct msg m = {.type = MSG_REPLY, .status = status, .id = id};

	buf_adds(&m.body, body);
	assert_int_equal(msg_send(h->msg, &m), 0);
	msg_release(&m);
}

void worker_expect_nothing(struct harness *h)
{
	wait_for_health(h);
}

bool harness_serve(struct harness *h, int fd, const char *request, enum op op)
{
	struct answer a;
	uint64_t id;

	client_send(fd, request);
	worker_expect(h, op);
	id = h->in.id;
	worker_answer(h, id, 200, "{}");
	client_read(fd, &a, false);
	answer_release(&a);
	if (a.status == 200)
		return true;
	assert_int_equal(a.status, 503);
	worker_expect_abandon(h, id);
	return false;
}

/* ---- clients ---- */

int client_open(const struct harness *h)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	struct timeval patience = {.tv_sec = PATIENCE / 1000};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(sun.sun_path, sizeof(sun.sun_path), "%s", h->socket);
	assert_true(fd >= 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	assert_int_equal(connect(fd, (struct sockaddr *)&sun, sizeof(sun)), 0);
	return fd;
}

/* An api that has answered and closed early is no failure of the client. */
void client_send_data(int fd, const void *data, size_t len)
{
	const char *p = data;

	while (len) {
		ssize_t n = send(fd, p, len, MSG_NOSIGNAL);

		if (n < 0 && (errno == EPIPE || errno == ECONNRESET))
			return;
		assert_true(n > 0);
		p += n;
		len -= n;
	}
}

const char *post_head(const char *target, const char *headers, size_t len)
{
	static char head[1000];

	snprintf(head, sizeof(head), "POST %s HTTP/1.1\r\nHost: x\r\n%sContent-Length: %zu\r\n\r\n",
		target, headers, len);
	return head;
}

void post(int fd, const char *target, const char *headers, const char *body)
{
	client_send(fd, post_head(target, headers, strlen(body)));
	client_send(fd, body);
}

void client_send(int fd, const char *text)
{
	client_send_data(fd, text, strlen(text));
}

static ssize_t read_some(int fd, void *data, size_t len)
{
	ssize_t n = recv(fd, data, len, 0);

	if (n < 0 && errno == ECONNRESET)
		return 0;
	if (n < 0)
		fail_msg("nothing to read: %s", strerror(errno));
	return n;
}

void client_expect_end(int fd)
{
	char c;

	assert_int_equal(read_some(fd, &c, 1), 0);
}

const char *client_read_until(int fd, const char *text)
{
	static char data[1 << 20];
	size_t len = 0;

	data[0] = '\0';
	while (!strstr(data, text)) {
		assert_true(len < sizeof(data) - 1);
		assert_int_equal(read_some(fd, data + len, 1), 1);
		data[++len] = '\0';
	}
	return data;
}

void answer_release(struct answer *a)
{
	buf_release(&a->body);
}

const char *answer_header(const struct answer *a, const char *name)
{
	static char value[512];
	size_t len = strlen(name);

	value[0] = '\0';
	for (const char *line = strstr(a->head, "\r\n"); line; line = strstr(line + 2, "\r\n")) {
		if (strncasecmp(line + 2, name, len) == 0 && line[2 + len] == ':')
			snprintf(value, sizeof(value), "%.*s", (int)strcspn(line + 4 + len, "\r"),
				line + 4 + len);
	}
	return value;
}

static void read_head(int fd, struct answer *a)
{
	size_t len = 0;

	a->head[0] = '\0';
	while (!strstr(a->head, "\r\n\r\n")) {
		assert_true(len < sizeof(a->head) - 1);
		if (read_some(fd, a->head + len, 1) != 1)
			fail_msg("the connection ended after: %s", a->head);
		a->head[++len] = '\0';
	}
	assert_int_equal(sscanf(a->head, "HTTP/1.%*d %u ", &a->status), 1);
}

void client_read(int fd, struct answer *a, bool head)
{
	size_t left;

	*a = (struct answer){.body = BUF_INIT};
	do
		read_head(fd, a);
	while (a->status == 100);
	left = head ? 0 : strtoul(answer_header(a, "Content-Length"), NULL, 10);
	while (left) {
		char data[65536];
		ssize_t n = read_some(fd, data, left < sizeof(data) ? left : sizeof(data));

		assert_true(n > 0);
		buf_add(&a->body, data, n);
		left -= n;
	}
}

void client_expect(int fd, unsigned status, const char *code)
{
	struct answer a;
	json_t *problem;

	client_read(fd, &a, false);
	if (a.status != status)
		fail_msg("%u and not %u: %s%s", a.status, status, a.head, buf_str(&a.body));
	if (code) {
		problem = json_loads(buf_str(&a.body), 0, NULL);
		assert_string_equal(answer_header(&a, "Content-Type"), "application/problem+json");
		assert_string_equal(json_string_value(json_object_get(problem, "code")), code);
		assert_int_equal(json_integer_value(json_object_get(problem, "status")), status);
		json_decref(problem);
	}
	answer_release(&a);
}
