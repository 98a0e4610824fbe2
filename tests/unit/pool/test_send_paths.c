/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The path simulator: from the stream's moves to what has changed in the end. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "snap/base/err.h"
#include "snap/send_paths.h"
#include "tests/unit/pool/stream_maker.h"

static int note(const struct send_change *c, void *arg)
{
	static const char letters[] = {
		[SEND_PATH_REMOVED] = '-',
		[SEND_PATH_RENAMED] = 'R',
		[SEND_PATH_KEPT] = '=',
		[SEND_PATH_REPLACED] = '!',
		[SEND_PATH_ADDED] = '+',
	};
	struct buf *log = arg;

	buf_printf(log, "%c%s", letters[c->kind], c->path ? c->path : "");
	if (c->from && (!c->path || strcmp(c->path, c->from) != 0))
		buf_printf(log, "<%s", c->from);
	if (c->touched)
		buf_printf(log, "(%s%s%s)", c->touched & SEND_TOUCH_DATA ? "d" : "",
			c->touched & SEND_TOUCH_XATTR ? "x" : "",
			c->touched & SEND_TOUCH_ATTR ? "a" : "");
	for (size_t i = 0; i < c->n_ranges; i++)
		buf_printf(log, "[%llu+%llu]", (unsigned long long)c->ranges[i].offset,
			(unsigned long long)c->ranges[i].len);
	buf_adds(log, " ");
	return 0;
}

struct play {
	struct send_paths *paths;
	int error;
	struct err err;
};

static struct play begin(void)
{
	const struct send_cmd cmd = {.type = SEND_SNAPSHOT, .path = "new"};
	struct play p = {0};

	assert_int_equal(send_paths_new(&p.paths), 0);
	assert_int_equal(send_paths_apply(&cmd, p.paths, NULL), 0);
	return p;
}

static void play(struct play *p, enum send_cmd_type type, const char *path, const char *second)
{
	const struct send_cmd cmd = {
		.type = type, .path = path,
		.path_to = type == SEND_RENAME ? second : NULL,
		.path_link = type == SEND_LINK ? second : NULL,
	};
	int r = send_paths_apply(&cmd, p->paths, &p->err);

	if (p->error == 0)
		p->error = r;
}

static void play_extent(struct play *p, const char *path, uint64_t offset, uint64_t size)
{
	const struct send_cmd cmd = {
		.type = SEND_UPDATE_EXTENT, .path = path, .offset = offset, .size = size,
	};

	assert_int_equal(send_paths_apply(&cmd, p->paths, NULL), 0);
}

static void assert_ends_as(struct play *p, const char *expected)
{
	struct buf log = BUF_INIT;

	assert_int_equal(p->error, 0);
	assert_int_equal(send_paths_finish(p->paths, note, &log, NULL), 0);
	assert_string_equal(buf_str(&log), expected);
	buf_release(&log);
	send_paths_free(&p->paths);
}

static void assert_refused(struct play *p)
{
	assert_int_equal(p->error, -EBADMSG);
	send_paths_free(&p->paths);
}

static void test_paths__a_new_file_arrives_under_an_orphan_name(void **state)
{
	struct play p = begin();

	(void)state;
	play(&p, SEND_MKFILE, "o260-9-0", NULL);
	play(&p, SEND_RENAME, "o260-9-0", "dir/new");
	play_extent(&p, "dir/new", 0, 10);
	play(&p, SEND_UTIMES, "dir/new", NULL);
	assert_ends_as(&p, "+dir/new ");
}

static void test_paths__a_file_renamed_by_link_and_unlink_is_one_rename(void **state)
{
	struct play p = begin();

	(void)state;
	play(&p, SEND_LINK, "b", "a");
	play(&p, SEND_UNLINK, "a", NULL);
	play_extent(&p, "b", 4096, 4096);
	play_extent(&p, "b", 8192, 4096);
	play_extent(&p, "b", 0, 1);
	assert_ends_as(&p, "Rb<a(da)[4096+8192][0+1] ");
}

static void test_paths__a_swap_is_two_renames(void **state)
{
	struct play p = begin();

	(void)state;
	play(&p, SEND_RENAME, "b", "o258-7-0");
	play(&p, SEND_RENAME, "a", "b");
	play(&p, SEND_RENAME, "o258-7-0", "a");
	assert_ends_as(&p, "Ra<b Rb<a ");
}

static void test_paths__what_is_below_a_renamed_directory_is_not_renamed(void **state)
{
	struct play p = begin();

	(void)state;
	play(&p, SEND_RENAME, "dir", "other");
	play_extent(&p, "other/sub/file", 0, 1);
	play(&p, SEND_RENAME, "other/x", "other/sub/y");
	assert_ends_as(&p, "Rother<dir =other/sub/file<dir/sub/file(da)[0+1] Rother/sub/y<dir/x ");
}

static void test_paths__parent_and_child_change_places(void **state)
{
	struct play p = begin();

	(void)state;
	play(&p, SEND_RENAME, "a/b", "o259-8-0");
	play(&p, SEND_RENAME, "a", "o259-8-0/a");
	play(&p, SEND_RENAME, "o259-8-0", "b");
	assert_ends_as(&p, "Rb<a/b Rb/a<a ");
}

static void test_paths__a_removed_directory_is_removed_with_what_it_held(void **state)
{
	struct play p = begin();

	(void)state;
	play(&p, SEND_RENAME, "dir", "o257-7-0");
	play(&p, SEND_UNLINK, "o257-7-0/f", NULL);
	play(&p, SEND_RMDIR, "o257-7-0", NULL);
	assert_ends_as(&p, "-<dir -<dir/f ");
}

static void test_paths__removed_and_made_again_is_replaced(void **state)
{
	struct play p = begin();

	(void)state;
	play(&p, SEND_UNLINK, "f", NULL);
	play(&p, SEND_MKFILE, "o270-9-0", NULL);
	play(&p, SEND_RENAME, "o270-9-0", "f");
	assert_ends_as(&p, "!f ");
}

static void test_paths__renamed_over_a_file_that_was_there(void **state)
{
	struct play p = begin();

	(void)state;
	play(&p, SEND_UNLINK, "b", NULL);
	play(&p, SEND_RENAME, "a", "b");
	play(&p, SEND_MKFILE, "a", NULL);
	assert_ends_as(&p, "+a -<b Rb<a ");
}

static void test_paths__there_and_back_is_no_change(void **state)
{
	struct play p = begin();

	(void)state;
	play(&p, SEND_RENAME, "d", "o257-7-0");
	play(&p, SEND_RENAME, "o257-7-0", "d");
	play(&p, SEND_MKFILE, "t", NULL);
	play(&p, SEND_UNLINK, "t", NULL);
	assert_ends_as(&p, "");
}

static void test_paths__a_second_name_is_added_and_one_of_two_removed(void **state)
{
	struct play p = begin();

	(void)state;
	play(&p, SEND_LINK, "b", "a");
	assert_ends_as(&p, "+b ");
	p = begin();
	play(&p, SEND_UNLINK, "b", NULL);
	assert_ends_as(&p, "-<b ");
}

static void test_paths__a_directory_is_followed_by_what_it_holds(void **state)
{
	struct play p = begin();

	(void)state;
	play(&p, SEND_MKDIR, "a", NULL);
	play(&p, SEND_MKFILE, "a.txt", NULL);
	play(&p, SEND_MKFILE, "a/z", NULL);
	play(&p, SEND_MKFILE, "a\001", NULL);
	play(&p, SEND_UTIMES, "", NULL);
	assert_ends_as(&p, "=(a) +a +a/z +a\001 +a.txt ");
}

static void test_paths__many_scattered_ranges_become_one(void **state)
{
	struct play p = begin();

	(void)state;
	for (uint64_t i = 0; i < 257; i++)
		play_extent(&p, "f", 1000000 - i * 10, 5);
	assert_ends_as(&p, "=f(da)[997450+2555][997440+5] ");
}

static void test_paths__a_full_stream_adds_everything(void **state)
{
	const struct send_cmd cmd = {.type = SEND_SUBVOL, .path = "new"};
	struct play p = {0};

	(void)state;
	assert_int_equal(send_paths_new(&p.paths), 0);
	assert_int_equal(send_paths_apply(&cmd, p.paths, NULL), 0);
	play(&p, SEND_MKDIR, "d", NULL);
	play(&p, SEND_MKFILE, "d/f", NULL);
	assert_ends_as(&p, "+d +d/f ");
}

static void test_paths__refuses_what_no_kernel_sends(void **state)
{
	struct play p = begin();

	(void)state;
	play(&p, SEND_RENAME, "a", "a/b");
	assert_refused(&p);
	p = begin();
	play(&p, SEND_UNLINK, "a", NULL);
	play(&p, SEND_UNLINK, "a", NULL);
	assert_refused(&p);
	p = begin();
	play(&p, SEND_MKDIR, "a", NULL);
	play(&p, SEND_MKDIR, "a", NULL);
	assert_refused(&p);
	p = begin();
	play(&p, SEND_MKFILE, "d/f", NULL);
	play(&p, SEND_RMDIR, "d", NULL);
	assert_refused(&p);
	p = begin();
	play(&p, SEND_RENAME, "", "a");
	assert_refused(&p);
	p = begin();
	play(&p, SEND_MKDIR, "n", NULL);
	play(&p, SEND_UNLINK, "n/x", NULL);
	assert_refused(&p);
}

static void test_paths__many_names_stay_findable(void **state)
{
	struct play p = begin();
	struct buf log = BUF_INIT;

	(void)state;
	for (int i = 0; i < 5000; i++) {
		char path[32];

		snprintf(path, sizeof(path), "d%d/f%d", i % 50, i);
		play(&p, SEND_UNLINK, path, NULL);
	}
	play(&p, SEND_UNLINK, "d7/f57", NULL);
	assert_int_equal(p.error, -EBADMSG);
	assert_int_equal(send_paths_finish(p.paths, note, &log, NULL), 0);
	assert_memory_equal(buf_str(&log), "-<d0/f0 -<d0/f100 ", 18);
	buf_release(&log);
	send_paths_free(&p.paths);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_paths__a_new_file_arrives_under_an_orphan_name),
		cmocka_unit_test(test_paths__a_file_renamed_by_link_and_unlink_is_one_rename),
		cmocka_unit_test(test_paths__a_swap_is_two_renames),
		cmocka_unit_test(test_paths__what_is_below_a_renamed_directory_is_not_renamed),
		cmocka_unit_test(test_paths__parent_and_child_change_places),
		cmocka_unit_test(test_paths__a_removed_directory_is_removed_with_what_it_held),
		cmocka_unit_test(test_paths__removed_and_made_again_is_replaced),
		cmocka_unit_test(test_paths__renamed_over_a_file_that_was_there),
		cmocka_unit_test(test_paths__there_and_back_is_no_change),
		cmocka_unit_test(test_paths__a_second_name_is_added_and_one_of_two_removed),
		cmocka_unit_test(test_paths__a_directory_is_followed_by_what_it_holds),
		cmocka_unit_test(test_paths__many_scattered_ranges_become_one),
		cmocka_unit_test(test_paths__a_full_stream_adds_everything),
		cmocka_unit_test(test_paths__refuses_what_no_kernel_sends),
		cmocka_unit_test(test_paths__many_names_stay_findable),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
