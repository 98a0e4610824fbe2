/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the files of libfsclient share; nothing of it is exported. */
#ifndef CLIENT_INTERNAL_H
#define CLIENT_INTERNAL_H

#include <jansson.h>
#include <stdint.h>
#include <sys/un.h>

#include "client/fsclient.h"
#include "client/http.h"

#define FSC_BODY_MAX (64u << 20)     /* bytes of one answer */
#define FSC_LOST_MS 10000	     /* how long to try to connect again */
#define FSC_SOCKET "/run/fsd/fsd.sock"

/* ---- error.c ---- */

/* Fill err and return -num. Texts that are too long are cut at a character. */
int fsc_fail(struct fsc_error *err, int num, enum fsc_exit exit_code, const char *code,
	const char *object, const char *fmt, ...) __attribute__((format(printf, 6, 7)));
void fsc_hint(struct fsc_error *err, const char *hint);
int fsc_no_memory(struct fsc_error *err);
/* Fill err from a problem object; `status` where it has none. Returns -errno. */
int fsc_problem(const json_t *problem, int status, struct fsc_error *err);

/* ---- text.c ---- */

/* Bytes as text that JSON can carry (docs/api.md), malloc'd; and back. NULL without memory. */
char *fsc_text_encode(const char *bytes);
char *fsc_text_decode(const char *text);

/* ---- value.c ---- */

/* An answer *is* a jansson value; the two names keep jansson out of the ABI. */
static inline json_t *fsc_json(const struct fsc_value *v)
{
	return (json_t *)(uintptr_t)v;
}
static inline struct fsc_value *fsc_from_json(json_t *j)
{
	return (struct fsc_value *)j;
}

/* ---- conn.c ---- */

struct fsc_conn {
	int fd;	  /* -1: not connected */
	int wake; /* ends every wait; -1: none */
	size_t pos, len; /* what was received and not used */
	char in[16384];
};

int64_t fsc_now_ms(void); /* monotonic */

/* Deadlines are in ms of fsc_now_ms(); -1 is none. All: -ETIMEDOUT, -EINTR by the wake-up
 * descriptor, or what the system says. */
int fsc_conn_open(struct fsc_conn *c, const struct sockaddr_un *addr, int64_t deadline);
void fsc_conn_close(struct fsc_conn *c);
int fsc_conn_send(struct fsc_conn *c, const char *data, size_t len, int64_t deadline);
/* More into c->in, which must be used up. 1; 0 at the end of the stream. */
int fsc_conn_fill(struct fsc_conn *c, int64_t deadline);
/* Wait for nothing but the deadline. 0 when it came, or -EINTR. */
int fsc_conn_pause(struct fsc_conn *c, int64_t deadline);
/* Has the other side closed, or sent what nobody asked for, while the connection lay idle? */
bool fsc_conn_stale(const struct fsc_conn *c);

/* ---- exchange.c ---- */

struct fsc {
	struct sockaddr_un addr;
	unsigned timeout; /* ms; 0: none */
	bool met;	  /* somebody listened there before */
	struct fsc_conn conn;
};

struct fsc_call {
	const char *method, *path;
	const char *key;     /* Idempotency-Key, or NULL */
	const char *accept;  /* or NULL: JSON */
	const char *last_id; /* Last-Event-ID, or NULL */
	const char *body;    /* JSON text, or NULL */
	unsigned wait;	     /* seconds that fsd was asked to wait */
};

/* One request and its answer, over a new connection where the old one was lost. *out is the
 * parsed JSON of a 2xx answer; others are errors. */
int fsc_exchange(struct fsc *fsc, const struct fsc_call *call, struct fsc_value **out,
	struct fsc_error *err);
/* The request as it is sent, malloc'd; NULL without memory. */
char *fsc_call_text(const struct fsc_call *call, size_t *len);
/* err for a failed transport: unreachable, timeout, interrupted. Returns -errno. */
int fsc_transport_error(struct fsc *fsc, int r, struct fsc_error *err);
/* err for an answer that is none. */
int fsc_bad_response(struct fsc_error *err, const char *why);
/* A non-2xx answer's body, problem or not. */
int fsc_refusal(int status, const char *body, size_t len, struct fsc_error *err);

/* The next moment to try, 20 ms doubling to 500 ms; -1 when `since` is too long ago. */
int64_t fsc_backoff(int64_t since, unsigned *pause);

#endif
