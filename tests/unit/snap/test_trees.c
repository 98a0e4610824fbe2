/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Comparing, removing, measuring and syncing trees. */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "fixture.h"
#include "snap/base/buf.h"
#include "snap/base/clock.h"
#include "snap/base/err.h"
#include "snap/copy.h"
#include "snap/diff.h"
#include "snap/remove.h"
#include "snap/settle.h"
#include "snap/sys.h"
#include "snap/usage.h"

/* --- diff --- */

static int write_change(enum snap_change change, const char *path, const char *from, void *arg)
{
	assert_null(from);
	buf_printf(arg, "%c %s\n", change, path);
	return 0;
}

static void assert_diff(int a, int b, struct snap_diff_opts opts, const char *expect)
{
	struct snap_ctx ctx = {0};
	struct err e = ERR_INIT;
	struct buf got = BUF_INIT;

	assert_int_equal(snap_diff(a, b, &opts, &ctx, write_change, &got, &e), 0);
	assert_string_equal(buf_str(&got), expect);
	buf_release(&got);
}

static void copy_plain(int src, int dst)
{
	struct snap_copy_result result;

	assert_int_equal(snap_copy(src, dst, &(struct snap_copy_opts){0}, &(struct snap_ctx){0},
				 &result, NULL),
		0);
	snap_copy_result_release(&result);
}

static void set_mtime(int at, const char *name, time_t sec)
{
	struct timespec t[2] = {{sec, 0}, {sec, 0}};

	assert_int_equal(utimensat(at, name, t, AT_SYMLINK_NOFOLLOW), 0);
}

/* a and b, equal. */
static void make_pair(int *a, int *b)
{
	int dir;

	*a = make_dir(scratch, "a");
	*b = make_dir(scratch, "b");
	dir = make_dir(*a, "dir");
	close(make_dir(dir, "sub"));
	make_file(dir, "inner", "inner\n");
	make_file(*a, "dir.txt", "sorts after what is in dir\n");
	make_file(*a, "file", "content\n");
	make_file(*a, "one", "linked\n");
	linkat(*a, "one", *a, "two", 0);
	symlinkat("file", *a, "link");
	mkfifoat(*a, "fifo", 0644);
	copy_plain(*a, *b);
	close(dir);
}

static const struct snap_diff_opts no_dirs = {.ignore_dir_mtime = true};
static const struct snap_diff_opts full = {.full = true, .ignore_dir_mtime = true};

static void test_diff__lists_added_and_removed_trees_in_path_order(void **state)
{
	int a, b;

	(void)state;
	make_pair(&a, &b);
	assert_diff(a, b, no_dirs, "");
	assert_int_equal(snap_remove(b, "dir", &(struct snap_ctx){0}, NULL), 0);
	make_file(b, "dir+", "sorts between dir and dir.txt\n");
	close(make_dir(b, "new"));
	make_file(b, "new/x", "");
	assert_diff(a, b, no_dirs,
		"- dir\n- dir/inner\n- dir/sub\n+ dir+\n+ new\n+ new/x\n");
	assert_diff(b, a, no_dirs,
		"+ dir\n+ dir/inner\n+ dir/sub\n- dir+\n- new\n- new/x\n");
	close(a);
	close(b);
}

static void test_diff__tells_content_from_metadata(void **state)
{
	int a, b;

	(void)state;
	make_pair(&a, &b);
	make_file(b, "file", "CONTENT\n");
	set_mtime(b, "dir/inner", 77);
	fchmodat(b, "dir", 0700, 0);
	unlinkat(b, "link", 0);
	symlinkat("elsewhere", b, "link");
	fchmodat(b, "fifo", 0600, 0);
	assert_diff(a, b, no_dirs, "m dir\nm dir/inner\nm fifo\nM file\nM link\n");
	close(a);
	close(b);
}

static void test_diff__counts_times_of_directories_unless_told_not_to(void **state)
{
	int a, b;

	(void)state;
	make_pair(&a, &b);
	set_mtime(b, "dir", 77);
	set_mtime(b, ".", 77);
	assert_diff(a, b, (struct snap_diff_opts){0}, "m .\nm dir\n");
	assert_diff(a, b, no_dirs, "");
	close(a);
	close(b);
}

static void test_diff__follows_a_change_of_type(void **state)
{
	int a, b;

	(void)state;
	make_pair(&a, &b);
	assert_int_equal(snap_remove(b, "dir", &(struct snap_ctx){0}, NULL), 0);
	make_file(b, "dir", "a file now\n");
	unlinkat(b, "file", 0);
	close(make_dir(b, "file"));
	make_file(b, "file/in it", "x");
	assert_diff(a, b, no_dirs, "M dir\n- dir/inner\n- dir/sub\nM file\n+ file/in it\n");
	close(a);
	close(b);
}

static void test_diff__full_trusts_no_time(void **state)
{
	struct stat st;
	int a, b;

	(void)state;
	make_pair(&a, &b);
	assert_int_equal(fstatat(b, "file", &st, 0), 0);
	make_file(b, "file", "CONTENT\n");
	utimensat(b, "file", (struct timespec[2]){st.st_atim, st.st_mtim}, 0);
	assert_diff(a, b, no_dirs, "");
	assert_diff(a, b, full, "M file\n");
	close(a);
	close(b);
}

static void test_diff__full_compares_link_groups(void **state)
{
	struct stat st;
	int a, b;

	(void)state;
	make_pair(&a, &b);
	assert_diff(a, b, full, "");
	assert_int_equal(fstatat(b, "two", &st, 0), 0);
	unlinkat(b, "two", 0);
	make_file(b, "two", "linked\n");
	utimensat(b, "two", (struct timespec[2]){st.st_atim, st.st_mtim}, 0);
	assert_diff(a, b, no_dirs, "");
	assert_diff(a, b, full, "m two\n");
	close(a);
	close(b);
}

static void test_diff__compares_xattrs_and_not_holes(void **state)
{
	struct stat st;
	int a, b, fd;

	(void)state;
	make_pair(&a, &b);
	fd = openat(a, "file", O_WRONLY | O_CLOEXEC);
	assert_int_equal(ftruncate(fd, 1 << 20), 0);
	close(fd);
	fd = openat(b, "file", O_WRONLY | O_CLOEXEC);
	for (int i = 8; i < 1 << 20; i += 8)
		assert_int_equal(pwrite(fd, "\0\0\0\0\0\0\0", 8, i), 8);
	assert_int_equal(fstatat(a, "file", &st, 0), 0);
	futimens(fd, (struct timespec[2]){st.st_atim, st.st_mtim});
	assert_diff(a, b, full, "");
	if (fsetxattr(fd, "user.x", "1", 1, 0) == 0)
		assert_diff(a, b, full, "m file\n");
	close(fd);
	close(a);
	close(b);
}

static _Atomic uint64_t bytes_read;

static ssize_t count_pread(int fd, void *buf, size_t len, off_t off)
{
	ssize_t n = sys_kernel.pread(fd, buf, len, off);

	if (n > 0)
		atomic_fetch_add(&bytes_read, n);
	return n;
}

static void test_diff__reads_no_hole_that_both_sides_have(void **state)
{
	const off_t hole = (off_t)1 << 30;
	struct sys_calls counting = sys_kernel;
	int a, b, in_a, in_b;

	(void)state;
	make_pair(&a, &b);
	in_a = openat(a, "file", O_WRONLY | O_CLOEXEC);
	in_b = openat(b, "file", O_WRONLY | O_CLOEXEC);
	assert_int_equal(pwrite(in_a, "end", 3, hole), 3);
	assert_int_equal(pwrite(in_b, "end", 3, hole), 3);
	assert_int_equal(ftruncate(in_a, 2 * hole), 0);
	assert_int_equal(ftruncate(in_b, 2 * hole), 0);
	set_mtime(a, "file", 1);
	set_mtime(b, "file", 1);
	counting.pread = count_pread;
	sys = &counting;
	bytes_read = 0;
	assert_diff(a, b, full, "");
	assert_true(bytes_read > 0 && bytes_read < 8 << 20);
	assert_int_equal(pwrite(in_b, "End", 3, hole), 3);
	set_mtime(b, "file", 1);
	assert_diff(a, b, full, "M file\n");
	sys = &sys_kernel;
	close(in_a);
	close(in_b);
	close(a);
	close(b);
}

/* Now; what is changed from here on has a newer ctime. */
static int64_t tick(void)
{
	int64_t now = clock_real();

	while (settle_now() <= now)
		sched_yield();
	return now;
}

static void assert_reads(int a, int b, struct snap_diff_opts opts, bool any, const char *expect)
{
	static struct sys_calls counting; /* it may stay in use where the test fails */

	counting = sys_kernel;
	counting.pread = count_pread;
	sys = &counting;
	bytes_read = 0;
	assert_diff(a, b, opts, expect);
	sys = &sys_kernel;
	assert_int_equal(bytes_read > 0, any);
}

/* Other bytes, with the size and the times there were. */
static void change_secretly(int at, const char *name)
{
	int fd = openat(at, name, O_WRONLY | O_CLOEXEC);
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(pwrite(fd, "X", 1, 0), 1);
	futimens(fd, (struct timespec[2]){st.st_atim, st.st_mtim});
	close(fd);
}

static void test_diff__reads_what_was_changed_since_its_times_were_trusted(void **state)
{
	struct snap_diff_opts since = {.ignore_dir_mtime = true};
	int a, b;

	(void)state;
	make_pair(&a, &b);
	since.trusted_until[0] = since.trusted_until[1] = tick();
	assert_reads(a, b, since, false, "");
	make_file(b, "dir/new", "new\n");
	assert_reads(a, b, since, false, "+ dir/new\n");
	change_secretly(b, "dir/inner");
	assert_reads(a, b, since, true, "M dir/inner\n+ dir/new\n");
	assert_reads(b, a, since, true, "M dir/inner\n- dir/new\n");
	change_secretly(a, "two"); /* both its names */
	assert_reads(a, b, since, true, "M dir/inner\n+ dir/new\nM one\nM two\n");
	since.trusted_until[0] = 0;
	assert_reads(a, b, since, true, "M dir/inner\n+ dir/new\n");
	close(a);
	close(b);
}

/* A rename leaves the ctimes of what lies below as they were. */
static void test_diff__reads_what_lies_below_a_directory_that_was_moved(void **state)
{
	struct snap_diff_opts since = {.ignore_dir_mtime = true};
	int a, b, copy;

	(void)state;
	make_pair(&a, &b);
	make_file(a, "dir/sub/lib", "version-1\n");
	set_mtime(a, "dir/sub/lib", 1);
	copy = make_dir(a, "other");
	close(make_dir(a, "other/sub"));
	make_file(a, "other/sub/lib", "version-2\n");
	set_mtime(a, "other/sub/lib", 1);
	assert_int_equal(snap_remove(scratch, "b", &(struct snap_ctx){0}, NULL), 0);
	close(b);
	b = make_dir(scratch, "b");
	copy_plain(a, b);
	since.trusted_until[0] = since.trusted_until[1] = tick();
	assert_reads(a, b, since, false, "");
	assert_int_equal(renameat(b, "dir", b, "away"), 0);
	assert_int_equal(renameat(b, "other", b, "dir"), 0);
	assert_reads(a, b, since, true,
		"+ away\n+ away/inner\n+ away/sub\n+ away/sub/lib\n- dir/inner\nM dir/sub/lib\n"
		"- other\n- other/sub\n- other/sub/lib\n");
	close(copy);
	close(a);
	close(b);
}

static int stop_at_two(enum snap_change change, const char *path, const char *from, void *arg)
{
	(void)change;
	(void)path;
	(void)from;
	return ++*(int *)arg == 2 ? 42 : 0;
}

static void test_diff__stops_when_the_callback_says_so(void **state)
{
	int a, b, n = 0;

	(void)state;
	make_pair(&a, &b);
	assert_int_equal(snap_remove(b, "dir", &(struct snap_ctx){0}, NULL), 0);
	assert_int_equal(snap_diff(a, b, &no_dirs, &(struct snap_ctx){0}, stop_at_two, &n, NULL),
		42);
	assert_int_equal(n, 2);
	close(a);
	close(b);
}

/* --- remove --- */

static void set_flag(int at, const char *name, int flag)
{
	int fd = openat(at, name, O_RDONLY | O_CLOEXEC), flags = 0;

	if (ioctl(fd, FS_IOC_GETFLAGS, &flags) < 0) {
		print_message("no file flags on %s\n", fixture_kind);
	} else {
		flags |= flag;
		assert_int_equal(ioctl(fd, FS_IOC_SETFLAGS, &flags), 0);
	}
	close(fd);
}

static void test_remove__clears_immutable_and_append_only(void **state)
{
	int dir = make_dir(scratch, "dir"), sub;

	(void)state;
	if (!is_root()) {
		print_message("skipped: needs root\n");
		close(dir);
		skip();
	}
	sub = make_dir(dir, "sub");
	make_file(sub, "file", "x");
	make_file(dir, "log", "x");
	set_flag(sub, "file", FS_IMMUTABLE_FL);
	set_flag(dir, "log", FS_APPEND_FL);
	set_flag(dir, "sub", FS_IMMUTABLE_FL);
	assert_int_equal(snap_remove(scratch, "dir", &(struct snap_ctx){0}, NULL), 0);
	close(sub);
	close(dir);
}

static void test_copy__reports_flags_it_does_not_carry(void **state)
{
	int a = make_dir(scratch, "a"), b = make_dir(scratch, "b"), fd, flags = 0;
	struct snap_copy_result result;

	(void)state;
	make_file(a, "fixed", "x");
	fd = openat(a, "fixed", O_RDONLY | O_CLOEXEC);
	if (!is_root() || ioctl(fd, FS_IOC_GETFLAGS, &flags) < 0) {
		print_message("skipped: needs root and file flags\n");
		close(fd);
		close(a);
		close(b);
		skip();
	}
	close(fd);
	set_flag(a, "fixed", FS_IMMUTABLE_FL);
	assert_int_equal(snap_copy(a, b, &(struct snap_copy_opts){.source_is_live = true},
				 &(struct snap_ctx){0}, &result, NULL),
		0);
	assert_int_equal(result.reported.total, 1);
	assert_string_equal(result.reported.items[0].path, "fixed");
	assert_string_equal(result.reported.items[0].reason, "immutable");
	snap_copy_result_release(&result);
	close(a);
	close(b);
}

static void test_remove__takes_single_entries_of_any_type(void **state)
{
	struct snap_ctx ctx = {0};
	struct err e = ERR_INIT;
	int a, b;

	(void)state;
	make_pair(&a, &b);
	assert_int_equal(snap_remove(a, "link", &ctx, &e), 0);
	assert_int_equal(snap_remove(a, "fifo", &ctx, &e), 0);
	assert_int_equal(snap_remove(a, "one", &ctx, &e), 0);
	assert_int_equal(faccessat(a, "file", F_OK, 0), 0);
	assert_int_equal(ctx.entries_done, 3);
	assert_int_equal(snap_remove_content(a, &ctx, &e), 0);
	assert_int_equal(unlinkat(scratch, "a", AT_REMOVEDIR), 0);
	close(a);
	close(b);
}

/* --- usage --- */

static void test_usage__tells_shared_from_exclusive(void **state)
{
	int a = make_dir(scratch, "a"), b = make_dir(scratch, "b");
	struct snap_copy_result result;
	struct snap_usage u, v;
	struct snap_ctx ctx = {0};

	(void)state;
	make_big(a, "big", 4 << 20);
	assert_int_equal(snap_copy(a, b, &(struct snap_copy_opts){.reflink = true}, &ctx, &result,
				 NULL),
		0);
	make_big(b, "own", 1 << 20);
	syncfs(a);
	assert_int_equal(snap_usage(b, 1, &ctx, &u, NULL), 0);
	assert_int_equal(snap_usage(b, 0, &ctx, &v, NULL), 0);
	assert_int_equal(u.logical, 5 << 20);
	assert_int_equal(v.shared, 0);
	assert_int_equal(v.exclusive, v.allocated);
	assert_int_equal(u.allocated, v.allocated);
	assert_int_equal(u.shared, has_reflink() ? 4 << 20 : 0);
	assert_int_equal(result.bytes_cloned, has_reflink() ? 4 << 20 : 0);
	snap_copy_result_release(&result);
	close(a);
	close(b);
}

/* --- durable --- */

static atomic_int fsyncs, syncfss;

static int count_fsync(int fd)
{
	atomic_fetch_add(&fsyncs, 1);
	return sys_kernel.fsync(fd);
}

static int count_syncfs(int fd)
{
	atomic_fetch_add(&syncfss, 1);
	return sys_kernel.syncfs(fd);
}

static int copy_counted(int a, int b, bool durable)
{
	struct snap_copy_opts opts = {.durable = durable};
	struct sys_calls counted = sys_kernel;
	struct snap_copy_result result;
	int r;

	counted.fsync = count_fsync;
	counted.syncfs = count_syncfs;
	fsyncs = syncfss = 0;
	sys = &counted;
	r = snap_copy(a, b, &opts, &(struct snap_ctx){0}, &result, NULL);
	sys = &sys_kernel;
	snap_copy_result_release(&result);
	return r;
}

static void test_copy__syncs_each_file_and_directory_or_on_btrfs_the_whole(void **state)
{
	int a = make_dir(scratch, "a"), b = make_dir(scratch, "b"), c = make_dir(scratch, "c");
	bool btrfs = on_btrfs();
	int dir = make_dir(a, "dir");

	(void)state;
	for (int i = 0; i < 100; i++) {
		char name[16];

		snprintf(name, sizeof(name), "f%d", i);
		make_file(dir, name, name);
	}
	symlinkat("x", a, "link");
	mkfifoat(a, "fifo", 0600);
	assert_int_equal(copy_counted(a, b, true), 0);
	assert_int_equal(fsyncs, btrfs ? 0 : 102);
	assert_int_equal(syncfss, btrfs ? 1 : 0);
	assert_int_equal(copy_counted(a, c, false), 0);
	assert_int_equal(fsyncs + syncfss, 0);
	close(dir);
	close(a);
	close(b);
	close(c);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		on_scratch(test_diff__lists_added_and_removed_trees_in_path_order),
		on_scratch(test_diff__tells_content_from_metadata),
		on_scratch(test_diff__counts_times_of_directories_unless_told_not_to),
		on_scratch(test_diff__follows_a_change_of_type),
		on_scratch(test_diff__full_trusts_no_time),
		on_scratch(test_diff__full_compares_link_groups),
		on_scratch(test_diff__compares_xattrs_and_not_holes),
		on_scratch(test_diff__reads_what_was_changed_since_its_times_were_trusted),
		on_scratch(test_diff__reads_what_lies_below_a_directory_that_was_moved),
		on_scratch(test_diff__reads_no_hole_that_both_sides_have),
		on_scratch(test_diff__stops_when_the_callback_says_so),
		on_scratch(test_remove__clears_immutable_and_append_only),
		on_scratch(test_remove__takes_single_entries_of_any_type),
		on_scratch(test_copy__reports_flags_it_does_not_carry),
		on_scratch(test_usage__tells_shared_from_exclusive),
		on_scratch(test_copy__syncs_each_file_and_directory_or_on_btrfs_the_whole),
	};

	return fixture_main(argc, argv, tests);
}
