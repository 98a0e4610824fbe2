/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Trees at the edge of what there can be, and what the engine must refuse. */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "fixture.h"
#include "snap/base/err.h"
#include "snap/changed.h"
#include "snap/copy.h"
#include "snap/diff.h"
#include "snap/remove.h"
#include "snap/skip.h"
#include "snap/usage.h"

static const struct snap_copy_opts plain = {0};

static int count_change(enum snap_change change, const char *path, const char *from, void *arg)
{
	(void)change;
	(void)path;
	(void)from;
	++*(int *)arg;
	return 0;
}

static int differences(int a, int b)
{
	struct snap_diff_opts opts = {.full = true};
	struct snap_ctx ctx = {0};
	struct err e = ERR_INIT;
	int n = 0;

	assert_int_equal(snap_diff(a, b, &opts, &ctx, count_change, &n, &e), 0);
	return n;
}

static int copy_with(int src, int dst, const struct snap_copy_opts *opts, struct err *e)
{
	struct snap_copy_result result;
	struct snap_ctx ctx = {0};
	int r = snap_copy(src, dst, opts, &ctx, &result, e);

	snap_copy_result_release(&result);
	return r;
}

static void copy_ok(int src, int dst, const struct snap_copy_opts *opts)
{
	struct err e = ERR_INIT;
	int r = copy_with(src, dst, opts, &e);

	if (r < 0)
		print_error("%s: %s\n", e.object, e.reason);
	assert_int_equal(r, 0);
}

static void remove_ok(int dir, const char *name)
{
	struct snap_ctx ctx = {0};
	struct err e = ERR_INIT;
	int r = snap_remove(dir, name, &ctx, &e);

	if (r < 0)
		print_error("%s: %s\n", e.object, e.reason);
	assert_int_equal(r, 0);
	assert_int_equal(faccessat(dir, name, F_OK, AT_SYMLINK_NOFOLLOW), -1);
}

static void need_root(void)
{
	if (!is_root()) {
		print_message("skipped: needs root\n");
		skip();
	}
}

#define DEEP 2500

static void make_deep(int at)
{
	int fd = dup(at), next;

	for (int i = 0; i < DEEP; i++) {
		next = make_dir(fd, "twenty bytes a level");
		if (i % 100 == 0)
			make_file(fd, "zz beside it", "a\n");
		close(fd);
		fd = next;
	}
	make_file(fd, "bottom", "of a path longer than PATH_MAX\n");
	close(fd);
}

static void test_engine__goes_deeper_than_path_max_and_the_number_of_descriptors(void **state)
{
	struct rlimit few = {100, 100}, old;
	struct snap_ctx ctx = {0};
	struct err e = ERR_INIT;
	int src = make_dir(scratch, "src"), dst = make_dir(scratch, "dst");
	uint64_t entries;

	(void)state;
	make_deep(src);
	getrlimit(RLIMIT_NOFILE, &old);
	few.rlim_max = old.rlim_max;
	setrlimit(RLIMIT_NOFILE, &few);
	copy_ok(src, dst, &(struct snap_copy_opts){.source_is_live = true, .durable = true});
	assert_int_equal(differences(src, dst), 0);
	assert_int_equal(snap_survey(dst, &ctx, &entries, NULL, &e), 0);
	assert_int_equal(entries, DEEP + DEEP / 100 + 1);
	close(src);
	close(dst);
	remove_ok(scratch, "src");
	remove_ok(scratch, "dst");
	setrlimit(RLIMIT_NOFILE, &old);
}

static void make_wide(int at)
{
	char name[64];

	for (int i = 0; i < 4000; i++) {
		snprintf(name, sizeof(name), "a name that is not short %d", i);
		if (i % 13 == 0)
			close(make_dir(at, name));
		else
			make_file(at, name, name);
	}
}

static void test_engine__handles_directories_of_many_listings(void **state)
{
	int src = make_dir(scratch, "src"), dst = make_dir(scratch, "dst");

	(void)state;
	make_wide(src);
	copy_ok(src, dst, &plain);
	assert_same_tree(src, dst);
	assert_int_equal(differences(src, dst), 0);
	remove_ok(scratch, "src");
	close(src);
	close(dst);
}

static void assert_has(int dir, const char *name, bool expect)
{
	if ((faccessat(dir, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0) != expect)
		fail_msg("%s: %s", name, expect ? "missing" : "should not be there");
}

#define SILLY ".nfs000000000012d68700000001"

static void make_work(int parent, const char *name, mode_t mode, bool marked)
{
	int dir = make_dir(parent, name);

	make_file(dir, "planned", "x");
	if (marked)
		make_file(dir, SNAP_WORK_MARK, "");
	assert_int_equal(fchmod(dir, mode), 0);
	close(dir);
}

static void make_named_like_ours(int src)
{
	int sub = make_dir(src, "below");

	make_work(src, ".fsd-1m8c7azcv", 0700, true);
	make_work(src, ".fsd-gone-1m8c7azcw", 0700, true);
	make_work(src, ".fsd-packages", 0700, false);
	make_work(src, ".fsd-packages2", 0750, true);
	make_work(sub, ".fsd-1m8c7azcv", 0700, true);
	make_file(src, ".fsd-cache123", "kept");
	make_file(sub, SILLY, "silly");
	make_file(src, ".nfsrc", "kept");
	make_file(src, ".nfs0123456789abcdef", "kept");
	close(make_dir(src, SILLY));
	close(sub);
}

static void assert_carried_over(int dst)
{
	assert_has(dst, ".fsd-1m8c7azcv", false);
	assert_has(dst, ".fsd-gone-1m8c7azcw", false);
	assert_has(dst, ".fsd-packages/planned", true);
	assert_has(dst, ".fsd-packages2/planned", true);
	assert_has(dst, "below/.fsd-1m8c7azcv/planned", true);
	assert_has(dst, ".fsd-cache123", true);
	assert_has(dst, "below/" SILLY, false);
	assert_has(dst, ".nfsrc", true);
	assert_has(dst, ".nfs0123456789abcdef", true);
	assert_has(dst, SILLY, true);
}

static void test_copy__leaves_out_what_is_of_fsd_and_of_nfs(void **state)
{
	int src = make_dir(scratch, "src"), dst = make_dir(scratch, "dst");
	struct snap_copy_result result;
	struct snap_ctx ctx = {0};
	struct err e = ERR_INIT;

	(void)state;
	make_named_like_ours(src);
	assert_int_equal(snap_copy(src, dst, &plain, &ctx, &result, &e), 0);
	assert_carried_over(dst);
	assert_int_equal(result.reported.total, 1);
	assert_string_equal(result.reported.items[0].path, "below/" SILLY);
	snap_copy_result_release(&result);
	close(src);
	close(dst);
}

static void test_copy__takes_a_work_directory_of_another_user_for_the_trees_own(void **state)
{
	int src = make_dir(scratch, "src"), dst = make_dir(scratch, "dst");

	(void)state;
	need_root();
	make_work(src, ".fsd-1m8c7azcv", 0700, true);
	assert_int_equal(fchownat(src, ".fsd-1m8c7azcv", 1000, 1000, 0), 0);
	copy_ok(src, dst, &plain);
	assert_has(dst, ".fsd-1m8c7azcv/planned", true);
	close(src);
	close(dst);
}

/* Whatever walks agrees with the copy on what belongs to a tree. */
static void test_walks__leave_out_what_a_copy_leaves_out(void **state)
{
	int src = make_dir(scratch, "src"), dst = make_dir(scratch, "dst");
	uint64_t entries_src, entries_dst;
	struct paths changed = PATHS_INIT;
	struct snap_ctx ctx = {0};
	struct err e = ERR_INIT;

	(void)state;
	make_named_like_ours(src);
	copy_ok(src, dst, &plain);
	assert_int_equal(differences(src, dst), 0);
	assert_int_equal(snap_survey(src, &ctx, &entries_src, NULL, &e), 0);
	assert_int_equal(snap_survey(dst, &ctx, &entries_dst, NULL, &e), 0);
	assert_int_equal(entries_src, entries_dst);
	assert_int_equal(snap_changed(src, 0, &ctx, &changed, &e), 0);
	assert_int_equal(changed.total, entries_dst);
	paths_release(&changed);
	close(src);
	close(dst);
}

static bool skip_b(const char *path, void *arg)
{
	++*(int *)arg;
	return strcmp(path, "dir/b") == 0;
}

static void test_copy__asks_the_callers_rule_besides_its_own(void **state)
{
	int src = make_dir(scratch, "src"), dst = make_dir(scratch, "dst"), dir, b, asked = 0;
	struct snap_copy_opts opts = {.skip = skip_b, .skip_arg = &asked};

	(void)state;
	dir = make_dir(src, "dir");
	b = make_dir(dir, "b");
	make_file(b, "below", "x");
	make_work(src, ".fsd-1m8c7azcv", 0700, true);
	copy_ok(src, dst, &opts);
	assert_int_equal(asked, 3); /* not asked about what is below b */
	assert_has(dst, ".fsd-1m8c7azcv", false);
	assert_has(dst, "dir/b", false);
	close(b);
	close(dir);
	close(src);
	close(dst);
}

/* --- other file systems inside the tree --- */

static void proc_path(char out[64], int dir, const char *name)
{
	snprintf(out, 64, "/proc/self/fd/%d/%s", dir, name);
}

static void assert_refused(int src, const char *object)
{
	struct snap_ctx ctx = {0};
	struct err e = ERR_INIT;
	struct snap_diff_opts diff = {0};
	int dst = make_dir(scratch, "refused"), n = 0;

	assert_int_equal(copy_with(src, dst, &plain, &e), -EXDEV);
	assert_string_equal(e.code, "nested_filesystem");
	assert_string_equal(e.object, object);
	err_clear(&e);
	assert_int_equal(snap_survey(src, &ctx, NULL, NULL, &e), -EXDEV);
	assert_string_equal(e.code, "nested_filesystem");
	assert_string_equal(e.object, object);
	assert_int_equal(snap_diff(src, src, &diff, &ctx, count_change, &n, &e), -EXDEV);
	close(dst);
	remove_ok(scratch, "refused");
}

/* Everything goes but what is mounted, and the way to it. */
static void assert_removed_around(const char *object)
{
	struct snap_ctx ctx = {0};
	struct err e = ERR_INIT;

	assert_int_equal(snap_remove(scratch, "src", &ctx, &e), -EXDEV);
	assert_string_equal(e.code, "nested_filesystem");
	assert_string_equal(e.object, object);
	assert_has(scratch, "src/beside", false);
}

static void with_mount(const char *type, const char *what)
{
	int src = make_dir(scratch, "src"), dir = make_dir(src, "dir");
	int other = make_dir(scratch, "other"), point = make_dir(dir, "point");
	unsigned long flags = strcmp(type, "bind") == 0 ? MS_BIND : 0;
	char from[64], to[64];

	make_file(src, "beside", "x");
	make_file(other, "precious", "x");
	make_file(dir, "file", "x");
	close(point);
	proc_path(from, scratch, what);
	proc_path(to, dir, strcmp(what, "other") == 0 ? "point" : "file");
	assert_int_equal(mount(from, to, flags ? NULL : type, flags, NULL), 0);
	proc_path(to, dir, "point/precious");
	if (!flags)
		make_file(dir, "point/precious", "x");
	assert_refused(src, strcmp(what, "other") == 0 ? "dir/point" : "dir/file");
	close(dir);
	assert_removed_around(strcmp(what, "other") == 0 ? "src/dir/point" : "src/dir/file");
	assert_has(other, "precious", true);
	proc_path(to, src, strcmp(what, "other") == 0 ? "dir/point" : "dir/file");
	if (!flags)
		assert_has(src, "dir/point/precious", true);
	assert_int_equal(umount2(to, MNT_DETACH), 0);
	close(src);
	close(other);
	remove_ok(scratch, "src");
}

static void test_engine__stays_out_of_a_mounted_file_system(void **state)
{
	(void)state;
	need_root();
	with_mount("tmpfs", "other");
}

static void test_engine__stays_out_of_a_bind_mount_of_the_same_file_system(void **state)
{
	(void)state;
	need_root();
	with_mount("bind", "other");
}

static void test_engine__refuses_a_file_that_is_mounted_on(void **state)
{
	(void)state;
	need_root();
	with_mount("bind", "other/precious");
}

static void test_engine__stays_out_of_nested_subvolumes_and_their_stubs(void **state)
{
	int src, dir, snap;
	char line[300];

	(void)state;
	snprintf(line, sizeof(line),
		"cd /proc/%d/fd/%d && btrfs -q subvolume create src && mkdir src/dir && "
		"btrfs -q subvolume create src/dir/nested && echo x > src/dir/nested/precious && "
		"echo x > src/beside && btrfs -q subvolume snapshot src snap",
		getpid(), scratch);
	assert_int_equal(system(line), 0);
	src = openat(scratch, "src", O_RDONLY | O_CLOEXEC);
	snap = openat(scratch, "snap", O_RDONLY | O_CLOEXEC);
	dir = openat(src, "dir", O_RDONLY | O_CLOEXEC);
	assert_refused(src, "dir/nested");
	assert_refused(snap, "dir/nested");
	assert_int_equal(snap_remove_content(src, &(struct snap_ctx){0}, NULL), -EXDEV);
	assert_has(src, "beside", false);
	assert_has(dir, "nested/precious", true);
	/* The stub in the snapshot is an empty directory: it may go. */
	assert_int_equal(snap_remove_content(snap, &(struct snap_ctx){0}, NULL), 0);
	assert_has(snap, "dir", false);
	snprintf(line, sizeof(line),
		"cd /proc/%d/fd/%d && btrfs -q subvolume delete src/dir/nested src snap >/dev/null",
		getpid(), scratch);
	close(dir);
	close(src);
	close(snap);
	assert_int_equal(system(line), 0);
}

static void test_copy__refuses_a_destination_inside_the_source(void **state)
{
	int src = make_dir(scratch, "src"), dir = make_dir(src, "dir"), dst = make_dir(dir, "dst");
	struct err e = ERR_INIT;

	(void)state;
	assert_int_equal(copy_with(src, dst, &plain, &e), -EINVAL);
	assert_string_equal(e.code, "destination_inside_source");
	assert_int_equal(copy_with(src, src, &plain, &e), -EINVAL);
	close(dst);
	close(dir);
	close(src);
}

/* --- stopping --- */

struct canceling {
	struct snap_ctx *ctx;
	int after;
};

static bool cancel_later(const char *path, void *arg)
{
	struct canceling *c = arg;

	(void)path;
	if (--c->after == 0)
		c->ctx->cancel = true;
	return false;
}

static void test_copy__stops_within_the_batch_when_canceled(void **state)
{
	int src = make_dir(scratch, "src"), dst = make_dir(scratch, "dst");
	struct snap_ctx ctx = {0};
	struct canceling c = {&ctx, 1000};
	struct snap_copy_opts opts = {.skip = cancel_later, .skip_arg = &c, .durable = true};
	struct snap_copy_result result;
	struct err e = ERR_INIT;

	(void)state;
	make_wide(src);
	assert_int_equal(snap_copy(src, dst, &opts, &ctx, &result, &e), -ECANCELED);
	assert_string_equal(e.code, "canceled");
	assert_true(ctx.entries_done <= 1000);
	assert_true(ctx.entries_done > 500);
	assert_int_equal(snap_remove(scratch, "dst", &ctx, &e), -ECANCELED);
	assert_int_equal(snap_usage(src, 1, &ctx, &(struct snap_usage){0}, &e), -ECANCELED);
	assert_int_equal(snap_survey(src, &ctx, NULL, NULL, &e), -ECANCELED);
	assert_int_equal(snap_diff(src, dst, &(struct snap_diff_opts){0}, &ctx, count_change, &c,
				 &e),
		-ECANCELED);
	close(src);
	close(dst);
}

static void on_full_disk(const char *options, const struct snap_copy_opts *opts)
{
	int src = make_dir(scratch, "src"), dir = make_dir(src, "dir"), dst;
	struct err e = ERR_INIT;
	char path[64], name[16];

	make_big(src, "big", 3 << 20);
	for (int i = 0; i < 100; i++) {
		snprintf(name, sizeof(name), "f%d", i);
		make_file(dir, name, "content");
	}
	close(make_dir(scratch, "dst"));
	proc_path(path, scratch, "dst");
	assert_int_equal(mount("none", path, "tmpfs", 0, options), 0);
	dst = openat(scratch, "dst", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(copy_with(src, dst, opts, &e), -ENOSPC);
	assert_string_equal(e.code, "no_space");
	assert_true(strlen(e.object) > 1);
	assert_int_equal(snap_remove_content(dst, &(struct snap_ctx){0}, &e), 0);
	close(dst);
	umount2(path, MNT_DETACH);
	close(dir);
	close(src);
}

static void test_copy__says_where_the_space_ran_out(void **state)
{
	(void)state;
	need_root();
	on_full_disk("size=1m", &plain);
}

static void test_copy__says_where_the_inodes_ran_out(void **state)
{
	(void)state;
	need_root();
	on_full_disk("nr_inodes=20", &(struct snap_copy_opts){.reflink = true});
}

/* --- single entries --- */

static int copy_entry(int src, const char *name, int dst, const char *as, struct err *e)
{
	struct snap_copy_opts opts = {.source_is_live = true, .durable = true};
	struct snap_copy_result result;
	struct snap_ctx ctx = {0};
	int r = snap_copy_entry(src, name, dst, as, &opts, &ctx, &result, e);

	snap_copy_result_release(&result);
	return r;
}

static void test_copy_entry__copies_any_type_under_another_name(void **state)
{
	static const char *const names[] = {"dir", "small", "sparse", "link", "fifo", "large",
		"odd \xff\xfe\n name\t'\"\\"};
	int src = make_dir(scratch, "src"), dst = make_dir(scratch, "dst"), one, two;
	struct err e = ERR_INIT;

	(void)state;
	make_one_of_each(src);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		one = make_dir(dst, "one");
		two = make_dir(dst, "two");
		assert_int_equal(copy_entry(src, names[i], one, "other name", &e), 0);
		assert_int_equal(copy_entry(one, "other name", two, "other name", &e), 0);
		assert_int_equal(copy_entry(src, names[i], one, "other name", &e), -EEXIST);
		utimensat(dst, "one", (struct timespec[2]){{1, 1}, {1, 1}}, 0);
		utimensat(dst, "two", (struct timespec[2]){{1, 1}, {1, 1}}, 0);
		assert_same_tree(one, two);
		remove_ok(dst, "one");
		remove_ok(dst, "two");
		close(one);
		close(two);
	}
	assert_int_equal(copy_entry(src, "nothing", dst, "x", &e), -ENOENT);
	assert_string_equal(e.object, "nothing");
	assert_has(dst, "x", false);
	close(src);
	close(dst);
}

/* version 2; user::rwx user:1234:rwx group::rwx mask::rwx other::rwx */
static const unsigned char acl[] = {2, 0, 0, 0, 1, 0, 7, 0, 255, 255, 255, 255, 2, 0, 7, 0, 0xd2,
	4, 0, 0, 4, 0, 7, 0, 255, 255, 255, 255, 16, 0, 7, 0, 255, 255, 255, 255, 32, 0, 7, 0, 255,
	255, 255, 255};

static void test_copy__inherits_no_acl_from_where_it_is_put(void **state)
{
	int src = make_dir(scratch, "src"), sub = make_dir(src, "sub"), dst, into;
	struct err e = ERR_INIT;

	(void)state;
	dst = make_dir(scratch, "dst");
	if (fsetxattr(dst, "system.posix_acl_default", acl, sizeof(acl), 0) < 0) {
		print_message("skipped: no ACLs here\n");
		skip();
	}
	make_file(sub, "file", "x");
	make_file(src, "top", "x");
	assert_int_equal(copy_entry(src, "sub", dst, "sub", &e), 0);
	assert_int_equal(copy_entry(src, "top", dst, "top", &e), 0);
	into = make_dir(dst, "into");
	copy_ok(src, into, &plain);
	assert_same_tree(src, into);
	assert_int_equal(fremovexattr(dst, "system.posix_acl_default"), 0);
	assert_int_equal(unlinkat(dst, "into/top", 0), 0);
	remove_ok(dst, "into");
	close(into);
	utimensat(scratch, "dst", (struct timespec[2]){{1, 1}, {1, 1}}, 0);
	utimensat(scratch, "src", (struct timespec[2]){{1, 1}, {1, 1}}, 0);
	assert_same_tree(src, dst);
	close(sub);
	close(src);
	close(dst);
}

/* --- an ordinary user --- */

#define NOBODY 65534

static bool touch_in_pass(const char *path, void *arg)
{
	int *pass = arg;

	/* In the second pass, when the copy of it is read-only too, a directory changes. */
	if (strcmp(path, "z") == 0 && ++*pass == 2) {
		fchmodat(scratch, "src/read-only", 0755, 0);
		make_file(scratch, "src/read-only/late", "late\n");
		fchmodat(scratch, "src/read-only", 0555, 0);
	}
	return false;
}

/* Root's file, which a copy cannot give back to root: told, or refused. */
static void assert_owners(int src)
{
	struct snap_copy_opts opts = {0};
	struct snap_copy_result result;
	struct snap_ctx ctx = {0};
	struct err e = ERR_INIT;
	int dst = make_dir(scratch, "owners");

	assert_int_equal(snap_copy(src, dst, &opts, &ctx, &result, &e), 0);
	assert_int_equal(result.reported.total, 2);
	for (size_t i = 0; i < result.reported.n; i++) {
		assert_non_null(strstr("setuid z", result.reported.items[i].path));
		assert_string_equal(result.reported.items[i].reason, "owner or group");
	}
	snap_copy_result_release(&result);
	opts.keep_owners = true;
	assert_int_equal(snap_copy_entry(src, "mine", dst, "again", &opts, &ctx, &result, &e), 0);
	assert_int_equal(snap_copy_entry(src, "z", dst, "not", &opts, &ctx, &result, &e), -EPERM);
	assert_string_equal(e.code, "foreign_owner");
	assert_string_equal(e.object, "z");
	close(dst);
}

static void as_nobody(void)
{
	int src, dst, pass = 0;
	struct snap_copy_opts opts = {.source_is_live = true,
		.durable = true,
		.skip = touch_in_pass,
		.skip_arg = &pass};
	struct stat st;

	assert_int_equal(setgroups(0, NULL), 0);
	assert_int_equal(setgid(NOBODY), 0);
	assert_int_equal(setuid(NOBODY), 0);
	src = openat(scratch, "src", O_RDONLY | O_CLOEXEC);
	dst = make_dir(scratch, "dst");
	copy_ok(src, dst, &opts);
	assert_int_equal(fstatat(dst, "setuid", &st, 0), 0);
	assert_int_equal(st.st_uid, NOBODY);
	assert_int_equal(st.st_mode & 07777, 0755);
	assert_int_equal(fstatat(dst, "mine", &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 04755);
	assert_int_equal(fstatat(dst, "read-only", &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 0555);
	assert_has(dst, "read-only/late", true);
	assert_owners(src);
	close(src);
	close(dst);
	assert_true(pass > 2);
	fchmodat(scratch, "dst/read-only", 0, 0);
	remove_ok(scratch, "dst");
}

static void test_engine__works_for_an_ordinary_user(void **state)
{
	int src, dir, status;
	pid_t pid;

	(void)state;
	need_root();
	assert_int_equal(fchown(scratch, NOBODY, NOBODY), 0);
	src = make_dir(scratch, "src");
	make_file(src, "setuid", "root's");
	fchmodat(src, "setuid", 06755, 0);
	make_file(src, "mine", "mine");
	fchownat(src, "mine", NOBODY, NOBODY, 0);
	fchmodat(src, "mine", 04755, 0);
	make_file(src, "z", "");
	dir = make_dir(src, "read-only");
	fchmodat(src, "read-only", 0555, 0);
	fchown(dir, NOBODY, NOBODY);
	fchown(src, NOBODY, NOBODY);
	fchmodat(fixture_root, ".", 0755, 0);
	close(dir);
	close(src);
	pid = fork();
	if (pid == 0) {
		as_nobody();
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		on_scratch(test_engine__goes_deeper_than_path_max_and_the_number_of_descriptors),
		on_scratch(test_engine__handles_directories_of_many_listings),
		on_scratch(test_copy__leaves_out_what_is_of_fsd_and_of_nfs),
		on_scratch(test_copy__takes_a_work_directory_of_another_user_for_the_trees_own),
		on_scratch(test_walks__leave_out_what_a_copy_leaves_out),
		on_scratch(test_copy__asks_the_callers_rule_besides_its_own),
		on_scratch(test_engine__stays_out_of_a_mounted_file_system),
		on_scratch(test_engine__stays_out_of_a_bind_mount_of_the_same_file_system),
		on_scratch(test_engine__refuses_a_file_that_is_mounted_on),
		on_scratch(test_copy__refuses_a_destination_inside_the_source),
		on_scratch(test_copy__stops_within_the_batch_when_canceled),
		on_scratch(test_copy__says_where_the_space_ran_out),
		on_scratch(test_copy__says_where_the_inodes_ran_out),
		on_scratch(test_copy_entry__copies_any_type_under_another_name),
		on_scratch(test_copy__inherits_no_acl_from_where_it_is_put),
		on_scratch(test_engine__works_for_an_ordinary_user),
		on_scratch_if(test_engine__stays_out_of_nested_subvolumes_and_their_stubs,
			on_btrfs),
	};

	return fixture_main(argc, argv, tests);
}
