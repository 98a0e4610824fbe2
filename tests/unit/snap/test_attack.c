/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The owner of a tree against root who walks it: a thread keeps exchanging names for symlinks that
 * lead outside, for FIFOs and for directories moved away, while the engine works. Whatever else
 * happens, nothing outside may be read, changed or removed, and nothing may hang.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "fixture.h"
#include "snap/base/err.h"
#include "snap/copy.h"
#include "snap/diff.h"
#include "snap/remove.h"
#include "snap/sys.h"
#include "snap/usage.h"

#define ROUNDS 60

struct attack {
	pthread_t thread;
	atomic_bool stop;
	int tree;
	const char *a, *b; /* exchanged as fast as it goes */
};

static void *exchange(void *arg)
{
	struct attack *at = arg;

	while (!atomic_load(&at->stop))
		renameat2(at->tree, at->a, at->tree, at->b, RENAME_EXCHANGE);
	return NULL;
}

static void attack_start(struct attack *at, int tree, const char *a, const char *b)
{
	*at = (struct attack){.tree = tree, .a = a, .b = b};
	assert_int_equal(pthread_create(&at->thread, NULL, exchange, at), 0);
}

static void attack_stop(struct attack *at)
{
	atomic_store(&at->stop, true);
	pthread_join(at->thread, NULL);
}

static const char secret[] = "of somebody else\n";

/* What must never be touched, and a way to it. */
static int make_outside(void)
{
	int outside = make_dir(scratch, "outside"), dir = make_dir(outside, "dir");

	make_file(outside, "secret", secret);
	make_file(dir, "secret", secret);
	make_file(dir, "inner", secret);
	close(dir);
	return outside;
}

static int make_tree(void)
{
	int src = make_dir(scratch, "src"), dir = make_dir(src, "dir"), evil;

	make_file(src, "file", "own\n");
	make_file(dir, "inner", "own\n");
	make_file(dir, "secret", "own\n");
	evil = make_dir(src, "evil");
	symlinkat("../outside/dir", src, "evil dir");
	symlinkat("../outside/secret", src, "evil file");
	mkfifoat(src, "evil fifo", 0644);
	close(evil);
	close(dir);
	return src;
}

/* No file of the copy has the content of the one outside. */
static void assert_no_secret(int dir)
{
	char *text = manifest(dir), hash[64];
	uint64_t h = 14695981039346656037ULL;

	for (size_t i = 0; i < strlen(secret); i++)
		h = (h ^ (unsigned char)secret[i]) * 1099511628211ULL;
	snprintf(hash, sizeof(hash), "hash %llx ", (unsigned long long)h);
	assert_null(strstr(text, hash));
	free(text);
}

static int ignore(enum snap_change change, const char *path, const char *from, void *arg)
{
	(void)change;
	(void)path;
	(void)from;
	(void)arg;
	return 0;
}

static void copy_round(int src, bool live, bool reflink)
{
	struct snap_copy_opts opts = {.source_is_live = live,
		.reflink = reflink,
		.settle_rounds = 1};
	struct snap_copy_result result;
	struct snap_ctx ctx = {0};
	struct snap_usage usage;
	struct err e = ERR_INIT;
	int dst = make_dir(scratch, "dst"), r;

	r = snap_copy(src, dst, &opts, &ctx, &result, &e);
	/* At rest it would be 0; a source that was said to rest may be called changed. */
	if (r != 0 && r != -ESTALE)
		print_error("%s: %s\n", e.object, e.reason);
	assert_true(r == 0 || (r == -ESTALE && !live));
	snap_copy_result_release(&result);
	assert_no_secret(dst);
	snap_diff(src, dst, &(struct snap_diff_opts){.full = true}, &ctx, ignore, NULL, &e);
	snap_usage(src, 1, &ctx, &usage, &e);
	snap_survey(src, &ctx, NULL, NULL, &e);
	close(dst);
	assert_int_equal(snap_remove(scratch, "dst", &ctx, &e), 0);
}

static void under_attack(const char *a, const char *b)
{
	int outside = make_outside(), src = make_tree();
	char *before = manifest(outside), *after;
	struct attack at;

	attack_start(&at, src, a, b);
	for (int i = 0; i < ROUNDS; i++)
		copy_round(src, i % 2, i % 3 == 0);
	attack_stop(&at);
	after = manifest(outside);
	assert_string_equal(before, after);
	free(before);
	free(after);
	close(outside);
	close(src);
}

static void test_copy__is_not_led_outside_by_a_directory_swapped_for_a_symlink(void **state)
{
	(void)state;
	under_attack("dir", "evil dir");
}

static void test_copy__is_not_led_outside_by_a_file_swapped_for_a_symlink(void **state)
{
	(void)state;
	under_attack("file", "evil file");
}

static void test_copy__does_not_hang_on_a_file_swapped_for_a_fifo(void **state)
{
	(void)state;
	under_attack("file", "evil fifo");
}

static void test_copy__stands_a_file_swapped_for_a_directory(void **state)
{
	(void)state;
	under_attack("file", "dir");
}

/* --- the same at the worst instant: right before the engine opens the name --- */

static struct trap {
	int tree, from; /* the directory of `name`, and that of `with` */
	const char *name, *with;
	bool armed;
} trap;

static int trapped_openat(int dirfd, const char *path, int flags, mode_t mode)
{
	if (trap.armed && strcmp(path, trap.name) == 0 && !(flags & O_CREAT)) {
		trap.armed = false;
		if (renameat2(trap.tree, trap.name, trap.from, trap.with, RENAME_EXCHANGE) < 0)
			perror("trap");
	}
	return sys_kernel.openat(dirfd, path, flags, mode);
}

static void set_trap(struct sys_calls *calls, int tree, const char *name, int from,
	const char *with)
{
	*calls = sys_kernel;
	calls->openat = trapped_openat;
	trap = (struct trap){tree, from, name, with, true};
	sys = calls;
}

/* A FIFO without a writer must not stop anybody for good. */
static void copy_trapped(const char *name, const char *with, bool live, bool reflink)
{
	struct snap_copy_opts opts = {.source_is_live = live, .reflink = reflink};
	int outside = make_outside(), src = make_tree(), dst = make_dir(scratch, "dst"), r;
	char *before = manifest(outside), *after;
	struct snap_copy_result result;
	struct sys_calls calls;
	struct snap_ctx ctx = {0};
	struct err e = ERR_INIT;

	set_trap(&calls, src, name, src, with);
	alarm(60);
	r = snap_copy(src, dst, &opts, &ctx, &result, &e);
	alarm(0);
	sys = &sys_kernel;
	assert_false(trap.armed);
	assert_int_equal(r, live ? 0 : -ESTALE);
	if (live)
		assert_int_equal(result.consistency, SNAP_SETTLED);
	else
		assert_string_equal(e.code, "source_changed");
	assert_no_secret(dst);
	after = manifest(outside);
	assert_string_equal(before, after);
	if (live)
		assert_same_tree(src, dst);
	snap_copy_result_release(&result);
	free(before);
	free(after);
	close(outside);
	close(src);
	close(dst);
	assert_int_equal(snap_remove_content(scratch, &ctx, &e), 0);
}

static void test_copy__looks_again_at_what_it_has_opened(void **state)
{
	static const char *const swaps[][2] = {{"file", "evil file"}, {"file", "evil fifo"},
		{"file", "evil"}, {"dir", "evil dir"}, {"dir", "file"}, {"evil fifo", "file"},
		{"evil file", "file"}};

	(void)state;
	for (size_t i = 0; i < sizeof(swaps) / sizeof(swaps[0]); i++) {
		for (int how = 0; how < 4; how++)
			copy_trapped(swaps[i][0], swaps[i][1], how & 1, how & 2);
	}
}

static void test_remove__looks_again_at_what_it_has_opened(void **state)
{
	int outside = make_outside(), src = make_tree();
	char *before = manifest(outside), *after;
	struct sys_calls calls;
	struct snap_ctx ctx = {0};
	struct err e = ERR_INIT;
	int r;

	(void)state;
	symlinkat("outside/dir", scratch, "evil");
	set_trap(&calls, src, "dir", scratch, "evil");
	r = snap_remove(scratch, "src", &ctx, &e);
	sys = &sys_kernel;
	assert_false(trap.armed);
	assert_int_equal(r, 0);
	after = manifest(outside);
	assert_string_equal(before, after);
	free(before);
	free(after);
	close(outside);
	close(src);
}

static void test_remove__is_not_led_outside(void **state)
{
	int outside = make_outside();
	char *before = manifest(outside), *after;
	struct snap_ctx ctx = {0};
	struct err e = ERR_INIT;

	(void)state;
	for (int i = 0; i < ROUNDS; i++) {
		int src = make_tree(), r;
		struct attack at;

		attack_start(&at, src, "dir", "evil dir");
		r = snap_remove(scratch, "src", &ctx, &e);
		attack_stop(&at);
		close(src);
		if (r == -EBUSY) /* it gave up, as it may while names keep changing */
			r = snap_remove(scratch, "src", &ctx, &e);
		if (r < 0)
			print_error("%s: %s\n", e.object, e.reason);
		assert_int_equal(r, 0);
	}
	after = manifest(outside);
	assert_string_equal(before, after);
	free(before);
	free(after);
	close(outside);
}

/* A directory that the walk stands in is moved out of the tree: ".." leads elsewhere then. */
static void *move_away(void *arg)
{
	struct attack *at = arg;

	while (!atomic_load(&at->stop)) {
		renameat(at->tree, "src/a", at->tree, "outside/a");
		renameat(at->tree, "outside/a", at->tree, "src/a");
	}
	return NULL;
}

#define DEEP 60

static int make_deep_tree(void)
{
	int src = make_dir(scratch, "src"), fd = dup(src), next;

	for (int i = 0; i < DEEP; i++) {
		next = make_dir(fd, "a");
		make_file(fd, "file", "own\n");
		close(fd);
		fd = next;
	}
	close(fd);
	return src;
}

static void test_engine__does_not_follow_a_directory_that_is_moved_away(void **state)
{
	int outside = make_outside(), src = make_deep_tree();
	struct attack at = {.tree = scratch};
	struct snap_copy_result result;
	struct snap_ctx ctx = {0};
	struct err e = ERR_INIT;
	char *after;

	(void)state;
	assert_int_equal(pthread_create(&at.thread, NULL, move_away, &at), 0);
	for (int i = 0; i < ROUNDS; i++) {
		struct snap_copy_opts opts = {.source_is_live = true, .settle_rounds = 1};
		int dst = make_dir(scratch, "dst");
		int r = snap_copy(src, dst, &opts, &ctx, &result, &e);

		assert_true(r == 0 || r == -ESTALE);
		snap_copy_result_release(&result);
		assert_no_secret(dst);
		close(dst);
		assert_int_equal(snap_remove(scratch, "dst", &ctx, &e), 0);
	}
	/* What is left over was outside when the walk came by; all else outside stays. */
	snap_remove(scratch, "src", &ctx, &e);
	attack_stop(&at);
	after = manifest(outside);
	assert_non_null(strstr(after, "/dir/inner"));
	assert_non_null(strstr(after, "/dir/secret"));
	assert_non_null(strstr(after, "/secret"));
	free(after);
	close(outside);
	close(src);
}

/* Between the look at a name and the removal its owner gives it to something else. */
static void remove_held_under(const char *other)
{
	struct snap_ctx ctx = {0};
	struct err e = ERR_INIT;
	int src = make_tree();

	assert_int_equal(renameat2(scratch, "src", scratch, other, RENAME_EXCHANGE), 0);
	assert_int_equal(snap_remove_held(scratch, "src", src, &ctx, &e), 0);
	assert_int_equal(renameat2(scratch, "src", scratch, other, RENAME_EXCHANGE), 0);
	assert_int_equal(unlinkat(scratch, "src", AT_REMOVEDIR), 0); /* ours is empty */
	close(src);
}

static void test_remove_held__leaves_what_took_the_name(void **state)
{
	int outside = make_outside();
	char *before = manifest(outside), *after;

	(void)state;
	symlinkat("outside", scratch, "link");
	remove_held_under("outside");
	remove_held_under("link");
	after = manifest(outside);
	assert_string_equal(before, after);
	free(before);
	free(after);
	close(outside);
}

static void test_remove_held__takes_the_name_along(void **state)
{
	int src = make_tree();
	struct snap_ctx ctx = {0};
	struct err e = ERR_INIT;

	(void)state;
	assert_int_equal(snap_remove_held(scratch, "src", src, &ctx, &e), 0);
	assert_int_equal(faccessat(scratch, "src", F_OK, AT_SYMLINK_NOFOLLOW), -1);
	assert_int_equal(snap_remove_held(scratch, "src", src, &ctx, &e), 0); /* gone already */
	close(src);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		on_scratch(test_copy__is_not_led_outside_by_a_directory_swapped_for_a_symlink),
		on_scratch(test_copy__is_not_led_outside_by_a_file_swapped_for_a_symlink),
		on_scratch(test_copy__does_not_hang_on_a_file_swapped_for_a_fifo),
		on_scratch(test_copy__stands_a_file_swapped_for_a_directory),
		on_scratch(test_copy__looks_again_at_what_it_has_opened),
		on_scratch(test_remove__looks_again_at_what_it_has_opened),
		on_scratch(test_remove__is_not_led_outside),
		on_scratch(test_remove_held__leaves_what_took_the_name),
		on_scratch(test_remove_held__takes_the_name_along),
		on_scratch(test_engine__does_not_follow_a_directory_that_is_moved_away),
	};

	return fixture_main(argc, argv, tests);
}
