/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* snap_copy and its relatives on a real file system, named by the argument. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fixture.h"
#include "snap/base/err.h"
#include "snap/copy.h"
#include "snap/diff.h"
#include "snap/remove.h"
#include "snap/usage.h"

static const struct snap_copy_opts plain = {0};

static int count_change(enum snap_change change, const char *path, const char *from, void *arg)
{
	(void)from;
	print_message("unexpected difference: %c %s\n", change, path);
	++*(int *)arg;
	return 0;
}

static void assert_no_diff(int a, int b)
{
	struct snap_diff_opts opts = {.full = true};
	struct snap_ctx ctx = {0};
	struct err e = ERR_INIT;
	int n = 0;

	assert_int_equal(snap_diff(a, b, &opts, &ctx, count_change, &n, &e), 0);
	assert_int_equal(n, 0);
}

static void copy_ok(int src, int dst, const struct snap_copy_opts *opts,
	struct snap_copy_result *result)
{
	struct snap_ctx ctx = {0};
	struct err e = ERR_INIT;
	int r = snap_copy(src, dst, opts, &ctx, result, &e);

	if (r < 0)
		print_error("copy: %s: %s\n", e.object, e.reason);
	assert_int_equal(r, 0);
	assert_true(ctx.entries_done >= result->entries && ctx.bytes_done >= result->bytes);
	if (!opts->source_is_live) {
		assert_int_equal(ctx.entries_done, result->entries);
		assert_int_equal(ctx.bytes_done, result->bytes);
		assert_true(ctx.bytes_written <= result->bytes - result->bytes_cloned);
		assert_int_equal(ctx.bytes_written == 0, opts->reflink && has_reflink());
	}
	assert_int_equal(ctx.entries_total, 0);
	assert_int_equal(ctx.bytes_total, 0);
}

static void copy_one_of_each(const struct snap_copy_opts *opts, enum snap_consistency expect)
{
	int src = make_dir(scratch, "src"), dst = make_dir(scratch, "dst");
	struct snap_copy_result result;
	struct stat st;

	make_one_of_each(src);
	copy_ok(src, dst, opts, &result);
	assert_int_equal(result.consistency, expect);
	assert_int_equal(result.reported.total, 1);
	assert_string_equal(result.reported.items[0].path, "socket");
	assert_string_equal(result.reported.items[0].reason, "socket");
	unlinkat(src, "socket", 0);
	/* Taking the socket out has changed the root's time. */
	assert_int_equal(fstatat(dst, ".", &st, 0), 0);
	futimens(src, (struct timespec[2]){st.st_atim, st.st_mtim});
	assert_same_tree(src, dst);
	assert_no_diff(src, dst);
	assert_int_equal(fstatat(dst, "sparse", &st, 0), 0);
	assert_true(st.st_blocks * 512 < 2 << 20);
	if (opts->reflink && has_reflink())
		assert_true(result.bytes_cloned > 3000000);
	snap_copy_result_release(&result);
	close(src);
	close(dst);
}

static void test_copy__keeps_one_of_everything(void **state)
{
	(void)state;
	copy_one_of_each(&plain, SNAP_ATOMIC);
}

static void test_copy__keeps_one_of_everything_by_reflink(void **state)
{
	(void)state;
	copy_one_of_each(&(struct snap_copy_opts){.reflink = true}, SNAP_ATOMIC);
}

static void test_copy__keeps_one_of_everything_durably(void **state)
{
	(void)state;
	copy_one_of_each(&(struct snap_copy_opts){.durable = true}, SNAP_ATOMIC);
}

static void test_copy__settles_on_a_live_tree_at_rest(void **state)
{
	(void)state;
	copy_one_of_each(&(struct snap_copy_opts){.source_is_live = true}, SNAP_SETTLED);
}

static void test_copy__settles_by_reflink(void **state)
{
	(void)state;
	copy_one_of_each(&(struct snap_copy_opts){.source_is_live = true, .reflink = true},
		SNAP_SETTLED);
}

struct room {
	unsigned asked, enough;
};

static int admit(void *arg, struct err *err)
{
	struct room *r = arg;

	if (r->asked++ < r->enough)
		return 0;
	return err_set(err, ENOSPC, "below_min_free", "pool", "there is no room for more");
}

static void test_copy__ends_where_no_more_is_admitted(void **state)
{
	static const char *const what[] = {"large", "small"};
	struct snap_copy_result result;
	struct err e = ERR_INIT;
	char name[16];

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		int src = make_dir(scratch, what[i]), dst = make_dir(scratch, "dst");
		struct room room = {.enough = 2};
		struct snap_ctx ctx = {.admit = admit, .admit_arg = &room};

		for (unsigned n = 0; n < (i ? 300 : 1); n++) {
			snprintf(name, sizeof(name), "%u", n);
			make_big(src, name, i ? 60 << 10 : 18 << 20);
		}
		assert_int_equal(snap_copy(src, dst, &plain, &ctx, &result, &e), -ENOSPC);
		assert_string_equal(e.code, "below_min_free");
		assert_string_equal(e.object, "pool");
		assert_in_range(atomic_load(&ctx.bytes_done), 7 << 20, 9 << 20);
		assert_int_equal(snap_remove_content(dst, &ctx, &e), 0);
		room = (struct room){.enough = 100};
		ctx = (struct snap_ctx){.admit = admit, .admit_arg = &room};
		assert_int_equal(snap_copy(src, dst, &plain, &ctx, &result, &e), 0);
		assert_in_range(room.asked, 4, 6);
		snap_copy_result_release(&result);
		close(src);
		close(dst);
		assert_int_equal(snap_remove(scratch, "dst", &ctx, &e), 0);
	}
}

static void test_remove__leaves_nothing(void **state)
{
	int src = make_dir(scratch, "src");
	struct snap_ctx ctx = {0};
	struct err e = ERR_INIT;

	(void)state;
	make_one_of_each(src);
	close(src);
	assert_int_equal(snap_remove(scratch, "src", &ctx, &e), 0);
	assert_int_equal(faccessat(scratch, "src", F_OK, AT_SYMLINK_NOFOLLOW), -1);
	assert_int_equal(snap_remove(scratch, "src", &ctx, &e), 0);
}

static void test_survey__counts_what_a_copy_copies(void **state)
{
	int src = make_dir(scratch, "src"), dst = make_dir(scratch, "dst");
	struct snap_copy_result result;
	struct snap_ctx ctx = {0};
	struct err e = ERR_INIT;
	uint64_t entries, bytes;

	(void)state;
	make_one_of_each(src);
	assert_int_equal(snap_survey(src, &ctx, &entries, &bytes, &e), 0);
	copy_ok(src, dst, &plain, &result);
	assert_int_equal(entries, result.entries);
	assert_int_equal(bytes, result.bytes);
	snap_copy_result_release(&result);
	close(src);
	close(dst);
}

static void test_usage__counts_each_inode_once(void **state)
{
	int src = make_dir(scratch, "src");
	struct snap_usage u;
	struct snap_ctx ctx = {0};
	struct err e = ERR_INIT;

	(void)state;
	make_big(src, "a", 1 << 20);
	linkat(src, "a", src, "b", 0);
	fsync(src);
	assert_int_equal(snap_usage(src, 1, &ctx, &u, &e), 0);
	assert_int_equal(u.entries, 2);
	assert_int_equal(u.logical, 1 << 20);
	assert_true(u.allocated >= 1 << 20 && u.allocated < 3 << 20);
	assert_int_equal(u.exclusive + u.shared, u.allocated);
	close(src);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		on_scratch(test_copy__keeps_one_of_everything),
		on_scratch(test_copy__keeps_one_of_everything_by_reflink),
		on_scratch(test_copy__keeps_one_of_everything_durably),
		on_scratch(test_copy__settles_on_a_live_tree_at_rest),
		on_scratch(test_copy__settles_by_reflink),
		on_scratch(test_copy__ends_where_no_more_is_admitted),
		on_scratch(test_remove__leaves_nothing),
		on_scratch(test_survey__counts_what_a_copy_copies),
		on_scratch(test_usage__counts_each_inode_once),
	};

	return fixture_main(argc, argv, tests);
}
