/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The api process's main thread: start, the worker's messages, time, the end. */
#include "fsd/api/api.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

#include "fsd/api/confine.h"
#include "fsd/api/server.h"
#include "snap/base/clock.h"
#include "snap/base/fd.h"

#define KEY_WORKER UINT64_MAX
#define KEY_WAKE (UINT64_MAX - 1)
#define CONN_MEMORY 16384 /* for request line, headers and pieces of bodies */
#define OTHER_FDS 64	  /* that the process needs besides connections */

/* ---- for the HTTP threads ---- */

static void wake_up(struct server *s)
{
	uint64_t one = 1;

	(void)!write(s->wake_fd, &one, sizeof(one)); /* full is as good as written */
}

int server_send(struct server *s, enum msg_type type, uint64_t id, struct buf *body)
{
	struct outgoing *o = calloc(1, sizeof(*o));

	if (!o)
		return -ENOMEM;
	o->msg = (struct msg){.type = type, .id = id, .body = *body};
	*body = BUF_INIT;
	*s->out_tail = o;
	s->out_tail = &o->next;
	wake_up(s);
	return 0;
}

static void outgoing_free(struct outgoing *o)
{
	msg_release(&o->msg);
	free(o);
}

void server_abandon(struct server *s, uint64_t id)
{
	struct outgoing **o = &s->out_head, *gone;
	struct buf none = BUF_INIT;

	while (*o && (*o)->msg.id != id)
		o = &(*o)->next;
	if (!*o) {
		server_send(s, MSG_ABANDON, id, &none);
		return;
	}
	gone = *o;
	*o = gone->next;
	if (s->out_tail == &gone->next)
		s->out_tail = o;
	outgoing_free(gone);
}

void server_due(struct server *s, int64_t when)
{
	if (when >= s->due)
		return;
	s->due = when;
	wake_up(s);
}

/* ---- messages ---- */

static struct outgoing *take_outgoing(struct server *s)
{
	struct outgoing *o;

	pthread_mutex_lock(&s->lock);
	o = s->out_head;
	if (o) {
		s->out_head = o->next;
		if (!s->out_head)
			s->out_tail = &s->out_head;
	}
	pthread_mutex_unlock(&s->lock);
	return o;
}

static bool has_outgoing(struct server *s)
{
	bool has;

	pthread_mutex_lock(&s->lock);
	has = s->out_head != NULL;
	pthread_mutex_unlock(&s->lock);
	return has;
}

/* A socket counts as writable when it has room for far more than the largest message. */
static bool is_writable(const struct server *s)
{
	struct pollfd p = {.fd = s->msg_fd, .events = POLLOUT};

	return poll(&p, 1, 0) > 0;
}

static void want_write(struct server *s, bool want)
{
	struct epoll_event ev = {.events = EPOLLIN | (want ? EPOLLOUT : 0),
		.data.u64 = KEY_WORKER};

	if (want != s->out_blocked)
		epoll_ctl(s->epoll_fd, EPOLL_CTL_MOD, s->msg_fd, &ev);
	s->out_blocked = want;
}

/* Only what fits now: while the worker takes no more, its answers must still be read. */
static int send_outgoing(struct server *s, struct err *err)
{
	int r = 0;

	while (r == 0 && has_outgoing(s) && is_writable(s)) {
		struct outgoing *o = take_outgoing(s);

		if (!o)
			break; /* abandoned a moment ago */
		r = msg_send(s->msg_fd, &o->msg);
		outgoing_free(o);
	}
	if (r < 0)
		return r == -EPIPE ? r : err_sys(err, -r, "write to the worker", NULL);
	want_write(s, has_outgoing(s));
	return 0;
}

static void deliver(struct server *s, struct msg *m)
{
	struct call *c;

	pthread_mutex_lock(&s->lock);
	c = conn_waiting(s, m->id);
	if (c) {
		c->id = 0;
		c->deadline = 0;
		c->reply = *m;
		*m = MSG_INIT;
		if (c->stream && c->state == CALL_ANSWERED) {
			stream_reply(c);
		} else {
			c->answered = true;
			call_resume(c);
		}
	}
	pthread_mutex_unlock(&s->lock);
}

static void new_event(struct server *s, uint64_t id)
{
	pthread_mutex_lock(&s->lock);
	if (id > s->newest_event && id <= INT64_MAX) {
		s->newest_event = id;
		conns_resume(s, true);
	}
	pthread_mutex_unlock(&s->lock);
}

/* One message; 1 when there was one, 0 when there is none now, -EPIPE at the end. */
static int receive(struct server *s, struct err *err)
{
	struct msg m = MSG_INIT;
	int r = msg_recv(s->msg_fd, &m, MSG_BODY_MAX);

	if (r == 0)
		return -EPIPE;
	if (r < 0)
		return r == -EAGAIN ? 0 : err_sys(err, -r, "read from the worker", NULL);
	if (m.type == MSG_REPLY)
		deliver(s, &m);
	else if (m.type == MSG_EVENT || m.type == MSG_READY)
		new_event(s, m.id);
	msg_release(&m);
	return 1;
}

/* ---- the loop ---- */

static int timeout_ms(struct server *s)
{
	int64_t due, now = clock_mono();

	pthread_mutex_lock(&s->lock);
	due = s->due;
	pthread_mutex_unlock(&s->lock);
	if (due == INT64_MAX)
		return -1;
	if (due <= now)
		return 0;
	due = (due - now + NSEC_PER_MSEC - 1) / NSEC_PER_MSEC;
	return due < 3600000 ? (int)due : 3600000;
}

static int handle(struct server *s, const struct epoll_event *ev, struct err *err)
{
	uint64_t drained;
	int r = 0;

	if (ev->data.u64 == KEY_WAKE) {
		(void)!read(s->wake_fd, &drained, sizeof(drained));
	} else if (ev->data.u64 == KEY_WORKER) {
		r = ev->events & (EPOLLIN | EPOLLHUP | EPOLLERR) ? receive(s, err) : 0;
	} else {
		pthread_mutex_lock(&s->lock);
		conn_hang_up(s, ev->data.u64);
		pthread_mutex_unlock(&s->lock);
	}
	return r < 0 ? r : 0;
}

static int loop_once(struct server *s, struct err *err)
{
	struct epoll_event evs[64];
	int n = epoll_wait(s->epoll_fd, evs, 64, timeout_ms(s)), r = 0;

	if (n < 0 && errno != EINTR)
		return err_sys(err, errno, "wait for messages", NULL);
	for (int i = 0; r == 0 && i < n; i++)
		r = handle(s, &evs[i], err);
	pthread_mutex_lock(&s->lock);
	conns_tick(s, clock_mono());
	pthread_mutex_unlock(&s->lock);
	return r < 0 ? r : send_outgoing(s, err);
}

/* ---- start and end ---- */

static int watch(struct server *s, int fd, uint64_t key)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.u64 = key};

	return epoll_ctl(s->epoll_fd, EPOLL_CTL_ADD, fd, &ev) < 0 ? -errno : 0;
}

/* Raise the limit of open files, or lower ours to it. */
static void fit_connections(struct api_limits *l, unsigned n_listen)
{
	struct rlimit lim;
	rlim_t want = (rlim_t)l->connections * n_listen + OTHER_FDS;

	if (getrlimit(RLIMIT_NOFILE, &lim) < 0)
		return;
	if (lim.rlim_cur < want) {
		lim.rlim_cur = lim.rlim_max < want ? lim.rlim_max : want;
		setrlimit(RLIMIT_NOFILE, &lim);
	}
	if (lim.rlim_cur < want)
		l->connections = lim.rlim_cur > OTHER_FDS + n_listen ?
			(lim.rlim_cur - OTHER_FDS) / n_listen : 1;
}

static int server_init(struct server *s, const struct api_args *a, struct err *err)
{
	int r;

	*s = (struct server){.limits = a->limits, .msg_fd = a->msg_fd, .due = INT64_MAX,
		.lock = PTHREAD_MUTEX_INITIALIZER};
	s->out_tail = &s->out_head;
	fit_connections(&s->limits, a->n_listen);
	s->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	s->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (s->epoll_fd < 0 || s->wake_fd < 0)
		return err_sys(err, errno, "make an epoll set", NULL);
	r = conns_init(s, s->limits.connections * a->n_listen);
	if (r == 0)
		r = watch(s, s->wake_fd, KEY_WAKE);
	if (r == 0)
		r = watch(s, s->msg_fd, KEY_WORKER);
	return r < 0 ? err_sys(err, -r, "prepare the api", NULL) : 0;
}

static void server_release(struct server *s)
{
	struct outgoing *o;

	while ((o = take_outgoing(s)))
		outgoing_free(o);
	conns_release(s);
	fd_close(&s->epoll_fd);
	fd_close(&s->wake_fd);
	fd_close(&s->msg_fd);
	pthread_mutex_destroy(&s->lock);
}

/* Nothing to serve before the worker does. -EPIPE: it went instead. */
static int wait_until_ready(struct server *s, struct err *err)
{
	struct msg m = MSG_INIT;
	int r = msg_recv(s->msg_fd, &m, 0);

	if (r == 0)
		return -EPIPE;
	if (r < 0)
		return err_sys(err, -r, "wait for the worker", NULL);
	if (m.type != MSG_READY)
		return err_set(err, EPROTO, "io_error", NULL, "the worker is not ready but talks");
	s->newest_event = m.id <= INT64_MAX ? m.id : 0;
	return 0;
}

static struct MHD_Daemon *start_http(struct server *s, int fd)
{
	const unsigned flags = MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME;
	unsigned silent = s->limits.silent / API_SEC;

	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
	return MHD_start_daemon(flags, 0, NULL, NULL, http_request, s,
		MHD_OPTION_LISTEN_SOCKET, fd,
		MHD_OPTION_NOTIFY_CONNECTION, conn_notify, s,
		MHD_OPTION_URI_LOG_CALLBACK, http_begin, s,
		MHD_OPTION_NOTIFY_COMPLETED, http_end, s,
		MHD_OPTION_CONNECTION_LIMIT, s->limits.connections,
		MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONN_MEMORY,
		MHD_OPTION_CONNECTION_TIMEOUT, silent ? silent : 1,
		MHD_OPTION_STRICT_FOR_CLIENT, 1,
		MHD_OPTION_SIGPIPE_HANDLED_BY_APP, 1,
		MHD_OPTION_END);
}

/* Libmicrohttpd may not be stopped over suspended connections. */
static void stop_http(struct server *s, const struct api_args *a)
{
	pthread_mutex_lock(&s->lock);
	s->closing = true;
	conns_resume(s, false);
	pthread_mutex_unlock(&s->lock);
	for (unsigned i = 0; i < a->n_listen && i < API_LISTEN_MAX; i++) {
		int fd = a->listen_fds[i];

		if (s->daemons[i])
			MHD_stop_daemon(s->daemons[i]); /* closes the listening socket */
		else
			fd_close(&fd);
	}
}

static int serve(struct server *s, const struct api_args *a, struct err *err)
{
	int r = wait_until_ready(s, err);

	for (unsigned i = 0; r == 0 && i < a->n_listen; i++) {
		s->daemons[i] = start_http(s, a->listen_fds[i]);
		if (!s->daemons[i])
			r = err_sys(err, errno ? errno : EIO, "start the HTTP server", NULL);
	}
	while (r == 0)
		r = loop_once(s, err);
	return r;
}

static int prepare(const struct api_args *a, struct err *err)
{
	int r;

	if (a->n_listen < 1 || a->n_listen > API_LISTEN_MAX)
		return err_set(err, EINVAL, "io_error", NULL, "no listening socket");
	signal(SIGPIPE, SIG_IGN);
	signal(SIGTERM, SIG_IGN);
	signal(SIGINT, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	json_object_seed(0); /* opens /dev/urandom, which nobody can later */
	r = confine_user(a->uid, a->gid, err);
	if (r == 0 && !a->no_fence)
		r = confine_fence(err);
	return r;
}

int api_main(const struct api_args *args, struct err *err)
{
	struct server s;
	int r = server_init(&s, args, err);

	if (r == 0)
		r = prepare(args, err);
	if (r == 0)
		r = serve(&s, args, err);
	stop_http(&s, args);
	server_release(&s);
	return r == -EPIPE ? 0 : r;
}
