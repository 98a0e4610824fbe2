/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Large files of the threads driver. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "snap/io_threads_priv.h"

static int wrap(struct io_place *place, int fd, struct io_file **out)
{
	struct tfile *f = malloc(sizeof(*f));

	if (!f) {
		t_close(&fd);
		return -ENOMEM;
	}
	f->base.place = place;
	f->fd = fd;
	*out = &f->base;
	return 0;
}

int t_file_open(struct io_dir *dir, struct io_item *it, const struct io_get *how,
	struct io_file **out)
{
	int fd = t_source_open(dir, it, how);

	if (fd < 0)
		return fd;
	return wrap(dir->place, fd, out);
}

int t_file_create(struct io_dir *dir, const char *name, struct io_file **out)
{
	int fd = sys->openat(tdir_fd(dir), name,
		O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);

	return fd < 0 ? -errno : wrap(dir->place, fd, out);
}

ssize_t t_file_read(struct io_file *file, void *data, size_t len, uint64_t off)
{
	return t_pread(tfile_fd(file), data, len, off);
}

int t_file_write(struct io_file *file, const void *data, size_t len, uint64_t off)
{
	return t_pwrite(tfile_fd(file), data, len, off);
}

int t_file_data(struct io_file *file, uint64_t off, uint64_t *start, uint64_t *end)
{
	off_t data = sys->lseek(tfile_fd(file), off, SEEK_DATA), hole;

	if (data < 0)
		return -errno;
	hole = sys->lseek(tfile_fd(file), data, SEEK_HOLE);
	if (hole < 0)
		return -errno;
	*start = data;
	*end = hole;
	return 0;
}

int t_file_resize(struct io_file *file, uint64_t size)
{
	return sys->ftruncate(tfile_fd(file), size) < 0 ? -errno : 0;
}

ssize_t t_file_copy(struct io_file *from, struct io_file *to, uint64_t off, size_t len)
{
	off_t in = off, out = off;
	ssize_t n = sys->copy_file_range(tfile_fd(from), &in, tfile_fd(to), &out, len, 0);

	return n < 0 ? -errno : n;
}

int t_file_flush(struct io_file *file, uint64_t off, uint64_t len)
{
	return sys->sync_file_range(tfile_fd(file), off, len, SYNC_FILE_RANGE_WRITE) < 0 ? -errno :
											   0;
}

int t_file_changed(struct io_file *file, const struct io_stat *st)
{
	struct io_stat now;
	int r = t_stat(tfile_fd(file), "", &now);

	return r < 0 ? r : !io_stat_same(&now, st);
}

int t_file_finish(struct io_file *file, struct io_item *it, const struct io_put *how)
{
	int fd = tfile_fd(file);

	if (t_meta_set(tplace(file->place), fd, NULL, it, how) < 0)
		return it->error;
	if (how->flush && sys->sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE) < 0)
		return t_fail(it, "sync_file_range");
	return 0;
}

int t_file_close(struct io_file **file)
{
	int r = 0;

	if (*file) {
		r = sys->close(tfile_fd(*file)) < 0 ? -errno : 0;
		free(*file);
	}
	*file = NULL;
	return r;
}
