/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* JSON text of any bytes, problems, the limits of documents. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fsd/core/json.h"
#include "fsd/core/utf8.h"
#include "snap/base/buf.h"
#include "snap/base/err.h"

#define N(a) (sizeof(a) / sizeof((a)[0]))
#define MARK "\xef\xbf\xbd"

static void test_utf8__knows_the_edges(void **state)
{
	static const char *const good[] = {"", "a", "\xc2\x80", "\xdf\xbf", "\xe0\xa0\x80",
		"\xed\x9f\xbf", "\xee\x80\x80", MARK, "\xf0\x90\x80\x80", "\xf4\x8f\xbf\xbf"};
	static const char *const bad[] = {"\x80", "\xbf", "\xc0\x80", "\xc1\xbf", "\xc2", "\xc2z",
		"\xe0\x9f\xbf", "\xe0\xa0", "\xed\xa0\x80", "\xf0\x8f\xbf\xbf", "\xf0\x90\x80",
		"\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xff", "ok\xfe"};

	(void)state;
	for (size_t i = 0; i < N(good); i++)
		assert_true(utf8_valid(good[i]));
	for (size_t i = 0; i < N(bad); i++)
		assert_false(utf8_valid(bad[i]));
}

static void test_json_add__appends_any_value_and_keeps_the_want_of_memory(void **state)
{
	_cleanup_buf_ struct buf out = BUF_INIT;
	json_t *v = json_pack("{s:[i,n,s]}", "a", 1, "\xc3\xbc\n");
	json_t *text = json_string("b");

	(void)state;
	buf_adds(&out, "[");
	json_add(&out, v);
	buf_adds(&out, ",");
	json_add(&out, text);
	assert_string_equal(buf_str(&out), "[{\"a\":[1,null,\"\xc3\xbc\\n\"]},\"b\"");
	assert_int_equal(buf_error(&out), 0);
	json_add(&out, NULL); /* what a maker without memory returns */
	assert_int_equal(buf_error(&out), -ENOMEM);
	json_decref(v);
	json_decref(text);
}

static void test_json_text__carries_any_bytes_and_back(void **state)
{
	static const struct {
		const char *bytes, *text;
	} cases[] = {
		{"", ""},
		{"wp-content/\xc3\xbc.png", "wp-content/\xc3\xbc.png"},
		{"a\\b\n", "a\\b\n"},
		{"\xfc.png", MARK "\\xfc.png"},
		{"a\\\xff", MARK "a\\\\\\xff"},
		{"\xc3", MARK "\\xc3"},
		{MARK "x", MARK MARK "x"},
	};

	(void)state;
	for (size_t i = 0; i < N(cases); i++) {
		json_t *j = json_text(cases[i].bytes);
		char *back;

		assert_string_equal(json_string_value(j), cases[i].text);
		assert_int_equal(json_text_decode(json_string_value(j), &back), 0);
		assert_string_equal(back, cases[i].bytes);
		free(back);
		json_decref(j);
	}
}

static void test_json_text__carries_every_byte_after_every_byte(void **state)
{
	(void)state;
	for (int i = 1; i < 256; i++) {
		for (int k = 1; k < 256; k++) {
			char bytes[] = {(char)i, (char)k, '\0'}, *back;
			json_t *j = json_text(bytes);

			assert_non_null(j);
			assert_int_equal(json_text_decode(json_string_value(j), &back), 0);
			assert_string_equal(back, bytes);
			free(back);
			json_decref(j);
		}
	}
}

static void test_json_text__refuses_broken_escapes(void **state)
{
	static const char *const bad[] = {MARK "\\", MARK "\\n", MARK "\\x", MARK "\\xf",
		MARK "\\xfg", MARK "\\x00", MARK "\\x41", MARK "\\u00fc"};

	(void)state;
	for (size_t i = 0; i < N(bad); i++) {
		char *back = NULL;

		assert_int_equal(json_text_decode(bad[i], &back), -EBADMSG);
		assert_null(back);
	}
}

static void test_json_time__is_rfc_3339_or_null(void **state)
{
	json_t *j = json_time(1795316407123000000), *none = json_time(0);

	(void)state;
	assert_string_equal(json_string_value(j), "2026-11-22T03:00:07.123Z");
	assert_true(json_is_null(none));
	json_decref(j);
	json_decref(none);
}

static void test_problem__has_all_members_and_survives_cut_text(void **state)
{
	struct err e = ERR_INIT;
	json_t *j;
	char *text;

	(void)state;
	err_set(&e, EEXIST, "name_taken", "shop", "there is a site \xc3");
	j = json_problem(&e, json_problem_status(&e));
	text = json_dumps(j, JSON_COMPACT);
	assert_string_equal(text,
		"{\"code\":\"name_taken\",\"title\":\"Name taken\",\"status\":409,"
		"\"object\":\"shop\",\"reason\":\"there is a site " MARK "\",\"hint\":null}");
	free(text);
	json_decref(j);
}

static void test_problem__status_follows_the_code_then_the_errno(void **state)
{
	static const struct {
		int num;
		const char *code;
		int status;
	} cases[] = {
		{EINVAL, "bad_name", 400},
		{EINVAL, "bad_something", 400},
		{EBADMSG, "bad_request", 400},
		{EBADMSG, "bad_json", 500},
		{EPERM, "forbidden", 403},
		{ENOENT, "not_found", 404},
		{EBUSY, "busy", 409},
		{EEXIST, "something", 409},
		{EFBIG, "too_large", 413},
		{ECANCELED, "confirmation_needed", 428},
		{EAGAIN, "too_many", 429},
		{EIO, "io_error", 500},
		{ENODEV, "pool_offline", 503},
		{ENOSPC, "below_min_free", 507},
		{EDQUOT, "something", 507},
	};

	(void)state;
	for (size_t i = 0; i < N(cases); i++) {
		struct err e = ERR_INIT;

		err_set(&e, cases[i].num, cases[i].code, NULL, "x");
		assert_int_equal(json_problem_status(&e), cases[i].status);
	}
}

static int parse(const char *text, struct err *e)
{
	json_t *j = NULL;
	int r = json_parse(text, strlen(text), "site.json", &j, e);

	json_decref(j);
	return r;
}

static void test_json_parse__refuses_duplicates_depth_size_and_garbage(void **state)
{
	static const char *const bad[] = {"", "{", "{} x", "{\"a\":1,\"a\":2}",
		"{\"a\":\"\\u0000\"}", "\"\xff\"", "nul", "{'a':1}",
		"[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]"};
	_cleanup_buf_ struct buf big = BUF_INIT;
	struct err e = ERR_INIT;

	(void)state;
	for (size_t i = 0; i < N(bad); i++) {
		assert_int_equal(parse(bad[i], &e), -EBADMSG);
		assert_string_equal(e.code, "bad_json");
		assert_string_equal(e.object, "site.json");
	}
	assert_int_equal(parse("[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]", NULL), 0);
	assert_int_equal(parse("{\"a\":\"[[[[[[[[[[[[[[[[[[[[[[[\\\"[[[[\"}", NULL), 0);
	for (int i = 0; i < (1 << 20) - 1; i++)
		buf_adds(&big, " ");
	buf_adds(&big, "{}");
	assert_int_equal(parse(buf_str(&big), &e), -EFBIG);
	assert_string_equal(e.code, "too_large");
	assert_int_equal(parse(buf_str(&big) + 1, NULL), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_utf8__knows_the_edges),
		cmocka_unit_test(test_json_add__appends_any_value_and_keeps_the_want_of_memory),
		cmocka_unit_test(test_json_text__carries_any_bytes_and_back),
		cmocka_unit_test(test_json_text__carries_every_byte_after_every_byte),
		cmocka_unit_test(test_json_text__refuses_broken_escapes),
		cmocka_unit_test(test_json_time__is_rfc_3339_or_null),
		cmocka_unit_test(test_problem__has_all_members_and_survives_cut_text),
		cmocka_unit_test(test_problem__status_follows_the_code_then_the_errno),
		cmocka_unit_test(test_json_parse__refuses_duplicates_depth_size_and_garbage),
	};

	return cmocka_run_group_tests_name("json", tests, NULL, NULL);
}
