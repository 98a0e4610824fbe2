/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/conformance/pool_env.h"

#include <dirent.h>

#include "snap/remove.h"

struct env env;

static int open_wrapper(const char *name)
{
	assert_int_equal(mkdirat(env.root, name, 0755), 0);
	return fd_open_dir(env.root, name);
}

int env_setup(void **state)
{
	(void)state;
	env.ctx = (struct snap_ctx){0};
	err_clear(&env.err);
	env.fds = box_count_fds();
	env.root = open(env.box->pool, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(env.root >= 0);
	assert_int_equal(env.driver->open(env.root, &env.pool, &env.err), 0);
	env.caps = env.driver->caps(env.pool);
	env.one = open_wrapper("one");
	env.two = open_wrapper("two");
	return 0;
}

static void remove_wrapper(int *fd, const char *name)
{
	struct snap_ctx ctx = {0};

	assert_done(env.driver->tree_remove(env.pool, at(*fd), &ctx, &env.err));
	fd_close(fd);
	assert_done(snap_remove(env.root, name, &ctx, &env.err));
}

int env_teardown(void **state)
{
	(void)state;
	remove_wrapper(&env.one, "one");
	remove_wrapper(&env.two, "two");
	env.driver->close(&env.pool);
	assert_null(env.pool);
	fd_close(&env.root);
	assert_int_equal(box_count_fds(), env.fds);
	return 0;
}

void assert_empty(int wrapper)
{
	int fd = fd_reopen_dir(wrapper);
	DIR *d = fdopendir(fd);
	const struct dirent *e;

	while ((e = readdir(d))) {
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
			fail_msg("\"%s\" was left behind", e->d_name);
	}
	closedir(d);
}

int tree_of(int wrapper)
{
	int fd = fd_open_dir(wrapper, "tree");

	assert_true(fd >= 0);
	return fd;
}

void make_tree(int wrapper)
{
	_cleanup_fd_ int fd = -1;

	assert_done(env.driver->tree_create(env.pool, at(wrapper), &env.err));
	fd = tree_of(wrapper);
	make_sample(fd);
}

void copy_tree(int from, int to, unsigned flags)
{
	struct pool_made made = {0};

	assert_done(env.driver->tree_copy(env.pool, at(from), at(to), flags, &env.ctx, &made,
		&env.err));
	snap_copy_result_release(&made.copy);
}

void write_text(int dir, const char *path, const char *text)
{
	_cleanup_fd_ int fd = openat(dir, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	assert_true(fd >= 0);
	assert_int_equal(fd_write_all(fd, text, strlen(text)), 0);
}

void assert_text(int dir, const char *path, const char *text)
{
	_cleanup_fd_ int fd = openat(dir, path, O_RDONLY | O_CLOEXEC);
	char data[256];
	ssize_t n;

	assert_true(fd >= 0);
	n = read(fd, data, sizeof(data) - 1);
	assert_true(n >= 0);
	data[n] = '\0';
	assert_string_equal(data, text);
}

int make_foreign(int parent, const char *name)
{
	int fd;

	assert_int_equal(mkdirat(parent, name, 0755), 0);
	fd = fd_open_dir(parent, name);
	make_sample(fd);
	return fd;
}
