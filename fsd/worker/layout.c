/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fsd/worker/layout.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "fsd/worker/meta.h"
#include "fsd/worker/step.h"
#include "snap/base/clock.h"
#include "snap/base/err.h"
#include "snap/base/fd.h"
#include "snap/remove.h"

#define OLD_LINK_KEPT (2 * NSEC_PER_SEC)

int layout_open_site(const struct pool_root *r, const char *name)
{
	int fd = fd_open_dir(r->sites, name);

	return fd == -ENOTDIR && layout_has_site(r, name) == 0 ? -ENOENT : fd;
}

int layout_has_site(const struct pool_root *r, const char *name)
{
	struct stat st;

	if (fstatat(r->sites, name, &st, AT_SYMLINK_NOFOLLOW) == 0)
		return !S_ISLNK(st.st_mode);
	return errno == ENOENT ? 0 : -errno;
}

int layout_open_snapshot(const struct pool_root *r, const char *site_id, const char *name)
{
	_cleanup_fd_ int dir = fd_open_dir(r->snapshots, site_id);

	return dir < 0 ? dir : fd_open_dir(dir, name);
}

int layout_snapshot_folder(const struct pool_root *r, const char *site_id)
{
	int fd = fd_open_dir(r->snapshots, site_id), ret;

	if (fd != -ENOENT)
		return fd;
	if ((ret = fd_mkdir(r->snapshots, site_id, 0700)) < 0 || (ret = fd_sync(r->snapshots)) < 0)
		return ret;
	step("snapshot.folder");
	return fd_open_dir(r->snapshots, site_id);
}

int layout_open_generation(int site, int64_t number)
{
	char path[32];

	snprintf(path, sizeof(path), "gen/%" PRId64, number);
	return fd_open_beneath(site, path, O_RDONLY | O_DIRECTORY);
}

int layout_open_tree(int site, int64_t number)
{
	_cleanup_fd_ int wrapper = layout_open_generation(site, number);

	return wrapper < 0 ? wrapper : fd_open_dir(wrapper, LAYOUT_TREE);
}

/* Decimal without sign or leading zeros, at least 1. */
static int parse_number(const char *s, const char **end, int64_t *out)
{
	char *e;

	if (*s < '1' || *s > '9')
		return -EBADMSG;
	errno = 0;
	*out = strtoll(s, &e, 10);
	*end = e;
	return errno ? -EBADMSG : 0;
}

bool layout_foreign_tree(const struct pool_root *r, int wrapper)
{
	const struct tree_at tree = {wrapper, LAYOUT_TREE};
	_cleanup_fd_ int dir = fd_open_dir(wrapper, LAYOUT_TREE);

	return dir >= 0 && r->handle && r->driver->tree_check(r->handle, tree, NULL, NULL) == 0;
}

int layout_live(int site, int64_t *number)
{
	char target[64];
	const char *end;
	ssize_t n = readlinkat(site, "live", target, sizeof(target) - 1);

	if (n < 0)
		return errno == EINVAL ? -EBADMSG : -errno;
	target[n] = '\0';
	if (strncmp(target, "gen/", 4) != 0 || parse_number(target + 4, &end, number) < 0 ||
		strcmp(end, "/" LAYOUT_TREE) != 0)
		return -EBADMSG;
	return 0;
}

static int bad_live(const char *name, struct err *err)
{
	err_hint(err, "fsctl generation list %.100s, then fsctl publish %.100s:N; or fsctl restore "
		"from a snapshot", name, name);
	return -EBADMSG;
}

int layout_open_live(int site, const char *name, int64_t *number, struct err *err)
{
	int r = layout_live(site, number), fd = r < 0 ? r : layout_open_generation(site, *number);

	if (r == -ENOENT || r == -EBADMSG) {
		err_set(err, EBADMSG, "bad_live", name, "its link \"live\" %s",
			r == -ENOENT ? "is missing" : "does not name a generation");
		return bad_live(name, err);
	}
	if (fd == -ENOENT) {
		err_set(err, EBADMSG, "bad_live", name,
			"its live generation %" PRId64 " is missing", *number);
		return bad_live(name, err);
	}
	if (fd < 0)
		return err_sys(err, -fd, "open the live generation", name);
	if (fd_exists(fd, LAYOUT_TREE) == 0) {
		close(fd);
		err_set(err, EBADMSG, "bad_live", name,
			"its live generation %" PRId64 " has no tree", *number);
		return bad_live(name, err);
	}
	return fd;
}

static int compare_numbers(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return (x > y) - (x < y);
}

static int collect_numbers(DIR *d, int64_t **out, unsigned *count)
{
	unsigned size = 0;
	struct dirent *e;

	while ((errno = 0, e = readdir(d))) {
		const char *end;
		int64_t number;

		if (parse_number(e->d_name, &end, &number) < 0 || *end)
			continue;
		if (*count == size) {
			int64_t *more = realloc(*out, (size = size ? 2 * size : 8) * sizeof(**out));

			if (!more)
				return -ENOMEM;
			*out = more;
		}
		(*out)[(*count)++] = number;
	}
	return -errno;
}

int layout_generations(int site, int64_t **numbers, unsigned *n)
{
	int64_t *out = NULL;
	unsigned count = 0;
	DIR *d;
	int fd = fd_open_dir(site, "gen"), r;

	if (fd < 0)
		return fd;
	d = fdopendir(fd);
	if (!d) {
		fd_close(&fd);
		return -ENOMEM;
	}
	r = collect_numbers(d, &out, &count);
	closedir(d);
	if (r < 0) {
		free(out);
		return r;
	}
	if (count)
		qsort(out, count, sizeof(*out), compare_numbers);
	*numbers = out;
	*n = count;
	return 0;
}

int layout_each_name(int dirfd, layout_name_fn *fn, void *arg)
{
	int fd = fd_reopen_dir(dirfd), r = 0;
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;

	if (!d) {
		fd_close(&fd);
		return fd < 0 ? fd : -ENOMEM;
	}
	while (r == 0 && (errno = 0, e = readdir(d))) {
		if (e->d_name[0] != '.')
			r = fn(e->d_name, arg);
	}
	if (r == 0)
		r = -errno;
	closedir(d);
	return r;
}

struct snapshots {
	const struct pool_root *r;
	layout_name_fn *fn;
	void *arg;
	const char *site;
};

static int one_snapshot(const char *name, void *arg)
{
	const struct snapshots *s = arg;
	char path[ID_SIZE + NAME_MAX + 1];

	snprintf(path, sizeof(path), "%s/%s", s->site, name);
	return s->fn(path, s->arg);
}

static int snapshots_of_site(const char *site, void *arg)
{
	struct snapshots *s = arg;
	_cleanup_fd_ int dir = strlen(site) < ID_SIZE ? fd_open_dir(s->r->snapshots, site)
						      : -ENOENT;

	if (dir < 0)
		return dir == -ENOENT || dir == -ENOTDIR || dir == -ELOOP ? 0 : dir;
	s->site = site;
	return layout_each_name(dir, one_snapshot, s);
}

int layout_each_snapshot(const struct pool_root *r, layout_name_fn *fn, void *arg)
{
	struct snapshots s = {r, fn, arg, NULL};

	return layout_each_name(r->snapshots, snapshots_of_site, &s);
}

/* ---- staging ---- */

int layout_stage(const struct pool_root *r, int64_t job)
{
	char name[JOB_ID_SIZE];

	if (mkdirat(r->staging, job_id_format(job, name), 0755) < 0)
		return -errno;
	step("stage.made");
	return layout_open_stage(r, job);
}

int layout_open_stage(const struct pool_root *r, int64_t job)
{
	char name[JOB_ID_SIZE];

	return fd_open_dir(r->staging, job_id_format(job, name));
}

int layout_stage_generation(int stage, int64_t number)
{
	char path[32];
	int ret = fd_mkdir(stage, "gen", 0755);

	if (ret < 0)
		return ret;
	snprintf(path, sizeof(path), "gen/%" PRId64, number);
	if (mkdirat(stage, path, 0755) < 0)
		return -errno;
	return layout_open_generation(stage, number);
}

/* A link that Apache's SymLinksIfOwnerMatch accepts: owned like the tree in `wrapper`. */
static int make_live(int site, const char *name, int64_t number, int wrapper)
{
	char target[64];
	struct stat st;

	snprintf(target, sizeof(target), "gen/%" PRId64 "/" LAYOUT_TREE, number);
	if (fstatat(wrapper, LAYOUT_TREE, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
		symlinkat(target, site, name) < 0)
		return -errno;
	if (fchownat(site, name, st.st_uid, st.st_gid, AT_SYMLINK_NOFOLLOW) < 0 && geteuid() == 0)
		return -errno;
	step("live.made");
	return 0;
}

static int make_own_live(int site, const char *name, int64_t number)
{
	_cleanup_fd_ int wrapper = layout_open_generation(site, number);

	return wrapper < 0 ? wrapper : make_live(site, name, number, wrapper);
}

int layout_stage_live(int stage, int64_t number)
{
	return make_own_live(stage, "live", number);
}

int layout_stage_live_like(int stage, int64_t number, int source_wrapper)
{
	return make_live(stage, "live", number, source_wrapper);
}

int layout_stage_sync(int stage, int64_t number)
{
	_cleanup_fd_ int gen = fd_open_dir(stage, "gen");
	_cleanup_fd_ int wrapper = layout_open_generation(stage, number);
	int r;

	if (gen < 0 || wrapper < 0)
		return gen < 0 ? gen : wrapper;
	if ((r = fd_sync(wrapper)) < 0 || (r = fd_sync(gen)) < 0 || (r = fd_sync(stage)) < 0)
		return r;
	step("stage.synced");
	return 0;
}

static int rename_and_sync(int from_dir, const char *from, int to_dir, const char *to,
	unsigned flags)
{
	int r;

	if (renameat2(from_dir, from, to_dir, to, flags) < 0)
		return -errno;
	step("renamed");
	r = fd_sync(to_dir);
	if (r == 0)
		step("rename.synced");
	return r;
}

int layout_move(int from_dir, const char *from, int to_dir, const char *to)
{
	return rename_and_sync(from_dir, from, to_dir, to, RENAME_NOREPLACE);
}

int layout_exchange(int dir, const char *a, const char *b)
{
	return rename_and_sync(dir, a, dir, b, RENAME_EXCHANGE);
}

int layout_commit(const struct pool_root *r, int64_t job, int to_dir, const char *to)
{
	char name[JOB_ID_SIZE];

	return layout_move(r->staging, job_id_format(job, name), to_dir, to);
}

int layout_discard(const struct pool_root *r, int64_t job, int from_dir, const char *from)
{
	char id[JOB_ID_SIZE], name[JOB_ID_SIZE + 8];
	int ret = -EEXIST;

	/* A job that was interrupted twice may discard twice before the trash is emptied. */
	snprintf(name, sizeof(name), "%s", job_id_format(job, id));
	for (int n = 2; n < 100 && ret == -EEXIST; n++) {
		ret = layout_move(from_dir, from, r->trash, name);
		snprintf(name, sizeof(name), "%s.%d", id, n);
	}
	return ret;
}

/* ---- publish ---- */

/*
 * On btrfs a link that is replaced is freed while readers still walk it: about one open in a
 * million fails with ENOENT (seen with kernel 6.18). A second name keeps its inode alive until
 * nobody can be walking it any more.
 */
static int keep_old_link(int site, const char *job)
{
	char old[32];

	snprintf(old, sizeof(old), "live.old.%s", job);
	if (linkat(site, "live", site, old, 0) < 0 && errno != EEXIST && errno != ENOENT)
		return -errno;
	return 0;
}

int layout_publish(int site, int64_t number, int64_t job)
{
	char text[JOB_ID_SIZE], next[32];
	int r;

	job_id_format(job, text);
	snprintf(next, sizeof(next), "live.%s", text);
	if (unlinkat(site, next, 0) < 0 && errno != ENOENT)
		return -errno;
	r = make_own_live(site, next, number);
	step("publish.linked");
	if (r == 0)
		r = keep_old_link(site, text);
	if (r < 0)
		return r;
	step("publish.kept");
	if (renameat(site, next, site, "live") < 0)
		return -errno;
	step("publish.renamed");
	r = fd_sync(site);
	if (r == 0)
		step("publish.synced");
	return r;
}

/* -errno: it is not one of these. ctime: the moment of the link or of the rename over it. */
static int left_kind(int site, const char *name, int64_t now, enum layout_left *kind)
{
	struct stat st;

	*kind = LEFT_UNFINISHED;
	if (fd_is_temporary(name, META_SITE))
		return 0;
	if (strncmp(name, "live.", 5) != 0)
		return -ENOENT;
	if (fstatat(site, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	if (!S_ISLNK(st.st_mode))
		return -EINVAL;
	if (strncmp(name, "live.old.", 9) == 0)
		*kind = clock_of(&st.st_ctim) < now - OLD_LINK_KEPT
				? LEFT_OLD
				: LEFT_ALL;
	return 0;
}

int layout_sweep_site(int site, enum layout_left what)
{
	int fd = fd_reopen_dir(site), left = 0;
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	int64_t now = clock_real();
	struct dirent *e;

	if (!d) {
		fd_close(&fd);
		return fd < 0 ? fd : -ENOMEM;
	}
	while ((e = readdir(d))) {
		enum layout_left kind;

		if (left_kind(site, e->d_name, now, &kind) == 0 &&
			(kind > what || unlinkat(site, e->d_name, 0) < 0))
			left++;
	}
	closedir(d);
	return left;
}

int layout_park(const struct pool_root *r, int site, const char *name, const char *id)
{
	int ret = layout_sweep_site(site, LEFT_ALL);

	if (ret >= 0)
		ret = fd_sync(site);
	return ret == 0 ? layout_move(r->sites, name, r->deleted, id) : ret;
}

static int sweep_wrapper(const char *name, void *arg)
{
	_cleanup_fd_ int wrapper = fd_open_dir(*(const int *)arg, name);

	if (wrapper >= 0)
		fd_sweep_file(wrapper, META_WRAPPER);
	return 0;
}

/* A site or a snapshot. */
static void sweep_shape(int dir)
{
	_cleanup_fd_ int gen = fd_open_dir(dir, "gen");

	fd_sweep_file(dir, META_SITE);
	fd_sweep_file(dir, META_WRAPPER);
	if (gen >= 0)
		layout_each_name(gen, sweep_wrapper, &gen);
}

static int sweep_snapshot(const char *name, void *arg)
{
	_cleanup_fd_ int dir = fd_open_dir(*(const int *)arg, name);

	if (dir >= 0)
		sweep_shape(dir);
	return 0;
}

void layout_sweep_documents(const struct pool_root *r, const char *site, const char *site_id)
{
	_cleanup_fd_ int dir = layout_open_site(r, site);
	_cleanup_fd_ int snapshots = fd_open_dir(r->snapshots, site_id);

	if (dir >= 0)
		sweep_shape(dir);
	if (snapshots >= 0)
		layout_each_name(snapshots, sweep_snapshot, &snapshots);
}

/* ---- removal ---- */

static int remove_wrapper(const struct pool_root *r, int wrapper, struct snap_ctx *ctx,
	struct err *err)
{
	struct tree_at tree = {wrapper, LAYOUT_TREE};

	return r->driver->tree_remove(r->handle, tree, ctx, err);
}

/* All trees of a site or snapshot directory. */
static int remove_generations(const struct pool_root *r, int dir, struct snap_ctx *ctx,
	struct err *err)
{
	_cleanup_free_ int64_t *numbers = NULL;
	unsigned n = 0;
	int ret = layout_generations(dir, &numbers, &n);

	if (ret < 0)
		return ret == -ENOENT ? 0 : err_sys(err, -ret, "list generations", NULL);
	for (unsigned i = 0; i < n; i++) {
		_cleanup_fd_ int wrapper = layout_open_generation(dir, numbers[i]);

		ret = wrapper < 0 ? err_sys(err, -wrapper, "open generation", NULL)
				  : remove_wrapper(r, wrapper, ctx, err);
		if (ret < 0)
			return ret;
		step("remove.tree");
	}
	return 0;
}

int layout_remove(const struct pool_root *r, int dirfd, const char *name, struct snap_ctx *ctx,
	struct err *err)
{
	_cleanup_fd_ int dir = fd_open_dir(dirfd, name);
	int ret;

	if (dir == -ENOENT)
		return 0;
	if (dir == -ENOTDIR || dir == -ELOOP)
		return snap_remove(dirfd, name, ctx, err);
	if (dir < 0)
		return err_sys(err, -dir, "open", name);
	ret = remove_wrapper(r, dir, ctx, err);
	if (ret == 0)
		ret = remove_generations(r, dir, ctx, err);
	return ret < 0 ? ret : snap_remove(dirfd, name, ctx, err);
}
