/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the api process cannot do any more. Each test confines a child and lets it try. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "fsd/api/confine.h"
#include "snap/base/err.h"

#define NOBODY 65534

static char scratch[] = "/tmp/test_confine.XXXXXX";

/* A folder in which the api's user may do everything, as far as permissions go. */
static int setup(void **state)
{
	(void)state;
	return mkdtemp(scratch) && chmod(scratch, 0777) == 0 ? 0 : -1;
}

static int teardown(void **state)
{
	char path[64];

	(void)state;
	snprintf(path, sizeof(path), "%s/file", scratch);
	unlink(path);
	return rmdir(scratch);
}

/* Run in a confined child; the answer is 0 or the number of the first thing that went wrong. */
static int confined(int (*fn)(void), bool fence)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		struct err err = ERR_INIT;
		uid_t uid = geteuid() == 0 ? NOBODY : (uid_t)-1;

		if (confine_user(uid, NOBODY, &err) < 0 || (fence && confine_fence(&err) < 0)) {
			fprintf(stderr, "%s\n", err.reason);
			_exit(200);
		}
		_exit(fn());
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static int refused(long r)
{
	return r < 0 && (errno == EACCES || errno == EPERM);
}

static int try_files(void)
{
	char path[64];

	snprintf(path, sizeof(path), "%s/file", scratch);
	if (!refused(open("/etc/passwd", O_RDONLY)))
		return 1;
	if (!refused(open(path, O_WRONLY | O_CREAT, 0600)))
		return 2;
	if (!refused(open("/", O_RDONLY | O_DIRECTORY)) || !refused(open("/", O_PATH)))
		return 3;
	if (!refused(syscall(SYS_openat, AT_FDCWD, "/dev/null", O_RDWR)))
		return 4;
	if (!refused(mkdir(path, 0700)) || !refused(symlink("x", path)) ||
		!refused(rmdir(scratch)) || !refused(rename(scratch, path)))
		return 5;
	if (!refused(open("/proc/self/mem", O_RDWR)) || !refused(open("/proc/self/exe", O_RDONLY)))
		return 6;
	if (!refused(truncate("/etc/passwd", 0)) || !refused(chmod(scratch, 0700)))
		return 7;
	return refused(chdir("/")) && refused(access("/", R_OK)) ? 0 : 8;
}

static int try_programs(void)
{
	char program[] = "/bin/true", *argv[] = {program, NULL};
	struct sockaddr_un sun = {.sun_family = AF_UNIX, .sun_path = "/run/x"};
	int pair[2];

	if (!refused(execv(program, argv)))
		return 1;
	if (!refused(fork()) || syscall(SYS_clone3, NULL, 0) == 0 || errno != ENOSYS)
		return 2;
	if (!refused(socket(AF_UNIX, SOCK_STREAM, 0)) || !refused(socket(AF_INET, SOCK_STREAM, 0)))
		return 3;
	if (!refused(socketpair(AF_UNIX, SOCK_STREAM, 0, pair)))
		return 4;
	if (!refused(connect(0, (struct sockaddr *)&sun, sizeof(sun))))
		return 5;
	if (!refused(kill(getppid(), 0)))
		return 6;
	if (!refused(syscall(SYS_io_uring_setup, 1, NULL)) || !refused(syscall(SYS_unshare, 0)))
		return 7;
	return refused(syscall(SYS_bpf, 0, NULL, 0)) ? 0 : 8;
}

static void *nothing(void *arg)
{
	return arg;
}

static void *open_in_thread(void *arg)
{
	(void)arg;
	return refused(open("/etc/passwd", O_RDONLY)) ? NULL : (void *)1;
}

/* What the api needs is still there, and threads made later are behind the fence as well. */
static int try_what_is_needed(void)
{
	pthread_t t;
	void *r = NULL;
	int fd = memfd_create("x", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd < 0 || write(fd, "x", 1) != 1 || fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE) < 0)
		return 1;
	if (pthread_create(&t, NULL, nothing, NULL) != 0 || pthread_join(t, &r) != 0)
		return 2;
	if (pthread_create(&t, NULL, open_in_thread, NULL) != 0 || pthread_join(t, &r) != 0 || r)
		return 3;
	return 0;
}

static int try_user(void)
{
	struct rlimit core;
	gid_t gids[8];

	if (geteuid() == 0 || getuid() == 0 || getegid() == 0)
		return 1;
	if (setuid(0) == 0 || seteuid(0) == 0 || setgid(0) == 0)
		return 2;
	if (getgroups(8, gids) > 0 && gids[0] != getegid())
		return 3;
	if (getrlimit(RLIMIT_CORE, &core) < 0 || core.rlim_max != 0)
		return 4;
	return prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1 ? 0 : 5;
}

static int try_dumpable(void)
{
	return prctl(PR_GET_DUMPABLE, 0, 0, 0, 0);
}

static int try_open_unfenced(void)
{
	int fd = open("/etc/passwd", O_RDONLY | O_CLOEXEC);

	return fd >= 0 ? 0 : 1;
}

static void test_fence__leaves_no_file_to_open_make_or_change(void **state)
{
	(void)state;
	assert_int_equal(confined(try_open_unfenced, false), 0); /* it is the fence that refuses */
	assert_int_equal(confined(try_files, true), 0);
}

static void test_fence__leaves_no_program_process_or_socket_to_make(void **state)
{
	(void)state;
	assert_int_equal(confined(try_programs, true), 0);
}

static void test_fence__leaves_threads_and_memory_descriptors(void **state)
{
	(void)state;
	assert_int_equal(confined(try_what_is_needed, true), 0);
	assert_int_equal(confined(try_dumpable, true), 0);
}

static void test_user__is_left_for_good(void **state)
{
	(void)state;
	if (geteuid() != 0) {
		print_message("not root: there is no user to leave\n");
		skip();
	}
	assert_int_equal(confined(try_user, false), 0);
}

static void test_user__that_is_root_is_refused(void **state)
{
	struct err err = ERR_INIT;

	(void)state;
	assert_int_equal(confine_user(0, NOBODY, &err), -EINVAL);
	assert_int_equal(confine_user(NOBODY, 0, &err), -EINVAL);
	if (geteuid() == 0)
		assert_int_equal(confine_user((uid_t)-1, (gid_t)-1, &err), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fence__leaves_no_file_to_open_make_or_change),
		cmocka_unit_test(test_fence__leaves_no_program_process_or_socket_to_make),
		cmocka_unit_test(test_fence__leaves_threads_and_memory_descriptors),
		cmocka_unit_test(test_user__is_left_for_good),
		cmocka_unit_test(test_user__that_is_root_is_refused),
	};

	return cmocka_run_group_tests_name("api confine", tests, setup, teardown);
}
