/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A box to test pools in: a file system of a chosen type on a loop image, mounted in a mount
 * namespace of its own, so that nothing stays mounted whatever happens. The image lies in a btrfs
 * image, where a clone of it is the disk at the instant of a power cut.
 */
#ifndef TESTS_CONFORMANCE_BOX_H
#define TESTS_CONFORMANCE_BOX_H

#include <stdbool.h>

#define BOX_SKIP 77 /* meson's exit code for a skipped test */

struct box {
	const char *fs;	 /* "btrfs", "ext4", "xfs", "tmpfs"; "here": a plain folder, no root */
	bool user;	 /* the tests run as an ordinary user */
	char dir[64];	 /* holds everything */
	char pool[80];	 /* a plain directory of the file system */
	char other[80];	 /* a directory on another file system (a tmpfs where there is root) */
	char cut[80];	 /* where box_cut() mounts */
};

/*
 * Run `body` in a child inside the box and clean up after it, also after a signal. `mode` is "" for
 * root, "user" for an ordinary user, "user-rm" for one on a mount with user_subvol_rm_allowed. The
 * exit status of the body, or BOX_SKIP with the reason printed (no root, no mkfs).
 */
int box_run(const char *fs, const char *mode, int (*body)(const struct box *box));

enum box_can {
	BOX_MOUNTED = 1 << 0,	 /* a file system of its own, another one at `other` */
	BOX_MOUNTS = 1 << 1,	 /* the same, and more can be mounted */
	BOX_CUTS = 1 << 2,	 /* box_cut(): an image, and root */
	BOX_SUBVOLUMES = 1 << 3, /* btrfs */
};
/* Bits of enum box_can. */
unsigned box_can(const struct box *box);
/* Freeze the disk as it is now and mount the copy, writable, at box->cut. Fails the test. */
void box_cut(const struct box *box);
void box_cut_end(const struct box *box);

/* system(3) with a format; fails the test unless it exits with 0. */
void box_shell(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Open file descriptors of this process. */
int box_count_fds(void);

#endif
