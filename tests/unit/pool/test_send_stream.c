/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The send stream parser: what it reads, and that it refuses everything else. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "snap/base/err.h"
#include "snap/send_paths.h"
#include "tests/unit/pool/stream_maker.h"

#define MAKE struct maker m __attribute__((cleanup(maker_free))) = {0}

static void maker_free(struct maker *m)
{
	buf_release(&m->out);
}

static int note(const struct send_cmd *cmd, void *arg, struct err *err)
{
	struct buf *log = arg;

	(void)err;
	buf_printf(log, "%d:%s", (int)cmd->type, cmd->path ? cmd->path : "-");
	if (cmd->path_to)
		buf_printf(log, ">%s", cmd->path_to);
	if (cmd->path_link)
		buf_printf(log, "=%s", cmd->path_link);
	if (cmd->size)
		buf_printf(log, "@%llu+%llu", (unsigned long long)cmd->offset,
			(unsigned long long)cmd->size);
	buf_adds(log, " ");
	return 0;
}

/* Feed in pieces of `step` bytes. */
static int parse(const struct buf *in, size_t step, struct buf *log, struct err *err)
{
	struct send_stream *s;
	int r = send_stream_new(note, log, &s);

	for (size_t i = 0; r == 0 && i < in->len; i += step)
		r = send_stream_feed(s, in->data + i, in->len - i < step ? in->len - i : step, err);
	if (r == 0)
		r = send_stream_end(s, err);
	send_stream_free(&s);
	return r;
}

static void start(struct maker *m, uint32_t version)
{
	maker_begin(m, version);
	maker_path(m, SEND_SNAPSHOT, "new", NULL);
}

static void assert_bad(const struct maker *m, const char *reason)
{
	struct err err = ERR_INIT;
	struct buf log = BUF_INIT;

	assert_int_equal(parse(&m->out, 7, &log, &err), -EBADMSG);
	assert_string_equal(err.code, "bad_stream");
	if (!strstr(err.reason, reason))
		fail_msg("\"%s\" does not say \"%s\"", err.reason, reason);
	buf_release(&log);
}

static void test_crc__is_the_check_value_of_crc32c_without_inversions(void **state)
{
	(void)state;
	/* RFC 3720 gives 0xe3069283 for "123456789" with both inversions. */
	assert_int_equal(send_crc32c(0xffffffff, "123456789", 9) ^ 0xffffffff, 0xe3069283);
}

static void test_parse__gives_every_command_in_pieces_of_any_size(void **state)
{
	MAKE;

	(void)state;
	start(&m, 2);
	maker_path(&m, SEND_MKFILE, "o257-8-0", NULL);
	maker_path(&m, SEND_RENAME, "o257-8-0", "dir/file");
	maker_path(&m, SEND_LINK, "b", "dir/file");
	maker_path(&m, SEND_SYMLINK, "l", "../x/./y");
	maker_extent(&m, "dir/file", 4096, 8192);
	maker_utimes(&m, "");
	maker_end(&m);
	for (size_t step = 1; step < 200; step++) {
		struct buf log = BUF_INIT;

		assert_int_equal(parse(&m.out, step, &log, NULL), 0);
		assert_string_equal(buf_str(&log),
			"2:new 3:o257-8-0 9:o257-8-0>dir/file 10:b=dir/file 8:l=../x/./y "
			"22:dir/file@4096+8192 20: 21:- ");
		buf_release(&log);
	}
}

static void test_parse__takes_the_rest_of_a_command_as_data_from_version_2_on(void **state)
{
	MAKE;
	struct buf log = BUF_INIT;

	(void)state;
	start(&m, 2);
	maker_cmd(&m, SEND_WRITE);
	maker_text(&m, MAKER_PATH, "f");
	maker_u64(&m, 18, 0);
	put16(&m.out, 19);
	for (int i = 0; i < 70000; i++)
		buf_add(&m.out, "x", 1);
	maker_seal(&m);
	maker_end(&m);
	assert_int_equal(parse(&m.out, 4096, &log, NULL), 0);
	assert_string_equal(buf_str(&log), "2:new 15:f@0+70000 21:- ");
	buf_release(&log);
}

static void test_parse__refuses_a_wrong_checksum(void **state)
{
	MAKE;

	(void)state;
	start(&m, 2);
	maker_end(&m);
	m.out.data[m.out.len - 1] ^= 1;
	assert_bad(&m, "checksum");
}

static void test_parse__refuses_a_stream_without_its_end(void **state)
{
	MAKE;

	(void)state;
	start(&m, 2);
	assert_bad(&m, "cut off");
}

static void test_parse__refuses_bytes_behind_the_end(void **state)
{
	MAKE;

	(void)state;
	start(&m, 2);
	maker_end(&m);
	buf_add(&m.out, "x", 1);
	assert_bad(&m, "behind the end");
}

static void test_parse__refuses_lengths_no_kernel_sends(void **state)
{
	MAKE;

	(void)state;
	start(&m, 2);
	put32(&m.out, 0xfffffff0);
	put16(&m.out, SEND_WRITE);
	put32(&m.out, 0);
	assert_bad(&m, "longer than any kernel");
}

static void test_parse__refuses_an_attribute_longer_than_its_command(void **state)
{
	MAKE;

	(void)state;
	start(&m, 2);
	maker_cmd(&m, SEND_MKFILE);
	put16(&m.out, MAKER_PATH);
	put16(&m.out, 500);
	buf_adds(&m.out, "short");
	maker_seal(&m);
	assert_bad(&m, "longer than its command");
}

static void test_parse__refuses_paths_that_leave_the_tree(void **state)
{
	static const char *const paths[] = {"/etc", "..", "a/../b", "a//b", "./a", "a/.", "a/"};

	(void)state;
	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
		MAKE;

		start(&m, 1);
		maker_path(&m, SEND_MKFILE, paths[i], NULL);
		assert_bad(&m, "not normalised");
	}
}

static void test_parse__refuses_a_nul_in_a_path(void **state)
{
	MAKE;

	(void)state;
	start(&m, 1);
	maker_cmd(&m, SEND_MKFILE);
	maker_attr(&m, MAKER_PATH, "a\0b", 3);
	maker_seal(&m);
	assert_bad(&m, "NUL");
}

static void test_parse__refuses_a_command_without_what_it_needs(void **state)
{
	MAKE;

	(void)state;
	start(&m, 1);
	maker_path(&m, SEND_RENAME + 100, "a", NULL);
	assert_bad(&m, "unknown command");
	buf_reset(&m.out);
	start(&m, 1);
	maker_cmd(&m, SEND_RENAME);
	maker_text(&m, MAKER_PATH, "a");
	maker_seal(&m);
	assert_bad(&m, "lacks");
}

static void test_parse__refuses_commands_before_the_subvolume(void **state)
{
	MAKE;

	(void)state;
	maker_begin(&m, 1);
	maker_path(&m, SEND_MKFILE, "a", NULL);
	assert_bad(&m, "before the subvolume");
}

static void test_parse__refuses_ranges_that_overflow(void **state)
{
	MAKE;

	(void)state;
	start(&m, 2);
	maker_extent(&m, "f", 0x7ffffffffffff000, 0x7ffffffffffff000);
	assert_bad(&m, "beyond the largest file");
}

static void test_parse__stays_broken_after_an_error(void **state)
{
	struct buf log = BUF_INIT;
	struct send_stream *s;

	(void)state;
	assert_int_equal(send_stream_new(note, &log, &s), 0);
	assert_int_equal(send_stream_feed(s, "no stream at all, none", 22, NULL), -EBADMSG);
	assert_int_equal(send_stream_feed(s, "x", 1, NULL), -EBADMSG);
	assert_int_equal(send_stream_end(s, NULL), -EBADMSG);
	send_stream_free(&s);
	buf_release(&log);
}

static int ignore(const struct send_change *c, void *arg)
{
	size_t *n = arg;

	*n += c->path ? strlen(c->path) : 1;
	*n += c->from ? strlen(c->from) : 1;
	return 0;
}

static uint32_t next_random(uint32_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 17;
	*seed ^= *seed << 5;
	return *seed;
}

/* A stream with the right checksums and wild names: reaches the simulator behind the parser. */
static void wild_stream(struct maker *m, uint32_t *seed)
{
	static const char *const names[] = {"a", "a/b", "a/b/c", "b", "b/a", "c", "o1-2-3",
		"a/b/c/d", "c/a"};
	const uint32_t n = sizeof(names) / sizeof(names[0]);

	start(m, 2);
	for (int i = 0; i < 12; i++) {
		const char *x = names[next_random(seed) % n], *y = names[next_random(seed) % n];

		switch (next_random(seed) % 5) {
		case 0:
			maker_path(m, SEND_RENAME, x, y);
			break;
		case 1:
			maker_path(m, SEND_LINK, x, y);
			break;
		case 2:
			maker_path(m, SEND_RMDIR, x, NULL);
			break;
		case 3:
			maker_path(m, SEND_MKDIR, x, NULL);
			break;
		default:
			maker_extent(m, x, next_random(seed), next_random(seed));
		}
	}
	maker_end(m);
}

static void run_whole(const struct buf *in)
{
	struct send_paths *p;
	struct send_stream *s;
	size_t sum = 0;

	assert_int_equal(send_paths_new(&p), 0);
	assert_int_equal(send_stream_new(send_paths_apply, p, &s), 0);
	if (send_stream_feed(s, in->data, in->len, NULL) == 0)
		send_stream_end(s, NULL);
	send_paths_finish(p, ignore, &sum, NULL);
	send_stream_free(&s);
	send_paths_free(&p);
}

/* Says something only under the sanitizers, and that it ends. */
static void test_parse__survives_wild_and_damaged_streams(void **state)
{
	uint32_t seed = 20261122;

	(void)state;
	for (int round = 0; round < 20000; round++) {
		MAKE;

		wild_stream(&m, &seed);
		run_whole(&m.out);
		for (int i = 0; i < 3; i++)
			m.out.data[next_random(&seed) % m.out.len] ^= (char)next_random(&seed);
		run_whole(&m.out);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_crc__is_the_check_value_of_crc32c_without_inversions),
		cmocka_unit_test(test_parse__gives_every_command_in_pieces_of_any_size),
		cmocka_unit_test(test_parse__takes_the_rest_of_a_command_as_data_from_version_2_on),
		cmocka_unit_test(test_parse__refuses_a_wrong_checksum),
		cmocka_unit_test(test_parse__refuses_a_stream_without_its_end),
		cmocka_unit_test(test_parse__refuses_bytes_behind_the_end),
		cmocka_unit_test(test_parse__refuses_lengths_no_kernel_sends),
		cmocka_unit_test(test_parse__refuses_an_attribute_longer_than_its_command),
		cmocka_unit_test(test_parse__refuses_paths_that_leave_the_tree),
		cmocka_unit_test(test_parse__refuses_a_nul_in_a_path),
		cmocka_unit_test(test_parse__refuses_a_command_without_what_it_needs),
		cmocka_unit_test(test_parse__refuses_commands_before_the_subvolume),
		cmocka_unit_test(test_parse__refuses_ranges_that_overflow),
		cmocka_unit_test(test_parse__stays_broken_after_an_error),
		cmocka_unit_test(test_parse__survives_wild_and_damaged_streams),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
