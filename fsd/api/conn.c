/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Connections: who is behind them, how long they may take, when they hang up. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "fsd/api/server.h"
#include "snap/base/clock.h"
#include "snap/base/fd.h"

int conns_init(struct server *s, unsigned n)
{
	s->conns = calloc(n, sizeof(*s->conns));
	if (!s->conns)
		return -ENOMEM;
	s->n_conns = n;
	for (unsigned i = n; i-- > 0;) {
		s->conns[i].server = s;
		s->conns[i].fd = -1;
		s->conns[i].next_free = s->free;
		s->free = &s->conns[i];
	}
	return 0;
}

void conns_release(struct server *s)
{
	free(s->conns);
	s->conns = NULL;
	s->n_conns = 0;
}

/* ---- the peer ---- */

/* More groups than a request carries are cut: who cannot be told apart gets the smaller role. */
static int peer_groups(int fd, struct actor *a)
{
	gid_t few[REQUEST_GROUPS_MAX], *gids = few;
	_cleanup_free_ gid_t *many = NULL;
	socklen_t len = sizeof(few);

	while (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, gids, &len) < 0) {
		if (errno != ERANGE)
			return -errno;
		free(many);
		gids = many = malloc(len); /* the kernel has said how much it takes */
		if (!many)
			return -ENOMEM;
	}
	for (size_t i = 0; i < len / sizeof(gid_t) && a->n_gids < REQUEST_GROUPS_MAX; i++) {
		if (gids[i] != a->gids[0])
			a->gids[a->n_gids++] = gids[i];
	}
	return 0;
}

static int peer(int fd, struct actor *a)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
		return -errno;
	*a = (struct actor){.uid = cred.uid, .gids = {cred.gid}, .n_gids = 1};
	return peer_groups(fd, a);
}

static unsigned count_of(const struct server *s, uid_t uid)
{
	unsigned n = 0;

	for (unsigned i = 0; i < s->n_conns; i++)
		n += s->conns[i].fd >= 0 && s->conns[i].actor.uid == uid;
	return n;
}

/* ---- begin and end ---- */

static uint64_t key_of(const struct conn *c)
{
	return (uint64_t)c->serial << 32 | (uint32_t)(c - c->server->conns);
}

static bool conn_open(struct server *s, int fd, struct conn **out)
{
	struct conn *c = s->free;
	struct epoll_event ev = {.events = EPOLLET}; /* EPOLLHUP is always reported */
	struct actor actor;

	if (!c || peer(fd, &actor) < 0 ||
		(actor.uid != 0 && count_of(s, actor.uid) >= s->limits.connections_each))
		return false;
	c->serial++;
	ev.data.u64 = key_of(c);
	if (epoll_ctl(s->epoll_fd, EPOLL_CTL_ADD, fd, &ev) < 0)
		return false;
	s->free = c->next_free;
	c->fd = fd;
	c->hung_up = false;
	c->actor = actor;
	c->call = NULL;
	c->deadline = clock_mono() + s->limits.request;
	server_due(s, c->deadline);
	*out = c;
	return true;
}

/* Libmicrohttpd closes the socket after this. */
static void conn_close(struct conn *c)
{
	struct server *s = c->server;

	epoll_ctl(s->epoll_fd, EPOLL_CTL_DEL, c->fd, NULL);
	c->fd = -1;
	c->next_free = s->free;
	s->free = c;
}

void conn_notify(void *server, struct MHD_Connection *mhd, void **context,
	enum MHD_ConnectionNotificationCode what)
{
	struct server *s = server;
	int fd = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;

	pthread_mutex_lock(&s->lock);
	if (what == MHD_CONNECTION_NOTIFY_CLOSED) {
		if (*context)
			conn_close(*context);
	} else if (!conn_open(s, fd, (struct conn **)context)) {
		*context = NULL;
		shutdown(fd, SHUT_RDWR); /* libmicrohttpd closes it when it reads */
	}
	pthread_mutex_unlock(&s->lock);
}

/* ---- while it lives ---- */

void conn_hang_up(struct server *s, uint64_t key)
{
	uint32_t i = (uint32_t)key;
	struct conn *c = i < s->n_conns ? &s->conns[i] : NULL;

	if (!c || c->fd < 0 || key_of(c) != key)
		return; /* it was closed since epoll_wait() */
	c->hung_up = true;
	if (c->call)
		call_resume(c->call);
}

struct call *conn_waiting(struct server *s, uint64_t id)
{
	struct conn *c = &s->conns[(uint32_t)id % s->n_conns];

	return c->fd >= 0 && c->call && id && c->call->id == id ? c->call : NULL;
}

/* The next moment at which this call wants to be woken, if it sleeps. */
static int64_t call_due(const struct call *c)
{
	if (!c || !c->suspended)
		return INT64_MAX;
	return c->deadline && c->deadline < c->wake ? c->deadline : c->wake;
}

static int64_t conn_tick(struct conn *c, int64_t now)
{
	int64_t due = call_due(c->call);

	if (due <= now) {
		call_resume(c->call);
		due = INT64_MAX;
	}
	if (c->deadline && c->deadline <= now) {
		c->deadline = 0;
		shutdown(c->fd, SHUT_RDWR);
	}
	return c->deadline && c->deadline < due ? c->deadline : due;
}

void conns_tick(struct server *s, int64_t now)
{
	if (now < s->due)
		return;
	s->due = INT64_MAX;
	for (unsigned i = 0; i < s->n_conns; i++) {
		int64_t due = s->conns[i].fd >= 0 ? conn_tick(&s->conns[i], now) : INT64_MAX;

		if (due < s->due)
			s->due = due;
	}
}

void conns_resume(struct server *s, bool streams)
{
	for (unsigned i = 0; i < s->n_conns; i++) {
		struct call *c = s->conns[i].fd >= 0 ? s->conns[i].call : NULL;

		if (c && (!streams || stream_eager(c)))
			call_resume(c);
	}
}
