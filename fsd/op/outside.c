/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fsd/op/outside.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "fsd/core/json.h"
#include "fsd/worker/step.h"
#include "snap/base/clock.h"
#include "snap/base/err.h"
#include "snap/base/fd.h"

void outside_release(struct outside *o)
{
	fd_close(&o->parent);
	fd_close(&o->dir);
}

/* ---- names ---- */

static int bad_path(struct err *err, const char *path, const char *why)
{
	return err_set(err, EINVAL, "bad_path", path, "%s", why);
}

/* Without "." and empty components; ".." would undo what is checked textually. */
static int normalise(const char *in, char out[PATH_MAX], struct err *err)
{
	size_t len = 0;

	if (*in != '/')
		return bad_path(err, in, "this is not an absolute path");
	for (const char *s = in; *s; ) {
		size_t n;

		s += strspn(s, "/");
		n = strcspn(s, "/");
		if (n == 2 && strncmp(s, "..", 2) == 0)
			return bad_path(err, in, "the path has \"..\" in it");
		if (n > NAME_MAX || len + n + 2 > PATH_MAX)
			return bad_path(err, in, "the path is too long");
		if (n && !(n == 1 && *s == '.')) {
			out[len++] = '/';
			memcpy(out + len, s, n);
			len += n;
		}
		s += n;
	}
	out[len] = '\0';
	return len ? 0 : err_set(err, EACCES, "system_directory", "/",
				 "this directory belongs to the system");
}

/* Length of the longest entry of import_from that the path lies beneath; -1: none. */
static ssize_t vouched_for(const struct config *c, const char *path)
{
	ssize_t best = -1;

	for (unsigned i = 0; i < c->n_import_from; i++) {
		char base[PATH_MAX];
		size_t len;

		if (normalise(c->import_from[i], base, NULL) < 0)
			*base = '\0'; /* "/" */
		len = strlen(base);
		if (strncmp(path, base, len) == 0 && path[len] == '/' && (ssize_t)len > best)
			best = (ssize_t)len;
	}
	return best;
}

static bool trusted(const struct request *by)
{
	uid_t uid = by->actor.uid;

	return uid == 0 || uid == (uid_t)-1 || uid == geteuid();
}

int outside_side_name(const struct outside *o, const char *job, char out[NAME_MAX + 1])
{
	int n = snprintf(out, NAME_MAX + 1, "%s.fsd-%s", o->name, job);

	return n > NAME_MAX ? -ENAMETOOLONG : 0;
}

/* ---- opening ---- */

static int open_base(const struct outside *o, struct err *err)
{
	char base[PATH_MAX] = "/";
	int fd;

	if (o->base_len) {
		memcpy(base, o->path, o->base_len);
		base[o->base_len] = '\0';
	}
	fd = open(base, O_PATH | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? err_sys(err, errno, "open", base) : fd;
}

static int open_failed(int num, const char *path, struct err *err)
{
	if (num == ELOOP || num == EXDEV) {
		err_set(err, EINVAL, "is_symlink", path, "the path leads through a symbolic link");
		err_hint(err, "name it as realpath(1) prints it");
		return -EINVAL;
	}
	if (num == ENOENT)
		return err_set(err, ENOENT, "not_found", path,
			"a directory on the way to it does not exist");
	if (num == ENOTDIR)
		return err_set(err, EINVAL, "not_a_directory", path,
			"a part of the path is not a directory");
	return err_sys(err, num, "open", path);
}

static int open_parent(struct outside *o, struct err *err)
{
	_cleanup_fd_ int base = open_base(o, err);
	char rest[PATH_MAX];
	size_t len;

	if (base < 0)
		return base;
	o->name = strrchr(o->path, '/') + 1;
	len = (size_t)(o->name - o->path) - o->base_len; /* "/a/b/" of "/base/a/b/name" */
	memcpy(rest, o->path + o->base_len, len);
	rest[len] = '\0';
	o->parent = fd_open_beneath(base, len > 1 ? rest + 1 : ".", O_RDONLY | O_DIRECTORY);
	return o->parent < 0 ? open_failed(-o->parent, o->path, err) : 0;
}

int outside_look(struct outside *o)
{
	struct stat st;

	fd_close(&o->dir);
	o->st = (struct stat){0};
	if (fstatat(o->parent, o->name, &o->st, AT_SYMLINK_NOFOLLOW) < 0) {
		o->st = (struct stat){0};
		return errno == ENOENT ? 0 : -errno;
	}
	if (!S_ISDIR(o->st.st_mode))
		return 0;
	o->dir = fd_open_dir(o->parent, o->name);
	if (o->dir < 0)
		return o->dir;
	/* what was opened counts: the name may be another's by now */
	if (fstat(o->dir, &st) < 0)
		return -errno;
	o->st = st;
	return 0;
}

/* May this peer name it, and what is there? */
static int enter(struct fsd *f, const struct request *by, const char *path, struct outside *o,
	struct err *err)
{
	ssize_t base;
	int r = normalise(path, o->path, err);

	if (r < 0)
		return r;
	base = vouched_for(fsd_config(f), o->path);
	if (base < 0 && !trusted(by)) {
		err_set(err, EACCES, "outside_import_from", o->path,
			"only root may name a directory that is not beneath import_from");
		err_hint(err, "ask the administrator to add it to import_from");
		return -EACCES;
	}
	o->base_len = base > 0 ? (size_t)base : 0;
	r = open_parent(o, err);
	if (r == 0 && (r = outside_look(o)) < 0)
		err_sys(err, -r, "open", o->path);
	return r;
}

void outside_touch(struct fsd *f, const struct request *r)
{
	_cleanup_outside_ struct outside o = OUTSIDE_INIT;
	const char *path = request_str(r, F_DIR);
	struct err ignored = ERR_INIT;

	if (path)
		enter(f, r, path, &o, &ignored);
}

int outside_plan(struct fsd *f, struct job *job, const char *path, struct outside *o,
	struct err *err)
{
	char side[NAME_MAX + 1], real[PATH_MAX + NAME_MAX + 2];
	struct outside_id id;
	int r = enter(f, &job->request, path, o, err);

	if (r < 0)
		return r;
	if (outside_side_name(o, "0123456789abcdef", side) < 0)
		return bad_path(err, o->path, "its name is too long to be renamed");
	r = outside_identify(o, &id, err);
	if (r < 0)
		return r;
	job_intend(job, "dir", json_text(o->path));
	job_intend_int(job, "dir_base", (int64_t)o->base_len);
	job_intend_int(job, "dir_parent", id.ino);
	job_intend_int(job, "dir_parent_born", id.born);
	job_intend_int(job, "dir_parent_fs", id.fs);
	fd_path(o->parent, o->name, real, sizeof(real));
	job_lock(job, "dir", real, true);
	return 0;
}

int outside_find(struct fsd *f, const char *path, struct outside *o, struct err *err)
{
	ssize_t base;
	int r = normalise(path, o->path, err);

	if (r < 0)
		return r;
	base = vouched_for(fsd_config(f), o->path);
	o->base_len = base > 0 ? (size_t)base : 0;
	r = open_parent(o, err);
	if (r == 0 && (r = outside_look(o)) < 0)
		r = err_sys(err, -r, "open", o->path);
	return r;
}

int outside_make_link(const struct outside *o, const char *name, const char *target,
	const struct stat *owner, struct err *err)
{
	_cleanup_fd_ int link = -1;
	char path[PATH_MAX + NAME_MAX];

	snprintf(path, sizeof(path), "%.*s%s", (int)(o->name - o->path), o->path, name);
	if (symlinkat(target, o->parent, name) < 0)
		return err_sys(err, errno, "link", path);
	step("outside.linked");
	link = openat(o->parent, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (link < 0)
		return err_sys(err, errno, "open the link", path);
	/* By what is open, since another thing may have the name by now. */
	if (fd_is_link_to(link, "", target) != 1)
		return err_set(err, EBUSY, "source_changed", path,
			"somebody put something else in the place of the new link");
	if (fchownat(link, "", owner->st_uid, owner->st_gid, AT_EMPTY_PATH) < 0 && geteuid() == 0)
		return err_sys(err, errno, "chown the link", path);
	return 0;
}

int outside_identify(const struct outside *o, struct outside_id *id, struct err *err)
{
	struct statfs fs;
	struct statx st;

	if (statx(o->parent, "", AT_EMPTY_PATH, STATX_INO | STATX_BTIME, &st) < 0 ||
		fstatfs(o->parent, &fs) < 0)
		return err_sys(err, errno, "stat", o->path);
	id->ino = (int64_t)st.stx_ino;
	id->born = st.stx_mask & STATX_BTIME
			   ? st.stx_btime.tv_sec * NSEC_PER_SEC + st.stx_btime.tv_nsec
			   : 0;
	id->fs = 0;
	if (fs.f_type == EXT4_SUPER_MAGIC || fs.f_type == BTRFS_SUPER_MAGIC)
		memcpy(&id->fs, &fs.f_fsid, sizeof(id->fs));
	return 0;
}

int outside_require(const struct outside *o, const struct outside_id *id, struct err *err)
{
	struct outside_id now;
	int r = outside_identify(o, &now, err);

	if (r < 0 || (now.ino == id->ino && now.born == id->born && now.fs == id->fs))
		return r;
	return err_set(err, EBUSY, "source_changed", o->path,
		"another directory stands in the place of its parent by now");
}

int outside_open(const struct job *job, struct outside *o, struct err *err)
{
	const struct outside_id id = {job_int(job, "dir_parent"), job_int(job, "dir_parent_born"),
		job_int(job, "dir_parent_fs")};
	char *path = NULL;
	int r = json_text_decode(job_str(job, "dir"), &path);

	if (r < 0 || strlen(path) >= sizeof(o->path)) {
		free(path);
		return err_set(err, EBADMSG, "bad_request", "dir", "the path cannot be read");
	}
	strcpy(o->path, path);
	free(path);
	o->base_len = (size_t)job_int(job, "dir_base");
	r = open_parent(o, err);
	if (r < 0)
		return r;
	r = outside_look(o);
	return r < 0 ? err_sys(err, -r, "open", o->path) : outside_require(o, &id, err);
}

/* Two file systems of one type cannot be told apart beforehand (a subvolume is its own device). */
enum pool_method outside_method(const struct pool_root *p, int fd)
{
	struct statfs out, in;

	return p->driver->caps(p->handle) & POOL_SHARES && fstatfs(fd, &out) == 0 &&
			       fstatfs(p->sites, &in) == 0 && out.f_type == in.f_type
		       ? POOL_METHOD_REFLINK
		       : POOL_METHOD_COPY;
}

bool outside_given_up(const struct job *job, struct err *err)
{
	if (job->given_up)
		return true;
	err_hint(err, "mount what held it, or remove what is in the way, and fsd goes on by "
		"itself; only if it is gone for good: fsctl job cancel %s", job->text);
	return false;
}

int outside_require_free(const struct outside *o, struct err *err)
{
	if (o->st.st_nlink == 0)
		return 0;
	err_set(err, EEXIST, "exists", o->path, "there is something of this name already");
	err_hint(err, "name a directory that does not exist yet");
	return -EEXIST;
}

int outside_require_dir(const struct outside *o, struct err *err)
{
	if (o->st.st_nlink == 0)
		return err_set(err, ENOENT, "not_found", o->path, "there is no such directory");
	if (S_ISLNK(o->st.st_mode)) {
		err_set(err, EINVAL, "is_symlink", o->path, "this is a symbolic link");
		err_hint(err, "name the directory that it points to");
		return -EINVAL;
	}
	if (!S_ISDIR(o->st.st_mode))
		return err_set(err, EINVAL, "not_a_directory", o->path, "this is not a directory");
	return 0;
}

/* ---- where it may not be ---- */

static bool same(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

/* Is the directory `outer`, or beneath it? 1, 0, -errno. Goes up by "..", which no rename of a
 * name can mislead. */
static int is_beneath(int fd, const struct stat *outer)
{
	_cleanup_fd_ int at = fd_reopen_dir(fd);
	struct stat here, up;

	if (at < 0 || fstat(at, &here) < 0)
		return at < 0 ? at : -errno;
	while (!same(&here, outer)) {
		int next = openat(at, "..", O_PATH | O_DIRECTORY | O_CLOEXEC);

		if (next < 0)
			return -errno;
		close(at);
		at = next;
		if (fstat(at, &up) < 0)
			return -errno;
		if (same(&here, &up))
			return 0; /* the root */
		here = up;
	}
	return 1;
}

static int refuse_pools(struct fsd *f, const struct outside *o, int fd, const struct stat *dir,
	struct err *err)
{
	for (unsigned i = 0; i < f->pools.n; i++) {
		const struct config_pool *c = f->pools.items[i].config;
		_cleanup_fd_ int root = open(c->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		struct stat st;
		int in, out;

		if (root < 0) /* offline: nothing is mounted there, nothing can be inside */
			continue;
		if (fstat(root, &st) < 0)
			return err_sys(err, errno, "stat", c->path);
		in = is_beneath(fd, &st);
		out = in ? 0 : is_beneath(root, dir);
		if (in < 0 || out < 0)
			return err_sys(err, in < 0 ? -in : -out, "walk up from", o->path);
		if (in)
			return err_set(err, EINVAL, "inside_pool", o->path,
				"this lies inside pool %s", c->name);
		if (out && o->dir >= 0)
			return err_set(err, EINVAL, "holds_pool", o->path,
				"pool %s lies inside this directory", c->name);
	}
	return 0;
}

/* Does fsd's own file `path` lie in the directory? */
static bool holds(const struct stat *dir, const char *path)
{
	char folder[PATH_MAX];
	char *slash;
	struct stat st;

	snprintf(folder, sizeof(folder), "%s", path);
	slash = strrchr(folder, '/');
	if (!slash || slash == folder)
		return false;
	*slash = '\0';
	_cleanup_fd_ int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd >= 0 && fstat(fd, &st) == 0 && is_beneath(fd, dir) == 1;
}

static const char *const whole[] = {"/", "/home", "/media", "/mnt", "/opt", "/root", "/srv", "/tmp",
	"/var", "/var/cache", "/var/lib", "/var/log", "/var/spool", "/var/tmp", "/usr/local"};
static const char *const with_all[] = {"/bin", "/boot", "/etc", "/lib", "/lib32", "/lib64", "/run",
	"/sbin", "/usr"};
static const char *const never[] = {"/dev", "/proc", "/sys"};

static bool listed(int fd, const struct stat *dir, const char *const *list, size_t n, bool beneath)
{
	for (size_t i = 0; i < n; i++) {
		struct stat st;

		if (stat(list[i], &st) == 0 &&
			(same(&st, dir) || (beneath && is_beneath(fd, &st) == 1)))
			return true;
	}
	return false;
}

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static bool is_system(struct fsd *f, const struct outside *o, int fd, const struct stat *dir,
	bool reads)
{
	const struct config *c = fsd_config(f);

	if (listed(fd, dir, never, COUNT(never), true) ||
		listed(fd, dir, with_all, COUNT(with_all), !reads))
		return true;
	if (o->dir < 0) /* a new name in it */
		return false;
	return listed(fd, dir, whole, COUNT(whole), false) || holds(dir, c->catalog) ||
	       (c->socket && holds(dir, c->socket)) || (c->file && holds(dir, c->file));
}

int outside_refuse(struct fsd *f, const struct outside *o, int fd, bool reads, struct err *err)
{
	struct stat dir;
	int r;

	if (fstat(fd, &dir) < 0)
		return err_sys(err, errno, "stat", o->path);
	r = refuse_pools(f, o, fd, &dir, err);
	if (r == 0 && is_system(f, o, fd, &dir, reads))
		r = err_set(err, EACCES, "system_directory", o->path,
			"this directory belongs to the system or holds fsd's own files");
	return r;
}

static uint64_t mount_of(int fd, bool *root)
{
	struct statx st;

	if (statx(fd, "", AT_EMPTY_PATH, STATX_MNT_ID, &st) < 0 || !(st.stx_mask & STATX_MNT_ID))
		return 0;
	if (root)
		*root = st.stx_attributes & STATX_ATTR_MOUNT_ROOT;
	return st.stx_mnt_id;
}

int outside_refuse_mount(const struct outside *o, struct err *err)
{
	bool root = false;

	mount_of(o->dir, &root);
	if (!root)
		return 0;
	err_set(err, EINVAL, "mount_point", o->path,
		"a file system is mounted here, so it cannot be renamed");
	err_hint(err, "import it by copy, or name a directory inside it");
	return -EINVAL;
}

bool outside_same_mount(int a, int b)
{
	uint64_t x = mount_of(a, NULL), y = mount_of(b, NULL);

	return x && x == y;
}
