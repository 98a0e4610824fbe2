/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fsd/worker/work.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fsd/core/json.h"
#include "fsd/core/log.h"
#include "fsd/worker/late_event.h"
#include "fsd/worker/layout.h"
#include "fsd/worker/meta.h"
#include "fsd/worker/present.h"
#include "fsd/worker/state.h"
#include "fsd/worker/step.h"
#include "snap/base/clock.h"
#include "snap/base/err.h"
#include "snap/base/fd.h"
#include "snap/changed.h"
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

int work_drop(int tree, struct snap_ctx *ctx, struct err *err)
{
	int fd = fd_reopen_dir(tree), r = 0;
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;

	if (!d) {
		fd_close(&fd);
		return err_sys(err, fd < 0 ? -fd : ENOMEM, "open", NULL);
	}
	while (r == 0 && (e = readdir(d))) {
		_cleanup_fd_ int work = snap_is_work(tree, e->d_name) ? work_open(tree, e->d_name) : -1;

		if (work >= 0)
			r = snap_remove_held(tree, e->d_name, work, ctx, err);
	}
	closedir(d);
	return r;
}

/* ---- sweeping ---- */

struct sweep {
	struct fsd *f;
	struct pool_root *r;
	struct snap_ctx *ctx;
	const char *site; /* id */
	int64_t before;
};

/* When was it finished with? A change that never got that far: when it was last touched. */
static int64_t finished(int work)
{
	struct stat st;
	json_t *plan;
	int64_t when = 0;

	if (meta_load(work, WORK_PLAN, WORK_PLAN, &plan, NULL) == 0) {
		when = json_integer_value(json_object_get(plan, "done"));
		json_decref(plan);
	}
	if (!when && fstat(work, &st) == 0)
		when = st.st_mtim.tv_sec * NSEC_PER_SEC;
	return when;
}

/*
 * Out of the reach of an undo: it is planned under write_lock, so one that comes later does not
 * find the directory, and one that came before holds the site. 1: taken.
 */
static int take_out(const struct sweep *s, int tree, const char *name, char out[NAME_MAX + 1])
{
	char holder[JOB_ID_SIZE];
	int r = 0;

	if (snprintf(out, NAME_MAX + 1, SNAP_WORK_GONE "%s", name + strlen(SNAP_WORK_PREFIX)) > NAME_MAX)
		return -ENAMETOOLONG;
	pthread_mutex_lock(&s->f->write_lock);
	if (!jobs_holds(s->f, "site", s->site, true, holder))
		r = renameat2(tree, name, tree, out, RENAME_NOREPLACE) < 0 ? -errno : 1;
	pthread_mutex_unlock(&s->f->write_lock);
	return r;
}

static void sweep_work(const struct sweep *s, int tree, const char *name)
{
	_cleanup_fd_ int work = work_open(tree, name);
	char gone[NAME_MAX + 1];
	struct err err = ERR_INIT;

	if (work < 0 || finished(work) >= s->before)
		return;
	if (strncmp(name, SNAP_WORK_GONE, strlen(SNAP_WORK_GONE)) == 0)
		strcpy(gone, name);
	else if (take_out(s, tree, name, gone) != 1)
		return;
	if (snap_remove_held(tree, gone, work, s->ctx, &err) < 0 && !snap_canceled(s->ctx))
		log_err(LOG_WARNING, "cannot remove what was kept for undo", &err, "site", s->site,
			NULL);
}

static void sweep_tree(const struct sweep *s, int tree)
{
	int fd = fd_reopen_dir(tree);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;

	if (!d) {
		fd_close(&fd);
		return;
	}
	while (!snap_canceled(s->ctx) && (e = readdir(d))) {
		if (snap_is_work(tree, e->d_name))
			sweep_work(s, tree, e->d_name);
	}
	closedir(d);
}

/* A directory that import put aside (site.json "parked"). */
struct parked {
	char *path;
	uint64_t ino;
	int64_t since;	   /* what is newer by its ctime is not in the site */
	struct paths late; /* of what is newer */
};

static int parked_load(const struct sweep *s, int site, struct parked *p)
{
	json_t *doc, *value;
	const char *text;
	int r = meta_load(site, META_SITE, s->site, &doc, NULL);

	if (r < 0)
		return r;
	value = json_object_get(doc, "parked");
	text = json_string_value(json_object_get(value, "path"));
	p->ino = (uint64_t)json_integer_value(json_object_get(value, "ino"));
	p->since = json_integer_value(json_object_get(value, "since"));
	r = text ? json_text_decode(text, &p->path) : -ENOENT;
	json_decref(doc);
	return r < 0 ? r : *p->path == '/' ? 0 : -ENOENT;
}

/*
 * Remove it, by name and inode: another one of this name is not ours. What somebody who still held
 * the directory wrote into it is nowhere else, so then it stays: p->late says so.
 */
static int remove_parked(const struct sweep *s, struct parked *p)
{
	_cleanup_fd_ int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	_cleanup_fd_ int parent = -1, dir = -1;
	struct err err = ERR_INIT;
	const char *name;
	struct stat st;
	int r;

	parent = root < 0 ? -errno : work_open_parent(root, p->path + 1, &name);
	if (parent < 0)
		return parent;
	if (!strstr(name, SNAP_WORK_PREFIX))
		return 0;
	dir = fd_open_dir(parent, name);
	if (dir < 0 || fstat(dir, &st) < 0 || st.st_ino != p->ino)
		return 0;
	r = snap_changed(dir, p->since + 1, s->ctx, &p->late, &err);
	step("work.looked");
	if (r == 0 && !p->late.total)
		r = snap_remove_held(parent, name, dir, s->ctx, &err);
	if (r < 0 && !snap_canceled(s->ctx))
		log_err(LOG_WARNING, "cannot remove a directory that import put aside", &err, NULL);
	return r;
}

static int tell_late(const struct sweep *s, const struct parked *p)
{
	return late_event(s->f, &(struct late_event){
		.kind = "import.late_writes",
		.site = s->site,
		.directory = p->path,
		.paths = &p->late,
		.reason = "after import had put it aside, and it is kept",
		.hint = "take over what you need, end whoever still writes there, and remove it",
	});
}

/* site.json is a job's to change, unless none holds the site. */
static void forget_parked(const struct sweep *s, int site, const struct parked *p)
{
	char holder[JOB_ID_SIZE];

	pthread_mutex_lock(&s->f->write_lock);
	if (!jobs_holds(s->f, "site", s->site, true, holder) &&
		(!p->late.total || tell_late(s, p) == 0))
		meta_change(site, META_SITE, s->site, "parked", NULL, NULL);
	pthread_mutex_unlock(&s->f->write_lock);
}

static void sweep_parked(const struct sweep *s, int site)
{
	struct parked p = {.late = PATHS_INIT};

	if (parked_load(s, site, &p) == 0 && p.since < s->before && remove_parked(s, &p) == 0)
		forget_parked(s, site, &p);
	paths_release(&p.late);
	free(p.path);
}

static void sweep_site(struct sweep *s, const char *id, const char *name)
{
	_cleanup_fd_ int site = *name ? layout_open_site(s->r, name) : fd_open_dir(s->r->deleted, id);
	_cleanup_free_ int64_t *numbers = NULL;
	unsigned n = 0;

	if (site < 0)
		return;
	s->site = id;
	sweep_parked(s, site);
	if (!*name || layout_generations(site, &numbers, &n) < 0)
		return;
	for (unsigned i = 0; i < n && !snap_canceled(s->ctx); i++) {
		_cleanup_fd_ int tree = layout_open_tree(site, numbers[i]);

		if (tree >= 0)
			sweep_tree(s, tree);
	}
}

static int note_site(const struct cat_site *row, void *arg)
{
	return json_object_set_new(arg, row->id, json_string(row->deleted ? "" : row->name));
}

void work_sweep(struct fsd *f, struct catalog *c, struct pool_root *r, struct snap_ctx *ctx)
{
	struct sweep s = {.f = f, .r = r, .ctx = ctx,
		.before = clock_real() - fsd_config(f)->undo_keep};
	struct cat_site_filter filter = {.pool = r->config->name};
	json_t *sites = json_object(), *name;
	const char *id;

	/* Noted first: a removal takes long, and a list is a read transaction. */
	catalog_sites(c, &filter, note_site, sites, NULL);
	filter.deleted = true;
	catalog_sites(c, &filter, note_site, sites, NULL);
	json_object_foreach(sites, id, name) {
		if (snap_canceled(ctx))
			break;
		sweep_site(&s, id, json_string_value(name));
	}
	json_decref(sites);
}
