/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the parts of the api process share. Two kinds of threads: libmicrohttpd's, one for each
 * listening socket, which run the callbacks of http.c and stream.c; and the main thread (api.c),
 * which talks with the worker, keeps time and watches for hang-ups.
 *
 *   a request  HTTP thread: parsed and checked, its message queued, the connection suspended
 *              main thread: message sent; the answer comes: stored in the call, resumed
 *              HTTP thread: called again: the answer goes out
 *
 * Everything below is guarded by server.lock but for what a call's HTTP thread alone uses.
 * Libmicrohttpd holds no lock of its own while it calls us, so its functions may be called with
 * ours held. While a connection is suspended libmicrohttpd does not look at its socket: hang-ups
 * are seen by the main thread, by an edge-triggered EPOLLHUP that is registered for the life of
 * the connection.
 */
#ifndef FSD_API_SERVER_H
#define FSD_API_SERVER_H

#include <microhttpd.h>
#include <pthread.h>

#include "fsd/api/api.h"
#include "fsd/api/route.h"
#include "fsd/core/msg.h"
#include "snap/base/err.h"

/* A connection; they live in an array, and calls to the worker are numbered by its index. */
struct conn {
	struct server *server;
	int fd; /* borrowed from libmicrohttpd; -1: a free slot */
	uint32_t serial; /* of the slot's use */
	bool hung_up;
	struct actor actor;
	struct call *call;
	int64_t deadline; /* monotonic; then it is cut off. 0: none */
	struct conn *next_free;
};

enum call_state {
	CALL_HEAD,    /* the request line has come */
	CALL_BODY,    /* the headers were good, the body comes */
	CALL_WAITING, /* for the worker */
	CALL_ANSWERED,
};

/* One HTTP request. */
struct call {
	struct conn *conn;
	struct MHD_Connection *mhd;
	char *target;
	enum call_state state;
	struct route route;
	struct err refusal; /* found in the head, to be told at the end */
	struct buf body;
	size_t counted;	 /* how much of `bodies` it holds */
	size_t dropped;	 /* bytes of a body that is refused at its end */
	bool crowded;	 /* refused because of `bodies` */
	uint64_t id;	 /* of the message that waits for its answer; 0: none */
	bool suspended;
	int64_t wake;	  /* while suspended: look at it then */
	int64_t deadline; /* for the worker's answer; 0: none */
	bool answered;
	struct msg reply;
	struct stream *stream; /* an event stream; its second life after the first answer */
};

struct outgoing {
	struct outgoing *next;
	struct msg msg;
};

struct server {
	struct api_limits limits;
	struct MHD_Daemon *daemons[API_LISTEN_MAX];
	int msg_fd, epoll_fd, wake_fd;
	pthread_mutex_t lock;
	struct conn *conns;
	unsigned n_conns;
	struct conn *free;
	size_t bodies;
	uint64_t calls;	       /* counts upwards */
	uint64_t newest_event; /* id */
	int64_t due;	       /* the earliest moment at which something is to be done */
	bool closing;
	struct outgoing *out_head, **out_tail;
	bool out_blocked; /* main thread: waiting for EPOLLOUT */
};

/* ---- api.c: for the HTTP threads, with the lock held ---- */

/* Queue a message to the worker; takes its body over. 0 or -ENOMEM. */
int server_send(struct server *s, enum msg_type type, uint64_t id, struct buf *body);
/* Nobody waits for the answer to this request any more: take it out of the queue, or tell the
 * worker, so that clients which come and go while the worker is busy do not fill the queue. */
void server_abandon(struct server *s, uint64_t id);
/* The main thread is to look after its timers at `when` at the latest. */
void server_due(struct server *s, int64_t when);

/* ---- conn.c ---- */

int conns_init(struct server *s, unsigned n);
void conns_release(struct server *s);
void conn_notify(void *server, struct MHD_Connection *mhd, void **context,
	enum MHD_ConnectionNotificationCode what);
/* What epoll says about a connection's socket: the key that was registered. */
void conn_hang_up(struct server *s, uint64_t key);
/* The call that waits for this answer; NULL: its client is gone. */
struct call *conn_waiting(struct server *s, uint64_t id);
/* Cut off who is too slow, wake who waits too long; sets server.due. */
void conns_tick(struct server *s, int64_t now);
/* Everybody up: the server closes, or a new event is there (`streams` only). */
void conns_resume(struct server *s, bool streams);

/* ---- http.c ---- */

void *http_begin(void *server, const char *uri, struct MHD_Connection *mhd);
enum MHD_Result http_request(void *server, struct MHD_Connection *mhd, const char *url,
	const char *method, const char *version, const char *data, size_t *size, void **context);
void http_end(void *server, struct MHD_Connection *mhd, void **context,
	enum MHD_RequestTerminationCode why);

/* With the lock held. */
void call_resume(struct call *c);
/* Suspend until call_resume(), for at most `limits.resume` ns. -EPIPE when the client is gone. */
int call_suspend(struct call *c, int64_t until);
/* Send this request as the call's; it then waits for the answer `timeout` ns. 0 or -errno. */
int call_ask(struct call *c, const struct request *r, int64_t timeout);

/* ---- answer.c ---- */

/* Answer with a body of JSON (or metrics), taken over from `body`. `close`: nothing more is read
 * from this connection. */
enum MHD_Result answer_body(struct call *c, unsigned status, struct buf *body, bool close);
enum MHD_Result answer_problem(struct call *c, const struct err *err, bool close);

/* ---- stream.c ---- */

bool stream_wanted(const struct call *c);
/* Ask for the events after the client's last one; sets call.stream. 0 or -errno with `err`. */
int stream_open(struct call *c, struct err *err);
/* The first answer was good: send headers, then the events. */
enum MHD_Result stream_begin(struct call *c);
/* Main thread, with the lock held: an answer for a stream that has begun or begins. */
void stream_reply(struct call *c);
/* Is there something it would do when resumed? With the lock held. */
bool stream_eager(const struct call *c);
void stream_free(struct stream **s);

#endif
