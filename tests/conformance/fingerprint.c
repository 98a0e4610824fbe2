/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/conformance/fingerprint.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>
#include <cmocka.h>

#include "snap/base/buf.h"
#include "snap/base/fd.h"
#include "snap/send_paths.h"
#include "snap/send_stream.h"

static uint32_t checksum(int dir, const char *name)
{
	_cleanup_fd_ int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	uint32_t crc = 0xffffffff;
	static char data[65536];
	ssize_t n;

	assert_true(fd >= 0);
	while ((n = read(fd, data, sizeof(data))) > 0)
		crc = send_crc32c(crc, data, n);
	assert_int_equal(n, 0);
	return crc;
}

static char *describe_content(int dir, const char *name, const struct stat *st)
{
	char target[PATH_MAX];
	struct buf b = BUF_INIT;
	ssize_t n;

	buf_printf(&b, "%o", st->st_mode & S_IFMT);
	switch (st->st_mode & S_IFMT) {
	case S_IFREG:
		buf_printf(&b, " %lld %08x", (long long)st->st_size, checksum(dir, name));
		break;
	case S_IFLNK:
		n = readlinkat(dir, name, target, sizeof(target) - 1);
		assert_true(n >= 0);
		target[n] = '\0';
		buf_printf(&b, " -> %s", target);
		break;
	case S_IFBLK:
	case S_IFCHR:
		buf_printf(&b, " %u:%u", major(st->st_rdev), minor(st->st_rdev));
		break;
	default:
		break;
	}
	return buf_steal(&b);
}

static int by_name(const void *x, const void *y)
{
	return strcmp(*(char *const *)x, *(char *const *)y);
}

static void describe_xattrs(struct buf *b, const char *link)
{
	char names[4096], value[4096], *sorted[64];
	ssize_t len = llistxattr(link, names, sizeof(names));
	size_t n = 0;

	for (ssize_t i = 0; i < len && n < 64; i += (ssize_t)strlen(names + i) + 1)
		sorted[n++] = names + i;
	qsort(sorted, n, sizeof(*sorted), by_name);
	for (size_t i = 0; i < n; i++) {
		ssize_t size = lgetxattr(link, sorted[i], value, sizeof(value));

		buf_printf(b, " %s=%08x", sorted[i],
			size < 0 ? 0 : send_crc32c(1, value, size));
	}
}

static char *describe_metadata(int dir, const char *name, const struct stat *st)
{
	struct buf b = BUF_INIT;
	char link[64 + NAME_MAX];

	buf_printf(&b, "%o %u:%u %lld.%09ld", st->st_mode & 07777, st->st_uid, st->st_gid,
		(long long)st->st_mtim.tv_sec, st->st_mtim.tv_nsec);
	snprintf(link, sizeof(link), "/proc/self/fd/%d/%s", dir, name);
	describe_xattrs(&b, link);
	return buf_steal(&b);
}

struct walk {
	struct print *out;
	size_t room;
	struct {
		dev_t dev;
		ino_t ino;
		char *path;
	} links[512];
	size_t n_links;
};

static const char *first_name(struct walk *w, const struct stat *st, const char *path)
{
	for (size_t i = 0; i < w->n_links; i++) {
		if (w->links[i].dev == st->st_dev && w->links[i].ino == st->st_ino)
			return w->links[i].path;
	}
	assert_true(w->n_links < 512);
	w->links[w->n_links].dev = st->st_dev;
	w->links[w->n_links].ino = st->st_ino;
	w->links[w->n_links].path = strdup(path);
	w->n_links++;
	return path;
}

static void add(struct walk *w, int dir, const char *name, const char *path, const struct stat *st)
{
	struct print_entry e;

	if (w->out->n == w->room) {
		w->room = w->room ? w->room * 2 : 64;
		w->out->items = reallocarray(w->out->items, w->room, sizeof(e));
		assert_non_null(w->out->items);
	}
	e.path = strdup(path);
	e.content = describe_content(dir, name, st);
	e.metadata = describe_metadata(dir, name, st);
	e.link = strdup(st->st_nlink > 1 && !S_ISDIR(st->st_mode) ?
		first_name(w, st, path) : path);
	w->out->items[w->out->n++] = e;
}

static void walk(struct walk *w, int fd, const char *path)
{
	struct dirent **names;
	int n = scandirat(fd, ".", &names, NULL, NULL);

	assert_true(n >= 0);
	qsort(names, n, sizeof(*names), (int (*)(const void *, const void *))alphasort);
	for (int i = 0; i < n; i++) {
		const char *name = names[i]->d_name;
		char full[PATH_MAX];
		struct stat st;

		if (strcmp(name, ".") != 0 && strcmp(name, "..") != 0) {
			snprintf(full, sizeof(full), "%s%s%s", path, *path ? "/" : "", name);
			assert_int_equal(fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW), 0);
			add(w, fd, name, full, &st);
			if (S_ISDIR(st.st_mode)) {
				_cleanup_fd_ int sub = fd_open_dir(fd, name);

				assert_true(sub >= 0);
				walk(w, sub, full);
			}
		}
		free(names[i]);
	}
	free(names);
}

static int by_path(const void *x, const void *y)
{
	const struct print_entry *a = x, *b = y;

	return send_path_cmp(a->path, b->path);
}

void print_take(int dir, struct print *out)
{
	struct walk w = {.out = out};
	struct stat st;

	*out = (struct print){0};
	assert_int_equal(fstat(dir, &st), 0);
	add(&w, dir, ".", "", &st);
	walk(&w, dir, "");
	for (size_t i = 0; i < w.n_links; i++)
		free(w.links[i].path);
	qsort(out->items, out->n, sizeof(*out->items), by_path);
}

void print_release(struct print *p)
{
	for (size_t i = 0; i < p->n; i++) {
		free(p->items[i].path);
		free(p->items[i].content);
		free(p->items[i].metadata);
		free(p->items[i].link);
	}
	free(p->items);
	*p = (struct print){0};
}

void print_assert_equal(const struct print *a, const struct print *b)
{
	for (size_t i = 0; i < a->n && i < b->n; i++) {
		const struct print_entry *x = &a->items[i], *y = &b->items[i];

		if (strcmp(x->path, y->path) != 0)
			fail_msg("\"%s\" against \"%s\"", x->path, y->path);
		if (strcmp(x->content, y->content) != 0)
			fail_msg("content of \"%s\": %s against %s", x->path, x->content,
				y->content);
		if (strcmp(x->metadata, y->metadata) != 0)
			fail_msg("metadata of \"%s\": %s against %s", x->path, x->metadata,
				y->metadata);
		if (strcmp(x->link, y->link) != 0)
			fail_msg("\"%s\" is a link to \"%s\" against \"%s\"", x->path, x->link,
				y->link);
	}
	assert_int_equal(a->n, b->n);
}

void assert_trees_equal(int a, int b)
{
	struct print x, y;

	print_take(a, &x);
	print_take(b, &y);
	print_assert_equal(&x, &y);
	print_release(&x);
	print_release(&y);
}

const struct print_entry *print_find(const struct print *p, const char *path)
{
	struct print_entry key = {.path = (char *)(uintptr_t)path};

	return bsearch(&key, p->items, p->n, sizeof(*p->items), by_path);
}

static void make_file(int dir, const char *name, size_t size, mode_t mode)
{
	_cleanup_fd_ int fd = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	uint32_t x = (uint32_t)size + 1;
	struct timespec times[2] = {{1234567890, 123456789}, {1112470620, 987654321}};

	assert_true(fd >= 0);
	for (size_t done = 0; done < size;) {
		uint32_t block[1024];
		size_t n = size - done < sizeof(block) ? size - done : sizeof(block);

		for (size_t i = 0; i < 1024; i++)
			block[i] = x = x * 1664525 + 1013904223;
		assert_int_equal(fd_write_all(fd, block, n), 0);
		done += n;
	}
	/* Owner before mode: a change of the owner takes the setuid bit away. */
	if (geteuid() == 0)
		assert_int_equal(fchown(fd, 1000, 1001), 0);
	assert_int_equal(fchmod(fd, mode), 0);
	assert_int_equal(futimens(fd, times), 0);
}

static void make_many(int dir)
{
	_cleanup_fd_ int sub = -1;
	char name[32];

	assert_int_equal(mkdirat(dir, "many", 0755), 0);
	sub = fd_open_dir(dir, "many");
	for (int i = 0; i < 200; i++) {
		snprintf(name, sizeof(name), "file-%03d.php", i);
		make_file(sub, name, i * 97, 0644);
	}
}

static void make_special(int dir)
{
	char link[64];

	assert_int_equal(mkfifoat(dir, "pipe", 0640), 0);
	if (geteuid() == 0)
		assert_int_equal(mknodat(dir, "null", S_IFCHR | 0666, makedev(1, 3)), 0);
	snprintf(link, sizeof(link), "/proc/self/fd/%d/xattr", dir);
	make_file(dir, "xattr", 10, 0644);
	/* A tmpfs before 6.6 has no user attributes. */
	if (setxattr(link, "user.fsd.test", "value\0x", 7, 0) < 0)
		assert_int_equal(errno, EOPNOTSUPP);
}

static void make_sparse(int dir)
{
	_cleanup_fd_ int fd = openat(dir, "sparse", O_WRONLY | O_CREAT | O_CLOEXEC, 0644);

	assert_int_equal(pwrite(fd, "start", 5, 0), 5);
	assert_int_equal(pwrite(fd, "middle", 6, 1 << 20), 6);
	assert_int_equal(ftruncate(fd, 3 << 20), 0);
}

void make_sample(int dir)
{
	static const struct timespec times[2] = {{1, 2}, {86400, 7}};
	_cleanup_fd_ int sub = -1;

	assert_int_equal(mkdirat(dir, "dir", 0755), 0);
	assert_int_equal(mkdirat(dir, "dir/empty", 0700), 0);
	sub = fd_open_dir(dir, "dir");
	make_file(dir, "empty", 0, 0644);
	make_file(dir, "inline", 100, 0600);
	make_file(dir, "setuid", 5000, 04755);
	make_file(sub, "large", 700001, 0444);
	make_file(sub, "line\nbreak \xff\xfe", 20, 0644);
	assert_int_equal(linkat(dir, "inline", sub, "second-name", 0), 0);
	assert_int_equal(symlinkat("../nowhere/at all", sub, "link"), 0);
	assert_int_equal(symlinkat("/etc/passwd", dir, "absolute"), 0);
	make_many(dir);
	make_special(dir);
	make_sparse(dir);
	assert_int_equal(fchmodat(dir, "dir/empty", 02770, 0), 0);
	assert_int_equal(utimensat(dir, "dir/link", times, AT_SYMLINK_NOFOLLOW), 0);
	assert_int_equal(utimensat(dir, "dir/empty", times, 0), 0);
	assert_int_equal(utimensat(dir, "dir", times, 0), 0);
}
