/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The other side of the protocol for tests of the client: a thread that listens on a Unix socket
 * in a scratch folder, notes each request, and sends what the test laid down for it. It says things
 * a real fsd never would; tests/scenario/ runs the client against the real one.
 */
#ifndef TESTS_CLIENT_PEER_H
#define TESTS_CLIENT_PEER_H

#include <stdbool.h>
#include <stddef.h>

struct peer;

enum peer_then {
	PEER_KEEP,  /* leave the connection open */
	PEER_CLOSE, /* close it after the answer */
	PEER_LATE,  /* the same, a minute later: this process' monotonic clock is put forward */
	PEER_HANG,  /* say nothing more, leave it open */
};

struct peer *peer_start(void);
/* Ends the thread and removes the scratch folder. */
void peer_stop(struct peer **p);

/* Answer the next request (in order) with these bytes; "" is no answer at all. */
void peer_say(struct peer *p, const char *bytes, enum peer_then then);
/* The same, as a whole HTTP answer with a length. */
void peer_answer(struct peer *p, int status, const char *json);
/* Answer every request that begins with `start` ("GET /v1/sites") like this, for good. */
void peer_always(struct peer *p, const char *start, int status, const char *json);

/* Requests so far; the n-th from 0, head and body, waiting up to 10 s for it; NULL then. */
size_t peer_requests(struct peer *p);
const char *peer_request(struct peer *p, size_t n);

const char *peer_url(const struct peer *p);
const char *peer_dir(const struct peer *p);

#endif
