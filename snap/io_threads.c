/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The threads driver: the place, its directories, and how batches are run. */
#include "snap/io_threads.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "snap/io_threads_priv.h"

static const struct io_driver driver;

int io_threads_new(struct snap_ctx *ctx, struct io_place **out)
{
	struct tplace *p = calloc(1, sizeof(*p));
	unsigned limit = ctx->threads ? ctx->threads : DEPTH_MAX;

	if (!p || crew_new(&p->crew) < 0) {
		free(p);
		return -ENOMEM;
	}
	depth_init(&p->reading, limit);
	depth_init(&p->writing, limit);
	p->syncing = limit;
	p->base.driver = &driver;
	p->base.ctx = ctx;
	p->uid = geteuid();
	p->root = p->uid == 0;
	*out = &p->base;
	return 0;
}

static void place_free(struct io_place **place)
{
	crew_free(&tplace(*place)->crew);
	free(*place);
	*place = NULL;
}

static int dir_wrap(struct io_place *place, int fd, struct io_dir **out)
{
	struct tdir *d = malloc(sizeof(*d));

	if (!d) {
		t_close(&fd);
		return -ENOMEM;
	}
	d->base.place = place;
	d->fd = fd;
	*out = &d->base;
	return 0;
}

static int open_dir(int dirfd, const char *name)
{
	int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
	int fd = sys->openat(dirfd, name, flags | O_NOATIME, 0);

	if (fd < 0 && errno == EPERM)
		fd = sys->openat(dirfd, name, flags, 0);
	return fd < 0 ? -errno : fd;
}

int io_threads_dir(struct io_place *place, int fd, struct io_dir **out)
{
	int own = open_dir(fd, ".");

	return own < 0 ? own : dir_wrap(place, own, out);
}

/* An ordinary user's own directory without permissions for its owner. */
static int open_dir_forced(int dirfd, const char *name)
{
	char proc[PROC_FD_SIZE];
	_cleanup_tfd_ int fd = sys->openat(dirfd, name,
		O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	if (sys->chmod(t_proc(fd, proc), 0700) < 0)
		return -errno;
	return open_dir(fd, ".");
}

static int check_new(struct io_place *place, int fd)
{
	struct io_stat st;
	int r = t_stat(fd, "", &st);

	if (r < 0)
		return r;
	return st.uid == tplace(place)->uid && (st.mode & 077) == 0 ? 0 : -ESTALE;
}

static int dir_open(struct io_dir *parent, const char *name, unsigned flags, struct io_dir **out)
{
	int fd = open_dir(tdir_fd(parent), name);
	int r;

	if (fd == -EACCES && (flags & IO_OPEN_FORCE))
		fd = open_dir_forced(tdir_fd(parent), name);
	if (fd < 0)
		return fd;
	r = flags & IO_OPEN_NEW ? check_new(parent->place, fd) : 0;
	if (r < 0) {
		t_close(&fd);
		return r;
	}
	return dir_wrap(parent->place, fd, out);
}

static int dir_parent(struct io_dir *dir, struct io_dir **out)
{
	int fd = open_dir(tdir_fd(dir), "..");

	return fd < 0 ? fd : dir_wrap(dir->place, fd, out);
}

static void dir_close(struct io_dir **dir)
{
	t_close(&((struct tdir *)*dir)->fd);
	free(*dir);
	*dir = NULL;
}

static unsigned fs_flags(unsigned long type)
{
	switch (type) {
	case BTRFS_SUPER_MAGIC:
		return IO_FS_BTRFS;
	case FUSE_SUPER_MAGIC:
		return IO_FS_FUSE | IO_FS_NETWORK;
	case NFS_SUPER_MAGIC:
	case SMB_SUPER_MAGIC:
	case CIFS_SUPER_MAGIC:
	case SMB2_SUPER_MAGIC:
	case CEPH_SUPER_MAGIC:
	case V9FS_MAGIC:
	case AFS_SUPER_MAGIC:
		return IO_FS_NETWORK;
	default:
		return 0;
	}
}

static int dir_fs(struct io_dir *dir, struct io_fs *out)
{
	struct statfs fs;

	if (sys->fstatfs(tdir_fd(dir), &fs) < 0)
		return -errno;
	out->flags = fs_flags(fs.f_type);
	/* xfs makes them as long as there is space, and has none without. */
	out->no_inodes = fs.f_files && !fs.f_ffree && fs.f_bavail;
	return 0;
}

static void names_from(const char *data, ssize_t len, struct io_names *names)
{
	for (ssize_t i = 0; i < len;) {
		const struct dirent64 *d = (const void *)(data + i);

		if (strcmp(d->d_name, ".") != 0 && strcmp(d->d_name, "..") != 0)
			io_names_add(names, d->d_name, d->d_type);
		i += d->d_reclen;
	}
}

static int dir_list(struct io_dir *dir, bool restart, struct io_names *names)
{
	_Alignas(struct dirent64) char data[32768];
	ssize_t n;

	if (restart && sys->lseek(tdir_fd(dir), 0, SEEK_SET) < 0)
		return -errno;
	n = sys->getdents64(tdir_fd(dir), data, sizeof(data));
	if (n < 0)
		return -errno;
	names_from(data, n, names);
	if (buf_error(&names->buf))
		return -ENOMEM;
	return n > 0;
}

static int dir_get(struct io_dir *dir, struct io_item *it)
{
	int r = t_stat(tdir_fd(dir), "", &it->st);

	if (r < 0)
		return t_fail_with(it, r, "stat");
	it->type = DT_DIR;
	return t_xattrs_get(tdir_fd(dir), NULL, it);
}

static int dir_put(struct io_dir *dir, struct io_item *it, const struct io_put *how)
{
	return t_meta_set(tplace(dir->place), tdir_fd(dir), NULL, it, how);
}

static int dir_strip(struct io_dir *dir)
{
	t_acls_strip(tdir_fd(dir), NULL);
	return 0;
}

static void dir_claim(struct io_dir *dir)
{
	if (!tplace(dir->place)->root)
		sys->fchmod(tdir_fd(dir), 0700);
}

static int dir_sync(struct io_dir *dir)
{
	return sys->fsync(tdir_fd(dir)) < 0 ? -errno : 0;
}

static int fs_sync(struct io_dir *dir)
{
	return sys->syncfs(tdir_fd(dir)) < 0 ? -errno : 0;
}

/* A batch and what its operation needs beside the items. */
struct batch {
	struct io_dir *dir, *to;
	struct io_item *items;
	size_t n;
	const struct io_get *get;
	const struct io_put *put;
	int (*one)(struct batch *b, struct io_item *it);
};

static void do_item(void *arg, size_t i)
{
	struct batch *b = arg;
	struct io_item *it = &b->items[i];

	if (snap_canceled(b->dir->place->ctx)) {
		t_fail_with(it, -ECANCELED, "cancel");
		return;
	}
	it->error = 0;
	b->one(b, it);
}

static uint64_t clock_ns(clockid_t id)
{
	struct timespec t;

	clock_gettime(id, &t);
	return t.tv_sec * 1000000000ULL + t.tv_nsec;
}

static int run(struct batch *b, struct depth *d)
{
	struct tplace *p = tplace(b->dir->place);
	unsigned depth = depth_for(d, b->n);
	uint64_t wall, cpu = 0;

	if (b->n < DEPTH_BATCH) {
		for (size_t i = 0; i < b->n; i++)
			do_item(b, i);
		return 0;
	}
	wall = clock_ns(CLOCK_MONOTONIC);
	if (depth == 1)
		cpu = clock_ns(CLOCK_THREAD_CPUTIME_ID);
	crew_run(p->crew, depth, do_item, b, b->n);
	if (depth == 1)
		cpu = clock_ns(CLOCK_THREAD_CPUTIME_ID) - cpu;
	depth_learn(d, depth, b->n, clock_ns(CLOCK_MONOTONIC) - wall, cpu);
	return 0;
}

static int run_reading(struct batch *b)
{
	return run(b, &tplace(b->dir->place)->reading);
}

static int run_writing(struct batch *b)
{
	return run(b, &tplace(b->dir->place)->writing);
}

static int one_stat(struct batch *b, struct io_item *it)
{
	return t_stat_one(b->dir, it);
}

static int batch_stat(struct io_dir *dir, struct io_item *items, size_t n)
{
	return run_reading(&(struct batch){.dir = dir, .items = items, .n = n, .one = one_stat});
}

static int one_get(struct batch *b, struct io_item *it)
{
	return t_get_one(b->dir, it, b->get);
}

static int batch_get(struct io_dir *dir, struct io_item *items, size_t n, const struct io_get *how)
{
	return run_reading(&(struct batch){
		.dir = dir, .items = items, .n = n, .get = how, .one = one_get});
}

static int one_put(struct batch *b, struct io_item *it)
{
	return t_put_one(b->dir, it, b->put);
}

static int batch_put(struct io_dir *dir, struct io_item *items, size_t n, const struct io_put *how)
{
	return run_writing(&(struct batch){
		.dir = dir, .items = items, .n = n, .put = how, .one = one_put});
}

static int one_clone(struct batch *b, struct io_item *it)
{
	return t_clone_one(b->dir, b->to, it, b->get, b->put);
}

static int batch_clone(struct io_dir *from, struct io_dir *to, struct io_item *items, size_t n,
	const struct io_get *get, const struct io_put *put)
{
	return run_writing(&(struct batch){.dir = from,
		.to = to,
		.items = items,
		.n = n,
		.get = get,
		.put = put,
		.one = one_clone});
}

static int one_link(struct batch *b, struct io_item *it)
{
	if (sys->linkat(tdir_fd(b->dir), it->name, tdir_fd(b->to), io_item_as(it), 0) < 0)
		return t_fail(it, "link");
	return 0;
}

static int batch_link(struct io_dir *from, struct io_dir *to, struct io_item *items, size_t n)
{
	return run_writing(&(struct batch){
		.dir = from, .to = to, .items = items, .n = n, .one = one_link});
}

static int one_remove(struct batch *b, struct io_item *it)
{
	return t_remove_one(b->dir, it);
}

static int batch_remove(struct io_dir *dir, struct io_item *items, size_t n)
{
	return run_writing(&(struct batch){.dir = dir, .items = items, .n = n, .one = one_remove});
}

static int one_sync(struct batch *b, struct io_item *it)
{
	return t_sync_one(b->dir, it);
}

static int batch_sync(struct io_dir *dir, struct io_item *items, size_t n)
{
	struct batch b = {.dir = dir, .items = items, .n = n, .one = one_sync};
	struct tplace *p = tplace(dir->place);

	crew_run(p->crew, p->syncing, do_item, &b, n);
	return 0;
}

static int one_extents(struct batch *b, struct io_item *it)
{
	return t_extents_one(b->dir, it);
}

static int batch_extents(struct io_dir *dir, struct io_item *items, size_t n)
{
	return run_reading(&(struct batch){.dir = dir, .items = items, .n = n, .one = one_extents});
}

static const struct io_driver driver = {
	.name = "threads",
	.place_free = place_free,
	.dir_open = dir_open,
	.dir_parent = dir_parent,
	.dir_close = dir_close,
	.dir_fs = dir_fs,
	.dir_list = dir_list,
	.dir_get = dir_get,
	.dir_put = dir_put,
	.dir_strip = dir_strip,
	.dir_claim = dir_claim,
	.dir_sync = dir_sync,
	.fs_sync = fs_sync,
	.stat = batch_stat,
	.get = batch_get,
	.put = batch_put,
	.clone = batch_clone,
	.link = batch_link,
	.remove = batch_remove,
	.sync = batch_sync,
	.extents = batch_extents,
	.file_open = t_file_open,
	.file_create = t_file_create,
	.file_read = t_file_read,
	.file_write = t_file_write,
	.file_data = t_file_data,
	.file_resize = t_file_resize,
	.file_copy = t_file_copy,
	.file_flush = t_file_flush,
	.file_changed = t_file_changed,
	.file_finish = t_file_finish,
	.file_close = t_file_close,
};
