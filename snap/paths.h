/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A bounded list of paths with a reason each: what did not settle, what was skipped, what differs.
 * It keeps the first `PATHS_KEPT` and counts the rest, so a report about millions stays small.
 * Paths are relative to the tree, without a leading slash, bytes as the file system has them.
 */
#ifndef SNAP_PATHS_H
#define SNAP_PATHS_H

#include <stddef.h>
#include <stdint.h>

#define PATHS_KEPT 1000

struct path_note {
	char *path;
	const char *reason; /* static storage: "changed", "socket", "immutable", "content", ... */
};

struct paths {
	struct path_note *items;
	size_t n;	/* kept */
	uint64_t total; /* kept and dropped */
};

#define PATHS_INIT ((struct paths){0})

/* Not thread-safe. 0 or -ENOMEM. */
int paths_add(struct paths *p, const char *path, const char *reason);
void paths_release(struct paths *p);

#endif
