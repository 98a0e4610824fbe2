/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Jobs of which it cannot be seen what they came to: a disk that fails behind the commit point, or
 * when it is looked at. Nothing may be undone, swept or called done before it can be seen.
 *
 * fsync and syncfs are the linker's --wrap: a disk that fails on demand cannot be had. What a
 * driver answers is the fault driver's.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "snap/base/fd.h"
#include "tests/unit/worker/harness.h"

/* ---- a disk that fails ---- */

static _Atomic ino_t bad_dir;	  /* fsync of this one fails */
static _Atomic int good_fsyncs;	  /* so many of it succeed before */
static _Atomic int bad_syncfs; /* so many syncfs fail */

int __real_fsync(int fd);
int __real_syncfs(int fd);
int __wrap_fsync(int fd);
int __wrap_syncfs(int fd);

int __wrap_fsync(int fd)
{
	struct stat st;

	if (bad_dir && fstat(fd, &st) == 0 && st.st_ino == bad_dir && good_fsyncs-- <= 0) {
		errno = EIO;
		return -1;
	}
	return __real_fsync(fd);
}

int __wrap_syncfs(int fd)
{
	if (bad_syncfs > 0) {
		bad_syncfs--;
		errno = EIO;
		return -1;
	}
	return __real_syncfs(fd);
}

static void fail_fsync_of(struct harness *h, const char *path)
{
	char full[512];
	struct stat st;

	snprintf(full, sizeof(full), "%s/%s", h->pool, path);
	assert_int_equal(stat(full, &st), 0);
	bad_dir = st.st_ino;
}

static void fail_second_fsync_of(struct harness *h, const char *path)
{
	good_fsyncs = 1;
	fail_fsync_of(h, path);
}

/* ---- the harness, on the fault driver ---- */

static void set_faults(struct harness *h, const char *rules)
{
	char path[128];
	int fd;

	snprintf(path, sizeof(path), "%s/faults", h->dir);
	assert_int_equal(setenv("FSD_FAULT_FILE", path, 1), 0);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(fd_write_all(fd, rules, strlen(rules)), 0);
	close(fd);
}

static int setup(void **state)
{
	bad_dir = 0;
	good_fsyncs = 0;
	bad_syncfs = 0;
	*state = harness_new("fault");
	return 0;
}

static json_t *ended(struct harness *h, json_t *view, const char *state)
{
	(void)h;
	if (strcmp(harness_text(view, "state"), state) != 0)
		fail_msg("%s", json_dumps(view, JSON_INDENT(1)));
	return view;
}

static void done(json_t *view)
{
	json_decref(view);
}

/* ---- tests ---- */

/* The site stands in sites/, but whether the name survives a power cut nobody can say. */
static void test_settle__is_not_done_before_it_is_durable(void **state)
{
	struct harness *h = *state;
	int64_t id;

	fail_fsync_of(h, "sites");
	bad_syncfs = 1;
	id = harness_submit(h, "site-create", "name", "shop", NULL);
	harness_wait_problem(h, "job_unsettled");
	bad_dir = 0;
	done(ended(h, harness_wait(h, id), "done"));
	assert_false(harness_has_problem(h, "job_unsettled"));
	assert_int_equal(bad_syncfs, 0);
	harness_write(h, "shop", "index.php", "one");
}

/* A flush that works the second time is enough: the outcome is true, and nobody need know. */
static void test_settle__syncs_again_what_an_fsync_could_not(void **state)
{
	struct harness *h = *state;

	done(harness_done(h, "site-create", "name", "shop", NULL));
	done(harness_done(h, "generation-create", "site", "shop", NULL));
	fail_fsync_of(h, "sites/shop");
	done(harness_done(h, "publish", "site", "shop", "generation", "2", NULL));
	assert_false(harness_has_problem(h, "job_unsettled"));
	bad_dir = 0;
}

static void test_settle__set_tells_the_truth_about_a_document_that_stands(void **state)
{
	struct harness *h = *state;
	json_t *v;

	done(harness_done(h, "site-create", "name", "shop", NULL));
	fail_fsync_of(h, "sites/shop");
	v = harness_done(h, "site-set", "site", "shop", "set", "label.a=b", NULL);
	assert_string_equal(harness_text(v, "result.site.labels.a"), "b");
	json_decref(v);
	bad_dir = 0;
}

static void make_outside(struct harness *h, char path[128])
{
	char file[160];
	int fd;

	snprintf(path, 128, "%s/outside", h->dir);
	snprintf(file, sizeof(file), "%s/index.php", path);
	assert_int_equal(mkdir(path, 0755), 0);
	fd = open(file, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
	assert_true(fd >= 0);
	assert_int_equal(fd_write_all(fd, "mine", 4), 0);
	close(fd);
}

/* The directory is the site's tree by now, and the look at it fails: nothing is reverted. */
static void test_settle__touches_nothing_while_it_cannot_see(void **state)
{
	struct harness *h = *state;
	char path[128];
	int64_t id;

	make_outside(h, path);
	set_faults(h, "tree_adopt 1 after EIO; tree_check 1 error EIO");
	id = harness_submit(h, "site-import", "name", "shop", "dir", path, "mode", "move", NULL);
	done(ended(h, harness_wait(h, id), "done"));
	harness_expect(h, "shop", "index.php", "mine");
	set_faults(h, "");
}

/* A stop while it is in doubt; the next start cannot see it either at first. Meanwhile the site's
 * other jobs wait. */
static void test_settle__stays_in_doubt_over_a_restart(void **state)
{
	struct harness *h = *state;
	char path[128];
	int64_t id;

	make_outside(h, path);
	set_faults(h, "tree_adopt 1 after EIO; tree_check 1+ error EIO");
	id = harness_submit(h, "site-import", "name", "shop", "dir", path, "mode", "move", NULL);
	harness_wait_problem(h, "job_unsettled");
	harness_stop(h);
	harness_start(h);
	assert_true(harness_has_problem(h, "job_unsettled"));
	set_faults(h, "");
	done(ended(h, harness_wait(h, id), "done"));
	assert_false(harness_has_problem(h, "job_unsettled"));
	harness_expect(h, "shop", "index.php", "mine");
}

/* A path was put in place, and its directory could not be flushed: it is in place all the same, and
 * undo knows it. */
static void test_settle__calls_no_path_failed_that_is_in_place(void **state)
{
	struct harness *h = *state;
	json_t *v, *undo;
	int64_t id;

	done(harness_done(h, "site-create", "name", "shop", NULL));
	harness_write(h, "shop", "index.php", "one");
	done(harness_done(h, "snapshot", "site", "shop", "name", "a", NULL));
	harness_write(h, "shop", "index.php", "two");
	harness_let_run(h, 0);
	id = harness_submit(h, "restore", "source", "shop@a", "paths", "index.php", NULL);
	fail_second_fsync_of(h, "sites/shop/gen/1/tree");
	harness_let_run(h, 4);
	v = ended(h, harness_wait(h, id), "done");
	assert_null(json_object_get(json_object_get(v, "result"), "failed"));
	harness_expect(h, "shop", "index.php", "one");
	undo = harness_done(h, "undo", "job", harness_text(v, "id"), NULL);
	harness_expect(h, "shop", "index.php", "two");
	json_decref(undo);
	json_decref(v);
}

/* The live tree was given away; that another generation cannot be seen does not make it nothing. */
static void test_settle__eject_throws_nothing_away_that_it_cannot_see(void **state)
{
	struct harness *h = *state;
	char path[256];
	json_t *v;
	int64_t id;

	done(harness_done(h, "site-create", "name", "shop", NULL));
	harness_write(h, "shop", "index.php", "one");
	done(harness_done(h, "generation-create", "site", "shop", NULL));
	done(harness_done(h, "publish", "site", "shop", "generation", "2", NULL));
	snprintf(path, sizeof(path), "%s/out", h->dir);
	set_faults(h, "tree_check 2 error EIO"); /* 1: of the one that is gone */
	id = harness_submit(h, "site-eject", "site", "shop", "dir", path, "confirm", "1", NULL);
	v = ended(h, harness_wait(h, id), "done");
	set_faults(h, "");
	snprintf(path, sizeof(path), "%s/.fsd/deleted/%s/gen/1/tree/index.php", h->pool,
		harness_text(v, "result.site.id"));
	assert_int_equal(access(path, F_OK), 0);
	json_decref(v);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, harness_end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_settle__is_not_done_before_it_is_durable),
		TEST(test_settle__syncs_again_what_an_fsync_could_not),
		TEST(test_settle__set_tells_the_truth_about_a_document_that_stands),
		TEST(test_settle__touches_nothing_while_it_cannot_see),
		TEST(test_settle__calls_no_path_failed_that_is_in_place),
		TEST(test_settle__eject_throws_nothing_away_that_it_cannot_see),
		TEST(test_settle__stays_in_doubt_over_a_restart),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
