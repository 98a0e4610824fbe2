/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fsd/process.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fsd/core/lock.h"
#include "fsd/core/log.h"
#include "snap/base/err.h"
#include "snap/base/fd.h"

#define OPEN_FILES 65536

static int detach_fd = -1;

void process_prepare(void)
{
	struct rlimit files;
	int fd;

	do
		fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	while (fd >= 0 && fd <= STDERR_FILENO);
	fd_close(&fd);
	for (fd = 0; fd <= STDERR_FILENO; fd++)
		fcntl(fd, F_SETFD, 0);
	umask(022);
	if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < OPEN_FILES) {
		files.rlim_cur = files.rlim_max < OPEN_FILES ? files.rlim_max : OPEN_FILES;
		setrlimit(RLIMIT_NOFILE, &files);
	}
}

int process_signals(int *fd, struct err *err)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGCHLD);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGCHLD, SIG_DFL); /* one that was inherited as ignored would reap children unseen */
	if (sigprocmask(SIG_BLOCK, &set, NULL) == 0)
		*fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return *fd < 0 ? err_sys(err, errno, "receive signals", NULL) : 0;
}

/* ---- the catalog's lock ---- */

int process_lock_catalog(const char *catalog, int *fd, struct err *err)
{
	_cleanup_free_ char *folder = strdup(catalog);
	_cleanup_fd_ int dirfd = -1;
	char name[NAME_MAX + 1], *slash = folder ? strrchr(folder, '/') : NULL;

	if (!folder || !slash)
		return err_sys(err, folder ? EINVAL : ENOMEM, "lock the catalog", catalog);
	if (snprintf(name, sizeof(name), "%s.lock", slash + 1) > NAME_MAX)
		return err_sys(err, ENAMETOOLONG, "lock the catalog", catalog);
	slash[slash == folder] = '\0';
	if (mkdir(folder, 0700) < 0 && errno != EEXIST) {
		err_sys(err, errno, "make the catalog's folder", folder);
		if (err->num == ENOENT)
			err_hint(err, "make the folder above it, or change \"catalog\"");
		return -err->num;
	}
	dirfd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dirfd < 0)
		return err_sys(err, errno, "open the catalog's folder", folder);
	return lock_take(dirfd, name, catalog, LOCK_WAIT, fd, err);
}

/* ---- the api process ---- */

int process_find_user(const char *name, struct process_user *out, struct err *err)
{
	struct passwd *pw;

	*out = (struct process_user){.same = geteuid() != 0, .uid = geteuid(), .gid = getegid()};
	if (out->same)
		return 0;
	errno = 0;
	pw = getpwnam(name);
	if (!pw && errno && errno != ENOENT)
		return err_sys(err, errno, "look up api_user", name);
	if (!pw) {
		err_set(err, ENOENT, "no_api_user", name,
			"there is no such user, and the api process needs one of its "
			"own (api_user)");
		err_hint(err, "make it: useradd --system --user-group --no-create-home "
			"--home-dir /nonexistent --shell /usr/sbin/nologin %s", name);
		return -ENOENT;
	}
	if (pw->pw_uid == 0 || pw->pw_gid == 0)
		return err_set(err, EINVAL, "bad_api_user", name,
			"api_user must be an unprivileged user of an unprivileged group");
	out->uid = pw->pw_uid;
	out->gid = pw->pw_gid;
	return 0;
}

static int drop_privileges(const struct process_user *u)
{
	if (!u->same && (setgroups(0, NULL) < 0 || setresgid(u->gid, u->gid, u->gid) < 0 ||
				setresuid(u->uid, u->uid, u->uid) < 0))
		return -errno;
	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ? -errno : 0;
}

/* Give the two sockets their numbers, whatever numbers they have now. */
static int place_fds(int msg_fd, int listen_fd, int *report)
{
	int high = PROCESS_LISTEN_FD + 2, fds[3] = {msg_fd, listen_fd, *report};

	for (int i = 0; i < 3; i++) {
		fds[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, high);
		if (fds[i] < 0)
			return -errno;
	}
	if (dup2(fds[0], PROCESS_MSG_FD) < 0 || dup2(fds[1], PROCESS_LISTEN_FD) < 0 ||
		dup3(fds[2], PROCESS_LISTEN_FD + 1, O_CLOEXEC) < 0)
		return -errno;
	*report = PROCESS_LISTEN_FD + 1;
	return close_range(PROCESS_LISTEN_FD + 2, ~0u, 0) < 0 ? -errno : 0;
}

/* A fresh environment: only what the log and the sanitizers need. */
static void pick_environment(char *out[8], char store[8][512])
{
	static const char *const kept[] = {"JOURNAL_STREAM", "ASAN_OPTIONS", "LSAN_OPTIONS",
		"UBSAN_OPTIONS", "TSAN_OPTIONS", "TZ"};
	size_t n = 0;

	for (size_t i = 0; i < sizeof(kept) / sizeof(kept[0]); i++) {
		const char *value = getenv(kept[i]);

		if (value && snprintf(store[n], 512, "%s=%s", kept[i], value) < 512) {
			out[n] = store[n];
			n++;
		}
	}
	out[n] = NULL;
}

/* In the child: no return on success. Signals of a terminal or a service manager go to the whole
 * group; the api leaves when its worker does, so it ignores them. */
static int become_api(const struct process_api_args *a, int msg_fd, pid_t parent, int *report)
{
	char name[] = "fsd-api", role[] = PROCESS_ROLE_API, level[16];
	char foreground[] = "foreground", background[] = "background";
	char *args[] = {name, role, level, a->background ? background : foreground, NULL};
	char store[8][512], *env[8];
	sigset_t none;
	int r;

	snprintf(level, sizeof(level), "%d", a->log_level);
	pick_environment(env, store);
	signal(SIGTERM, SIG_IGN);
	signal(SIGINT, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	/* Who started a daemon waits for the end of its standard error. */
	r = a->background && dup2(STDIN_FILENO, STDERR_FILENO) < 0 ? -errno : 0;
	if (r == 0)
		r = place_fds(msg_fd, a->listen_fd, report);
	if (r == 0)
		r = drop_privileges(&a->user);
	/* After the change of ids, which clears it; and the parent may be gone already. */
	if (r == 0 && prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0)
		r = -errno;
	if (r == 0 && getppid() != parent)
		r = -ESRCH;
	if (r == 0 && chdir("/") == 0) {
		execve("/proc/self/exe", args, env);
		r = -errno;
	}
	return r;
}

/* What the child writes to the pipe when exec fails; the pipe is at its end when it succeeds. */
static int read_report(int fd)
{
	int r = 0;
	ssize_t n;

	do
		n = read(fd, &r, sizeof(r));
	while (n < 0 && errno == EINTR);
	return n == sizeof(r) ? r : 0;
}

int process_start_api(const struct process_api_args *args, struct process_api *out, struct err *err)
{
	int pair[2] = {-1, -1}, report[2] = {-1, -1}, r = 0;
	pid_t self = getpid(), pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0 ||
		pipe2(report, O_CLOEXEC) < 0 || (pid = fork()) < 0) {
		r = err_sys(err, errno, "start the api process", NULL);
		goto out;
	}
	if (pid == 0) {
		r = become_api(args, pair[1], self, &report[1]);
		(void)!write(report[1], &r, sizeof(r));
		_exit(127);
	}
	fd_close(&report[1]);
	r = read_report(report[0]);
	if (r < 0) {
		waitpid(pid, NULL, 0);
		err_sys(err, -r, "start the api process", "/proc/self/exe");
		if (r == -EACCES)
			err_hint(err, "api_user must be able to execute the fsd program");
		goto out;
	}
	*out = (struct process_api){.pid = pid, .msg_fd = pair[0]};
	pair[0] = -1;
out:
	fd_close(&pair[0]);
	fd_close(&pair[1]);
	fd_close(&report[0]);
	fd_close(&report[1]);
	return r;
}

void process_stop_api(struct process_api *api, int wait, int *status)
{
	_cleanup_fd_ int pidfd = -1;
	int ignored, *out = status ? status : &ignored;

	fd_close(&api->msg_fd);
	*out = 0;
	if (api->pid <= 0)
		return;
	pidfd = syscall(SYS_pidfd_open, api->pid, 0);
	if (pidfd >= 0 && poll(&(struct pollfd){.fd = pidfd, .events = POLLIN}, 1, wait) == 0)
		kill(api->pid, SIGKILL);
	while (waitpid(api->pid, out, 0) < 0 && errno == EINTR)
		;
	*api = PROCESS_API_INIT;
}

/* ---- the background ---- */

static void wait_for_detach(int fd, pid_t child)
{
	char byte;
	int status;

	if (read(fd, &byte, 1) == 1)
		_exit(0);
	if (waitpid(child, &status, 0) == child && WIFEXITED(status))
		_exit(WEXITSTATUS(status));
	_exit(1);
}

int process_background(struct err *err)
{
	int p[2], null;
	pid_t pid;

	if (pipe2(p, O_CLOEXEC) < 0 || (pid = fork()) < 0)
		return err_sys(err, errno, "go to the background", NULL);
	if (pid > 0) {
		close(p[1]);
		wait_for_detach(p[0], pid);
	}
	close(p[0]);
	detach_fd = p[1];
	setsid();
	null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(null, STDOUT_FILENO) < 0 ||
		chdir("/") < 0)
		return err_sys(err, errno, "go to the background", NULL);
	close(null);
	return 0;
}

void process_detach(void)
{
	if (detach_fd < 0)
		return;
	log_background();
	dup2(STDIN_FILENO, STDERR_FILENO);
	(void)!write(detach_fd, "", 1);
	fd_close(&detach_fd);
}
