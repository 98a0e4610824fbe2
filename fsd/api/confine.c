/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fsd/api/confine.h"

#include <errno.h>
#include <grp.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/landlock.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "snap/base/err.h"
#include "snap/base/fd.h"

static int change_user(uid_t uid, gid_t gid)
{
	if (setgroups(0, NULL) < 0 || setresgid(gid, gid, gid) < 0 || setresuid(uid, uid, uid) < 0)
		return -errno;
	return setuid(0) == 0 || seteuid(0) == 0 ? -EPERM : 0; /* and there is no way back */
}

int confine_user(uid_t uid, gid_t gid, struct err *err)
{
	static const struct rlimit none = {0, 0};
	int r;

	if (uid == (uid_t)-1 && geteuid() == 0)
		return err_set(err, EINVAL, "bad_api_user", NULL, "the api process is still root");
	if (uid == 0 || gid == 0)
		return err_set(err, EINVAL, "bad_api_user", NULL,
			"the api process cannot run as root");
	r = uid == (uid_t)-1 ? 0 : change_user(uid, gid);
	if (r < 0)
		return err_sys(err, -r, "change to the api's user", NULL);
	if (setrlimit(RLIMIT_CORE, &none) < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return err_sys(err, errno, "give up privileges", NULL);
	return 0;
}

/* ---- landlock(7): no rule allows anything, so nothing with a path is allowed ---- */

static int fence_landlock(void)
{
	struct landlock_ruleset_attr attr = {
		/* The rights of ABI 1; later ones add to it, and cover refer and truncate. */
		.handled_access_fs = (LANDLOCK_ACCESS_FS_MAKE_SYM << 1) - 1,
	};
	long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
	_cleanup_fd_ int fd = -1;

	if (abi < 1)
		return -ENOSYS;
	if (abi >= 2)
		attr.handled_access_fs |= 1ull << 13; /* REFER */
	if (abi >= 3)
		attr.handled_access_fs |= 1ull << 14; /* TRUNCATE */
	if (abi >= 5)
		attr.handled_access_fs |= 1ull << 15; /* IOCTL_DEV */
	fd = syscall(SYS_landlock_create_ruleset, &attr, sizeof(attr), 0);
	if (fd < 0 || syscall(SYS_landlock_restrict_self, fd, 0) < 0)
		return -errno;
	return 0;
}

/* ---- seccomp(2) ---- */

#if defined(__x86_64__)
#define FENCE_ARCH AUDIT_ARCH_X86_64
#define FENCE_NR_MAX 0x3fffffff /* above: the x32 interface */
#elif defined(__aarch64__)
#define FENCE_ARCH AUDIT_ARCH_AARCH64
#define FENCE_NR_MAX 0x7fffffff
#endif

#define NR offsetof(struct seccomp_data, nr)
#define ARCH offsetof(struct seccomp_data, arch)
#define ARG0 offsetof(struct seccomp_data, args) /* the low half on little-endian machines */

#define LOAD(what) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, what)
#define RETURN(what) BPF_STMT(BPF_RET | BPF_K, what)
#define DENY RETURN(SECCOMP_RET_ERRNO | EACCES)
#define REFUSE(call) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_##call, 0, 1), DENY

#ifdef FENCE_ARCH
static struct sock_filter filter[] = {
	LOAD(ARCH),
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, FENCE_ARCH, 1, 0),
	RETURN(SECCOMP_RET_KILL_PROCESS),
	LOAD(NR),
	BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, FENCE_NR_MAX, 0, 1),
	RETURN(SECCOMP_RET_KILL_PROCESS),
	/* files */
	REFUSE(openat),
	REFUSE(openat2),
	REFUSE(open_by_handle_at),
	REFUSE(name_to_handle_at),
	REFUSE(unlinkat),
	REFUSE(renameat2),
	REFUSE(linkat),
	REFUSE(symlinkat),
	REFUSE(mkdirat),
	REFUSE(mknodat),
	REFUSE(fchmodat),
	REFUSE(fchownat),
	REFUSE(truncate),
	REFUSE(utimensat),
	REFUSE(readlinkat),
	REFUSE(faccessat),
	REFUSE(faccessat2),
	REFUSE(chdir),
	REFUSE(fchdir),
	REFUSE(chroot),
	REFUSE(setxattr),
	REFUSE(lsetxattr),
	REFUSE(statfs),
	REFUSE(statx),
	REFUSE(inotify_add_watch),
	REFUSE(fanotify_init),
#ifdef __x86_64__
	REFUSE(open),
	REFUSE(creat),
	REFUSE(unlink),
	REFUSE(rename),
	REFUSE(renameat),
	REFUSE(link),
	REFUSE(symlink),
	REFUSE(mkdir),
	REFUSE(rmdir),
	REFUSE(mknod),
	REFUSE(chmod),
	REFUSE(chown),
	REFUSE(lchown),
	REFUSE(utime),
	REFUSE(utimes),
	REFUSE(readlink),
	REFUSE(access),
	REFUSE(stat),
	REFUSE(lstat),
	REFUSE(fork),
	REFUSE(vfork),
#endif
	/* programs and processes */
	REFUSE(execve),
	REFUSE(execveat),
	REFUSE(ptrace),
	REFUSE(process_vm_readv),
	REFUSE(process_vm_writev),
	REFUSE(kill),
	REFUSE(pidfd_open),
	REFUSE(pidfd_getfd),
	/* sockets: those there are come from accept */
	REFUSE(socket),
	REFUSE(socketpair),
	REFUSE(connect),
	REFUSE(bind),
	REFUSE(listen),
	/* the kernel's wider surface */
	REFUSE(io_uring_setup),
	REFUSE(io_uring_enter),
	REFUSE(io_uring_register),
	REFUSE(bpf),
	REFUSE(perf_event_open),
	REFUSE(userfaultfd),
	REFUSE(keyctl),
	REFUSE(add_key),
	REFUSE(request_key),
	REFUSE(unshare),
	REFUSE(setns),
	REFUSE(mount),
	REFUSE(umount2),
	REFUSE(fsopen),
	REFUSE(open_tree),
	REFUSE(move_mount),
	REFUSE(personality),
	/* Threads yes, processes no. clone3's flags cannot be read here: the C library falls back
	 * to clone when it does not exist. */
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_clone3, 0, 1),
	RETURN(SECCOMP_RET_ERRNO | ENOSYS),
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_clone, 0, 3),
	LOAD(ARG0),
	BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, CLONE_THREAD, 1, 0),
	DENY,
	RETURN(SECCOMP_RET_ALLOW),
};

static int fence_seccomp(void)
{
	struct sock_fprog prog = {sizeof(filter) / sizeof(filter[0]), filter};

	return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog, 0, 0) < 0 ? -errno : 0;
}
#else
static int fence_seccomp(void)
{
	return -ENOSYS;
}
#endif

int confine_fence(struct err *err)
{
	int landlock = fence_landlock(), seccomp = fence_seccomp();

	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		return err_sys(err, errno, "fence the api process", NULL);
	if (landlock < 0 && seccomp < 0)
		return err_sys(err, -seccomp, "fence the api process", NULL);
	return 0;
}
