/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The process model, with this program in the api's role: started again by process_start_api(), it
 * answers questions about itself over the socket.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "fsd/listener.h"
#include "fsd/process.h"
#include "snap/base/err.h"
#include "snap/base/fd.h"
#include "tests/unit/core/scratch.h"

/* ---- the role ---- */

static void describe(char *out, size_t size)
{
	_cleanup_free_ char *cwd = getcwd(NULL, 0);
	DIR *fds = opendir("/proc/self/fd");
	int n = 0, death = 0;
	sigset_t blocked;

	for (struct dirent *d; (d = readdir(fds));)
		n += d->d_name[0] != '.' && atoi(d->d_name) != dirfd(fds);
	closedir(fds);
	prctl(PR_GET_PDEATHSIG, &death);
	sigprocmask(SIG_BLOCK, NULL, &blocked);
	snprintf(out, size, "uid=%d gid=%d groups=%d fds=%d nnp=%d death=%d term=%d blocked=%d "
			    "cwd=%s secret=%s",
		(int)getuid(), (int)getegid(), getgroups(0, NULL), n,
		prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), death,
		signal(SIGTERM, SIG_IGN) == SIG_IGN, sigismember(&blocked, SIGTERM), cwd,
		getenv("SECRET") ? "yes" : "no");
}

static int api_role(void)
{
	char text[400];
	ssize_t n;

	while ((n = recv(PROCESS_MSG_FD, text, sizeof(text) - 1, 0)) > 0) {
		text[n] = '\0';
		if (strcmp(text, "die") == 0)
			abort();
		if (strcmp(text, "hang") == 0) {
			send(PROCESS_MSG_FD, "hanging", 7, 0);
			for (;;)
				pause();
		}
		describe(text, sizeof(text));
		send(PROCESS_MSG_FD, text, strlen(text), 0);
	}
	return 0;
}

/* ---- the tests ---- */

static struct process_api start(const char *folder)
{
	struct process_api_args args = {.log_level = 6};
	struct process_api api = PROCESS_API_INIT;
	struct listener l = LISTENER_INIT;
	struct err err = ERR_INIT;
	char path[100];

	snprintf(path, sizeof(path), "%s/api.sock", folder);
	assert_int_equal(listener_open(&l, path, &err), 0);
	assert_int_equal(process_find_user("nobody", &args.user, &err), 0);
	args.listen_fd = l.fd;
	if (process_start_api(&args, &api, &err) < 0)
		fail_msg("%s: %s", err.object, err.reason);
	listener_release(&l);
	return api;
}

static void ask(struct process_api *api, const char *question, char answer[400])
{
	ssize_t n;

	assert_int_equal(send(api->msg_fd, question, strlen(question), MSG_NOSIGNAL),
		strlen(question));
	n = recv(api->msg_fd, answer, 399, 0);
	assert_true(n > 0);
	answer[n] = '\0';
}

static void test_process__the_api_has_no_privilege_and_no_foreign_descriptor(void **state)
{
	_cleanup_fd_ int leaked = open("/", O_RDONLY | O_DIRECTORY); /* without O_CLOEXEC */
	struct passwd *pw = getpwnam("nobody");
	char answer[400], expected[400];
	struct process_api api;
	int status, groups = geteuid() ? getgroups(0, NULL) : 0;

	assert_true(leaked >= 0);
	if (geteuid() == 0)
		assert_int_equal(setgroups(2, (gid_t[]){4, 27}), 0);
	setenv("SECRET", "x", 1);
	api = start(*state);
	unsetenv("SECRET");
	ask(&api, "who", answer);
	snprintf(expected, sizeof(expected),
		"uid=%d gid=%d groups=%d fds=5 nnp=1 death=9 term=1 blocked=0 cwd=/ secret=no",
		geteuid() ? (int)getuid() : (int)pw->pw_uid,
		geteuid() ? (int)getgid() : (int)pw->pw_gid, groups);
	assert_string_equal(answer, expected);
	process_stop_api(&api, 5000, &status);
	assert_int_equal(status, 0);
	assert_int_equal(api.pid, 0);
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
}

static void test_process__an_api_that_died_is_reported(void **state)
{
	struct process_api api = start(*state);
	char byte;
	int status;

	assert_int_equal(send(api.msg_fd, "die", 3, MSG_NOSIGNAL), 3);
	assert_int_equal(recv(api.msg_fd, &byte, 1, 0), 0);
	process_stop_api(&api, 60000, &status);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGABRT);
}

static void test_process__an_api_that_hangs_is_killed(void **state)
{
	struct process_api api = start(*state);
	char answer[400];
	int status;

	ask(&api, "hang", answer);
	process_stop_api(&api, 10, &status);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGKILL);
}

static void test_process__the_api_dies_with_its_worker(void **state)
{
	char answer[400];
	int p[2], status;
	pid_t worker, api;

	assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), 0);
	assert_int_equal(pipe2(p, O_CLOEXEC), 0);
	worker = fork();
	if (worker == 0) {
		struct process_api a = start(*state);

		ask(&a, "hang", answer); /* it does not even look at its socket */
		(void)!write(p[1], &a.pid, sizeof(a.pid));
		pause();
	}
	assert_int_equal(read(p[0], &api, sizeof(api)), sizeof(api));
	assert_int_equal(kill(worker, SIGKILL), 0);
	assert_int_equal(waitpid(worker, NULL, 0), worker);
	assert_int_equal(waitpid(api, &status, 0), api);
	assert_true(WIFSIGNALED(status));
	close(p[0]);
	close(p[1]);
	prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0);
}

static void test_process__a_missing_api_user_says_how_to_make_it(void **state)
{
	struct process_user user;
	struct err err = ERR_INIT;

	(void)state;
	if (geteuid() != 0) {
		print_message("skipped: api_user is looked at only as root\n");
		skip();
	}
	assert_int_equal(process_find_user("no-such-user", &user, &err), -ENOENT);
	assert_string_equal(err.code, "no_api_user");
	assert_string_equal(err.object, "no-such-user");
	assert_memory_equal(err.hint, "make it: useradd --system ", 26);
	assert_int_equal(process_find_user("root", &user, &err), -EINVAL);
	assert_string_equal(err.code, "bad_api_user");
}

static void test_process__locks_the_catalog_beside_it(void **state)
{
	int a = -1, b = -1, r;
	struct err err = ERR_INIT;
	char path[100], link[100];
	struct stat st;

	snprintf(path, sizeof(path), "%s/lib/catalog.db", (char *)*state);
	snprintf(link, sizeof(link), "%s/link/catalog.db", (char *)*state);
	assert_int_equal(symlink("lib", "link"), 0);
	assert_int_equal(process_lock_catalog(path, &a, &err), 0);
	assert_int_equal(stat("lib", &st), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
	assert_int_equal(stat("lib/catalog.db.lock", &st), 0);
	r = process_lock_catalog(link, &b, &err); /* the same catalog by another road; waits 5 s */
	assert_int_equal(r, -EBUSY);
	assert_string_equal(err.code, "locked");
	close(a);
	snprintf(path, sizeof(path), "%s/no/such/catalog.db", (char *)*state);
	assert_int_equal(process_lock_catalog(path, &b, &err), -ENOENT);
	assert_true(err.hint[0] != '\0');
}

static void test_process__signals_arrive_on_the_descriptor(void **state)
{
	static const int wanted[] = {SIGTERM, SIGINT, SIGHUP, SIGCHLD};
	struct signalfd_siginfo info;
	struct err err = ERR_INIT;
	sigset_t saved;
	int fd = -1;

	(void)state;
	sigprocmask(SIG_BLOCK, NULL, &saved);
	assert_int_equal(process_signals(&fd, &err), 0);
	for (size_t i = 0; i < 4; i++) {
		raise(wanted[i]);
		assert_int_equal(read(fd, &info, sizeof(info)), sizeof(info));
		assert_int_equal(info.ssi_signo, wanted[i]);
	}
	assert_int_equal(read(fd, &info, sizeof(info)), -1);
	close(fd);
	sigprocmask(SIG_SETMASK, &saved, NULL);
}

/* Run as a program that goes to the background; its status and whether it was detached. */
static int background(int (*then)(void))
{
	struct err err = ERR_INIT;
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		if (process_background(&err) < 0)
			_exit(99);
		_exit(then());
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static int fail_early(void)
{
	return 7;
}

static int serve_a_while(void)
{
	if (getsid(0) != getpid() || isatty(0))
		return 8;
	process_detach();
	return 9; /* after the parent went: nobody sees it */
}

static void test_process__in_the_background_the_parent_waits_for_the_outcome(void **state)
{
	(void)state;
	prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
	assert_int_equal(background(fail_early), 7);
	assert_int_equal(background(serve_a_while), 0);
	while (waitpid(-1, NULL, 0) > 0)
		;
	prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0);
}

static int connect_to(const char *path)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
	if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0)
		return fd;
	close(fd);
	return -errno;
}

static void test_listener__everybody_may_connect_and_the_name_goes_with_it(void **state)
{
	struct listener l;
	struct err err = ERR_INIT;
	struct stat st;
	char path[100];
	int fd;

	snprintf(path, sizeof(path), "%s/run/s", (char *)*state);
	umask(077);
	assert_int_equal(listener_open(&l, path, &err), 0);
	assert_int_equal(umask(022), 077);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0666);
	fd = connect_to(path);
	assert_true(fd >= 0);
	close(fd);
	listener_release(&l);
	assert_int_equal(fd_exists(AT_FDCWD, path), 0);
}

static void test_listener__replaces_a_dead_socket_and_no_living_one(void **state)
{
	struct listener a, b;
	struct err err = ERR_INIT;
	char path[100], text[60];

	snprintf(path, sizeof(path), "%s/s", (char *)*state);
	assert_int_equal(listener_open(&a, path, &err), 0);
	assert_int_equal(listener_open(&b, path, &err), -EADDRINUSE);
	assert_string_equal(err.code, "socket_in_use");
	snprintf(text, sizeof(text), "process %d listens here", (int)getpid());
	assert_string_equal(err.reason, text);
	close(a.fd); /* as after a crash: the name stays */
	a.fd = -1;
	assert_int_equal(listener_open(&b, path, &err), 0);
	listener_release(&a); /* the name is another's by now */
	assert_int_equal(fd_exists(AT_FDCWD, path), 1);
	listener_release(&b);
	assert_int_equal(fd_exists(AT_FDCWD, path), 0);
}

static void test_listener__waits_for_one_that_is_about_to_go(void **state)
{
	struct listener l;
	struct err err = ERR_INIT;
	int ready[2], status;
	char path[100];
	pid_t pid;

	snprintf(path, sizeof(path), "%s/s", (char *)*state);
	assert_int_equal(pipe(ready), 0);
	pid = fork();
	if (pid == 0) {
		if (listener_open(&l, path, &err) == 0)
			(void)!write(ready[1], "", 1);
		usleep(300000);
		_exit(0);
	}
	assert_int_equal(read(ready[0], &status, 1), 1);
	assert_int_equal(listener_open(&l, path, &err), 0);
	assert_int_equal(err.num, 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	listener_release(&l);
	close(ready[0]);
	close(ready[1]);
}

static void test_listener__one_that_is_too_busy_to_answer_is_no_dead_one(void **state)
{
	struct listener a, b;
	struct err err = ERR_INIT;
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int clients[8], n = 0, r = 0;

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/s", (char *)*state);
	assert_int_equal(listener_open(&a, addr.sun_path, &err), 0);
	assert_int_equal(listen(a.fd, 0), 0); /* a backlog that is full at once */
	while (r == 0 && n < 8) {
		clients[n] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		r = connect(clients[n++], (struct sockaddr *)&addr, sizeof(addr));
	}
	assert_int_equal(r, -1);
	assert_int_equal(errno, EAGAIN);
	assert_int_equal(listener_open(&b, addr.sun_path, &err), -EADDRINUSE);
	while (n)
		close(clients[--n]);
	listener_release(&a);
}

static void test_listener__leaves_other_files_alone(void **state)
{
	struct listener l;
	struct err err = ERR_INIT;
	char path[100];

	snprintf(path, sizeof(path), "%s/s", (char *)*state);
	scratch_file("s", "precious");
	assert_int_equal(listener_open(&l, path, &err), -EEXIST);
	assert_string_equal(err.code, "socket_taken");
	assert_int_equal(fd_exists(AT_FDCWD, path), 1);
	snprintf(path, sizeof(path), "%s/no/such/s", (char *)*state);
	assert_int_equal(listener_open(&l, path, &err), -ENOENT);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		scratch_test(test_process__the_api_has_no_privilege_and_no_foreign_descriptor),
		scratch_test(test_process__an_api_that_died_is_reported),
		scratch_test(test_process__an_api_that_hangs_is_killed),
		scratch_test(test_process__the_api_dies_with_its_worker),
		scratch_test(test_process__a_missing_api_user_says_how_to_make_it),
		scratch_test(test_process__locks_the_catalog_beside_it),
		scratch_test(test_process__signals_arrive_on_the_descriptor),
		scratch_test(test_process__in_the_background_the_parent_waits_for_the_outcome),
		scratch_test(test_listener__everybody_may_connect_and_the_name_goes_with_it),
		scratch_test(test_listener__replaces_a_dead_socket_and_no_living_one),
		scratch_test(test_listener__waits_for_one_that_is_about_to_go),
		scratch_test(test_listener__one_that_is_too_busy_to_answer_is_no_dead_one),
		scratch_test(test_listener__leaves_other_files_alone),
	};

	if (argc > 1 && strcmp(argv[1], PROCESS_ROLE_API) == 0)
		return api_role();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
