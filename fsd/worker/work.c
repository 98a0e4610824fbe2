/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fsd/worker/work.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fsd/core/json.h"
#include "fsd/worker/layout.h"
#include "fsd/worker/step.h"
#include "snap/base/clock.h"
#include "snap/base/err.h"
#include "snap/base/fd.h"
#include "snap/remove.h"
#include "snap/skip.h"

static bool is_ours(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && st.st_uid == geteuid() && !(st.st_mode & 077);
}

static bool is_empty(int dir)
{
	int fd = fd_reopen_dir(dir), n = 0;
	DIR *d = fd < 0 ? NULL : fdopendir(fd);

	if (!d) {
		fd_close(&fd);
		return false;
	}
	while (n < 3 && readdir(d))
		n++;
	closedir(d);
	return n == 2; /* "." and ".." */
}

/* What a crash left of one that was just being made is empty. */
static bool is_work(int fd)
{
	return fd_exists(fd, SNAP_WORK_MARK) == 1 || is_empty(fd);
}

int work_open(int tree, const char *name)
{
	int fd = fd_open_dir(tree, name);

	if (fd == -ENOTDIR || fd == -ELOOP)
		return -ENOENT;
	if (fd >= 0 && !(is_ours(fd) && is_work(fd))) {
		close(fd);
		return -ENOENT;
	}
	return fd;
}

static int mark(int work)
{
	int fd = openat(work, SNAP_WORK_MARK, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);

	if (fd < 0)
		return -errno;
	close(fd);
	return 0;
}

static int make(int tree, const char *name)
{
	int fd, r;

	if (mkdirat(tree, name, 0700) < 0 && errno != EEXIST)
		return -errno;
	step("work.made");
	fd = work_open(tree, name);
	if (fd < 0)
		return fd == -ENOENT ? -EEXIST : fd;
	r = mark(fd);
	step("work.marked");
	if (r < 0)
		fd_close(&fd);
	return r < 0 ? r : fd;
}

int work_make(int tree, const char *name, struct err *err)
{
	int fd = make(tree, name);

	if (fd != -EEXIST)
		return fd < 0 ? err_sys(err, -fd, "make a work directory", name) : fd;
	err_set(err, EEXIST, "in_the_way", name,
		"fsd needs this name in the live tree, and something else has it");
	err_hint(err, "rename or remove it there, and try again");
	return -EEXIST;
}

int work_open_parent(int tree, const char *path, const char **name)
{
	const char *slash = strrchr(path, '/');
	char folder[PATH_MAX];

	*name = slash ? slash + 1 : path;
	if (!slash)
		return fd_reopen_dir(tree);
	if ((size_t)(slash - path) >= sizeof(folder))
		return -ENAMETOOLONG;
	memcpy(folder, path, slash - path);
	folder[slash - path] = '\0';
	return fd_open_beneath(tree, folder, O_RDONLY | O_DIRECTORY);
}

/* Also one that a crash left empty, which is none to a copy (snap_is_work). */
static bool is_named_work(int tree, const char *name)
{
	_cleanup_fd_ int fd = snap_is_work_name(name) ? work_open(tree, name) : -1;

	return fd >= 0;
}

json_t *work_list(int tree)
{
	int fd = fd_reopen_dir(tree);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	json_t *names = d ? json_array() : NULL;
	struct dirent *e;

	if (!d)
		fd_close(&fd);
	while (d && (errno = 0, e = readdir(d))) {
		if (is_named_work(tree, e->d_name))
			json_array_append_new(names, json_string(e->d_name));
	}
	if (d && errno) {
		json_decref(names);
		names = NULL;
	}
	if (d)
		closedir(d);
	return names;
}

struct content {
	int work;
	struct snap_ctx *ctx;
	struct err *err;
	int failed;
};

static int remove_one(const char *name, void *arg)
{
	struct content *c = arg;
	struct err err = ERR_INIT;
	int r = snap_remove(c->work, name, c->ctx, &err);

	if (r < 0 && !c->failed) {
		c->failed = r;
		if (c->err)
			*c->err = err;
	}
	return snap_canceled(c->ctx) ? -ECANCELED : 0;
}

int work_remove(int tree, const char *name, int work, struct snap_ctx *ctx, struct err *err)
{
	struct content c = {.work = work, .ctx = ctx, .err = err};
	int r = fd_sweep_file(work, WORK_PLAN); /* of dot names only the mark is left then */

	if (r == 0)
		r = layout_each_name(work, remove_one, &c);
	step("work.emptied");
	if (c.failed)
		return c.failed;
	if (r == 0)
		r = unlinkat(work, SNAP_WORK_MARK, 0) < 0 && errno != ENOENT ? -errno : 0;
	step("work.unmarked");
	return r < 0 ? err_sys(err, -r, "remove", name)
		     : snap_remove_held(tree, name, work, ctx, err);
}

int work_drop(int tree, struct snap_ctx *ctx, struct err *err)
{
	json_t *names = work_list(tree), *name;
	int r = names ? 0 : err_sys(err, EIO, "list", NULL);
	size_t i;

	json_array_foreach(names, i, name) {
		_cleanup_fd_ int work = work_open(tree, json_string_value(name));

		if (r == 0 && work >= 0)
			r = work_remove(tree, json_string_value(name), work, ctx, err);
	}
	json_decref(names);
	return r;
}

void work_note_taken(int work, json_t *item)
{
	const char *name = json_str_at(item, "name");
	struct stat st;

	if (name && fstatat(work, name, &st, AT_SYMLINK_NOFOLLOW) == 0)
		json_object_set_new(item, "taken", json_integer(clock_of(&st.st_ctim)));
}
