/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fixture.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/vfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "snap/base/buf.h"

#define SIZE "512M"

const char *fixture_kind;
int fixture_root = -1;
int scratch = -1;
size_t large_size = 3 * 1000 * 1000 + 17;
static char mount_point[64];
static int fds_before;

bool is_root(void)
{
	return geteuid() == 0;
}

static int skip_all(const char *why)
{
	printf("SKIP: %s\n", why);
	return 77;
}

static __attribute__((format(printf, 1, 2))) int shell(const char *fmt, ...)
{
	char line[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	return system(line);
}

static int mount_image(const char *kind)
{
	const char *options = strcmp(kind, "ext4") == 0 ? "-q -F" :
		strcmp(kind, "xfs") == 0		? "-q -f" :
							  "-q";
	int r;

	if (shell("truncate -s " SIZE " %s.img && mkfs.%s %s %s.img >/dev/null", mount_point, kind,
		    options, mount_point) != 0)
		r = skip_all("mkfs failed");
	else if (shell("mount -o loop %s.img %s", mount_point, mount_point) != 0)
		r = skip_all("no loop mounts");
	else
		r = 0;
	shell("rm -f %s.img", mount_point);
	return r;
}

static int start(const char *kind)
{
	int r = 0;

	fixture_kind = kind;
	strcpy(mount_point, "/tmp/test_snap.XXXXXX");
	if (strcmp(kind, "plain") != 0 && !is_root())
		return skip_all("needs root to mount");
	if (!mkdtemp(mount_point))
		return skip_all("no scratch directory");
	if (is_root() && (unshare(CLONE_NEWNS) < 0 ||
				 mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0))
		r = skip_all("no mount namespace");
	else if (strcmp(kind, "tmpfs") == 0)
		r = shell("mount -t tmpfs -o size=" SIZE " none %s", mount_point)
			? skip_all("no tmpfs")
			: 0;
	else if (strcmp(kind, "plain") != 0)
		r = mount_image(kind);
	if (r == 0)
		fixture_root = open(mount_point, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	else
		rmdir(mount_point);
	return r;
}

static void stop(void)
{
	close(fixture_root);
	if (strcmp(fixture_kind, "plain") != 0)
		umount2(mount_point, MNT_DETACH);
	rmdir(mount_point);
}

bool on_btrfs(void)
{
	return strcmp(fixture_kind, "btrfs") == 0;
}

bool on_disk(void)
{
	struct statfs fs;

	return fstatfs(fixture_root, &fs) < 0 || fs.f_type != TMPFS_MAGIC;
}

int fixture_run(const char *kind, const struct CMUnitTest *all, size_t n)
{
	struct CMUnitTest tests[64];
	size_t n_tests = 0;
	int r = start(kind);

	if (r)
		return r;
	for (size_t i = 0; i < n && n_tests < sizeof(tests) / sizeof(tests[0]); i++) {
		bool (*condition)(void) = all[i].initial_state;

		if (condition && !condition())
			continue;
		tests[n_tests] = all[i];
		tests[n_tests++].initial_state = NULL;
	}
	r = _cmocka_run_group_tests(kind, tests, n_tests, NULL, NULL);
	stop();
	return r;
}

int count_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	int n = 0;

	while (d && readdir(d))
		n++;
	closedir(d);
	return n;
}

int fixture_test_setup(void **state)
{
	char name[64];
	static int count;

	(void)state;
	fds_before = count_fds();
	snprintf(name, sizeof(name), "t%d", ++count);
	scratch = make_dir(fixture_root, name);
	return 0;
}

int fixture_test_teardown(void **state)
{
	int fds;

	(void)state;
	close(scratch);
	scratch = -1;
	fds = count_fds();
	if (fds != fds_before)
		printf("descriptors: %d before, %d after\n", fds_before, fds);
	shell("chattr -R -ia %s 2>/dev/null; chmod -R u+rwx %s 2>/dev/null; rm -rf %s/t*",
		mount_point, mount_point, mount_point);
	return fds != fds_before;
}

int make_dir(int at, const char *name)
{
	int fd;

	assert_int_equal(mkdirat(at, name, 0755), 0);
	fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(fd >= 0);
	return fd;
}

void make_file(int at, const char *name, const char *content)
{
	int fd = openat(at, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, content, strlen(content)), strlen(content));
	close(fd);
}

void make_big(int at, const char *name, size_t size)
{
	int fd = openat(at, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	static char block[65536];
	static unsigned seed;

	assert_true(fd >= 0);
	while (size) {
		size_t n = size < sizeof(block) ? size : sizeof(block);

		for (size_t i = 0; i < sizeof(block); i += 4) {
			seed = seed * 1664525 + 1013904223;
			memcpy(block + i, &seed, 4);
		}
		assert_int_equal(write(fd, block, n), n);
		size -= n;
	}
	close(fd);
}

static void make_sparse(int at, const char *name)
{
	int fd = openat(at, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	assert_int_equal(ftruncate(fd, 3 * large_size), 0);
	assert_int_equal(pwrite(fd, "middle", 6, large_size), 6);
	close(fd);
}

static void set_times(int at, const char *name, time_t sec, long nsec)
{
	struct timespec t[2] = {{.tv_sec = sec + 1, .tv_nsec = nsec / 2}, {sec, nsec}};

	assert_int_equal(utimensat(at, name, t, AT_SYMLINK_NOFOLLOW), 0);
}

static void make_socket(int at, const char *name)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(sa.sun_path, sizeof(sa.sun_path), "/proc/self/fd/%d/%s", at, name);
	assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	close(fd);
}

static void set_xattr(int at, const char *name, const char *key, const void *value, size_t len)
{
	char path[300];

	snprintf(path, sizeof(path), "/proc/self/fd/%d/%s", at, name);
	if (lsetxattr(path, key, value, len, 0) < 0)
		print_message("no %s on %s here: %s\n", key, fixture_kind, strerror(errno));
}

/* version 2; user::rw- user:1234:r-- group::r-- mask::rw- other::--- (linux/posix_acl_xattr.h) */
static const unsigned char acl[] = {2, 0, 0, 0, 1, 0, 6, 0, 255, 255, 255, 255, 2, 0, 4, 0, 0xd2,
	4, 0, 0, 4, 0, 4, 0, 255, 255, 255, 255, 16, 0, 6, 0, 255, 255, 255, 255, 32, 0, 0, 0, 255,
	255, 255, 255};
/* VFS_CAP_REVISION_2, effective, CAP_NET_RAW (linux/capability.h) */
static const unsigned char caps[] = {1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};

static void make_as_root(int at)
{
	char big[3000];

	assert_int_equal(mknodat(at, "null device", S_IFCHR | 0640, makedev(1, 3)), 0);
	assert_int_equal(mknodat(at, "block device", S_IFBLK | 0600, makedev(7, 200)), 0);
	assert_int_equal(fchownat(at, "setuid", 33, 34, 0), 0);
	assert_int_equal(fchmodat(at, "setuid", 06755, 0), 0);
	assert_int_equal(fchownat(at, "link", 33, 34, AT_SYMLINK_NOFOLLOW), 0);
	assert_int_equal(fchownat(at, "dir", 33, 34, 0), 0);
	assert_int_equal(fchmodat(at, "dir", 02771, 0), 0);
	memset(big, 'x', sizeof(big));
	set_xattr(at, "caps", "security.capability", caps, sizeof(caps));
	set_xattr(at, "xattrs", "trusted.secret", "t", 1);
	set_xattr(at, "link", "trusted.of-link", "l", 1);
	set_xattr(at, "fifo", "trusted.of-fifo", "f", 1);
	set_xattr(at, "xattrs", "user.big", big, sizeof(big));
	set_xattr(at, "acl", "system.posix_acl_access", acl, sizeof(acl));
	set_xattr(at, "dir", "system.posix_acl_default", acl, sizeof(acl));
}

void make_one_of_each(int at)
{
	int dir = make_dir(at, "dir"), deep = make_dir(dir, "sub"), odd;

	make_file(at, "empty", "");
	make_file(at, "small", "some text\n");
	make_file(deep, "inner", "inner text\n");
	make_big(at, "large", large_size);
	make_sparse(at, "sparse");
	make_file(at, "setuid", "#!");
	make_file(at, "xattrs", "x");
	make_file(at, "caps", "c");
	make_file(at, "acl", "a");
	make_file(at, "no-permissions", "n");
	set_xattr(at, "xattrs", "user.small", "value", 5);
	set_xattr(at, "xattrs", "user.empty", "", 0);
	set_xattr(at, "dir", "user.of-dir", "d", 1);
	assert_int_equal(symlinkat("small", at, "link"), 0);
	assert_int_equal(symlinkat("/nonexistent/absolute", at, "dangling"), 0);
	assert_int_equal(mkfifoat(at, "fifo", 0620), 0);
	make_socket(at, "socket");
	assert_int_equal(linkat(at, "small", dir, "small-2", 0), 0);
	assert_int_equal(linkat(at, "small", deep, "small-3", 0), 0);
	assert_int_equal(linkat(at, "large", at, "large-2", 0), 0);
	assert_int_equal(linkat(at, "fifo", dir, "fifo-2", 0), 0);
	assert_int_equal(linkat(at, "link", dir, "link-2", 0), 0);
	odd = make_dir(at, "odd \xff\xfe\n name\t'\"\\");
	make_file(odd, "\xc3\x28 not utf-8", "odd\n");
	make_file(odd, "-rf", "dash\n");
	close(make_dir(odd, "empty dir"));
	if (is_root())
		make_as_root(at);
	assert_int_equal(fchmodat(at, "no-permissions", is_root() ? 0 : 0400, 0), 0);
	set_times(at, "link", 1000000000, 123456789);
	set_times(at, "small", 1234567890, 987654321);
	set_times(at, "empty", 4000000000, 1); /* beyond 2038 */
	set_times(at, "fifo", 5, 5);
	set_times(odd, "empty dir", 777, 777);
	set_times(dir, "sub", 1111, 2222);
	set_times(at, "dir", 999999999, 999999999);
	close(odd);
	close(deep);
	close(dir);
}

bool has_reflink(void)
{
	return strcmp(fixture_kind, "xfs") == 0 || strcmp(fixture_kind, "btrfs") == 0;
}

/* --- the manifest --- */

struct lines {
	char **at;
	size_t n;
	struct {
		dev_t dev;
		ino_t ino;
		char *path;
	} groups[1000];
	size_t n_groups;
};

static const char *group_of(struct lines *l, const struct stat *st, const char *path)
{
	size_t i;

	if (S_ISDIR(st->st_mode) || st->st_nlink < 2)
		return "-";
	for (i = 0; i < l->n_groups; i++) {
		if (l->groups[i].dev == st->st_dev && l->groups[i].ino == st->st_ino)
			return l->groups[i].path;
	}
	assert_true(i < 1000);
	l->groups[i].dev = st->st_dev;
	l->groups[i].ino = st->st_ino;
	l->groups[i].path = strdup(path);
	l->n_groups++;
	return l->groups[i].path;
}

static uint64_t hash_file(int at, const char *name)
{
	int fd = openat(at, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	static unsigned char data[65536];
	uint64_t h = 14695981039346656037ULL;
	ssize_t n;

	assert_true(fd >= 0);
	while ((n = read(fd, data, sizeof(data))) > 0) {
		for (ssize_t i = 0; i < n; i++)
			h = (h ^ data[i]) * 1099511628211ULL;
	}
	assert_int_equal(n, 0);
	close(fd);
	return h;
}

static int compare_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void add_xattrs(struct buf *b, int at, const char *name)
{
	char path[400], list[4096], value[4096], *names[64];
	ssize_t len, n = 0;

	snprintf(path, sizeof(path), "/proc/self/fd/%d/%s", at, name);
	len = llistxattr(path, list, sizeof(list));
	for (ssize_t i = 0; i < len; i += strlen(list + i) + 1) {
		/* ACLs again, as XFS keeps them. */
		if (strncmp(list + i, "trusted.SGI_", 12) != 0)
			names[n++] = list + i;
	}
	qsort(names, n, sizeof(*names), compare_text);
	for (ssize_t i = 0; i < n; i++) {
		len = lgetxattr(path, names[i], value, sizeof(value));
		buf_printf(b, " %s=", names[i]);
		for (ssize_t k = 0; k < len; k++)
			buf_printf(b, "%02x", (unsigned char)value[k]);
	}
}

static void add_line(struct lines *l, int at, const char *name, const char *path)
{
	struct buf b = BUF_INIT;
	struct stat st;
	char target[4096] = "";
	uint64_t hash = 0;

	assert_int_equal(fstatat(at, name, &st, AT_SYMLINK_NOFOLLOW), 0);
	if (S_ISSOCK(st.st_mode))
		return;
	if (S_ISLNK(st.st_mode))
		assert_true(readlinkat(at, name, target, sizeof(target) - 1) > 0);
	if (S_ISREG(st.st_mode))
		hash = hash_file(at, name);
	buf_printf(&b, "%s mode %o owner %u:%u size %lld mtime %lld.%09ld rdev %llx -> '%s' hash "
		"%llx group %s",
		path, st.st_mode, st.st_uid, st.st_gid,
		S_ISDIR(st.st_mode) ? 0LL : (long long)st.st_size, (long long)st.st_mtim.tv_sec,
		st.st_mtim.tv_nsec, (unsigned long long)st.st_rdev, target,
		(unsigned long long)hash, group_of(l, &st, path));
	add_xattrs(&b, at, name);
	l->at = reallocarray(l->at, l->n + 1, sizeof(*l->at));
	l->at[l->n++] = buf_steal(&b);
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static int not_dots(const struct dirent *d)
{
	return strcmp(d->d_name, ".") != 0 && strcmp(d->d_name, "..") != 0;
}

static void add_dir(struct lines *l, int dir, const char *path)
{
	struct dirent **list;
	int n = scandirat(dir, ".", &list, not_dots, by_name);

	assert_true(n >= 0);
	for (int i = 0; i < n; i++) {
		const char *name = list[i]->d_name;
		struct buf p = BUF_INIT;
		int sub;

		buf_printf(&p, "%s/%s", path, name);
		add_line(l, dir, name, p.data);
		sub = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (sub >= 0) {
			add_dir(l, sub, p.data);
			close(sub);
		}
		buf_release(&p);
		free(list[i]);
	}
	free(list);
}

char *manifest(int dir)
{
	struct lines *l = calloc(1, sizeof(*l));
	struct buf out = BUF_INIT;

	add_line(l, dir, ".", ".");
	add_dir(l, dir, "");
	for (size_t i = 0; i < l->n; i++) {
		buf_printf(&out, "%s\n", l->at[i]);
		free(l->at[i]);
	}
	for (size_t i = 0; i < l->n_groups; i++)
		free(l->groups[i].path);
	free(l->at);
	free(l);
	return buf_steal(&out);
}

void assert_same_tree(int a, int b)
{
	char *ma = manifest(a), *mb = manifest(b), *la = ma, *lb = mb, *ea, *eb;

	while (*la && *lb) {
		ea = strchrnul(la, '\n');
		eb = strchrnul(lb, '\n');
		if (ea - la != eb - lb || memcmp(la, lb, ea - la) != 0) {
			*ea = *eb = '\0';
			print_error("a: %s\nb: %s\n", la, lb);
			fail();
		}
		la = ea + 1;
		lb = eb + 1;
	}
	assert_string_equal(la, lb);
	free(ma);
	free(mb);
}
