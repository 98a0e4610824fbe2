/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fsd/worker/pools.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "backends/catalog/catalog.h"
#include "fsd/core/json.h"
#include "fsd/core/lock.h"
#include "fsd/worker/meta.h"
#include "fsd/worker/pools_priv.h"
#include "fsd/worker/step.h"
#include "snap/base/clock.h"
#include "snap/base/err.h"
#include "snap/base/fd.h"

#define POOL_FILE "pool.json"
#define LOCK_FILE "lock"

#define ROOT_FDS 8

static void root_fds(struct pool_root *r, int *out[ROOT_FDS])
{
	int *fds[ROOT_FDS] = {&r->sites, &r->snapshots, &r->deleted, &r->staging, &r->trash,
		&r->control, &r->lock_fd, &r->fd};

	memcpy(out, fds, sizeof(fds));
}

static void root_close(struct pool_root *r)
{
	int *fds[ROOT_FDS];

	if (r->handle)
		r->driver->close(&r->handle);
	root_fds(r, fds);
	for (size_t i = 0; i < ROOT_FDS; i++)
		fd_close(fds[i]);
	r->driver = NULL;
	r->id[0] = '\0';
}

void pool_root_init(struct pool_root *r, const struct config_pool *config)
{
	*r = (struct pool_root){
		.config = config,
		.fd = -1,
		.sites = -1,
		.control = -1,
		.snapshots = -1,
		.deleted = -1,
		.staging = -1,
		.trash = -1,
		.lock_fd = -1,
	};
	atomic_store(&r->jobs, config->jobs);
	pthread_mutex_init(&r->lock, NULL);
}

/* Where paths differ: a bind mount, a symlink. */
static int check_apart(const struct config *config, unsigned i, struct err *err)
{
	struct stat st, other;

	if (stat(config->pools[i].path, &st) < 0)
		return 0;
	for (unsigned j = 0; j < i; j++) {
		if (stat(config->pools[j].path, &other) < 0 || st.st_dev != other.st_dev ||
			st.st_ino != other.st_ino)
			continue;
		err_set(err, EINVAL, "bad_config", config->file,
			"[pool %.60s] and [pool %.60s] are one directory", config->pools[j].name,
			config->pools[i].name);
		err_hint(err, "%.150s is %.150s: leave one of the sections out",
			config->pools[i].path, config->pools[j].path);
		return -EINVAL;
	}
	return 0;
}

int pools_check(const struct config *config, struct err *err)
{
	for (unsigned i = 0; i < config->n_pools; i++) {
		const struct config_pool *p = &config->pools[i];

		if (check_apart(config, i, err) < 0)
			return -EINVAL;
		if (strcmp(p->driver, "auto") == 0 || pool_driver_find(p->driver))
			continue;
		err_set(err, EINVAL, "bad_config", p->driver_at,
			"[pool %.60s]: there is no driver \"%.60s\"", p->name, p->driver);
		err_hint(err, "driver = auto, btrfs or copy");
		return -EINVAL;
	}
	return 0;
}

int pools_unlocked(const struct config *config, struct err *err)
{
	for (unsigned i = 0; i < config->n_pools; i++) {
		const char *path = config->pools[i].path;
		_cleanup_fd_ int root = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		_cleanup_fd_ int control = root < 0 ? -1 : fd_open_dir(root, ".fsd");

		if (control >= 0 && lock_wait(control, LOCK_FILE, path, LOCK_WAIT, err) == -EBUSY)
			return -EBUSY;
		err_clear(err);
	}
	return 0;
}

static int count(const struct cat_pool *row, void *arg)
{
	(void)row;
	++*(unsigned *)arg;
	return 0;
}

int pools_init(struct pools *p, const struct config *config, struct catalog *c, struct err *err)
{
	unsigned known = 0;
	int r = catalog_pools(c, count, &known, err);

	if (r < 0)
		return r;
	p->items = calloc(config->n_pools + known, sizeof(*p->items));
	if (!p->items)
		return err_sys(err, ENOMEM, "pools", NULL);
	p->n = config->n_pools;
	for (unsigned i = 0; i < p->n; i++)
		pool_root_init(&p->items[i], &config->pools[i]);
	return 0;
}

void pools_release(struct pools *p)
{
	for (unsigned i = 0; i < p->n; i++) {
		root_close(&p->items[i]);
		pool_told_release(&p->items[i].told);
		pthread_mutex_destroy(&p->items[i].lock);
		free(p->items[i].past);
	}
	free(p->items);
	*p = (struct pools){0};
}

void pools_follow(struct pools *p, const struct config *config)
{
	for (unsigned i = 0; i < p->n; i++) {
		struct pool_root *r = &p->items[i];

		if (!r->past)
			atomic_store(&r->jobs, config_pool(config, r->config->name)->jobs);
	}
}

struct pool_root *pools_find(const struct pools *p, const char *name)
{
	struct pool_root *former = NULL;

	for (unsigned i = 0; i < p->n; i++) {
		if (strcmp(p->items[i].config->name, name) == 0)
			return &p->items[i];
		if (*name && strcmp(p->items[i].former, name) == 0)
			former = &p->items[i];
	}
	return former;
}

int pools_offline(struct pool_root *r, struct err *err)
{
	struct pool_told told;

	pool_root_told(r, &told);
	if (r->past)
		err_set(err, ENODEV, told.reason.code, r->config->name, "%s", told.reason.reason);
	else
		err_set(err, ENODEV, "pool_offline", r->config->name, "the pool is offline: %s",
			told.reason.num ? told.reason.reason : "not opened yet");
	if (told.reason.hint[0])
		err_hint(err, "%s", told.reason.hint);
	else
		err_hint(err, "mend it at %.200s; fsd looks again every 10 s, fsctl pool show "
			"%.60s says what it found", r->config->path, r->config->name);
	pool_told_release(&told);
	return -ENODEV;
}

int pools_require(const struct pools *p, const char *name, struct pool_root **out, struct err *err)
{
	struct pool_root *r = pools_find(p, name);

	if (!r) {
		err_set(err, ENOENT, "not_found", name, "no pool of this name is configured");
		err_hint(err, "fsctl pool list");
		return -ENOENT;
	}
	if (!atomic_load(&r->online))
		return pools_offline(r, err);
	*out = r;
	return 0;
}

int pools_default(const struct pools *p, struct pool_root **out, struct err *err)
{
	unsigned n = 0;

	while (n < p->n && !p->items[n].past)
		n++;
	if (n == 1)
		return pools_require(p, p->items[0].config->name, out, err);
	err_set(err, EINVAL, "pool_needed", NULL, "there are %u pools to choose from", n);
	err_hint(err, "say which with --pool; fsctl pool list names them");
	return -EINVAL;
}

/* ---- what is told ---- */

void pool_root_told(struct pool_root *r, struct pool_told *out)
{
	pthread_mutex_lock(&r->lock);
	*out = r->told;
	out->report = r->told.report ? strdup(r->told.report) : NULL;
	pthread_mutex_unlock(&r->lock);
}

void pool_told_release(struct pool_told *t)
{
	free(t->report);
	t->report = NULL;
}

void pool_root_refuse(struct pool_root *r, const struct err *why)
{
	pthread_mutex_lock(&r->lock);
	r->told.reason = *why;
	pthread_mutex_unlock(&r->lock);
}

/* How opening it ended; takes `report`. */
static void tell(struct pool_root *r, char *report, const struct err *why)
{
	struct pool_told told = {.reason = *why, .report = report};

	if (r->driver)
		told.driver = r->driver->name;
	strcpy(told.id, r->id);
	pthread_mutex_lock(&r->lock);
	pool_told_release(&r->told);
	r->told = told;
	pthread_mutex_unlock(&r->lock);
}

/* ---- opening ---- */

static int open_root(struct pool_root *r, bool known, struct err *err)
{
	const char *path = r->config->path;

	if (!known && mkdir(path, 0755) < 0 && errno != EEXIST) {
		err_sys(err, errno, "mkdir", path);
		if (err->num == ENOENT)
			err_hint(err, "make the folder above it (mount its file system first), or "
				"change \"path\" in [pool %s]", r->config->name);
		return -err->num;
	}
	r->fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return r->fd < 0 ? err_sys(err, errno, "open", path) : 0;
}

static int missing(const struct pool_root *r, const char *name, struct err *err)
{
	err_set(err, ENODEV, "pool_missing", r->config->path,
		"the catalog knows pool %s, but its pool.json is not there", name);
	if (strcmp(name, r->config->name) == 0)
		err_hint(err, "is its disk mounted? fsd looks again every 10 s; if it is gone for "
			"good: docs/operations.md, \"Retiring a pool\"");
	else
		err_hint(err, "is its disk mounted? fsd looks again every 10 s; if [pool %.60s] is "
			"another pool: give it another path, and [pool %.60s] its section back",
			r->config->name, name);
	return -ENODEV;
}

/* What to write into pool.json, where it is known. */
static int unidentified(const struct pool_root *r, const struct cat_pool *known, int ret,
	struct err *err)
{
	if (known && err->num == EBADMSG)
		err_hint(err, "if it is pool %.60s that lies there, put "
			"{\"format\":%d,\"id\":\"%s\"} into %.150s/.fsd/" POOL_FILE,
			r->config->name, META_FORMAT, known->id, r->config->path);
	return ret;
}

static int identify(struct pool_root *r, const struct cat_pool *known, struct err *err)
{
	json_t *doc;
	const char *id;
	int ret;

	ret = meta_load(r->control, POOL_FILE, r->config->path, &doc, err);
	if (ret < 0)
		return unidentified(r, known, ret, err);
	id = json_str_at(doc, "id");
	if (!id || !id_valid(id)) {
		ret = err_set(err, EBADMSG, "bad_meta", r->config->path, "pool.json has no id");
		unidentified(r, known, ret, err);
	} else {
		strcpy(r->id, id);
	}
	json_decref(doc);
	return ret;
}

static int take_by_id(const struct cat_pool *row, void *arg)
{
	struct cat_pool *other = arg;

	if (strcmp(row->id, other->id) != 0)
		return 0;
	*other = *row;
	return 1;
}

/* Not the pool that the catalog knows by this name: is it another one of its? */
static int foreign(const struct pool_root *r, const struct cat_pool *known, struct catalog *c,
	struct err *err)
{
	struct cat_pool other = {0};
	int found;

	strcpy(other.id, r->id);
	found = catalog_pools(c, take_by_id, &other, err);
	if (found < 0)
		return found;
	if (found) {
		err_set(err, ENODEV, "pool_foreign", r->config->path,
			"this is pool %.100s (%s), the catalog expects pool %.100s (%s)",
			other.name, r->id, known->name, known->id);
		err_hint(err, "give each section its own path again; to change their names "
			"restart fsd after each, by way of a third name");
		return -ENODEV;
	}
	err_set(err, ENODEV, "pool_foreign", r->config->path,
		"this is pool %s, the catalog expects %s", r->id, known->id);
	err_hint(err, "another disk is mounted here, or one of the two was made anew, in an empty "
		"mount point: docs/operations.md, \"The catalog is lost\", says the way out");
	return -ENODEV;
}

/* A mistyped path must not turn somebody's directory into a pool. What an interrupted start left
 * and what mkfs makes do not count. */
static int refuse_foreign(struct pool_root *r, struct err *err)
{
	static const char *const own[] = {".", "..", ".fsd", "sites", "lost+found"};
	int fd = fd_reopen_dir(r->fd), ret = 0;
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;

	if (!d) {
		fd_close(&fd);
		return err_sys(err, ENOMEM, "open", r->config->path);
	}
	while (ret == 0 && (e = readdir(d))) {
		bool known = false;

		for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++)
			known = known || strcmp(e->d_name, own[i]) == 0;
		if (!known) {
			ret = err_set(err, ENOTEMPTY, "not_empty", r->config->path,
				"the directory is no pool and holds \"%s\"", e->d_name);
			err_hint(err, "name an empty directory in [pool %s]", r->config->name);
		}
	}
	closedir(d);
	return ret;
}

/* The directories of a pool; pool.json last, since it says that the rest is there. */
static int make(struct pool_root *r, struct err *err)
{
	_cleanup_fd_ int control = fd_open_dir(r->fd, ".fsd");
	char id[ID_SIZE];
	json_t *doc;
	int ret = 0;

	if (control < 0 || fd_exists(control, POOL_FILE) != 1)
		ret = refuse_foreign(r, err);
	if (ret < 0)
		return ret;
	ret = fd_mkdir(r->fd, "sites", 0755);
	if (ret == 0)
		ret = fd_mkdir(r->fd, ".fsd", 0700);
	if (ret == 0)
		ret = fd_sync(r->fd);
	if (ret < 0)
		return err_sys(err, -ret, "make pool", r->config->path);
	r->control = fd_open_dir(r->fd, ".fsd");
	if (r->control < 0)
		return err_sys(err, -r->control, "open .fsd", r->config->path);
	if (fd_exists(r->control, POOL_FILE) == 1)
		return 0;
	id_new(id);
	doc = json_pack("{s:i,s:s,s:I}", "format", META_FORMAT, "id", id, "created",
		(json_int_t)clock_real());
	ret = meta_store(r->control, POOL_FILE, r->config->path, doc, err);
	json_decref(doc);
	if (ret == 0 && (ret = fd_sync(r->control)) < 0)
		ret = err_sys(err, -ret, "fsync .fsd", r->config->path);
	return ret;
}

static int open_folders(struct pool_root *r, struct err *err)
{
	struct {
		int *fd;
		int parent;
		const char *name;
	} folders[] = {
		{&r->sites, r->fd, "sites"},
		{&r->snapshots, r->control, "snapshots"},
		{&r->deleted, r->control, "deleted"},
		{&r->staging, r->control, "staging"},
		{&r->trash, r->control, "trash"},
	};
	int ret;

	for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++) {
		ret = fd_mkdir(folders[i].parent, folders[i].name,
			folders[i].parent == r->fd ? 0755 : 0700);

		if (ret == 0)
			ret = *folders[i].fd = fd_open_dir(folders[i].parent, folders[i].name);
		if (ret < 0)
			return err_sys(err, -ret, folders[i].name, r->config->path);
	}
	ret = fd_sync(r->control);
	return ret < 0 ? err_sys(err, -ret, "fsync .fsd", r->config->path) : 0;
}

static int choose_driver(struct pool_root *r, const struct cat_pool *known, char **report,
	struct err *err)
{
	int ret = pool_driver_choose(r->fd, r->config->driver, known ? known->driver : NULL,
		&r->driver, report, err);

	if (ret < 0) {
		err_hint(err, "fsctl pool show %s lists what was probed; mount the right file "
			"system at %.200s, or change \"driver\" in [pool %s] and restart fsd",
			r->config->name, r->config->path, r->config->name);
		return ret;
	}
	return r->driver->open(r->fd, &r->handle, err);
}

static int remember(struct pool_root *r, struct catalog *c, struct err *err)
{
	struct cat_pool row = {.seen = clock_real()};

	if (strlen(r->config->name) >= sizeof(row.name) ||
		strlen(r->config->path) >= sizeof(row.path))
		return err_set(err, ENAMETOOLONG, "bad_config", r->config->path, "name too long");
	strcpy(row.id, r->id);
	strcpy(row.name, r->config->name);
	strcpy(row.driver, r->driver->name);
	strcpy(row.path, r->config->path);
	return catalog_pool_put(c, &row, err);
}

static int lock_pool(struct pool_root *r, struct err *err)
{
	int ret = lock_take(r->control, LOCK_FILE, r->config->path, LOCK_WAIT, &r->lock_fd, err);

	if (ret == -EROFS)
		err_hint(err, "dmesg says why; once it is mounted read-write fsd takes it within "
			"10 s; its trees can be copied by hand: docs/operations.md, \"A pool is "
			"read-only\", says how");
	return ret;
}

/* Which pool is it? It may take as long as the storage does. */
static int open_control(struct pool_root *r, const struct cat_pool *known, struct err *err)
{
	int ret = open_root(r, known, err);

	if (ret < 0)
		return known && ret == -ENOENT ? missing(r, known->name, err) : ret;
	r->control = fd_open_dir(r->fd, ".fsd");
	if (known && (r->control < 0 || fd_exists(r->control, POOL_FILE) != 1))
		return missing(r, known->name, err);
	fd_close(&r->control);
	ret = make(r, err);
	if (ret == 0)
		ret = lock_pool(r, err);
	return ret == 0 ? identify(r, known, err) : ret;
}

static int open_trees(struct pool_root *r, const struct cat_pool *known, char **report,
	struct err *err)
{
	int ret = open_folders(r, err);

	return ret == 0 ? choose_driver(r, known, report, err) : ret;
}

static int try_open(struct pool_root *r, struct catalog *c, pthread_mutex_t *write_lock,
	char **report, struct err *err)
{
	struct cat_pool row, *known = &row;
	int ret;

	pthread_mutex_lock(write_lock);
	ret = catalog_pool_get(c, r->config->name, &row, err);
	if (ret == -ENOENT && *r->former)
		ret = catalog_pool_get(c, r->former, &row, err);
	pthread_mutex_unlock(write_lock);
	if (ret == -ENOENT)
		known = NULL;
	else if (ret < 0)
		return ret;
	ret = open_control(r, known, err);
	if (ret == 0 && known && strcmp(known->id, r->id) != 0) {
		pthread_mutex_lock(write_lock);
		ret = foreign(r, known, c, err);
		pthread_mutex_unlock(write_lock);
		r->id[0] = '\0';
	}
	if (ret == 0)
		ret = open_trees(r, known, report, err);
	if (ret < 0)
		return ret;
	pthread_mutex_lock(write_lock);
	ret = remember(r, c, err);
	pthread_mutex_unlock(write_lock);
	return ret;
}

int pool_root_open(struct pool_root *r, struct catalog *c, pthread_mutex_t *write_lock,
	struct err *err)
{
	struct err e = ERR_INIT;
	char *report = NULL;
	int ret = try_open(r, c, write_lock, &report, &e);

	tell(r, report, &e);
	if (ret < 0)
		root_close(r);
	if (ret < 0 && err)
		*err = e;
	return ret;
}

int pool_root_reopen(struct pool_root *r, struct catalog *c, pthread_mutex_t *write_lock,
	struct err *err)
{
	struct pool_root fresh;
	int *from[ROOT_FDS], *to[ROOT_FDS], ret;

	pool_root_init(&fresh, r->config);
	ret = pool_root_open(&fresh, c, write_lock, err);
	root_fds(&fresh, from);
	root_fds(r, to);
	for (size_t i = 0; i < ROOT_FDS && ret == 0; i++) {
		if (dup3(*from[i], *to[i], O_CLOEXEC) < 0)
			ret = err_sys(err, errno, "open", r->config->path);
	}
	root_close(&fresh);
	pool_told_release(&fresh.told);
	pthread_mutex_destroy(&fresh.lock);
	return ret;
}

int pool_root_verify(struct pool_root *r, struct err *err)
{
	struct err e = ERR_INIT;
	struct stat opened, now;

	if (fstat(r->fd, &opened) == 0 && stat(r->config->path, &now) == 0 &&
		opened.st_dev == now.st_dev && opened.st_ino == now.st_ino &&
		fd_exists(r->control, POOL_FILE) == 1)
		return 0;
	missing(r, r->config->name, &e);
	pool_root_refuse(r, &e);
	atomic_store(&r->online, false);
	if (err)
		*err = e;
	return -ENODEV;
}

/* ---- space ---- */

int pool_root_space(const struct pool_root *r, const struct config *config, struct pool_space *out)
{
	struct statvfs st;

	if (fstatvfs(r->fd, &st) < 0)
		return -errno;
	*out = (struct pool_space){
		.total = (uint64_t)st.f_blocks * st.f_frsize,
		.free = (uint64_t)st.f_bavail * st.f_frsize,
		.inodes = st.f_files,
		.inodes_free = st.f_ffree,
	};
	out->min_free = config->min_free_bytes ? config->min_free_bytes
					       : out->total / 100 * config->min_free_percent;
	return 0;
}

int pool_root_writable(const struct pool_root *r, struct err *err)
{
	/* statfs() does not tell of a file system that stopped itself after an error. */
	int fd = openat(r->control, POOL_FILE, O_RDWR | O_NOFOLLOW | O_CLOEXEC), error = errno;

	if (fd >= 0)
		return close(fd), 0;
	if (error != EROFS && error != EIO)
		return 0;
	err_set(err, error, error == EROFS ? "read_only" : "io_error", r->config->name,
		"the file system of the pool at %.150s %s", r->config->path,
		error == EROFS ? "is read-only" : "has stopped: input/output error");
	err_hint(err, "dmesg says why; mount it read-write again, or where it is damaged stop fsd, "
		"check it and mount it anew");
	return -error;
}

static int no_answer(const struct pool_root *r, int ret, struct err *err)
{
	err_sys(err, -ret, "ask for the free space", r->config->name);
	err_hint(err, "see what the kernel says of the storage at %.200s (dmesg)", r->config->path);
	return ret;
}

int pool_root_admit(const struct pool_root *r, const struct config *config, struct err *err)
{
	struct pool_space s;
	int ret = pool_root_space(r, config, &s);
	bool inodes;

	if (ret < 0)
		return no_answer(r, ret, err);
	inodes = s.inodes && !config->min_free_bytes &&
		 s.inodes_free < s.inodes / 100 * config->min_free_percent;
	if (s.free >= s.min_free && !inodes)
		return 0;
	if (inodes)
		err_set(err, ENOSPC, "below_min_free", r->config->name,
			"%llu of %llu inodes are free, min_free keeps %u %%",
			(unsigned long long)s.inodes_free, (unsigned long long)s.inodes,
			config->min_free_percent);
	else
		err_set(err, ENOSPC, "below_min_free", r->config->name,
			"%llu MiB are free, min_free keeps %llu MiB",
			(unsigned long long)s.free >> 20, (unsigned long long)s.min_free >> 20);
	err_hint(err, "new clones and snapshots are refused; delete some: "
		      "fsctl snapshot list, fsctl generation list SITE, fsctl site list");
	return -ENOSPC;
}
