/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the files of the threads I/O driver share. */
#ifndef SNAP_IO_THREADS_PRIV_H
#define SNAP_IO_THREADS_PRIV_H

#include <stdio.h>

#include "snap/crew.h"
#include "snap/ctx.h"
#include "snap/depth.h"
#include "snap/io.h"
#include "snap/sys.h"

struct tplace {
	struct io_place base;
	bool root; /* may give files away */
	uid_t uid;
	struct crew *crew;
	struct depth reading, writing; /* each learns for itself */
	unsigned syncing;	       /* fsync always waits */
};

struct tdir {
	struct io_dir base;
	int fd;
};

struct tfile {
	struct io_file base;
	int fd;
};

static inline struct tplace *tplace(struct io_place *p)
{
	return (struct tplace *)p;
}

static inline int tdir_fd(const struct io_dir *dir)
{
	return ((const struct tdir *)dir)->fd;
}

static inline int tfile_fd(const struct io_file *file)
{
	return ((const struct tfile *)file)->fd;
}

/* The item failed in this call, with errno. */
int t_fail(struct io_item *it, const char *op);
int t_fail_with(struct io_item *it, int error, const char *op);

/* `name` "" is the descriptor itself. 0 or -errno. */
int t_stat(int fd, const char *name, struct io_stat *out);
/* A regular file for reading; -ESTALE when the name is something else by now. */
int t_open_read(int dirfd, const char *name);
/* The same; waits for who holds a lease on it, and ends with -ECANCELED. */
int t_open_file(struct io_dir *dir, const char *name);
void t_close(int *fd);
#define _cleanup_tfd_ __attribute__((cleanup(t_close)))

/*
 * The name under which the kernel knows an O_PATH descriptor, for the calls that take no
 * descriptor of that kind. The inode stays pinned: nobody can put another one in its place.
 */
#define PROC_FD_SIZE 32
static inline const char *t_proc(int fd, char out[PROC_FD_SIZE])
{
	snprintf(out, PROC_FD_SIZE, "/proc/self/fd/%d", fd);
	return out;
}

/* xattrs of a descriptor, or of /proc/self/fd/N where `path` is given. */
int t_xattrs_get(int fd, const char *path, struct io_item *it);
int t_xattrs_set(const struct tplace *place, int fd, const char *path, struct io_item *it);
void t_acls_strip(int fd, const char *path);

/* Owner, xattrs, mode and times from it->st. `path` as above. Sets it->error. */
int t_meta_set(const struct tplace *place, int fd, const char *path, struct io_item *it,
	const struct io_put *how);

/* One item each; they set it->error and return it. */
int t_stat_one(struct io_dir *dir, struct io_item *it);
int t_get_one(struct io_dir *dir, struct io_item *it, const struct io_get *how);
int t_put_one(struct io_dir *dir, struct io_item *it, const struct io_put *how);
int t_clone_one(struct io_dir *from, struct io_dir *to, struct io_item *it,
	const struct io_get *get, const struct io_put *put);
int t_remove_one(struct io_dir *dir, struct io_item *it);
int t_sync_one(struct io_dir *dir, struct io_item *it);
int t_extents_one(struct io_dir *dir, struct io_item *it);

/* Start write-back, so that a later store through a mapping moves ctime (kernel: a page that is
 * being written is write-protected first). A page already under write-back is only covered by
 * waiting for that one. */
int t_flush_for_settle(int fd);
/* Open a source file, stat it, read its xattrs. The fd or a negative error, noted in `it`. A file
 * to be deferred gives its fd too. */
int t_source_open(struct io_dir *dir, struct io_item *it, const struct io_get *how);
void t_source_recheck(int fd, struct io_item *it, const struct io_get *how);

/* io_threads_file.c */
int t_file_open(struct io_dir *dir, struct io_item *it, const struct io_get *how,
	struct io_file **out);
int t_file_create(struct io_dir *dir, const char *name, struct io_file **out);
ssize_t t_file_read(struct io_file *file, void *data, size_t len, uint64_t off);
int t_file_write(struct io_file *file, const void *data, size_t len, uint64_t off);
int t_file_data(struct io_file *file, uint64_t off, uint64_t *start, uint64_t *end);
int t_file_resize(struct io_file *file, uint64_t size);
ssize_t t_file_copy(struct io_file *from, struct io_file *to, uint64_t off, size_t len);
int t_file_flush(struct io_file *file, uint64_t off, uint64_t len);
int t_file_changed(struct io_file *file, const struct io_stat *st);
int t_file_finish(struct io_file *file, struct io_item *it, const struct io_put *how);
int t_file_close(struct io_file **file);

/* Read or write exactly; t_pread gives what there was up to the end of the file. */
ssize_t t_pread(int fd, void *data, size_t len, uint64_t off);
int t_pwrite(int fd, const void *data, size_t len, uint64_t off);

#endif
