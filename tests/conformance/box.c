/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/conformance/box.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#define NOBODY 65534

static volatile sig_atomic_t child;

static __attribute__((format(printf, 1, 0))) int vshell(const char *fmt, va_list ap)
{
	char command[2048];

	vsnprintf(command, sizeof(command), fmt, ap);
	return system(command);
}

static __attribute__((format(printf, 1, 2))) int shell(const char *fmt, ...)
{
	va_list ap;
	int r;

	va_start(ap, fmt);
	r = vshell(fmt, ap);
	va_end(ap);
	return r;
}

void box_shell(const char *fmt, ...)
{
	va_list ap;
	int r;

	va_start(ap, fmt);
	r = vshell(fmt, ap);
	va_end(ap);
	if (r != 0)
		fail_msg("command failed: %s", fmt);
}

static int skip_all(const char *why)
{
	printf("SKIP: %s\n", why);
	fflush(stdout);
	return BOX_SKIP;
}

static bool has_image(const struct box *box)
{
	return strcmp(box->fs, "tmpfs") != 0 && strcmp(box->fs, "here") != 0;
}

unsigned box_can(const struct box *box)
{
	unsigned can = 0;

	if (strcmp(box->fs, "here") != 0)
		can |= box->user ? BOX_MOUNTED : BOX_MOUNTED | BOX_MOUNTS;
	if (has_image(box) && !box->user)
		can |= BOX_CUTS;
	if (strcmp(box->fs, "btrfs") == 0)
		can |= BOX_SUBVOLUMES;
	return can;
}

static int mount_pool(const struct box *box, const char *mode)
{
	const char *option = strcmp(mode, "user-rm") == 0 ? ",user_subvol_rm_allowed" : "";

	if (!has_image(box))
		return shell("mount -t tmpfs -o size=512m pool %s/mnt", box->dir);
	return shell("cd %s && mkdir store && truncate -s 4G store.img && "
		"mkfs.btrfs -q store.img >/dev/null 2>&1 && mount -o loop store.img store && "
		"truncate -s 512M store/pool.img && mkfs.%s -q store/pool.img >/dev/null 2>&1 && "
		"mount -o loop%s store/pool.img mnt", box->dir, box->fs, option);
}

static int drop_privileges(const struct box *box)
{
	if (chown(box->pool, NOBODY, NOBODY) < 0 || chown(box->other, NOBODY, NOBODY) < 0)
		return -1;
	if (setgroups(0, NULL) < 0 || setgid(NOBODY) < 0 || setuid(NOBODY) < 0)
		return -1;
	/* /proc/self belongs to root after setuid, until the process is dumpable again. */
	return prctl(PR_SET_DUMPABLE, 1);
}

static int in_box(const struct box *box, const char *mode, int (*body)(const struct box *box))
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	/* In memory, where nobody else's writes are waited for. */
	if (strcmp(box->fs, "here") != 0 &&
		(unshare(CLONE_NEWNS) < 0 ||
			mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
			mount("box", box->dir, "tmpfs", 0, "size=4g,mode=755") < 0))
		return skip_all("no mount namespace of its own");
	if (shell("cd %s && mkdir mnt other cut", box->dir) != 0)
		return skip_all("cannot make folders");
	if (strcmp(box->fs, "here") != 0 &&
		(mount("other", box->other, "tmpfs", 0, "size=512m") < 0 ||
			mount_pool(box, mode) != 0))
		return skip_all("the file system cannot be made or mounted");
	if (mkdir(box->pool, 0755) < 0)
		return skip_all("cannot make the pool's folder");
	if (box->user && drop_privileges(box) < 0)
		return skip_all("cannot become an ordinary user");
	return body(box);
}

static void on_signal(int sig)
{
	(void)sig;
	if (child > 0)
		kill((pid_t)child, SIGKILL);
}

static int wait_for_child(void)
{
	int status = 0;

	while (waitpid((pid_t)child, &status, 0) < 0 && errno == EINTR)
		;
	child = 0;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

int box_run(const char *fs, const char *mode, int (*body)(const struct box *box))
{
	struct box box = {.fs = fs, .user = *mode};
	const char *base = getenv("TMPDIR");
	struct sigaction act = {.sa_handler = on_signal};
	int r;

	if (strcmp(fs, "here") != 0 && geteuid() != 0)
		return skip_all("needs root to mount");
	snprintf(box.dir, sizeof(box.dir), "%.32s/fsd-box.XXXXXX", base ? base : "/tmp");
	if (!mkdtemp(box.dir))
		return skip_all("no scratch folder");
	chmod(box.dir, 0755);
	snprintf(box.pool, sizeof(box.pool), "%s/mnt/pool", box.dir);
	snprintf(box.other, sizeof(box.other), "%s/other", box.dir);
	snprintf(box.cut, sizeof(box.cut), "%s/cut", box.dir);
	sigaction(SIGTERM, &act, NULL);
	sigaction(SIGINT, &act, NULL);
	fflush(NULL);
	child = fork();
	if (child == 0) {
		r = in_box(&box, mode, body);
		fflush(NULL);
		exit(r); /* not _exit: the leak checker looks then */
	}
	r = child < 0 ? skip_all("cannot fork") : wait_for_child();
	/* The mounts went with the namespace; what is left are files. */
	shell("rm -rf --one-file-system %s", box.dir);
	return r;
}

void box_cut(const struct box *box)
{
	const char *options = strcmp(box->fs, "xfs") == 0 ? "loop,nouuid" : "loop";

	box_shell("cd %s && rm -f store/cut.img && "
		"cp --reflink=always store/pool.img store/cut.img", box->dir);
	if (shell("mount -o %s %s/store/cut.img %s 2>/dev/null", options, box->dir, box->cut) == 0)
		return;
	/* Before 6.7 btrfs takes a second image of one id for the same disk. */
	box_shell("cd %s && btrfstune -m store/cut.img >/dev/null && "
		"mount -o loop store/cut.img cut", box->dir);
}

void box_cut_end(const struct box *box)
{
	box_shell("umount %s", box->cut);
}

int box_count_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	int n = 0;

	assert_non_null(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n - 3; /* ".", ".." and the directory's own */
}
