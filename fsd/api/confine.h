/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the api process gives up before it reads its first byte from a stranger. For the calling
 * thread and those made later: call it while there is one.
 */
#ifndef FSD_API_CONFINE_H
#define FSD_API_CONFINE_H

#include <sys/types.h>

struct err;

/* Change to this user for good, with no other groups; (uid_t)-1: stay, which root may not. No core
 * files, no privileges by exec. 0 or -errno. */
int confine_user(uid_t uid, gid_t gid, struct err *err);

/*
 * The fence: from here on no path can be opened, made, changed or removed, no program run, no
 * socket made or connected, no process made, by any thread; and no other process of this user can
 * read or trace this one. Landlock and a seccomp filter overlap
 * on purpose: kernels and containers are without the one or the other, and the filter also covers
 * what has no path. -errno only if there is neither.
 */
int confine_fence(struct err *err);

#endif
