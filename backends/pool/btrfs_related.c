/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Kinship of subvolumes. A snapshot records the uuid of what it was taken from; the chain is
 * followed as far as its members still exist. Where it is broken by a deletion, the root directory
 * tells: a snapshot keeps its inode with the birth time and the transaction that made it.
 */
#include "backends/pool/btrfs_send.h"

#include <btrfsutil.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/btrfs.h>
#include <linux/btrfs_tree.h>
#include <linux/fs.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

/* Longer chains count as broken. */
#define CHAIN_MAX 256

struct chain {
	uint8_t uuid[CHAIN_MAX][16];
	size_t n;
	bool whole; /* it ends in a subvolume that is no snapshot */
};

/* The id of the subvolume with this uuid: the uuid tree's key is the uuid itself. 0 when none. */
static int find_uuid(int fd, const uint8_t uuid[16], uint64_t *id)
{
	struct btrfs_ioctl_search_args args = {0};
	struct btrfs_ioctl_search_header head;
	uint64_t high, low, value;

	memcpy(&high, uuid, 8);
	memcpy(&low, uuid + 8, 8);
	args.key.tree_id = BTRFS_UUID_TREE_OBJECTID;
	args.key.min_objectid = args.key.max_objectid = le64toh(high);
	args.key.min_offset = args.key.max_offset = le64toh(low);
	args.key.min_type = args.key.max_type = BTRFS_UUID_KEY_SUBVOL;
	args.key.max_transid = UINT64_MAX;
	args.key.nr_items = 1;
	*id = 0;
	if (ioctl(fd, BTRFS_IOC_TREE_SEARCH, &args) < 0)
		return errno == ENOENT ? 0 : -errno; /* a file system without the tree */
	if (args.key.nr_items == 0)
		return 0;
	memcpy(&head, args.buf, sizeof(head));
	if (head.len < sizeof(value))
		return 0;
	memcpy(&value, args.buf + sizeof(head), sizeof(value));
	*id = le64toh(value);
	return 0;
}

static bool is_null(const uint8_t uuid[16])
{
	static const uint8_t null[16];

	return memcmp(uuid, null, 16) == 0;
}

static void push(struct chain *c, const uint8_t uuid[16])
{
	memcpy(c->uuid[c->n++], uuid, 16);
}

/* The uuids of the subvolume and of what it descends from, the first that is gone included. */
static int follow(int fd, struct chain *c)
{
	struct btrfs_util_subvolume_info info;
	uint64_t id = 0; /* that of fd */

	while (c->n < CHAIN_MAX - 1) {
		int r;

		errno = 0;
		if (btrfs_util_subvolume_info_fd(fd, id, &info) != BTRFS_UTIL_OK)
			return errno == ENOENT ? 0 : errno ? -errno : -EIO;
		push(c, info.uuid);
		c->whole = is_null(info.parent_uuid);
		if (c->whole)
			return 0;
		r = find_uuid(fd, info.parent_uuid, &id);
		if (r < 0)
			return r;
		if (id == 0) {
			push(c, info.parent_uuid);
			return 0;
		}
	}
	return 0;
}

static bool meet(const struct chain *a, const struct chain *b)
{
	for (size_t i = 0; i < a->n; i++) {
		for (size_t k = 0; k < b->n; k++) {
			if (memcmp(a->uuid[i], b->uuid[k], 16) == 0)
				return true;
		}
	}
	return false;
}

/* The same root directory, by birth. Two subvolumes made within one tick and one transaction look
 * alike too; then the diff is right, but may call two files one that was renamed and changed. */
static int same_birth(int a, int b)
{
	struct statx x, y;
	int v = 0, w = 0;

	if (statx(a, "", AT_EMPTY_PATH, STATX_BTIME, &x) < 0 ||
		statx(b, "", AT_EMPTY_PATH, STATX_BTIME, &y) < 0 ||
		ioctl(a, FS_IOC_GETVERSION, &v) < 0 || ioctl(b, FS_IOC_GETVERSION, &w) < 0)
		return -errno;
	return v == w && x.stx_mask & y.stx_mask & STATX_BTIME &&
		x.stx_btime.tv_sec == y.stx_btime.tv_sec &&
		x.stx_btime.tv_nsec == y.stx_btime.tv_nsec;
}

int btrfs_related(int a, int b)
{
	struct chain x = {0}, y = {0};
	int r = follow(a, &x);

	if (r == 0)
		r = follow(b, &y);
	if (r < 0)
		return r;
	if (meet(&x, &y))
		return 1;
	return x.whole && y.whole ? 0 : same_birth(a, b);
}
