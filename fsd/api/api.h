/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The api process: HTTP on the listening sockets, typed messages (fsd/core/msg.h) to the worker.
 * It opens no file after its start, holds no state that outlives it and decides nothing: who the
 * peer is goes with each request, and the worker says what they may do.
 */
#ifndef FSD_API_API_H
#define FSD_API_API_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct err;

#define API_LISTEN_MAX 4

struct api_limits {
	unsigned connections;	   /* on each listening socket; more wait in its backlog */
	unsigned connections_each; /* of one uid; root may have all of them */
	size_t bodies;		   /* bytes of request bodies held at once; more are 429 */
	/* all in ns */
	int64_t silent;	   /* a connection on which nothing moves is closed (whole seconds) */
	int64_t request;   /* from accept, or the end of one request, to a complete next one */
	int64_t answer;	   /* the worker's time for an answer, on top of `wait`; then 503 */
	int64_t health;	   /* the same for /healthz */
	int64_t deliver;   /* for a client to take its answer (event streams: only `silent`) */
	int64_t resume;	   /* a waiting connection is looked at at least this often */
	int64_t keepalive; /* between two signs of life of an event stream */
};

#define API_SEC 1000000000LL
#define API_LIMITS ((struct api_limits){ \
	.connections = 2048, .connections_each = 1536, .bodies = 16u << 20, \
	.silent = 30 * API_SEC, .request = 60 * API_SEC, .answer = 60 * API_SEC, \
	.health = 2 * API_SEC, .deliver = 300 * API_SEC, .resume = 30 * API_SEC, \
	.keepalive = 15 * API_SEC})

struct api_args {
	int listen_fds[API_LISTEN_MAX]; /* bound and listening Unix stream sockets */
	unsigned n_listen;		/* 1 to API_LISTEN_MAX */
	int msg_fd;			/* SOCK_SEQPACKET to the worker */
	uid_t uid;			/* what to become; (uid_t)-1: stay who we are (not root) */
	gid_t gid;
	struct api_limits limits; /* API_LIMITS */
	bool no_fence; /* leave out landlock and seccomp: for sanitizers, which open files */
};

/*
 * Run the api process; the caller is a fresh child with one thread, which has closed every
 * descriptor but these and standard error. Gives up privileges for good, waits for MSG_READY,
 * then serves. SIGTERM, SIGINT and SIGHUP are ignored: the process ends when the worker closes the
 * message socket. Returns 0 then, or -errno with `err` filled when it cannot start or go on; the
 * caller exits either way. Owns the descriptors and closes them.
 */
int api_main(const struct api_args *args, struct err *err);

#endif
