/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Hard link groups of a copy: which inode of the source has already become which path of the
 * destination. Only inodes with several links are ever remembered.
 */
#ifndef SNAP_LINKS_H
#define SNAP_LINKS_H

#include "snap/idmap.h"
#include "snap/io.h"

struct link_copy {
	char *path;	 /* in the destination, of the first name */
	uint64_t digest; /* stat_digest() of the inode when it was copied */
	bool fresh;	 /* copied in this pass of a settling copy */
};

struct links {
	struct idmap by_inode; /* to index + 1 */
	struct link_copy *items;
	size_t n, size;
};

/* Borrowed until the next change; NULL: not known. */
struct link_copy *links_find(const struct links *l, const struct io_stat *st);
/* Remember, or replace. 0 or -ENOMEM. */
int links_add(struct links *l, const struct io_stat *st, const char *path, uint64_t digest,
	bool fresh);
void links_release(struct links *l);

#endif
