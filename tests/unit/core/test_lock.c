/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Locks: one holder, who says who it is. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "fsd/core/lock.h"
#include "snap/base/clock.h"
#include "snap/base/err.h"
#include "snap/base/fd.h"
#include "tests/unit/core/scratch.h"

static int take(int64_t wait, int *fd, struct err *err)
{
	return lock_take(AT_FDCWD, "lock", "/the/pool", wait, fd, err);
}

/* A child that holds the lock, says so, and lets go when `go` is closed or it is killed. */
static pid_t holder(int *go)
{
	int ready[2], end[2], fd = -1;
	struct err err = ERR_INIT;
	char byte;
	pid_t pid;

	assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
	assert_int_equal(pipe2(end, O_CLOEXEC), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		close(end[1]);
		if (take(0, &fd, &err) < 0)
			_exit(1);
		(void)!write(ready[1], "x", 1);
		(void)!read(end[0], &byte, 1);
		_exit(0);
	}
	close(ready[1]);
	close(end[0]);
	assert_int_equal(read(ready[0], &byte, 1), 1);
	close(ready[0]);
	*go = end[1];
	return pid;
}

static void test_lock__second_holder_is_told_who_the_first_is(void **state)
{
	struct err err = ERR_INIT;
	char pid_text[40], host[200];
	int fd = -1, go;
	pid_t pid = holder(&go);

	(void)state;
	assert_int_equal(take(0, &fd, &err), -EBUSY);
	assert_int_equal(fd, -1);
	assert_string_equal(err.code, "locked");
	assert_string_equal(err.object, "/the/pool");
	snprintf(pid_text, sizeof(pid_text), "test_lock, pid %d on", (int)pid);
	assert_non_null(strstr(err.reason, pid_text));
	gethostname(host, sizeof(host));
	assert_non_null(strstr(err.reason, host));
	assert_non_null(strstr(err.reason, " since 20"));
	close(go);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	assert_int_equal(take(0, &fd, &err), 0);
	close(fd);
}

static void test_lock__waits_for_an_old_holder_to_go(void **state)
{
	struct err err = ERR_INIT;
	int fd = -1, go;
	pid_t pid = holder(&go), killer;

	(void)state;
	killer = fork();
	if (killer == 0) {
		usleep(100000);
		kill(pid, SIGKILL);
		_exit(0);
	}
	close(go);
	assert_int_equal(take(60 * NSEC_PER_SEC, &fd, &err), 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	assert_int_equal(waitpid(killer, NULL, 0), killer);
	close(fd);
}

static void test_lock__is_free_again_once_closed_and_stays_a_file(void **state)
{
	struct err err = ERR_INIT;
	struct stat st;
	int fd = -1;

	(void)state;
	for (int i = 0; i < 3; i++) {
		assert_int_equal(take(0, &fd, &err), 0);
		assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
		close(fd);
	}
	assert_int_equal(stat("lock", &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
}

static void test_lock__names_of_other_kinds_are_refused(void **state)
{
	struct err err = ERR_INIT;
	int fd = -1;

	(void)state;
	assert_int_equal(symlink("victim", "lock"), 0);
	assert_int_equal(take(0, &fd, &err), -ELOOP);
	assert_string_equal(err.code, "bad_lock");
	assert_int_equal(fd_exists(AT_FDCWD, "victim"), 0);
	unlink("lock");
	assert_int_equal(mkfifo("lock", 0600), 0);
	assert_int_equal(take(0, &fd, &err), -EINVAL);
	unlink("lock");
	assert_int_equal(mkdir("lock", 0700), 0);
	assert_int_equal(take(0, &fd, &err), -EISDIR);
}

static void test_lock__garbage_in_the_file_does_not_reach_the_terminal(void **state)
{
	struct err err = ERR_INIT;
	int fd = -1, other = -1, text;

	(void)state;
	assert_int_equal(take(0, &fd, &err), 0);
	text = open("lock", O_WRONLY | O_TRUNC | O_CLOEXEC);
	assert_int_equal(write(text, "pid=\033[2J7\nhost=a", 16), 16);
	close(text);
	assert_int_equal(take(0, &other, &err), -EBUSY);
	assert_null(strchr(err.reason, '\033'));
	assert_non_null(strstr(err.reason, "is held by ?, pid ?[2J7 on a since ?"));
	close(fd);
}

static void test_lock__a_replaced_file_is_not_mistaken_for_the_lock(void **state)
{
	struct err err = ERR_INIT;
	int a = -1, b = -1, c = -1;

	(void)state;
	assert_int_equal(take(0, &a, &err), 0);
	assert_int_equal(rename("lock", "away"), 0);
	assert_int_equal(take(0, &b, &err), 0);
	assert_int_equal(take(0, &c, &err), -EBUSY);
	close(a);
	assert_int_equal(take(0, &c, &err), -EBUSY);
	close(b);
}

static void test_lock__waiting_changes_nothing(void **state)
{
	struct err err = ERR_INIT;
	struct stat before, after;
	int fd = -1, go;
	pid_t pid;

	(void)state;
	assert_int_equal(lock_wait(AT_FDCWD, "lock", "/the/pool", 0, &err), -ENOENT);
	assert_int_equal(fd_exists(AT_FDCWD, "lock"), 0);
	pid = holder(&go);
	assert_int_equal(stat("lock", &before), 0);
	err_clear(&err);
	assert_int_equal(lock_wait(AT_FDCWD, "lock", "/the/pool", 0, &err), -EBUSY);
	assert_string_equal(err.code, "locked");
	close(go);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	usleep(10000);
	assert_int_equal(lock_wait(AT_FDCWD, "lock", "/the/pool", 0, &err), 0);
	assert_int_equal(stat("lock", &after), 0);
	assert_int_equal(after.st_ctim.tv_nsec, before.st_ctim.tv_nsec);
	assert_int_equal(take(0, &fd, &err), 0);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		scratch_test(test_lock__second_holder_is_told_who_the_first_is),
		scratch_test(test_lock__waits_for_an_old_holder_to_go),
		scratch_test(test_lock__is_free_again_once_closed_and_stays_a_file),
		scratch_test(test_lock__names_of_other_kinds_are_refused),
		scratch_test(test_lock__garbage_in_the_file_does_not_reach_the_terminal),
		scratch_test(test_lock__a_replaced_file_is_not_mistaken_for_the_lock),
		scratch_test(test_lock__waiting_changes_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
