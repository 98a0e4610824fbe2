/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Requests: setters, the form between the processes, JSON, and what is refused. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fsd/core/request.h"
#include "snap/base/err.h"

#define N(a) (sizeof(a) / sizeof((a)[0]))

static const char *sample(enum field f)
{
	switch (f) {
	case F_SOURCE:
	case F_FROM:
	case F_A:
	case F_B:
		return "shop@2026-11-22T03:00Z";
	case F_JOB:
		return "1m7ymr3ak";
	case F_DIR:
		return "/srv/\xff/www";
	case F_MODE:
		return "move";
	case F_METHOD:
		return "reflink";
	case F_PATHS:
		return "wp-content/\xfc.png";
	case F_ONLY:
		return "data";
	case F_SET:
		return "label.color=a=b";
	case F_EXPIRES:
		return "7d";
	case F_IF_EXISTS:
		return "refresh";
	case F_STATE:
		return "running";
	case F_LABEL:
		return "color=blue";
	default:
		return "shop";
	}
}

static void fill_field(struct request *r, enum field f)
{
	switch (field_specs[f].type) {
	case T_STRING:
		assert_int_equal(request_set_str(r, f, sample(f)), 0);
		return;
	case T_BOOL:
	case T_INT:
		assert_int_equal(request_set_int(r, f, 1), 0);
		return;
	default:
		assert_int_equal(request_add(r, f, sample(f)), 0);
		if (f == F_SET)
			assert_int_equal(request_add(r, f, "label.gone"), 0);
	}
}

static void fill(struct request *r, enum op op)
{
	request_init(r, op);
	r->actor = (struct actor){.uid = 1000, .gids = {1000, 27}, .n_gids = 2};
	for (int f = F_NONE + 1; f < F_COUNT; f++) {
		if (op_takes(op, f))
			fill_field(r, f);
	}
}

static void assert_same(const struct request *a, const struct request *b, bool outside)
{
	assert_int_equal(a->op, b->op);
	for (int f = F_NONE + 1; f < F_COUNT; f++) {
		size_t n, m;
		char *const *x = request_list(a, f, &n), *const *y = request_list(b, f, &m);

		if (!outside && (f == F_KEY || f == F_WAIT)) {
			assert_false(request_has(b, f));
			continue;
		}
		assert_int_equal(request_has(a, f), request_has(b, f));
		assert_int_equal(request_int(a, f), request_int(b, f));
		if (request_str(a, f))
			assert_string_equal(request_str(a, f), request_str(b, f));
		assert_int_equal(n, m);
		for (size_t i = 0; i < n; i++)
			assert_string_equal(x[i], y[i]);
	}
}

static void test_request__setters_refuse_wrong_types_and_repetition(void **state)
{
	struct request r;
	size_t n;

	(void)state;
	request_init(&r, OP_CLONE);
	assert_int_equal(request_set_str(&r, F_NAME, "a"), 0);
	assert_int_equal(request_set_str(&r, F_NAME, "b"), -EEXIST);
	assert_string_equal(request_str(&r, F_NAME), "a");
	assert_int_equal(request_set_str(&r, F_LIMIT, "1"), -EINVAL);
	assert_int_equal(request_set_int(&r, F_NAME, 1), -EINVAL);
	assert_int_equal(request_set_int(&r, F_EXACT, 2), -EINVAL);
	assert_int_equal(request_set_int(&r, F_EXACT, 0), 0);
	assert_int_equal(request_set_int(&r, F_EXACT, 1), -EEXIST);
	assert_true(request_has(&r, F_EXACT));
	assert_false(request_bool(&r, F_EXACT));
	assert_int_equal(request_add(&r, F_NAME, "x"), -EINVAL);
	assert_int_equal(request_set_str(&r, F_NONE, "x"), -EINVAL);
	assert_int_equal(request_set_str(&r, F_COUNT, "x"), -EINVAL);
	assert_null(request_list(&r, F_PATHS, &n));
	assert_int_equal(n, 0);
	for (int i = 0; i < REQUEST_ITEMS_MAX; i++)
		assert_int_equal(request_add(&r, F_PATHS, "p"), 0);
	assert_int_equal(request_add(&r, F_PATHS, "p"), -E2BIG);
	request_release(&r);
}

static void test_request__every_op_survives_both_forms(void **state)
{
	(void)state;
	for (int op = OP_NONE + 1; op < OP_COUNT; op++) {
		_cleanup_buf_ struct buf wire = BUF_INIT;
		struct request a, b, c;
		char *json;

		fill(&a, op);
		assert_int_equal(request_encode(&a, &wire), 0);
		assert_int_equal(request_decode(wire.data, wire.len, &b, NULL), 0);
		assert_same(&a, &b, true);
		assert_int_equal(b.actor.uid, 1000);
		assert_int_equal(b.actor.n_gids, 2);
		assert_int_equal(b.actor.gids[1], 27);
		json = request_to_json(&a);
		assert_non_null(json);
		assert_int_equal(request_from_json(op, json, &c, NULL), 0);
		assert_same(&a, &c, false);
		free(json);
		request_release(&a);
		request_release(&b);
		request_release(&c);
	}
}

static void test_request__cut_or_longer_bytes_are_refused(void **state)
{
	(void)state;
	for (int op = OP_NONE + 1; op < OP_COUNT; op++) {
		_cleanup_buf_ struct buf wire = BUF_INIT;
		struct request r;
		size_t fields = 0;

		fill(&r, op);
		for (int f = 0; f < F_COUNT; f++)
			fields += request_has(&r, f);
		assert_int_equal(request_encode(&r, &wire), 0);
		request_release(&r);
		buf_adds(&wire, "x");
		assert_int_equal(request_decode(wire.data, wire.len, &r, NULL), -EBADMSG);
		for (size_t len = wire.len - 1; len-- > 0;) {
			char *exact = malloc(len ? len : 1); /* a sanitizer sees overreads */
			struct err e = ERR_INIT;

			memcpy(exact, wire.data, len);
			if (request_decode(exact, len, &r, &e) < 0) {
				assert_int_equal(e.num, EBADMSG);
				assert_string_equal(e.code, "bad_request");
			} else { /* cut between two fields that are optional */
				assert_true(fields-- > 0);
				request_release(&r);
			}
			free(exact);
		}
	}
}

/* ---- the bytes between the processes, by hand ---- */

static void put(struct buf *b, uint32_t n)
{
	buf_add(b, &n, sizeof(n));
}

static void put_string(struct buf *b, enum field f, const char *s, size_t len)
{
	put(b, f);
	put(b, T_STRING);
	put(b, len);
	buf_add(b, s, len);
}

static void begin(struct buf *b, uint32_t op, uint32_t groups)
{
	buf_reset(b);
	put(b, op);
	put(b, 0);
	put(b, groups);
}

static void refused(const struct buf *b, const char *object)
{
	struct err e = ERR_INIT;
	struct request r;

	assert_int_equal(request_decode(b->data, b->len, &r, &e), -EBADMSG);
	assert_string_equal(e.code, "bad_request");
	assert_string_equal(e.object, object);
}

static void test_decode__trusts_nothing(void **state)
{
	_cleanup_buf_ struct buf b = BUF_INIT;

	(void)state;
	begin(&b, OP_NONE, 0);
	refused(&b, "");
	begin(&b, OP_COUNT, 0);
	refused(&b, "");
	begin(&b, 0xffffffff, 0);
	refused(&b, "");
	begin(&b, OP_STATUS, REQUEST_GROUPS_MAX + 1);
	for (int i = 0; i <= REQUEST_GROUPS_MAX; i++)
		put(&b, i);
	refused(&b, "");
	begin(&b, OP_SITE, 0);
	refused(&b, "site");
	put_string(&b, F_SITE, "shop", 4);
	put_string(&b, F_SITE, "shop", 4);
	refused(&b, "site");
	begin(&b, OP_SITE, 0);
	put_string(&b, F_SITE, "sh\0p", 4);
	refused(&b, "site");
	begin(&b, OP_STATUS, 0);
	put_string(&b, F_SITE, "shop", 4);
	refused(&b, "site");
	begin(&b, OP_STATUS, 0);
	put_string(&b, F_COUNT, "shop", 4);
	refused(&b, "");
	begin(&b, OP_SITES, 0);
	put_string(&b, F_LIMIT, "shop", 4);
	refused(&b, "limit");
	begin(&b, OP_SITE_CREATE, 0);
	put_string(&b, F_NOTE, "\xff", 1);
	put_string(&b, F_NAME, "shop", 4);
	refused(&b, "note");
	begin(&b, OP_DIFF, 0);
	put_string(&b, F_A, "shop", 4);
	put(&b, F_PATHS);
	put(&b, T_LIST);
	put(&b, 0);
	refused(&b, "paths");
}

static void test_encode__refuses_what_is_too_large(void **state)
{
	_cleanup_buf_ struct buf b = BUF_INIT, path = BUF_INIT;
	struct request r;

	(void)state;
	request_init(&r, OP_RESTORE);
	while (path.len < 1000)
		buf_adds(&path, "x");
	for (int i = 0; i < 1044; i++)
		assert_int_equal(request_add(&r, F_PATHS, buf_str(&path)), 0);
	assert_int_equal(request_encode(&r, &b), 0);
	for (int i = 0; i < 10; i++)
		assert_int_equal(request_add(&r, F_PATHS, buf_str(&path)), 0);
	assert_int_equal(request_encode(&r, &b), -E2BIG);
	request_release(&r);
}

/* ---- values ---- */

static void test_json__refuses_wrong_types_unknown_fields_and_bad_values(void **state)
{
	static const struct {
		enum op op;
		const char *json, *code, *object;
	} cases[] = {
		{OP_SITE_CREATE, "{}", "bad_request", "name"},
		{OP_SITE_CREATE, "[]", "bad_request", ""},
		{OP_SITE_CREATE, "{\"name\":1}", "bad_request", "name"},
		{OP_SITE_CREATE, "{\"name\":null}", "bad_request", "name"},
		{OP_SITE_CREATE, "{\"name\":\"a\",\"nmae\":\"b\"}", "bad_request", "nmae"},
		{OP_SITE_CREATE, "{\"name\":\"a\",\"site\":\"b\"}", "bad_request", "site"},
		{OP_SITE_CREATE, "{\"name\":\"a\",\"wait\":1}", "bad_request", "wait"},
		{OP_SITE_CREATE, "{\"name\":\"a\",\"idempotency_key\":\"1\"}", "bad_request",
			"idempotency_key"},
		{OP_SITE_CREATE, "{\"name\":\"A\"}", "bad_name", "A"},
		{OP_SITE_CREATE, "{\"name\":\"clone\"}", "reserved_name", "clone"},
		{OP_SITE_CREATE, "{\"name\":\"a\",\"from\":\"b@\"}", "bad_source", "b@"},
		{OP_SITE_CREATE, "{\"name\":\"a\",\"expires\":\"soon\"}", "bad_request", "expires"},
		{OP_SITE_CREATE, "{\"name\":\"a\",\"note\":\"a\\u001bb\"}", "bad_request", "note"},
		{OP_SITE_CREATE, "{\"name\":\"a\",\"dry_run\":1}", "bad_request", "dry_run"},
		{OP_SITE_IMPORT, "{\"name\":\"a\",\"dir\":\"srv\"}", "bad_request", "dir"},
		{OP_SITE_IMPORT, "{\"name\":\"a\",\"dir\":\"\\ufffd\\\\x41\"}", "bad_request",
			"dir"},
		{OP_SITE_IMPORT, "{\"name\":\"a\",\"dir\":\"/s\",\"mode\":\"steal\"}",
			"bad_request", "mode"},
		{OP_SITE_IMPORT, "{\"name\":\"a\",\"dir\":\"/s\",\"mode\":\"\"}", "bad_request",
			"mode"},
		{OP_SITE_IMPORT, "{\"name\":\"a\",\"dir\":\"/s\",\"mode\":\"cop\"}", "bad_request",
			"mode"},
		{OP_SITE_SET, "{\"site\":\"a\",\"set\":{}}", "bad_request", "set"},
		{OP_SITE_SET, "{\"site\":\"a\",\"set\":{\"protected\":true}}", "bad_request",
			"set"},
		{OP_SITE_SET, "{\"site\":\"a\",\"set\":{\"a=b\":\"c\"}}", "bad_request", "set"},
		{OP_SITE_SET, "{\"site\":\"a\",\"set\":{\"\":\"c\"}}", "bad_request", "set"},
		{OP_PUBLISH, "{\"site\":\"a\",\"generation\":0}", "bad_request", "generation"},
		{OP_PUBLISH, "{\"site\":\"a\",\"generation\":7.0}", "bad_request", "generation"},
		{OP_PUBLISH, "{\"site\":\"a\",\"generation\":99999999999999999999}", "bad_json",
			"arguments"},
		{OP_UNDO, "{\"job\":\"l\"}", "bad_request", "l"},
		{OP_RESTORE, "{\"source\":\"a@b\",\"paths\":[]}", "bad_request", "paths"},
		{OP_RESTORE, "{\"source\":\"a@b\",\"paths\":\"x\"}", "bad_request", "paths"},
		{OP_RESTORE, "{\"source\":\"a@b\",\"paths\":[\"x\",1]}", "bad_request", "paths"},
		{OP_RESTORE, "{\"source\":\"a@b\",\"paths\":[\"/etc\"]}", "bad_request", "paths"},
		{OP_RESTORE, "{\"source\":\"a@b\",\"paths\":[\"\"]}", "bad_request", "paths"},
		{OP_RESTORE, "{\"source\":\"a@b\",\"paths\":[\"a/../b\"]}", "bad_request", "paths"},
		{OP_RESTORE, "{\"source\":\"a@b\",\"paths\":[\"..\"]}", "bad_request", "paths"},
		{OP_RESTORE, "{\"source\":\"a@b\",\"paths\":[\".\"]}", "bad_request", "paths"},
		{OP_RESTORE, "{\"source\":\"a@b\",\"paths\":[\"a//b\"]}", "bad_request", "paths"},
		{OP_RESTORE, "{\"source\":\"a@b\",\"paths\":[\"/\"]}", "bad_request", "paths"},
		{OP_RESTORE, "{\"source\":\"a@b\",\"paths\":[\"a//b/\"]}", "bad_request", "paths"},
		{OP_RESTORE, "{\"source\":\"a@b\",\"only\":[\"db\"]}", "bad_request", "only"},
	};

	(void)state;
	for (size_t i = 0; i < N(cases); i++) {
		struct err e = ERR_INIT;
		struct request r;

		assert_true(request_from_json(cases[i].op, cases[i].json, &r, &e) < 0);
		assert_string_equal(e.code, cases[i].code);
		assert_string_equal(e.object, cases[i].object);
		assert_true(e.reason[0] != '\0');
	}
}

static void test_paths__lose_the_slashes_at_their_end(void **state)
{
	struct request r;
	size_t n;

	(void)state;
	assert_int_equal(request_from_json(OP_RESTORE,
		"{\"source\":\"a@b\",\"paths\":[\"a/\",\"b/c//\",\"d\"]}", &r, NULL), 0);
	assert_string_equal(request_list(&r, F_PATHS, &n)[0], "a");
	assert_string_equal(request_list(&r, F_PATHS, &n)[1], "b/c");
	assert_string_equal(request_list(&r, F_PATHS, &n)[2], "d");
	request_release(&r);
}

static void test_validate__knows_the_ranges(void **state)
{
	static const struct {
		enum op op;
		enum field f;
		int64_t good, bad;
	} cases[] = {
		{OP_SITES, F_LIMIT, 1, 0},
		{OP_SITES, F_LIMIT, 1000, 1001},
		{OP_EVENTS, F_AFTER, 0, -1},
		{OP_POOL_SCAN, F_WAIT, 0, -1},
		{OP_POOL_SCAN, F_WAIT, 60, 61},
	};

	(void)state;
	for (size_t i = 0; i < N(cases); i++) {
		for (int k = 0; k < 2; k++) {
			struct err e = ERR_INIT;
			struct request r;

			request_init(&r, cases[i].op);
			if (op_takes(cases[i].op, F_POOL) && op_is_job(cases[i].op))
				assert_int_equal(request_set_str(&r, F_POOL, "main"), 0);
			assert_int_equal(request_set_int(&r, cases[i].f,
				k ? cases[i].bad : cases[i].good), 0);
			assert_int_equal(request_validate(&r, &e), k ? -EBADMSG : 0);
			assert_string_equal(e.object, k ? field_specs[cases[i].f].name : "");
			request_release(&r);
		}
	}
}

static void test_validate__takes_snapshots_as_they_are_called(void **state)
{
	static const char *const good[] = {"latest", "before-update", "2026-11-22T03:00:00+01:00",
		"20261122t030000z"};
	static const char *const bad[] = {"", "a@b", "A", "x:1"};
	struct request r;

	(void)state;
	for (size_t i = 0; i < N(good) + N(bad); i++) {
		request_init(&r, OP_SNAPSHOT);
		assert_int_equal(request_set_str(&r, F_SITE, "shop"), 0);
		assert_int_equal(request_set_str(&r, F_SNAPSHOT,
			i < N(good) ? good[i] : bad[i - N(good)]), 0);
		assert_int_equal(request_validate(&r, NULL), i < N(good) ? 0 : -EINVAL);
		request_release(&r);
	}
}

static void test_table__has_no_holes_and_no_double_paths(void **state)
{
	(void)state;
	for (int op = OP_NONE + 1; op < OP_COUNT; op++) {
		assert_non_null(op_specs[op].name);
		assert_int_equal(!op_specs[op].method, !op_specs[op].path);
		assert_true(op_specs[op].role >= ROLE_VIEWER || op == OP_HEALTH);
		if (op_is_job(op))
			assert_int_equal(op_by_kind(op_specs[op].name), op);
		for (int k = OP_NONE + 1; k < op; k++) {
			assert_false(op_is_job(op) == op_is_job(k) &&
				     !strcmp(op_specs[op].name, op_specs[k].name));
			assert_false(op_specs[op].path && op_specs[k].path &&
				     !strcmp(op_specs[op].path, op_specs[k].path) &&
				     !strcmp(op_specs[op].method, op_specs[k].method));
		}
	}
	assert_int_equal(op_by_kind("status"), OP_NONE);
	assert_int_equal(op_by_kind(""), OP_NONE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_request__setters_refuse_wrong_types_and_repetition),
		cmocka_unit_test(test_request__every_op_survives_both_forms),
		cmocka_unit_test(test_request__cut_or_longer_bytes_are_refused),
		cmocka_unit_test(test_decode__trusts_nothing),
		cmocka_unit_test(test_encode__refuses_what_is_too_large),
		cmocka_unit_test(test_json__refuses_wrong_types_unknown_fields_and_bad_values),
		cmocka_unit_test(test_paths__lose_the_slashes_at_their_end),
		cmocka_unit_test(test_validate__knows_the_ranges),
		cmocka_unit_test(test_validate__takes_snapshots_as_they_are_called),
		cmocka_unit_test(test_table__has_no_holes_and_no_double_paths),
	};

	return cmocka_run_group_tests_name("request", tests, NULL, NULL);
}
