/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A hash map from a pair of 64-bit numbers to one: inodes (device, number) and 128-bit hashes of
 * paths. 24 bytes a slot, at most 3/4 full. The hash is keyed, since inode numbers can be chosen.
 */
#ifndef SNAP_IDMAP_H
#define SNAP_IDMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct idmap_slot {
	uint64_t a, b;
	uint64_t value; /* 0: free */
};

struct idmap {
	struct idmap_slot *slots;
	size_t size, n;
	uint64_t key;
};

/* NULL when (a, b) is not there; borrowed until the next set. */
uint64_t *idmap_get(const struct idmap *m, uint64_t a, uint64_t b);
/* `value` must not be 0. 0 or -ENOMEM. */
int idmap_set(struct idmap *m, uint64_t a, uint64_t b, uint64_t value);
void idmap_release(struct idmap *m);

#endif
