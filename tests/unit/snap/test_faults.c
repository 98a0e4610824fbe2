/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Fail the Nth system call, for every N there is: each operation must either say that it failed, or
 * have done its work in spite of it; no descriptor may be left open, and the operation must work
 * when it is tried again.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/stat.h>
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
#include "snap/sys.h"
#include "snap/usage.h"

static int calls, fail_at, fail_with;
static bool must_tell; /* what failed can mean lost data */

static bool fails(void)
{
	if (++calls != fail_at)
		return false;
	errno = fail_with;
	return true;
}

#define FAULTY(type, name, params, args)                                                           \
	static type faulty_##name params                                                           \
	{                                                                                          \
		return fails() ? -1 : sys_kernel.name args;                                        \
	}

FAULTY(int, openat, (int d, const char *p, int f, mode_t m), (d, p, f, m))
FAULTY(ssize_t, pread, (int d, void *b, size_t n, off_t o), (d, b, n, o))
FAULTY(ssize_t, pwrite, (int d, const void *b, size_t n, off_t o), (d, b, n, o))
FAULTY(off_t, lseek, (int d, off_t o, int w), (d, o, w))
FAULTY(int, ftruncate, (int d, off_t n), (d, n))
FAULTY(int, statx, (int d, const char *p, int f, unsigned m, struct statx *o), (d, p, f, m, o))
FAULTY(int, fstatfs, (int d, struct statfs *o), (d, o))
FAULTY(ssize_t, getdents64, (int d, void *b, size_t n), (d, b, n))
FAULTY(ssize_t, readlinkat, (int d, const char *p, char *b, size_t n), (d, p, b, n))
FAULTY(int, mkdirat, (int d, const char *p, mode_t m), (d, p, m))
FAULTY(int, mknodat, (int d, const char *p, mode_t m, dev_t v), (d, p, m, v))
FAULTY(int, symlinkat, (const char *t, int d, const char *p), (t, d, p))
FAULTY(int, linkat, (int d, const char *p, int e, const char *q, int f), (d, p, e, q, f))
FAULTY(int, unlinkat, (int d, const char *p, int f), (d, p, f))
FAULTY(int, fchownat, (int d, const char *p, uid_t u, gid_t g, int f), (d, p, u, g, f))
FAULTY(int, fchmod, (int d, mode_t m), (d, m))
FAULTY(int, chmod, (const char *p, mode_t m), (p, m))
FAULTY(int, utimensat, (int d, const char *p, const struct timespec t[2], int f), (d, p, t, f))
FAULTY(int, futimens, (int d, const struct timespec t[2]), (d, t))
FAULTY(ssize_t, flistxattr, (int d, char *l, size_t n), (d, l, n))
FAULTY(ssize_t, listxattr, (const char *p, char *l, size_t n), (p, l, n))
FAULTY(ssize_t, fgetxattr, (int d, const char *k, void *v, size_t n), (d, k, v, n))
FAULTY(ssize_t, getxattr, (const char *p, const char *k, void *v, size_t n), (p, k, v, n))
FAULTY(int, fsetxattr, (int d, const char *k, const void *v, size_t n, int f), (d, k, v, n, f))
FAULTY(int, setxattr, (const char *p, const char *k, const void *v, size_t n, int f),
	(p, k, v, n, f))
FAULTY(int, fremovexattr, (int d, const char *k), (d, k))
FAULTY(int, removexattr, (const char *p, const char *k), (p, k))
FAULTY(int, ioctl, (int d, unsigned long r, void *a), (d, r, a))
FAULTY(ssize_t, copy_file_range, (int i, off_t *io, int o, off_t *oo, size_t n, unsigned f),
	(i, io, o, oo, n, f))
FAULTY(int, sync_file_range, (int d, off_t o, off_t n, unsigned f), (d, o, n, f))

static int faulty_fsync(int fd)
{
	if (!fails())
		return sys_kernel.fsync(fd);
	must_tell = true;
	return -1;
}

static int faulty_syncfs(int fd)
{
	if (!fails())
		return sys_kernel.syncfs(fd);
	must_tell = true;
	return -1;
}

/* A close that fails has closed all the same. */
static int faulty_close(int fd)
{
	bool failing = fails();
	struct stat st;
	int r;

	/* Written, and not taken back. */
	if (failing && (fcntl(fd, F_GETFL) & O_ACCMODE) == O_WRONLY && fstat(fd, &st) == 0 &&
		st.st_nlink)
		must_tell = true;
	r = sys_kernel.close(fd);

	errno = fail_with;
	return failing ? -1 : r;
}

#define TAKE(name) .name = faulty_##name

static const struct sys_calls faulty = {TAKE(openat), TAKE(close), TAKE(pread), TAKE(pwrite),
	TAKE(lseek), TAKE(ftruncate), TAKE(statx), TAKE(fstatfs), TAKE(getdents64),
	TAKE(readlinkat), TAKE(mkdirat), TAKE(mknodat), TAKE(symlinkat), TAKE(linkat),
	TAKE(unlinkat), TAKE(fchownat), TAKE(fchmod), TAKE(chmod), TAKE(utimensat),
	TAKE(futimens), TAKE(flistxattr), TAKE(listxattr), TAKE(fgetxattr), TAKE(getxattr),
	TAKE(fsetxattr), TAKE(setxattr), TAKE(fremovexattr), TAKE(removexattr), TAKE(ioctl),
	TAKE(copy_file_range), TAKE(sync_file_range), TAKE(fsync), TAKE(syncfs)};

/* One operation: run it, and look at what it did. */
struct operation {
	void (*prepare)(int src, int n);
	int (*run)(int src, struct snap_ctx *ctx, struct err *e);
	void (*check)(int src, int r);
};

static struct snap_copy_opts copy_opts;

static void remove_dst(void)
{
	struct err e = ERR_INIT;

	assert_int_equal(snap_remove(scratch, "dst", &(struct snap_ctx){0}, &e), 0);
}

static void prepare_copy(int src, int n)
{
	(void)src;
	(void)n;
	remove_dst();
	close(make_dir(scratch, "dst"));
}

static int run_copy(int src, struct snap_ctx *ctx, struct err *e)
{
	struct snap_copy_result result;
	int dst = openat(scratch, "dst", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int r = snap_copy(src, dst, &copy_opts, ctx, &result, e);

	snap_copy_result_release(&result);
	close(dst);
	return r;
}

static void check_copy(int src, int r)
{
	int dst = openat(scratch, "dst", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (r == 0)
		assert_same_tree(src, dst);
	close(dst);
}

static int run_remove(int src, struct snap_ctx *ctx, struct err *e)
{
	(void)src;
	return snap_remove(scratch, "dst", ctx, e);
}

static void prepare_remove(int src, int n)
{
	struct err e = ERR_INIT;
	const struct sys_calls *was = sys;

	sys = &sys_kernel;
	prepare_copy(src, n);
	memset(&copy_opts, 0, sizeof(copy_opts));
	assert_int_equal(run_copy(src, &(struct snap_ctx){0}, &e), 0);
	sys = was;
}

static void check_remove(int src, int r)
{
	(void)src;
	if (r == 0)
		assert_int_equal(faccessat(scratch, "dst", F_OK, AT_SYMLINK_NOFOLLOW), -1);
}

static struct snap_usage usage, usage_right;

static int run_usage(int src, struct snap_ctx *ctx, struct err *e)
{
	memset(&usage, 0, sizeof(usage));
	return snap_usage(src, 1, ctx, &usage, e);
}

static void prepare_none(int src, int n)
{
	(void)n;
	if (!usage_right.entries)
		assert_int_equal(snap_usage(src, 1, &(struct snap_ctx){0}, &usage_right, NULL), 0);
}

static void check_usage(int src, int r)
{
	(void)src;
	if (r == 0)
		assert_memory_equal(&usage, &usage_right, sizeof(usage));
}

static int count(enum snap_change change, const char *path, const char *from, void *arg)
{
	(void)change;
	(void)path;
	(void)from;
	++*(int *)arg;
	return 0;
}

static int differences;

static int run_diff(int src, struct snap_ctx *ctx, struct err *e)
{
	int dst = openat(scratch, "dst", O_RDONLY | O_DIRECTORY | O_CLOEXEC), r;

	differences = 0;
	r = snap_diff(src, dst, &(struct snap_diff_opts){.full = true}, ctx, count, &differences,
		e);
	close(dst);
	return r;
}

static void prepare_diff(int src, int n)
{
	if (n == 1) {
		prepare_remove(src, n);
		make_file(scratch, "dst/added", "x");
	}
}

static void check_diff(int src, int r)
{
	(void)src;
	if (r == 0) /* the root's time, and the file */
		assert_int_equal(differences, 2);
}

static int run_survey(int src, struct snap_ctx *ctx, struct err *e)
{
	uint64_t entries = 0;
	int r = snap_survey(src, ctx, &entries, NULL, e);

	if (r == 0)
		assert_int_equal(entries, usage_right.entries);
	return r;
}

static void check_none(int src, int r)
{
	(void)src;
	(void)r;
}

/* Small, but with every kind of call in it. */
static int make_source(void)
{
	int src = make_dir(scratch, "src");

	make_one_of_each(src);
	unlinkat(src, "socket", 0);
	unlinkat(src, "block device", 0);
	return src;
}

static void one_fault(const struct operation *op, int src, int n)
{
	struct snap_ctx ctx = {.threads = 1};
	struct err e = ERR_INIT;
	int before, r;

	op->prepare(src, n);
	before = count_fds();
	calls = 0;
	must_tell = false;
	fail_at = n;
	sys = &faulty;
	r = op->run(src, &ctx, &e);
	sys = &sys_kernel;
	if (count_fds() != before)
		fail_msg("call %d: %d descriptors, then %d", n, before, count_fds());
	if (r < 0 && (e.num != -r || !e.code || !*e.reason))
		fail_msg("call %d: failed with %d but told nothing", n, r);
	if (r == 0 && must_tell)
		fail_msg("call %d: a failed close or sync was not told", n);
	op->check(src, r);
}

static void every_fault(const struct operation *op, int with)
{
	int src = make_source(), n = 0, failed = 0;

	fail_with = with;
	do {
		one_fault(op, src, ++n);
	} while (n <= calls && ++failed < 5000);
	assert_true(failed > 10);
	/* The last one did not meet its fault. */
	one_fault(op, src, 0);
	close(src);
	remove_dst();
}

static void copy_faults(struct snap_copy_opts opts)
{
	static const struct operation op = {prepare_copy, run_copy, check_copy};

	copy_opts = opts;
	every_fault(&op, EIO);
}

static void test_fault__copy(void **state)
{
	(void)state;
	copy_faults((struct snap_copy_opts){0});
}

static void test_fault__copy_durable_by_reflink(void **state)
{
	(void)state;
	copy_faults((struct snap_copy_opts){.durable = true, .reflink = true});
}

static void test_fault__copy_live(void **state)
{
	(void)state;
	copy_faults((struct snap_copy_opts){.source_is_live = true});
}

static void test_fault__copy_with_no_space(void **state)
{
	static const struct operation op = {prepare_copy, run_copy, check_copy};

	(void)state;
	copy_opts = (struct snap_copy_opts){0};
	every_fault(&op, EDQUOT);
}

static void test_fault__remove(void **state)
{
	static const struct operation op = {prepare_remove, run_remove, check_remove};

	(void)state;
	every_fault(&op, EIO);
}

static void test_fault__usage(void **state)
{
	static const struct operation op = {prepare_none, run_usage, check_usage};

	(void)state;
	memset(&usage_right, 0, sizeof(usage_right));
	every_fault(&op, EIO);
}

static void test_fault__survey(void **state)
{
	static const struct operation op = {prepare_none, run_survey, check_none};

	(void)state;
	memset(&usage_right, 0, sizeof(usage_right));
	every_fault(&op, EIO);
}

static void test_fault__diff(void **state)
{
	static const struct operation op = {prepare_diff, run_diff, check_diff};

	(void)state;
	every_fault(&op, EIO);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		on_scratch(test_fault__copy),
		on_scratch(test_fault__copy_durable_by_reflink),
		on_scratch(test_fault__copy_live),
		on_scratch(test_fault__copy_with_no_space),
		on_scratch(test_fault__remove),
		on_scratch(test_fault__usage),
		on_scratch(test_fault__survey),
		on_scratch(test_fault__diff),
	};

	large_size = 70000;
	return fixture_main(argc, argv, tests);
}
