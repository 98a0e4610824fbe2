/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/unit/client/peer.h"

#include <assert.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define CONNS 16
#define ANSWERS 64
#define REQUESTS 256

struct answer {
	char *start; /* of the requests it is for; NULL: the next one */
	char *bytes;
	enum peer_then then;
};

struct conn {
	int fd;
	char *in;
	size_t len;
	bool deaf; /* PEER_HANG */
};

struct peer {
	char dir[64], url[128], sock[96];
	int listener, stop;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t came;
	struct answer next[ANSWERS], always[ANSWERS];
	size_t n_next, n_always, used;
	char *requests[REQUESTS];
	size_t n_requests;
	struct conn conns[CONNS];
};

/* The bytes of the first whole request in `in`, 0 while it is incomplete. */
static size_t whole_request(const char *in)
{
	const char *end = in ? strstr(in, "\r\n\r\n") : NULL;
	const char *length = in ? strcasestr(in, "\r\nContent-Length: ") : NULL;
	size_t head;

	if (!end)
		return 0;
	head = (size_t)(end - in) + 4;
	if (length && length < end)
		head += strtoul(length + 18, NULL, 10);
	return head <= strlen(in) ? head : 0;
}

static const struct answer *answer_for(struct peer *p, const char *request)
{
	for (size_t i = p->n_always; i > 0; i--) {
		if (strncmp(request, p->always[i - 1].start, strlen(p->always[i - 1].start)) == 0)
			return &p->always[i - 1];
	}
	return p->used < p->n_next ? &p->next[p->used++] : NULL;
}

/* Seconds that the clock was put forward. The library finds this clock before that of libc. */
static atomic_long forward;

__attribute__((visibility("default"))) int clock_gettime(clockid_t clock, struct timespec *ts)
{
	int r = (int)syscall(SYS_clock_gettime, clock, ts);

	if (r == 0 && clock == CLOCK_MONOTONIC)
		ts->tv_sec += atomic_load(&forward);
	return r;
}

static void drop(struct conn *c)
{
	close(c->fd);
	free(c->in);
	*c = (struct conn){.fd = -1};
}

static void reply(struct conn *c, const struct answer *a)
{
	if (a && a->then == PEER_LATE)
		atomic_fetch_add(&forward, 60);
	if (!a || send(c->fd, a->bytes, strlen(a->bytes), MSG_NOSIGNAL) < 0 ||
		a->then == PEER_CLOSE || a->then == PEER_LATE)
		drop(c);
	else
		c->deaf = a->then == PEER_HANG;
}

static void serve(struct peer *p, struct conn *c)
{
	size_t n;

	while (c->fd >= 0 && (n = whole_request(c->in)) > 0) {
		const struct answer *a;

		pthread_mutex_lock(&p->lock);
		assert(p->n_requests < REQUESTS);
		p->requests[p->n_requests++] = strndup(c->in, n);
		memmove(c->in, c->in + n, c->len - n + 1);
		c->len -= n;
		a = answer_for(p, p->requests[p->n_requests - 1]);
		pthread_cond_broadcast(&p->came);
		pthread_mutex_unlock(&p->lock);
		reply(c, a);
	}
}

static void receive(struct peer *p, struct conn *c)
{
	char piece[4096];
	ssize_t n = recv(c->fd, piece, sizeof(piece), 0);

	if (n <= 0) {
		drop(c);
		return;
	}
	c->in = realloc(c->in, c->len + (size_t)n + 1);
	memcpy(c->in + c->len, piece, (size_t)n);
	c->len += (size_t)n;
	c->in[c->len] = '\0';
	if (!c->deaf)
		serve(p, c);
}

static void *run(void *arg)
{
	struct peer *p = arg;

	for (;;) {
		struct pollfd fds[CONNS + 2] = {{.fd = p->listener, .events = POLLIN},
			{.fd = p->stop, .events = POLLIN}};

		for (int i = 0; i < CONNS; i++)
			fds[i + 2] = (struct pollfd){.fd = p->conns[i].fd, .events = POLLIN};
		poll(fds, CONNS + 2, -1);
		if (fds[1].revents)
			return NULL;
		for (int i = 0; i < CONNS; i++) {
			if (fds[i + 2].revents)
				receive(p, &p->conns[i]);
		}
		for (int i = 0; fds[0].revents && i < CONNS; i++) {
			if (p->conns[i].fd < 0) {
				p->conns[i].fd = accept4(p->listener, NULL, NULL, SOCK_CLOEXEC);
				break;
			}
		}
	}
}

struct peer *peer_start(void)
{
	struct peer *p = calloc(1, sizeof(*p));
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int r;

	strcpy(p->dir, "/tmp/fsc-XXXXXX");
	assert(mkdtemp(p->dir));
	snprintf(p->sock, sizeof(p->sock), "%s/sock", p->dir);
	snprintf(p->url, sizeof(p->url), "unix://%s", p->sock);
	strcpy(addr.sun_path, p->sock);
	for (int i = 0; i < CONNS; i++)
		p->conns[i].fd = -1;
	p->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	p->stop = eventfd(0, EFD_CLOEXEC);
	r = bind(p->listener, (struct sockaddr *)&addr, sizeof(addr));
	assert(r == 0);
	r = listen(p->listener, 8);
	assert(r == 0);
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->came, NULL);
	r = pthread_create(&p->thread, NULL, run, p);
	assert(r == 0);
	return p;
}

static void free_answers(struct answer *a, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		free(a[i].start);
		free(a[i].bytes);
	}
}

void peer_stop(struct peer **pp)
{
	struct peer *p = *pp;

	eventfd_write(p->stop, 1);
	pthread_join(p->thread, NULL);
	for (int i = 0; i < CONNS; i++) {
		if (p->conns[i].fd >= 0)
			drop(&p->conns[i]);
	}
	close(p->listener);
	close(p->stop);
	free_answers(p->next, p->n_next);
	free_answers(p->always, p->n_always);
	for (size_t i = 0; i < p->n_requests; i++)
		free(p->requests[i]);
	unlink(p->sock);
	rmdir(p->dir);
	free(p);
	*pp = NULL;
}

void peer_say(struct peer *p, const char *bytes, enum peer_then then)
{
	pthread_mutex_lock(&p->lock);
	assert(p->n_next < ANSWERS);
	p->next[p->n_next++] = (struct answer){.bytes = strdup(bytes), .then = then};
	pthread_mutex_unlock(&p->lock);
}

static char *http(int status, const char *json)
{
	char *out;
	int n = asprintf(&out,
		"HTTP/1.1 %d X\r\nContent-Type: application/%sjson\r\n"
		"Content-Length: %zu\r\n\r\n%s",
		status, status < 300 ? "" : "problem+", strlen(json), json);

	assert(n > 0);
	return out;
}

void peer_answer(struct peer *p, int status, const char *json)
{
	char *bytes = http(status, json);

	peer_say(p, bytes, PEER_KEEP);
	free(bytes);
}

void peer_always(struct peer *p, const char *start, int status, const char *json)
{
	pthread_mutex_lock(&p->lock);
	assert(p->n_always < ANSWERS);
	p->always[p->n_always++] = (struct answer){.start = strdup(start),
		.bytes = http(status, json)};
	pthread_mutex_unlock(&p->lock);
}

size_t peer_requests(struct peer *p)
{
	size_t n;

	pthread_mutex_lock(&p->lock);
	n = p->n_requests;
	pthread_mutex_unlock(&p->lock);
	return n;
}

const char *peer_request(struct peer *p, size_t n)
{
	const char *out;
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += 60;
	pthread_mutex_lock(&p->lock);
	while (p->n_requests <= n && pthread_cond_timedwait(&p->came, &p->lock, &until) == 0)
		;
	out = p->n_requests > n ? p->requests[n] : NULL;
	pthread_mutex_unlock(&p->lock);
	return out;
}

const char *peer_url(const struct peer *p)
{
	return p->url;
}

const char *peer_dir(const struct peer *p)
{
	return p->dir;
}
