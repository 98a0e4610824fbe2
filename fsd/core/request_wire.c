/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A request as bytes between the processes: op, actor, then each field that is set with its type.
 * Native byte order; strings and lists carry their length, no NUL.
 */
#include "fsd/core/request.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "snap/base/err.h"
#include "snap/base/fd.h"

/* ---- encoding ---- */

static void put_u32(struct buf *b, uint32_t n)
{
	buf_add(b, &n, sizeof(n));
}

static void put_text(struct buf *b, const char *s)
{
	size_t len = strlen(s); /* < REQUEST_SIZE_MAX: the setters see to it */

	put_u32(b, len);
	buf_add(b, s, len);
}

static void put_value(struct buf *b, enum field f, const struct request_value *v)
{
	put_u32(b, f);
	put_u32(b, field_specs[f].type);
	switch (field_specs[f].type) {
	case T_STRING:
		put_text(b, v->text);
		break;
	case T_BOOL:
	case T_INT:
		buf_add(b, &v->number, sizeof(v->number));
		break;
	case T_LIST:
	case T_MAP:
		put_u32(b, v->n);
		for (size_t i = 0; i < v->n; i++)
			put_text(b, v->items[i]);
	}
}

int request_encode(const struct request *r, struct buf *out)
{
	buf_reset(out);
	put_u32(out, r->op);
	put_u32(out, r->actor.uid);
	put_u32(out, r->actor.n_gids);
	for (unsigned i = 0; i < r->actor.n_gids; i++)
		put_u32(out, r->actor.gids[i]);
	for (int f = F_NONE + 1; f < F_COUNT; f++) {
		if (request_has(r, f))
			put_value(out, f, &r->values[f]);
	}
	if (buf_error(out) < 0)
		return buf_error(out);
	return out->len <= REQUEST_SIZE_MAX ? 0 : -E2BIG;
}

/* ---- decoding ---- */

struct cursor {
	const char *p;
	size_t left;
};

static int take(struct cursor *c, void *out, size_t len)
{
	if (c->left < len)
		return -EBADMSG;
	memcpy(out, c->p, len);
	c->p += len;
	c->left -= len;
	return 0;
}

/* A string of its own, malloc'd. */
static int take_text(struct cursor *c, char **out)
{
	uint32_t len;
	char *s;

	if (take(c, &len, sizeof(len)) < 0 || len > c->left || memchr(c->p, '\0', len))
		return -EBADMSG;
	s = strndup(c->p, len);
	if (!s)
		return -ENOMEM;
	c->p += len;
	c->left -= len;
	*out = s;
	return 0;
}

static int take_actor(struct cursor *c, struct actor *a)
{
	uint32_t uid, n, gid;

	if (take(c, &uid, sizeof(uid)) < 0 || take(c, &n, sizeof(n)) < 0 || n > REQUEST_GROUPS_MAX)
		return -EBADMSG;
	a->uid = uid;
	for (a->n_gids = 0; a->n_gids < n; a->n_gids++) {
		if (take(c, &gid, sizeof(gid)) < 0)
			return -EBADMSG;
		a->gids[a->n_gids] = gid;
	}
	return 0;
}

static int take_list(struct cursor *c, struct request *r, enum field f)
{
	uint32_t n;
	int ret = 0;

	if (take(c, &n, sizeof(n)) < 0 || n == 0 || n > REQUEST_ITEMS_MAX || request_has(r, f))
		return -EBADMSG;
	while (ret == 0 && n-- > 0) {
		_cleanup_free_ char *s = NULL;

		ret = take_text(c, &s);
		if (ret == 0)
			ret = request_add(r, f, s);
	}
	return ret;
}

static int take_value(struct cursor *c, struct request *r, enum field f)
{
	_cleanup_free_ char *s = NULL;
	int64_t n;
	int ret;

	switch (field_specs[f].type) {
	case T_STRING:
		ret = take_text(c, &s);
		return ret < 0 ? ret : request_set_str(r, f, s);
	case T_BOOL:
	case T_INT:
		ret = take(c, &n, sizeof(n));
		return ret < 0 ? ret : request_set_int(r, f, n);
	default:
		return take_list(c, r, f);
	}
}

static int bad(struct err *err, const char *object, const char *fault)
{
	return err_set(err, EBADMSG, "bad_request", object, "%s", fault);
}

static int take_field(struct cursor *c, struct request *r, struct err *err)
{
	uint32_t f, type;
	int ret;

	if (take(c, &f, sizeof(f)) < 0 || take(c, &type, sizeof(type)) < 0)
		return bad(err, NULL, "the request is cut short");
	if (f <= F_NONE || f >= F_COUNT)
		return bad(err, NULL, "an unknown field");
	if (type != field_specs[f].type)
		return bad(err, field_specs[f].name, "it has the wrong type");
	ret = take_value(c, r, f);
	if (ret == -ENOMEM)
		return err_sys(err, ENOMEM, "read the request", NULL);
	return ret < 0 ? bad(err, field_specs[f].name, "its value is malformed") : 0;
}

static int decode(struct cursor *c, struct request *r, struct err *err)
{
	uint32_t op;
	int ret = 0;

	if (c->left > REQUEST_SIZE_MAX)
		return bad(err, NULL, "the request is too large");
	if (take(c, &op, sizeof(op)) < 0 || op <= OP_NONE || op >= OP_COUNT)
		return bad(err, NULL, "nothing of this kind can be asked");
	request_init(r, op);
	if (take_actor(c, &r->actor) < 0)
		return bad(err, NULL, "the request is cut short");
	while (ret == 0 && c->left > 0)
		ret = take_field(c, r, err);
	return ret < 0 ? ret : request_validate(r, err);
}

int request_decode(const void *data, size_t len, struct request *r, struct err *err)
{
	struct cursor c = {data, len};
	int ret;

	request_init(r, OP_NONE);
	ret = decode(&c, r, err);
	if (ret < 0)
		request_release(r);
	return ret;
}
