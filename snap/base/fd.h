/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * File descriptors and small files beneath held directories. Every path argument here is one
 * component unless it says otherwise; every descriptor is opened O_CLOEXEC.
 */
#ifndef SNAP_BASE_FD_H
#define SNAP_BASE_FD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Close *fd and set it to -1; errno is kept. -1 is allowed. */
void fd_close(int *fd);
#define _cleanup_fd_ __attribute__((cleanup(fd_close)))

/* free(3) for `_cleanup_free_ char *p`. */
void ptr_free(void *pp);
#define _cleanup_free_ __attribute__((cleanup(ptr_free)))

/* Write or read all `len` bytes, resuming after EINTR and short counts. 0 or -errno; fd_read_all
 * gives -ENODATA when the file ends early. */
int fd_write_all(int fd, const void *data, size_t len);
int fd_read_all(int fd, void *data, size_t len);

/* Open directory `name` beneath `dirfd` (O_DIRECTORY | O_NOFOLLOW). The fd or -errno. */
int fd_open_dir(int dirfd, const char *name);

/*
 * Open a relative path of several components beneath `dirfd`: openat2 with RESOLVE_BENEATH,
 * RESOLVE_NO_MAGICLINKS and RESOLVE_NO_SYMLINKS. `flags` are open(2)'s. The fd or -errno (ELOOP
 * for a symlink, EXDEV for an escape).
 */
int fd_open_beneath(int dirfd, const char *path, int flags);

/* A second, independent descriptor of the same directory (its own offset). The fd or -errno. */
int fd_reopen_dir(int fd);

/*
 * Read a regular file of at most `max` bytes whole. *data is malloc'd, NUL-terminated, the
 * caller's; *len does not count the NUL and may be NULL. -EFBIG when larger, -ELOOP for a symlink,
 * -EINVAL when it is not a regular file.
 */
int fd_read_file(int dirfd, const char *name, size_t max, char **data, size_t *len);

/*
 * Replace `name` by a new file with this content, atomically: a temporary file beside it (name
 * ".NAME.new"), fsync, rename. The directory is not synced: fsync it before the next step relies
 * on the new name. 0 or -errno; on failure the old file stands.
 */
int fd_write_file(int dirfd, const char *name, const void *data, size_t len, mode_t mode);

/* A new file to/name with the content of from/name, which both share until one is written to
 * (FICLONE). Not synced, but it needs no more than what a new link needs to be durable: the file
 * system's own commit. -errno where it cannot, and nothing is left. */
int fd_clone_file(int from, int to, const char *name, mode_t mode);

/* Remove the temporary file of `name` that a power cut may bring back, also beside the new file:
 * btrfs can replay a rename as a second name. Missing is success. 0 or -errno. */
int fd_sweep_file(int dirfd, const char *name);
/* Is this entry that temporary file? For who reads the directory anyway. */
bool fd_is_temporary(const char *entry, const char *name);

/* fsync(2) and syncfs(2), counted in fd_sync_count(). 0 or -errno. */
int fd_sync(int fd);
int fd_sync_fs(int fd);
/* Count a flush that another call makes, such as an ioctl that commits a transaction. */
void fd_sync_add(void);
/* How many flushes this process has made; tests hold operations to their budget. */
unsigned long fd_sync_count(void);

/* Where `fd` was opened, with /NAME behind it unless `name` is NULL: for messages and the
 * kernel's own tables, never to open by. No path: "". 0, or -ENAMETOOLONG with `out` cut short. */
int fd_path(int fd, const char *name, char *out, size_t size);

/* mkdirat; an existing directory is success. 0 or -errno. */
int fd_mkdir(int dirfd, const char *name, mode_t mode);

/* Does this name exist beneath dirfd (not following a symlink)? 1, 0 or -errno. */
int fd_exists(int dirfd, const char *name);

/* Is it a symbolic link with this text? An empty name: the link itself, that dirfd is open on
 * (O_PATH). 1, 0 or -errno. */
int fd_is_link_to(int dirfd, const char *name, const char *text);

#endif
