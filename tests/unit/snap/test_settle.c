/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Copies of trees that change meanwhile. The writer is the copy's own skip rule, which is asked
 * about every name in every pass: so it writes at a known point, with no sleeping and no luck.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "fixture.h"
#include "snap/base/clock.h"
#include "snap/base/err.h"
#include "snap/copy.h"
#include "snap/remove.h"
#include "snap/settle.h"

struct writer {
	const char *at; /* write when this path is asked for */
	int passes;	/* so many times */
	int seen;
	void (*write)(struct writer *w);
	int src;
	char *map;
};

static bool write_at(const char *path, void *arg)
{
	struct writer *w = arg;

	if (strcmp(path, w->at) == 0 && w->seen < w->passes) {
		w->seen++;
		w->write(w);
	}
	return false;
}

/* What was just written would be copied again in any case: wait until it is two ticks old. */
static void let_age(void)
{
	struct settle s;

	settle_init(&s, false);
	s.newest = settle_now() + s.tick;
	assert_int_equal(settle_wait(&s, &(struct snap_ctx){0}), 0);
	settle_release(&s);
}

static void copy_live(struct writer *w, int dst, bool reflink, struct snap_copy_result *result)
{
	struct snap_copy_opts opts = {.source_is_live = true,
		.reflink = reflink,
		.skip = write_at,
		.skip_arg = w};
	struct snap_ctx ctx = {0};
	struct err e = ERR_INIT;
	int r = snap_copy(w->src, dst, &opts, &ctx, result, &e);

	if (r < 0)
		print_error("%s: %s\n", e.object, e.reason);
	assert_int_equal(r, 0);
	assert_int_equal(w->seen, w->passes);
}

/* Listings have no order: what is written lies in a directory, which is entered last. */
static void settles(void (*prepare)(int src), void (*change)(struct writer *w), bool reflink)
{
	int src = make_dir(scratch, "src"), dst = make_dir(scratch, "dst");
	int dir = make_dir(src, "dir");
	struct writer w = {.at = "dir/last", .passes = 1, .write = change, .src = src};
	struct snap_copy_result result;

	prepare(src);
	make_file(dir, "last", "x");
	let_age();
	copy_live(&w, dst, reflink, &result);
	assert_int_equal(result.consistency, SNAP_SETTLED);
	assert_int_equal(result.unsettled.total, 0);
	assert_same_tree(src, dst);
	snap_copy_result_release(&result);
	close(dir);
	close(src);
	close(dst);
}

static void prepare_files(int src)
{
	int sub = make_dir(src, "sub");

	make_file(src, "file", "before\n");
	make_file(src, "other", "other\n");
	make_file(sub, "inner", "inner\n");
	make_big(src, "big", 300000);
	linkat(src, "other", sub, "other-2", 0);
	symlinkat("file", src, "link");
	close(sub);
}

static void change_content(struct writer *w)
{
	make_file(w->src, "file", "behind\n");
	make_big(w->src, "big", 300000);
}

static void test_settle__finds_changed_content(void **state)
{
	(void)state;
	settles(prepare_files, change_content, false);
	fixture_test_teardown(state);
	fixture_test_setup(state);
	settles(prepare_files, change_content, true);
}

static void change_with_old_times(struct writer *w)
{
	struct stat st;

	fstatat(w->src, "file", &st, 0);
	make_file(w->src, "file", "behind\n");
	utimensat(w->src, "file", (struct timespec[2]){st.st_atim, st.st_mtim}, 0);
}

static void test_settle__is_not_fooled_by_times_set_back(void **state)
{
	(void)state;
	settles(prepare_files, change_with_old_times, false);
}

static void change_names(struct writer *w)
{
	unlinkat(w->src, "file", 0);
	renameat(w->src, "sub/inner", w->src, "moved");
	make_file(w->src, "new", "new\n");
	close(make_dir(w->src, "new dir"));
	make_file(w->src, "new dir/in it", "new\n");
}

static void test_settle__follows_removals_renames_and_additions(void **state)
{
	(void)state;
	settles(prepare_files, change_names, false);
}

static void change_types(struct writer *w)
{
	unlinkat(w->src, "file", 0);
	close(make_dir(w->src, "file"));
	make_file(w->src, "file/inside", "now a directory\n");
	unlinkat(w->src, "sub/inner", 0);
	unlinkat(w->src, "sub/other-2", 0);
	unlinkat(w->src, "sub", AT_REMOVEDIR);
	symlinkat("was a directory", w->src, "sub");
	unlinkat(w->src, "link", 0);
	make_file(w->src, "link", "was a link\n");
}

static void test_settle__follows_changes_of_type(void **state)
{
	(void)state;
	settles(prepare_files, change_types, false);
}

static void move_away(struct writer *w)
{
	if (w->seen == 1)
		renameat(w->src, "sub", scratch, "sub");
	else
		renameat(scratch, "sub", w->src, "sub");
}

/* What is below has the times it had: only the way there was cut for a while. */
static void test_settle__follows_a_directory_that_goes_and_comes_back(void **state)
{
	int src = make_dir(scratch, "src"), dst = make_dir(scratch, "dst");
	int dir = make_dir(src, "dir");
	struct writer w = {.at = "dir/last", .passes = 3, .write = move_away, .src = src};
	struct snap_copy_result result;

	(void)state;
	prepare_files(src);
	make_file(dir, "last", "x");
	let_age();
	copy_live(&w, dst, false, &result);
	assert_int_equal(result.consistency, SNAP_SETTLED);
	assert_same_tree(src, dst);
	snap_copy_result_release(&result);
	close(dir);
	close(src);
	close(dst);
}

/* version 2; user::rwx user:1234:rwx group::rwx mask::rwx other::rwx */
static const unsigned char acl[] = {2, 0, 0, 0, 1, 0, 7, 0, 255, 255, 255, 255, 2, 0, 7, 0, 0xd2,
	4, 0, 0, 4, 0, 7, 0, 255, 255, 255, 255, 16, 0, 7, 0, 255, 255, 255, 255, 32, 0, 7, 0, 255,
	255, 255, 255};

/* In the second pass, when the copy of "sub" has its ACLs. New entries that did not inherit, as a
 * rename from elsewhere makes them. */
static void move_into_sub(struct writer *w)
{
	if (w->seen == 2) {
		renameat(w->src, "file", w->src, "sub/file");
		renameat(w->src, "plain dir", w->src, "sub/plain dir");
		renameat(w->src, "link", w->src, "sub/link");
	}
}

static void test_settle__lets_no_late_entry_inherit_an_acl(void **state)
{
	int src = make_dir(scratch, "src"), dst = make_dir(scratch, "dst");
	int dir = make_dir(src, "dir"), sub;
	struct writer w = {.at = "dir/last", .passes = 2, .write = move_into_sub, .src = src};
	struct snap_copy_result result;

	(void)state;
	prepare_files(src);
	make_file(dir, "last", "x");
	close(make_dir(src, "plain dir"));
	sub = openat(src, "sub", O_RDONLY | O_CLOEXEC);
	fsetxattr(sub, "system.posix_acl_default", acl, sizeof(acl), 0);
	copy_live(&w, dst, false, &result);
	assert_int_equal(result.consistency, SNAP_SETTLED);
	assert_same_tree(src, dst);
	snap_copy_result_release(&result);
	close(sub);
	close(dir);
	close(src);
	close(dst);
}

static void change_metadata(struct writer *w)
{
	fchmodat(w->src, "file", 0600, 0);
	fchmodat(w->src, "sub", 0700, 0);
}

static void test_settle__follows_metadata(void **state)
{
	(void)state;
	settles(prepare_files, change_metadata, false);
}

static void change_links(struct writer *w)
{
	int fd = openat(w->src, "other", O_WRONLY | O_APPEND | O_CLOEXEC);

	assert_int_equal(write(fd, "more", 4), 4);
	close(fd);
	linkat(w->src, "other", w->src, "sub/other-3", 0);
	unlinkat(w->src, "big", 0);
	linkat(w->src, "file", w->src, "big", 0);
}

static void test_settle__keeps_link_groups_together(void **state)
{
	(void)state;
	settles(prepare_files, change_links, false);
	fixture_test_teardown(state);
	fixture_test_setup(state);
	settles(prepare_files, change_links, true);
}

/* Between the first and the second name of one inode. */
static void change_between_names(struct writer *w)
{
	int fd = openat(w->src, "other", O_WRONLY | O_APPEND | O_CLOEXEC);

	assert_int_equal(write(fd, "more", 4), 4);
	close(fd);
	let_age();
}

static void test_settle__keeps_a_group_that_changed_between_its_names(void **state)
{
	int src = make_dir(scratch, "src"), dst = make_dir(scratch, "dst");
	struct writer w = {.at = "sub/other-2",
		.passes = 1,
		.write = change_between_names,
		.src = src};
	struct snap_copy_result result;

	(void)state;
	prepare_files(src);
	let_age();
	copy_live(&w, dst, false, &result);
	assert_int_equal(result.consistency, SNAP_SETTLED);
	assert_same_tree(src, dst);
	snap_copy_result_release(&result);
	close(src);
	close(dst);
}

static void change_mapped(struct writer *w)
{
	w->map[3] = 'Z';
}

/* The page is dirty before the copy begins, so the kernel has no reason of its own to notice. */
static void test_settle__sees_stores_through_a_mapping(void **state)
{
	int src, dst, dir, fd;
	struct writer w = {.at = "dir/last", .passes = 1, .write = change_mapped};
	struct snap_copy_result result;
	char got[14] = "";

	(void)state;
	src = w.src = make_dir(scratch, "src");
	dst = make_dir(scratch, "dst");
	dir = make_dir(src, "dir");
	make_file(dir, "last", "x");
	make_file(src, "mapped", "some content\n");
	fd = openat(src, "mapped", O_RDWR | O_CLOEXEC);
	w.map = mmap(NULL, 13, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_true(w.map != MAP_FAILED);
	w.map[0] = 'S';
	let_age();
	copy_live(&w, dst, false, &result);
	munmap(w.map, 13);
	close(fd);
	assert_int_equal(result.consistency, SNAP_SETTLED);
	fd = openat(dst, "mapped", O_RDONLY | O_CLOEXEC);
	assert_int_equal(pread(fd, got, 13, 0), 13);
	assert_string_equal(got, "SomZ content\n");
	snap_copy_result_release(&result);
	close(fd);
	close(dir);
	close(src);
	close(dst);
}

static void append_hot(struct writer *w)
{
	int fd = openat(w->src, "hot", O_WRONLY | O_APPEND | O_CLOEXEC);

	assert_int_equal(write(fd, "+", 1), 1);
	close(fd);
}

static void test_settle__lists_what_never_settles(void **state)
{
	int src = make_dir(scratch, "src"), dst = make_dir(scratch, "dst");
	int dir = make_dir(src, "dir"), before = count_fds();
	/* The first pass, and five rounds. */
	struct writer w = {.at = "dir/last", .passes = 6, .write = append_hot, .src = src};
	struct snap_copy_result result;

	(void)state;
	make_file(src, "hot", "");
	make_file(src, "cold", "");
	make_file(dir, "last", "x");
	let_age();
	copy_live(&w, dst, false, &result);
	assert_int_equal(result.consistency, SNAP_FUZZY);
	assert_int_equal(result.unsettled.total, 1);
	assert_string_equal(result.unsettled.items[0].path, "hot");
	assert_string_equal(result.unsettled.items[0].reason, "changed");
	assert_int_equal(count_fds(), before);
	snap_copy_result_release(&result);
	close(dir);
	close(src);
	close(dst);
}

static void test_settle__goes_on_as_many_rounds_as_asked(void **state)
{
	int src = make_dir(scratch, "src"), dst = make_dir(scratch, "dst");
	int dir = make_dir(src, "dir");
	struct writer w = {.at = "dir/last", .passes = 8, .write = append_hot, .src = src};
	struct snap_copy_opts opts = {.source_is_live = true,
		.settle_rounds = 10,
		.skip = write_at,
		.skip_arg = &w};
	struct snap_copy_result result;

	(void)state;
	make_file(src, "hot", "");
	make_file(dir, "last", "x");
	assert_int_equal(snap_copy(src, dst, &opts, &(struct snap_ctx){0}, &result, NULL), 0);
	assert_int_equal(result.consistency, SNAP_SETTLED);
	assert_same_tree(src, dst);
	snap_copy_result_release(&result);
	close(dir);
	close(src);
	close(dst);
}

/* --- a writer that knows nothing of the copy --- */

struct ledger {
	pthread_t thread;
	atomic_bool stop;
	int src;
};

static void write_number(int at, const char *name, unsigned n)
{
	int fd = openat(at, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);

	assert_int_equal(pwrite(fd, &n, sizeof(n), 0), sizeof(n));
	close(fd);
}

static unsigned read_number(int at, const char *name)
{
	int fd = openat(at, name, O_RDONLY | O_CLOEXEC);
	unsigned n = 0;

	assert_int_equal(pread(fd, &n, sizeof(n), 0), sizeof(n));
	close(fd);
	return n;
}

/* At every instant `first` is `second`, or one ahead. In bursts, so that copies can settle. */
static void *keep_books(void *arg)
{
	struct ledger *l = arg;

	for (unsigned n = 1; !atomic_load(&l->stop); n++) {
		write_number(l->src, "first", n);
		write_number(l->src, "dir/second", n);
		if (n % 50 == 0)
			nanosleep(&(struct timespec){.tv_nsec = 40000000}, NULL);
	}
	return NULL;
}

static void test_settle__is_the_source_at_one_instant(void **state)
{
	struct snap_copy_opts opts = {.source_is_live = true, .settle_rounds = 8};
	struct ledger l = {.src = make_dir(scratch, "src")};
	struct snap_copy_result result;
	char name[16];
	int dir = make_dir(l.src, "dir");

	(void)state;
	for (int i = 0; i < 200; i++) {
		snprintf(name, sizeof(name), "f%d", i);
		make_file(i % 2 ? dir : l.src, name, name);
	}
	write_number(l.src, "first", 0);
	write_number(dir, "second", 0);
	assert_int_equal(pthread_create(&l.thread, NULL, keep_books, &l), 0);
	for (int i = 0; i < 20; i++) {
		int dst = make_dir(scratch, "dst");
		unsigned ahead;

		assert_int_equal(snap_copy(l.src, dst, &opts, &(struct snap_ctx){0}, &result, NULL),
			0);
		ahead = read_number(dst, "first") - read_number(dst, "dir/second");
		if (result.consistency == SNAP_SETTLED)
			assert_true(ahead <= 1);
		else
			assert_true(result.unsettled.total > 0);
		snap_copy_result_release(&result);
		close(dst);
		assert_int_equal(snap_remove(scratch, "dst", &(struct snap_ctx){0}, NULL), 0);
	}
	atomic_store(&l.stop, true);
	pthread_join(l.thread, NULL);
	close(dir);
	close(l.src);
}

static bool grow_and_cancel(const char *path, void *arg)
{
	struct snap_ctx *ctx = arg;

	(void)path;
	ctx->cancel = true;
	return false;
}

static void test_settle__can_be_canceled(void **state)
{
	int src = make_dir(scratch, "src"), dst = make_dir(scratch, "dst");
	struct snap_ctx ctx = {0};
	struct snap_copy_opts opts = {.source_is_live = true,
		.skip = grow_and_cancel,
		.skip_arg = &ctx};
	struct snap_copy_result result;
	struct err e = ERR_INIT;

	(void)state;
	make_file(src, "file", "x");
	assert_int_equal(snap_copy(src, dst, &opts, &ctx, &result, &e), -ECANCELED);
	assert_string_equal(e.code, "canceled");
	close(src);
	close(dst);
}

/* --- the rule itself --- */

static struct io_stat stat_at(int64_t ctime_ns)
{
	return (struct io_stat){.dev = 1,
		.ino = 2,
		.ctime = {ctime_ns / 1000000000, ctime_ns % 1000000000}};
}

static void test_settle__takes_no_stat_within_two_ticks_of_its_ctime(void **state)
{
	struct settle s;
	int64_t now = settle_now() - NSEC_PER_SEC; /* a batch may take that long */
	struct io_stat old, young, meanwhile, future;

	(void)state;
	settle_init(&s, false);
	old = stat_at(now - 2 * s.tick);
	young = stat_at(now - 2 * s.tick + 1);
	meanwhile = stat_at(now + NSEC_PER_SEC / 2);
	future = stat_at(now + 3600 * NSEC_PER_SEC);
	assert_int_equal(settle_record(&s, "old", &old, now, false), 0);
	assert_int_equal(settle_record(&s, "young", &young, now, false), 0);
	assert_int_equal(settle_record(&s, "meanwhile", &meanwhile, now, false), 0);
	assert_int_equal(settle_record(&s, "future", &future, now, false), 0);
	assert_int_equal(settle_record(&s, "open", &old, now, true), 0);
	assert_int_equal(settle_compare(&s, "old", &old), SETTLE_SAME);
	assert_int_equal(settle_compare(&s, "old", &young), SETTLE_DIFFERENT);
	assert_int_equal(settle_compare(&s, "young", &young), SETTLE_DIFFERENT);
	assert_int_equal(settle_compare(&s, "meanwhile", &meanwhile), SETTLE_DIFFERENT);
	assert_int_equal(settle_compare(&s, "open", &old), SETTLE_DIFFERENT);
	assert_int_equal(settle_compare(&s, "new", &old), SETTLE_NEW);
	/* A clock that was set back hides nothing, and is not waited for. */
	assert_int_equal(settle_compare(&s, "future", &future), SETTLE_SAME);
	assert_int_equal(s.newest, now + NSEC_PER_SEC / 2);
	settle_release(&s);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		on_scratch(test_settle__finds_changed_content),
		on_scratch(test_settle__is_not_fooled_by_times_set_back),
		on_scratch(test_settle__follows_removals_renames_and_additions),
		on_scratch(test_settle__follows_changes_of_type),
		on_scratch(test_settle__follows_a_directory_that_goes_and_comes_back),
		on_scratch(test_settle__lets_no_late_entry_inherit_an_acl),
		on_scratch(test_settle__follows_metadata),
		on_scratch(test_settle__keeps_link_groups_together),
		on_scratch(test_settle__keeps_a_group_that_changed_between_its_names),
		on_scratch(test_settle__lists_what_never_settles),
		on_scratch(test_settle__goes_on_as_many_rounds_as_asked),
		on_scratch(test_settle__is_the_source_at_one_instant),
		on_scratch(test_settle__can_be_canceled),
		cmocka_unit_test(test_settle__takes_no_stat_within_two_ticks_of_its_ctime),
		on_scratch_if(test_settle__sees_stores_through_a_mapping, on_disk),
	};

	return fixture_main(argc, argv, tests);
}
