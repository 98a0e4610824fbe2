/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "snap/skip.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "snap/base/fd.h"
#include "snap/io.h"

#define ID_DIGITS "0123456789abcdefghjkmnpqrstvwxyz"
#define HEX_DIGITS "0123456789abcdef"
#define SILLY ".nfs"
#define SILLY_DIGITS (16 + 8)

static const char *after(const char *s, const char *prefix)
{
	size_t len = strlen(prefix);

	return strncmp(s, prefix, len) == 0 ? s + len : NULL;
}

static const char *name_of(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

bool snap_is_work_name(const char *path)
{
	const char *id = after(path, SNAP_WORK_GONE);
	size_t len;

	if (!id)
		id = after(path, SNAP_WORK_PREFIX);
	if (!id)
		return false;
	len = strspn(id, ID_DIGITS);
	return len >= 8 && len <= 13 && (id[len] == '\0' || id[len] == '/');
}

bool snap_is_silly_name(const char *name)
{
	const char *digits = after(name, SILLY);

	return digits && strlen(digits) == SILLY_DIGITS &&
	       strspn(digits, HEX_DIGITS) == SILLY_DIGITS;
}

static bool is_closed(mode_t mode, uid_t uid)
{
	return S_ISDIR(mode) && uid == geteuid() && !(mode & 077);
}

bool snap_is_work(int tree, const char *path)
{
	size_t len = strcspn(path, "/");
	_cleanup_fd_ int dir = -1;
	char top[NAME_MAX + 1];
	struct stat st;

	if (!snap_is_work_name(path) || len > NAME_MAX)
		return false;
	memcpy(top, path, len);
	top[len] = '\0';
	dir = fd_open_dir(tree, top);
	return dir >= 0 && fstat(dir, &st) == 0 && is_closed(st.st_mode, st.st_uid) &&
	       fd_exists(dir, SNAP_WORK_MARK) == 1;
}

static bool look(struct io_dir *dir, struct io_item *it)
{
	io_drv(dir)->stat(dir, it, 1);
	return it->error == 0;
}

static bool is_work(struct io_dir *root, const char *name)
{
	struct io_item it = {.name = name}, mark = {.name = SNAP_WORK_MARK};
	struct io_dir *work;
	bool marked;

	if (!look(root, &it) || !is_closed(it.st.mode, it.st.uid) ||
		io_drv(root)->dir_open(root, name, 0, &work) < 0)
		return false;
	marked = look(work, &mark);
	io_drv(work)->dir_close(&work);
	return marked;
}

static bool is_regular(struct io_dir *dir, const char *name, unsigned char type)
{
	struct io_item it = {.name = name};

	return type == DT_REG || (type == DT_UNKNOWN && look(dir, &it) && S_ISREG(it.st.mode));
}

enum snap_skip snap_skip(struct io_dir *dir, const char *path, unsigned char type)
{
	const char *name = name_of(path);

	if (name == path && snap_is_work_name(name) && is_work(dir, name))
		return SNAP_SKIP_WORK;
	return snap_is_silly_name(name) && is_regular(dir, name, type) ? SNAP_SKIP_SILLY
								       : SNAP_KEEP;
}

bool snap_skip_at(int tree, const char *path)
{
	_cleanup_fd_ int fd = -1;
	struct stat st;

	if (snap_is_work(tree, path))
		return true;
	if (!snap_is_silly_name(name_of(path)))
		return false;
	fd = fd_open_beneath(tree, path, O_PATH | O_NOFOLLOW);
	return fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
}
