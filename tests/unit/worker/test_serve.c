/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Requests that wait: there is an end to how many, and who has gone is not worked for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "fsd/worker/serve.h"
#include "tests/unit/worker/harness.h"

#define MANY 10000

struct peer {
	struct harness *h;
	struct serve *serve;
	int fd; /* the api's end */
	uint64_t sent;
};

static void peer_start(struct peer *p, struct harness *h)
{
	struct err err = ERR_INIT;
	int fds[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds), 0);
	*p = (struct peer){.h = h, .fd = fds[0]};
	h->fsd.msg_fd = fds[1];
	assert_int_equal(serve_start(&h->fsd, 1, &p->serve, &err), 0);
}

static void peer_stop(struct peer *p)
{
	serve_stop(&p->serve);
	close(p->fd);
	close(p->h->fsd.msg_fd);
	p->h->fsd.msg_fd = -1;
}

/* Its id. */
static uint64_t ask(struct peer *p, const char *site, bool dry_run)
{
	struct msg m = {.type = MSG_REQUEST, .id = ++p->sent};
	struct request r;

	request_init(&r, OP_SITE_CREATE);
	r.actor.uid = p->h->uid;
	assert_int_equal(request_set_str(&r, F_NAME, site), 0);
	assert_int_equal(request_set_int(&r, F_DRY_RUN, dry_run), 0);
	assert_int_equal(request_encode(&r, &m.body), 0);
	serve_message(p->serve, &m);
	msg_release(&m);
	request_release(&r);
	return p->sent;
}

static void leave(struct peer *p, uint64_t id)
{
	struct msg m = {.type = MSG_ABANDON, .id = id};

	serve_message(p->serve, &m);
}

/* The status of the answer that is there already, 0: none is. */
static int refusal(struct peer *p, uint64_t id)
{
	struct msg m = MSG_INIT;
	uint8_t first;
	int status;

	if (recv(p->fd, &first, 1, MSG_PEEK | MSG_DONTWAIT) < 0)
		return 0;
	assert_int_equal(msg_recv(p->fd, &m, MSG_BODY_MAX), 1);
	assert_int_equal(m.id, id);
	status = m.status;
	msg_release(&m);
	return status;
}

static void count_answers(struct peer *p, uint64_t n, uint64_t gone)
{
	while (n) {
		struct msg m = MSG_INIT;

		assert_int_equal(msg_recv(p->fd, &m, MSG_BODY_MAX), 1);
		if (m.type == MSG_REPLY) {
			assert_int_not_equal(m.id, gone);
			n--;
		}
		msg_release(&m);
	}
}

static void test_serve__waiting_requests_have_an_end_and_those_of_who_left_are_dropped(void **state)
{
	uint64_t change, gone, last, refused = 0;
	struct peer p;
	HARNESS(h);

	peer_start(&p, h);
	pthread_mutex_lock(&h->fsd.write_lock); /* nothing is planned meanwhile */
	for (int i = 0; i < 10; i++)		/* more than are taken at once */
		ask(&p, "first", true);
	change = ask(&p, "shop", false);
	gone = ask(&p, "other", true);
	do {
		last = ask(&p, "more", true);
	} while (!refusal(&p, last) && last < MANY);
	assert_true(last > 1000 && last < MANY);
	refused++;

	leave(&p, change);
	last = ask(&p, "more", true);
	assert_int_equal(refusal(&p, last), 429);
	refused++;

	leave(&p, gone);
	last = ask(&p, "more", true);
	assert_int_equal(refusal(&p, last), 0);
	last = ask(&p, "more", true);
	assert_int_equal(refusal(&p, last), 429);
	refused++;

	pthread_mutex_unlock(&h->fsd.write_lock);
	count_answers(&p, last - refused - 1, gone);
	harness_wait_event(h);
	harness_write(h, "shop", "index", "it was made");
	peer_stop(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			test_serve__waiting_requests_have_an_end_and_those_of_who_left_are_dropped,
			harness_plain, harness_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
