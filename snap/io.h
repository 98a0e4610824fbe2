/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The seam between the engine and whatever holds a tree. A *place* is one way to reach trees (plain
 * system calls, a ring, an NFS connection); the engine sees directories of a place and works on
 * batches of the names of one directory with blocking calls. How the items of a batch overlap is
 * the driver's business alone: the code above is straight-line.
 *
 * The item is the unit: get() fills it from a directory, put() makes an entry from it, so that
 * copying is get() here and put() there, whatever the two drivers are. Two directories of the same
 * place can do better: link() and clone().
 *
 * Confinement is the driver's promise: every call works on single names beneath a directory handle,
 * follows no symlink, opens nothing but regular files and directories for reading, and looks again
 * at what it opened (a name may be something else by then: -ESTALE).
 *
 * Calls return 0 or -errno. A batch call returns 0 when it could try all items and their `error`
 * tells how each went; after a cancel the items that were not tried have -ECANCELED.
 *
 * To add a driver: embed the structs below as first members, fill a `const struct io_driver` at the
 * end of a file snap/io_NAME.c, declare its constructor in io_NAME.h, run tests/unit/snap on it.
 */
#ifndef SNAP_IO_H
#define SNAP_IO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#include "snap/base/buf.h"

struct io_driver;
struct snap_ctx;

struct io_place {
	const struct io_driver *driver;
	struct snap_ctx *ctx; /* borrowed; cancels and limits threads; never NULL */
};

struct io_dir {
	struct io_place *place;
};

struct io_file {
	struct io_place *place;
};

struct io_stat {
	uint64_t dev, ino, rdev;
	uint64_t size;
	uint64_t allocated; /* bytes */
	uint64_t mount;	    /* id of the mount it was reached through; 0 where unknown */
	uint64_t attrs;	    /* STATX_ATTR_* that the place knows */
	uint32_t mode, nlink, uid, gid;
	struct timespec atime, mtime, ctime, btime; /* btime: 0 where unknown */
};

enum io_item_flag {		/* answers of the driver */
	IO_LARGE = 1 << 0,	/* get: a regular file whose content was left: use io_file_open */
	IO_DEFERRED = 1 << 1,	/* get, clone: stopped after the stat, as asked */
	IO_CHANGED = 1 << 2,	/* get, clone: it was being written meanwhile */
	IO_XATTR_LOST = 1 << 3, /* put, clone: an extended attribute or ACL was refused */
	IO_INLINE = 1 << 4,	/* extents: its content lies in the metadata */
	IO_OWNER_LOST = 1 << 5, /* put, clone: an ordinary user could not give owner and group */
};

struct io_item {
	const char *name;   /* in: one component, borrowed */
	const char *as;	    /* in: the name on the other side where it differs; NULL: same */
	unsigned char type; /* DT_*: what the listing said; get and stat correct DT_UNKNOWN */
	unsigned flags;
	int error;	/* out: 0 or -errno */
	const char *op; /* out: the call that failed, static storage */

	struct io_stat st;  /* out of stat and get, into put */
	struct buf content; /* of a regular file, or the target of a symlink */
	struct buf xattrs;  /* packed and sorted by name: io_xattr_next() */
	uint64_t shared;    /* out of extents */
};

/* An item keeps its buffers from batch to batch. */
void io_item_reset(struct io_item *it);
void io_item_release(struct io_item *it);
/* The name on the receiving side. */
static inline const char *io_item_as(const struct io_item *it)
{
	return it->as ? it->as : it->name;
}

/* One name and value at *pos; false at the end. Start with *pos = 0. */
struct io_xattr {
	const char *name;
	const void *value;
	size_t len;
};
bool io_xattr_next(const struct buf *packed, size_t *pos, struct io_xattr *out);
void io_xattr_add(struct buf *packed, const char *name, const void *value, size_t len);

/* Names of a directory with their types, packed. */
struct io_names {
	struct buf buf;
	size_t n;
};
void io_names_add(struct io_names *names, const char *name, unsigned char type);
/* The name at *pos, borrowed until the list changes; NULL at the end. */
const char *io_names_next(const struct io_names *names, size_t *pos, unsigned char *type);
void io_names_reset(struct io_names *names);
void io_names_release(struct io_names *names);

enum io_open_flag {
	IO_OPEN_NEW = 1 << 0,	/* it was just made by put(): refuse what is not the caller's */
	IO_OPEN_FORCE = 1 << 1, /* to remove what is in it: take the permission if it is ours */
};

enum io_fs_flag {
	IO_FS_BTRFS = 1 << 0,	/* inode 2 is the stub of a nested subvolume */
	IO_FS_NETWORK = 1 << 1, /* times come from another machine's clock */
	IO_FS_FUSE = 1 << 2,	/* copy_file_range is not to be trusted */
};

struct io_fs {
	unsigned flags;
	bool no_inodes; /* there is space, but no inode for a new file */
};

struct io_get {
	size_t content_max; /* larger files, and files with holes, come back IO_LARGE */
	bool live;	    /* start write-back first, stat before and after: IO_CHANGED */
	bool defer_linked;  /* files with nlink > 1 come back IO_DEFERRED after the stat */
};

struct io_put {
	bool flush; /* start writing out what was written */
	bool strip; /* the directory may hand ACLs down to new entries: take them off first */
};

/* Mandatory unless it says "may be NULL". */
struct io_driver {
	const char *name; /* "threads" */

	void (*place_free)(struct io_place **place);

	/* Directory `name` in `parent`: no symlink, -ENOTDIR or -ELOOP for anything else. `flags`:
	 * enum io_open_flag. */
	int (*dir_open)(struct io_dir *parent, const char *name, unsigned flags,
		struct io_dir **out);
	/* The directory that holds this one, now. The caller compares its identity. */
	int (*dir_parent)(struct io_dir *dir, struct io_dir **out);
	void (*dir_close)(struct io_dir **dir);
	int (*dir_fs)(struct io_dir *dir, struct io_fs *out);

	/*
	 * Append the next names (without . and ..), as many as come in one go. 1: there may be
	 * more; 0: the end was reached. `restart` begins anew.
	 */
	int (*dir_list)(struct io_dir *dir, bool restart, struct io_names *names);
	/* The directory's own stat and xattrs, into `it`; and from it, onto the directory. */
	int (*dir_get)(struct io_dir *dir, struct io_item *it);
	int (*dir_put)(struct io_dir *dir, struct io_item *it, const struct io_put *how);
	/* Take off the ACLs that new entries would inherit. */
	int (*dir_strip)(struct io_dir *dir);
	/* Make it writable for the caller until the next dir_put(). */
	void (*dir_claim)(struct io_dir *dir);
	int (*dir_sync)(struct io_dir *dir);
	/* Everything of the file system that holds it: where syncing by item is worse. */
	int (*fs_sync)(struct io_dir *dir);

	/* Batches. */
	int (*stat)(struct io_dir *dir, struct io_item *items, size_t n);
	/* Stat, xattrs, and content or link target. Directories: the stat only. */
	int (*get)(struct io_dir *dir, struct io_item *items, size_t n, const struct io_get *how);
	/*
	 * Make entries that do not exist: from content (IO_LARGE: use io_file_create), link target
	 * or rdev, with owner, mode, xattrs and times of `st`. Directories are made 0700 and
	 * without metadata: dir_put() when they are full. As an ordinary user the owner stays the
	 * caller's (IO_OWNER_LOST), and setuid and setgid bits that would then mean somebody else
	 * are dropped.
	 */
	int (*put)(struct io_dir *dir, struct io_item *items, size_t n, const struct io_put *how);
	/*
	 * Regular files only: get and put in one, sharing the data. -EOPNOTSUPP or -EXDEV: never
	 * between these two; -EINVAL: not this file. On error nothing is left. May be NULL.
	 */
	int (*clone)(struct io_dir *from, struct io_dir *to, struct io_item *items, size_t n,
		const struct io_get *get, const struct io_put *put);
	/* Hard links to from/name as to/as. */
	int (*link)(struct io_dir *from, struct io_dir *to, struct io_item *items, size_t n);
	/* Unlink, or rmdir for DT_DIR; clears immutable and append-only flags that are in the way;
	 * a missing name is success. */
	int (*remove)(struct io_dir *dir, struct io_item *items, size_t n);
	/* fsync regular files; other types succeed. */
	int (*sync)(struct io_dir *dir, struct io_item *items, size_t n);
	/* item->shared: bytes in extents that others share too, of which nothing is known of an
	 * IO_INLINE one; -EOPNOTSUPP. May be NULL. */
	int (*extents)(struct io_dir *dir, struct io_item *items, size_t n);

	/* Large files. open fills st and xattrs; all offsets and lengths in bytes. */
	int (*file_open)(struct io_dir *dir, struct io_item *it, const struct io_get *how,
		struct io_file **out);
	int (*file_create)(struct io_dir *dir, const char *name, struct io_file **out);
	/* Up to len; 0 at the end. */
	ssize_t (*file_read)(struct io_file *file, void *data, size_t len, uint64_t off);
	/* All of it. */
	int (*file_write)(struct io_file *file, const void *data, size_t len, uint64_t off);
	/* The next range with data at or after `off`; -ENXIO: only a hole follows. */
	int (*file_data)(struct io_file *file, uint64_t off, uint64_t *start, uint64_t *end);
	int (*file_resize)(struct io_file *file, uint64_t size);
	/* Copy inside the storage: the count, -EOPNOTSUPP, -EXDEV. May be NULL. */
	ssize_t (*file_copy)(struct io_file *from, struct io_file *to, uint64_t off, size_t len);
	/* Start writing out. */
	int (*file_flush)(struct io_file *file, uint64_t off, uint64_t len);
	/* 1 when the file is no longer what `st` says, 0 when it is. */
	int (*file_changed)(struct io_file *file, const struct io_stat *st);
	/* Metadata of `it`, as put() sets it. */
	int (*file_finish)(struct io_file *file, struct io_item *it, const struct io_put *how);
	/* Reports what was held back until now. */
	int (*file_close)(struct io_file **file);
};

static inline const struct io_driver *io_drv(const struct io_dir *dir)
{
	return dir->place->driver;
}

static inline const struct io_driver *io_file_drv(const struct io_file *file)
{
	return file->place->driver;
}

/* Same file, unchanged: identity, size, times of content and inode, mode and owner. */
bool io_stat_same(const struct io_stat *a, const struct io_stat *b);

/* For _cleanup_; NULL is allowed. */
void io_place_free(struct io_place **place);
void io_dir_close(struct io_dir **dir);
#define _cleanup_io_place_ __attribute__((cleanup(io_place_free)))
#define _cleanup_io_dir_ __attribute__((cleanup(io_dir_close)))

#endif
