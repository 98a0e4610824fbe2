/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A real api process (a forked child that runs api_main) on a real Unix socket; the test is its
 * worker, on the other end of the message socket, and its clients, on raw sockets. Reads on
 * either side give up after 60 s and fail the test.
 */
#ifndef TESTS_UNIT_API_HARNESS_H
#define TESTS_UNIT_API_HARNESS_H

#include <sys/types.h>

#include "fsd/api/api.h"
#include "fsd/core/msg.h"
#include "fsd/core/request.h"

struct harness {
	pid_t pid;
	int msg; /* the worker's end */
	int fds; /* descriptors of the api process before the first client */
	char dir[64], socket[96];
	struct msg in;		/* the last message from the api */
	struct request request; /* its content, if it was a request */
};

/* Start, and be ready. `newest`: the newest event's id. */
void harness_start(struct harness *h, const struct api_limits *limits, uint64_t newest);
/* Close the message socket and see the process leave with 0; all clients must be closed. */
void harness_stop(struct harness *h);
/* Wait until the api process has let go of all connections. */
void harness_settle(struct harness *h);
/* CPU time of the api process, ms. */
long harness_cpu(const struct harness *h);
int harness_fds(const struct harness *h);

/* The worker's side. */
void worker_expect(struct harness *h, enum op op); /* the next message is this request */
void worker_expect_abandon(struct harness *h, uint64_t id);
void worker_answer(struct harness *h, uint64_t id, unsigned status, const char *body);
/* A client's request for `op` and an answer in time; false: on a busy machine it was too late for
 * the limits of this api, which has said so to both sides. */
bool harness_serve(struct harness *h, int fd, const char *request, enum op op);
/* Nothing has been sent by the time that a fresh /healthz request arrives. */
void worker_expect_nothing(struct harness *h);

/* Clients. */
int client_open(const struct harness *h);
void client_send(int fd, const char *text);
void client_send_data(int fd, const void *data, size_t len);
#define GET(path) "GET " path " HTTP/1.1\r\nHost: x\r\n\r\n"
#define JSON_TYPE "Content-Type: application/json\r\n"
#define SNAPSHOT "{\"kind\":\"snapshot\",\"site\":\"a\"}"
/* The head of a POST; the body follows. Borrowed until the next call. */
const char *post_head(const char *target, const char *headers, size_t len);
void post(int fd, const char *target, const char *headers, const char *body);
/* Has the api closed the connection, with nothing more to read? Waits for either. */
void client_expect_end(int fd);
/* Read until this text has come (streams); returns everything since the last call. Borrowed until
 * the next call. */
const char *client_read_until(int fd, const char *text);

struct answer {
	unsigned status;
	char head[4096];
	struct buf body;
};
void answer_release(struct answer *a);
/* One answer (of a HEAD: without a body). */
void client_read(int fd, struct answer *a, bool head);
/* The value of a header, "" when it is missing; borrowed until the next call. */
const char *answer_header(const struct answer *a, const char *name);
/* Read one answer, and compare its status and (if not NULL) the code of its problem. */
void client_expect(int fd, unsigned status, const char *code);

#endif
