/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A directory outside of the pools that somebody named: what import takes and eject gives back. Its
 * parent is opened once, without following a symlink below the part that the configuration vouches
 * for (import_from), and held; everything after goes through the held descriptors.
 */
#ifndef FSD_OP_OUTSIDE_H
#define FSD_OP_OUTSIDE_H

#include <limits.h>
#include <sys/stat.h>

#include "fsd/op/common.h"

struct outside {
	char path[PATH_MAX]; /* absolute, without "." and double slashes */
	size_t base_len;     /* how much of it the configuration vouches for; 0: "/" */
	const char *name;    /* its last component, in `path` */
	int parent;
	int dir;	     /* the directory itself; -1 when there is none */
	struct stat st;	     /* of whatever has the name; st_nlink 0: nothing */
};
#define OUTSIDE_INIT ((struct outside){.parent = -1, .dir = -1})
void outside_release(struct outside *o);
#define _cleanup_outside_ __attribute__((cleanup(outside_release)))

/*
 * Planning: may this peer name it, and what is there? Notes it in the intent. Peers that are not
 * root (or fsd's own user) may only name what lies beneath import_from: -EACCES
 * "outside_import_from". A symlink on the way: -EINVAL "is_symlink"; no parent: "not_found".
 */
int outside_plan(struct fsd *f, struct job *job, const char *path, struct outside *o,
	struct err *err);

/* Look there and forget it: for op_kind.touch. */
void outside_touch(struct fsd *f, const struct request *r);

/* A path that was planned once, from a site's document: the configuration of today vouches. */
int outside_find(struct fsd *f, const char *path, struct outside *o, struct err *err);

/* Which directory its parent is: an inode alone is not, each ext4 has the same one for its root. */
struct outside_id {
	int64_t ino, born; /* born: ns; 0: its file system does not tell, as of an ext4's root */
	int64_t fs;	   /* where that is of the file system's UUID (ext4, btrfs); else 0 */
};
int outside_identify(const struct outside *o, struct outside_id *id, struct err *err);
/* -EBUSY "source_changed" when it is not that one. */
int outside_require(const struct outside *o, const struct outside_id *id, struct err *err);

/* The same place again from the intent: -EBUSY "source_changed" when its parent is another. */
int outside_open(const struct job *job, struct outside *o, struct err *err);

/* How a copy between a pool and the directory of `fd` will most likely be made. */
enum pool_method outside_method(const struct pool_root *p, int fd);

/*
 * A job cannot be brought to its end there: it may be gone, or on a disk that is mounted later, or
 * others have put something in the way. Only who cancels the job then decides to do without: true.
 * Else `err` gets the hint.
 */
bool outside_given_up(const struct job *job, struct err *err);

/* Look at the name again, by the held parent. 0 or -errno. */
int outside_look(struct outside *o);

/*
 * Make the symbolic link `name` beside it, owned like `owner`, durably with the rename that
 * follows. The folder may belong to others: it is the link that is given away, or nothing.
 */
int outside_make_link(const struct outside *o, const char *name, const char *target,
	const struct stat *owner, struct err *err);

/* Is nothing of this name there? "exists". */
int outside_require_free(const struct outside *o, struct err *err);

/* Is it a directory? "not_found", "is_symlink", "not_a_directory". */
int outside_require_dir(const struct outside *o, struct err *err);

/*
 * Is `fd` (the directory, or where it is to be) apart from the pools, in both directions, and none
 * of the system's own directories? "inside_pool", "holds_pool", "system_directory". `reads`: it is
 * only read, so that more is allowed.
 */
int outside_refuse(struct fsd *f, const struct outside *o, int fd, bool reads, struct err *err);

/* The root of a mount cannot be renamed: -EINVAL "mount_point". */
int outside_refuse_mount(const struct outside *o, struct err *err);

/* Are both on one mount, so that a rename may work? */
bool outside_same_mount(int a, int b);

/* "NAME.fsd-JOB", beside it: what is on its way in or out. 0 or -ENAMETOOLONG. */
int outside_side_name(const struct outside *o, const char *job, char out[NAME_MAX + 1]);

#endif
