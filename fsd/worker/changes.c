/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* GET /v1/jobs/{job}/changes: what a diff found, in pages. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fsd/core/json.h"
#include "fsd/worker/list.h"
#include "fsd/worker/query.h"
#include "snap/base/err.h"
#include "snap/base/fd.h"

/* Lines of JSON from `at` on: of the spool, or of the record, which has the first ones of them. */
struct lines {
	int spool; /* -1: text */
	uint64_t size, at;
	struct buf text;
};

static void lines_release(struct lines *l)
{
	fd_close(&l->spool);
	buf_release(&l->text);
}

static int lines_of_record(const struct cat_job *row, struct lines *l, struct err *err)
{
	json_t *result = row->result ? json_loads(row->result, 0, NULL) : NULL, *item;
	char id[JOB_ID_SIZE];
	size_t i;

	if (json_true_at(result, "truncated")) {
		json_decref(result);
		err_set(err, ENOENT, "not_kept", job_id_format(row->id, id),
			"all that it found is not kept any more; its result has the first ones");
		err_hint(err, "ask for the diff again");
		return -ENOENT;
	}
	json_array_foreach(json_object_get(result, "items"), i, item) {
		json_add(&l->text, item);
		buf_adds(&l->text, "\n");
	}
	json_decref(result);
	l->size = l->text.len;
	return buf_error(&l->text);
}

/* Up to `len` bytes at `at`. How many, or -errno. */
static ssize_t lines_read(const struct lines *l, uint64_t at, char *out, size_t len)
{
	ssize_t n;

	len = l->size - at < len ? l->size - at : len;
	if (l->spool < 0) {
		memcpy(out, buf_str(&l->text) + at, len);
		return (ssize_t)len;
	}
	n = pread(l->spool, out, len, (off_t)at);
	return n < 0 ? -errno : n;
}

/* A cursor is where a line begins. */
static int lines_seek(struct lines *l, const char *cursor, struct err *err)
{
	char *end, before;

	if (!cursor)
		return 0;
	errno = 0;
	l->at = strtoull(cursor, &end, 10);
	if (errno || *cursor < '1' || *cursor > '9' || *end)
		return query_no_cursor(err);
	if (l->at >= l->size || lines_read(l, l->at - 1, &before, 1) != 1 || before != '\n')
		return query_no_cursor(err);
	return 0;
}

/* The whole lines of this piece. */
static void add_lines(struct list *out, struct lines *l, const char *piece, size_t len)
{
	const char *end;

	for (; (end = memchr(piece, '\n', len)) && !list_full(out); piece = end + 1) {
		char cursor[24];

		if (out->n)
			buf_adds(out->out, ",");
		buf_add(out->out, piece, (size_t)(end - piece));
		len -= (size_t)(end - piece) + 1;
		l->at += (uint64_t)(end - piece) + 1;
		snprintf(cursor, sizeof(cursor), "%" PRIu64, l->at);
		list_added(out, cursor);
	}
	out->more = l->at < l->size;
}

static int add_page(struct list *out, struct lines *l)
{
	_cleanup_free_ char *piece = malloc(PAGE_BYTES);
	ssize_t n = piece ? lines_read(l, l->at, piece, PAGE_BYTES) : -ENOMEM;

	if (n > 0)
		add_lines(out, l, piece, (size_t)n);
	return n < 0 ? (int)n : out->more && !out->n ? -EIO : 0;
}

static int require_diff(const struct cat_job *row, const char *text, struct err *err)
{
	if (strcmp(row->kind, op_specs[OP_DIFF].name) != 0)
		return err_set(err, ENOENT, "not_found", text, "a %s lists no changes", row->kind);
	if (strcmp(row->state, job_state_name(JOB_DONE)) != 0)
		return err_set(err, EBUSY, "not_done", text,
			"only a diff that is done lists changes");
	return 0;
}

int query_changes(struct fsd *f, struct catalog *c, const struct request *r, struct buf *out,
	struct err *err)
{
	struct lines lines = {.spool = -1};
	struct cat_job row;
	struct list l;
	int ret = list_init(&l, f, c, r, out, err);

	if (ret == 0)
		ret = query_find_job(c, r, &row, err);
	if (ret < 0)
		return ret;
	ret = require_diff(&row, request_str(r, F_JOB), err);
	if (ret == 0) {
		lines.spool = spools_open(&f->spools, row.id, &lines.size);
		ret = lines.spool == -ENOENT ? lines_of_record(&row, &lines, err)
			: lines.spool < 0    ? lines.spool : 0;
	}
	cat_job_release(&row);
	if (ret == 0)
		ret = lines_seek(&lines, request_str(r, F_CURSOR), err);
	if (ret == 0)
		ret = add_page(&l, &lines);
	lines_release(&lines);
	return list_end(&l, ret);
}
