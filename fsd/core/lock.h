/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One fsd for a catalog, one for a pool: flock(2) on a file that also says in text who holds it.
 * The lock goes with the process that holds it, so nothing has to be cleaned up after a crash; the
 * file stays.
 */
#ifndef FSD_CORE_LOCK_H
#define FSD_CORE_LOCK_H

#include <stdint.h>

struct err;

#define LOCK_WAIT (5 * 1000000000LL) /* ns; how long an old daemon may take to go */

/*
 * Lock the file `name` (one component; made 0600 if missing) in `dirfd`, waiting up to `wait` ns
 * for its holder to go. `object` is what the lock protects, for errors: the catalog's or the
 * pool's path. *fd is the caller's: the lock is held until it is closed (O_CLOEXEC: it does not
 * reach other programs). Errors: -EBUSY "locked" with pid, command, host and start of the holder;
 * -ELOOP or -EINVAL "bad_lock" when the name is not a regular file.
 */
int lock_take(int dirfd, const char *name, const char *object, int64_t wait, int *fd,
	struct err *err);

/* Wait as long for the holder of a lock to go, and change nothing. Errors: those, and -ENOENT. */
int lock_wait(int dirfd, const char *name, const char *object, int64_t wait, struct err *err);

#endif
