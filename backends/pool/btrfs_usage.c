/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a tree would give back if it were removed, without quota groups, which make every deletion
 * slow. The sharing of extents is the kernel's answer to FIEMAP (snap_usage). Small files have no
 * extent: their bytes lie in the leaves of the subvolume's tree, of which FIEMAP says nothing. A
 * leaf that was last written before the tree's last snapshot is counted as shared as long as
 * anything else of the tree is: an estimate that is right until one of several relatives is gone.
 */
#include "backends/pool/btrfs.h"

#include <btrfsutil.h>
#include <endian.h>
#include <errno.h>
#include <linux/btrfs.h>
#include <linux/btrfs_tree.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/vfs.h>

#include "snap/base/fd.h"

#define SEARCH_BYTES (256 * 1024)

struct search {
	int fd;
	struct btrfs_ioctl_search_args_v2 *args;
	uint64_t block;	 /* the file system's */
	uint64_t shared; /* found so far */
};

/* The transaction of the last snapshot that the subvolume was on either side of. 0 or -errno. */
static int last_snapshot(int fd, uint64_t *out)
{
	struct btrfs_ioctl_search_args args = {0};
	struct btrfs_ioctl_search_header head;
	uint64_t id, value;

	errno = 0;
	if (btrfs_util_subvolume_id_fd(fd, &id) != BTRFS_UTIL_OK)
		return errno ? -errno : -EIO;
	args.key.tree_id = BTRFS_ROOT_TREE_OBJECTID;
	args.key.min_objectid = args.key.max_objectid = id;
	args.key.min_type = args.key.max_type = BTRFS_ROOT_ITEM_KEY;
	args.key.max_offset = args.key.max_transid = UINT64_MAX;
	args.key.nr_items = 1;
	if (ioctl(fd, BTRFS_IOC_TREE_SEARCH, &args) < 0)
		return -errno;
	memcpy(&head, args.buf, sizeof(head));
	if (args.key.nr_items == 0 ||
		head.len < offsetof(struct btrfs_root_item, last_snapshot) + sizeof(value))
		return -ENODATA;
	memcpy(&value, args.buf + sizeof(head) +
		offsetof(struct btrfs_root_item, last_snapshot), sizeof(value));
	*out = le64toh(value);
	return 0;
}

/* Inline data occupies whole blocks in what stat says, so here too. */
static void count_item(struct search *s, const struct btrfs_ioctl_search_header *head,
	const char *item)
{
	struct btrfs_file_extent_item extent;
	const size_t fixed = offsetof(struct btrfs_file_extent_item, disk_bytenr);
	uint64_t bytes;

	if (head->type != BTRFS_EXTENT_DATA_KEY || head->len < fixed)
		return;
	memcpy(&extent, item, fixed);
	if (extent.type != BTRFS_FILE_EXTENT_INLINE)
		return;
	bytes = le64toh(extent.ram_bytes);
	s->shared += (bytes + s->block - 1) / s->block * s->block;
}

/* Count one answer and set the key behind its last item. 1: there may be more. */
static int count_answer(struct search *s)
{
	struct btrfs_ioctl_search_key *key = &s->args->key;
	struct btrfs_ioctl_search_header head = {0};
	const char *p = (const char *)s->args->buf, *end = p + SEARCH_BYTES;

	for (uint32_t i = 0; i < key->nr_items; i++) {
		if ((size_t)(end - p) < sizeof(head))
			return -EBADMSG;
		memcpy(&head, p, sizeof(head));
		p += sizeof(head);
		if ((size_t)(end - p) < head.len)
			return -EBADMSG;
		count_item(s, &head, p);
		p += head.len;
	}
	if (key->nr_items == 0)
		return 0;
	key->min_objectid = head.objectid;
	key->min_type = head.type;
	key->min_offset = head.offset + 1;
	if (key->min_offset == 0 && ++key->min_type > UINT8_MAX) {
		key->min_type = 0;
		key->min_objectid++;
	}
	return 1;
}

/* Leaves up to transaction `until`, in the order of their keys. */
static int search_leaves(struct search *s, uint64_t until, struct snap_ctx *ctx)
{
	struct btrfs_ioctl_search_key *key = &s->args->key;
	int r = 1;

	memset(key, 0, sizeof(*key));
	key->min_objectid = BTRFS_FIRST_FREE_OBJECTID;
	key->max_objectid = BTRFS_LAST_FREE_OBJECTID;
	key->max_type = UINT8_MAX;
	key->max_offset = UINT64_MAX;
	key->max_transid = until;
	while (r > 0) {
		if (snap_canceled(ctx))
			return -ECANCELED;
		key->nr_items = UINT32_MAX;
		s->args->buf_size = SEARCH_BYTES;
		if (ioctl(s->fd, BTRFS_IOC_TREE_SEARCH_V2, s->args) < 0)
			return -errno;
		r = count_answer(s);
	}
	return r;
}

static int shared_inline(int fd, struct snap_ctx *ctx, uint64_t *out)
{
	_cleanup_free_ struct btrfs_ioctl_search_args_v2 *args =
		malloc(sizeof(*args) + SEARCH_BYTES);
	struct search s = {.fd = fd, .args = args};
	struct statfs fs;
	uint64_t until;
	int r;

	if (!args)
		return -ENOMEM;
	if (fstatfs(fd, &fs) < 0)
		return -errno;
	s.block = fs.f_bsize;
	r = last_snapshot(fd, &until);
	if (r == 0 && until)
		r = search_leaves(&s, until, ctx);
	*out = s.shared;
	return r;
}

int btrfs_tree_usage(struct pool *pool, struct tree_at at, struct snap_ctx *ctx,
	struct snap_usage *out, struct err *err)
{
	_cleanup_fd_ int fd = tree_open(at, err);
	struct snap_usage u = {0};
	uint64_t more = 0;
	int r = fd < 0 ? fd : snap_usage(fd, true, ctx, &u, err);

	if (r < 0)
		return r;
	if (pool->privileged && u.shared) {
		r = shared_inline(fd, ctx, &more);
		if (r == -ECANCELED)
			return tree_err(err, ECANCELED, "measure", at);
		if (r == 0)
			u.shared += more;
		if (u.shared > u.allocated)
			u.shared = u.allocated;
		u.exclusive = u.allocated - u.shared;
	}
	*out = u;
	return 0;
}
