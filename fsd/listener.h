/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The Unix socket: bound by the worker, so that the api process needs no right to its folder. */
#ifndef FSD_LISTENER_H
#define FSD_LISTENER_H

struct err;

struct listener {
	int fd;	    /* listening, non-blocking, O_CLOEXEC; -1: handed on */
	char *path; /* NULL: nothing to remove */
};

#define LISTENER_INIT ((struct listener){.fd = -1})

/*
 * Bind `path` (absolute) with mode 0666 and listen: whoever connects is judged by its credentials.
 * The last folder is made (0755) if missing. What a dead daemon left is replaced; a socket on
 * which somebody still listens after LOCK_WAIT is -EADDRINUSE "socket_in_use" with the pid, any
 * other file -EEXIST "socket_taken". For a process of one thread: the umask changes for a moment.
 */
int listener_open(struct listener *l, const char *path, struct err *err);

/* Close, and remove the name unless somebody listens there by now (inode numbers cannot tell: they
 * are used again at once). For the time when the api process is gone. */
void listener_release(struct listener *l);

#endif
