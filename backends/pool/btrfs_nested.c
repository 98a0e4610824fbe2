/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a snapshot of a subvolume would silently leave out: subvolumes and mounts inside it. Both
 * are found by asking the kernel for its lists, never by walking the tree.
 */
#include "backends/pool/btrfs.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/btrfs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "snap/base/buf.h"
#include "snap/base/fd.h"

static int refuse(struct err *err, const char *path, const char *what, const char *hint)
{
	err_set(err, EXDEV, "nested_filesystem", path,
		"there is a %s inside the tree", what);
	err_hint(err, "%s, or move it out of the tree", hint);
	err_in_tree(err);
	return -EXDEV;
}

/* Where the child subvolume lies, as far as this user may know. */
static void child_path(int fd, uint64_t treeid, uint64_t dirid, char *out, size_t size)
{
	struct btrfs_ioctl_ino_lookup_user_args args = {.dirid = dirid, .treeid = treeid};

	if (ioctl(fd, BTRFS_IOC_INO_LOOKUP_USER, &args) < 0)
		snprintf(out, size, "(subvolume %llu)", (unsigned long long)treeid);
	else
		snprintf(out, size, "%s%s", args.path, args.name);
}

/* BTRFS_IOC_GET_SUBVOL_ROOTREF (4.18) lists the children of the subvolume, for anybody who may
 * open it. EOVERFLOW says that there are more than one call returns: one is enough here. */
static int refuse_subvolumes(int fd, struct err *err)
{
	struct btrfs_ioctl_get_subvol_rootref_args refs = {0};
	char path[PATH_MAX];

	if (ioctl(fd, BTRFS_IOC_GET_SUBVOL_ROOTREF, &refs) < 0 && errno != EOVERFLOW)
		return err_sys(err, errno, "list nested subvolumes", NULL);
	if (refs.num_items == 0)
		return 0;
	child_path(fd, refs.rootref[0].treeid, refs.rootref[0].dirid, path, sizeof(path));
	return refuse(err, path, "subvolume", "make it a plain directory");
}

static int read_mounts(struct buf *out)
{
	_cleanup_fd_ int fd = open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC);
	char chunk[16384];
	ssize_t n;

	if (fd < 0)
		return -errno;
	while ((n = read(fd, chunk, sizeof(chunk))) != 0) {
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		buf_add(out, chunk, n);
	}
	return buf_error(out);
}

/* proc(5): blank, tab, newline and backslash stand as \040 and so on. In place. */
static void unescape(char *s)
{
	char *to = s;

	for (; *s; s++) {
		if (s[0] == '\\' && s[1] >= '0' && s[1] <= '3' && s[2] && s[3]) {
			*to++ = (char)((s[1] - '0') << 6 | (s[2] - '0') << 3 | (s[3] - '0'));
			s += 3;
		} else {
			*to++ = *s;
		}
	}
	*to = '\0';
}

/* The fifth field of a line of mountinfo. */
static char *mount_point(char *line)
{
	char *save = NULL, *field = NULL;

	for (int i = 0; i < 5; i++) {
		field = strtok_r(i ? NULL : line, " ", &save);
		if (!field)
			return NULL;
	}
	unescape(field);
	return field;
}

int btrfs_refuse_mounts(int fd, struct err *err)
{
	_cleanup_buf_ struct buf mounts = BUF_INIT;
	char base[PATH_MAX];
	char *save = NULL;
	size_t len;
	int r = fd_path(fd, NULL, base, sizeof(base));

	if (r == 0)
		r = read_mounts(&mounts);
	if (r < 0)
		return err_sys(err, -r, "list mounts", NULL);
	len = strlen(base);
	for (char *line = strtok_r(mounts.data, "\n", &save); line;
		line = strtok_r(NULL, "\n", &save)) {
		char *point = mount_point(line);

		if (point && strncmp(point, base, len) == 0 && point[len] == '/')
			return refuse(err, point + len + 1, "mounted file system", "unmount it");
	}
	return 0;
}

int btrfs_refuse_nested(int fd, struct err *err)
{
	int r = refuse_subvolumes(fd, err);

	return r < 0 ? r : btrfs_refuse_mounts(fd, err);
}
