/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fsd/worker/reply.h"

#include <errno.h>
#include <string.h>

#include "fsd/core/json.h"
#include "fsd/core/log.h"
#include "fsd/core/msg.h"
#include "snap/base/err.h"

void reply_body(struct fsd *f, uint64_t id, int status, struct buf *body)
{
	struct msg m = {.type = MSG_REPLY, .id = id, .status = (uint16_t)status, .body = *body};
	int r;

	*body = BUF_INIT;
	if (buf_error(&m.body)) {
		buf_release(&m.body);
		m.status = 500;
	}
	pthread_mutex_lock(&f->send_lock);
	r = msg_send(f->msg_fd, &m);
	pthread_mutex_unlock(&f->send_lock);
	if (r < 0 && r != -EPIPE)
		log_msg(LOG_ERR, "cannot answer the api", "reason", strerror(-r), NULL);
	msg_release(&m);
}

void reply_json(struct fsd *f, uint64_t id, int status, json_t *body)
{
	struct buf text = BUF_INIT;

	json_add(&text, body);
	json_decref(body);
	reply_body(f, id, status, &text);
}

void reply_problem(struct fsd *f, uint64_t id, const struct err *err)
{
	int status = json_problem_status(err);

	if (strcmp(err->code, "catalog_corrupt") == 0) {
		problems_add(&f->problems, true, "catalog", err);
		log_err(LOG_ERR, "the catalog cannot be read", err, NULL);
	}
	reply_json(f, id, status, json_problem(err, status));
}
