/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The process model: signals, the catalog's lock, the api process, the background. Everything here
 * is for the main thread before the worker starts its threads, or after it has ended.
 */
#ifndef FSD_PROCESS_H
#define FSD_PROCESS_H

#include <stdbool.h>
#include <sys/types.h>

struct config;
struct err;

/*
 * How the api process is started: /proc/self/exe with these arguments and nothing of the
 * environment but what log and sanitizers read; the descriptors are the only ones open besides
 * standard input, output and error.
 */
#define PROCESS_ROLE_API "--role=api" /* then: log level, "background" or "foreground" */
#define PROCESS_MSG_FD 3
#define PROCESS_LISTEN_FD 4

/* Open descriptors 0 to 2 where they are closed, raise the limit of open files, umask 022. */
void process_prepare(void);

/* Block the signals of worker.h and receive them on *fd (signalfd, O_CLOEXEC, non-blocking). */
int process_signals(int *fd, struct err *err);

/* Make the catalog's folder (0700, one level) if missing and lock the catalog: CATALOG.lock beside
 * it, in the real folder. *fd is the caller's. */
int process_lock_catalog(const char *catalog, int *fd, struct err *err);

/* Whom the api process runs as. `same`: as this process, which is no root. */
struct process_user {
	bool same;
	uid_t uid;
	gid_t gid;
};
/* -ENOENT "no_api_user" says how to make it; -EINVAL "bad_api_user" for uid 0. */
int process_find_user(const char *api_user, struct process_user *out, struct err *err);

struct process_api {
	pid_t pid;  /* 0: none */
	int msg_fd; /* our end */
};
#define PROCESS_API_INIT ((struct process_api){.msg_fd = -1})

struct process_api_args {
	struct process_user user;
	int listen_fd; /* stays the caller's */
	int log_level;
	bool background;
};

/* fork, drop every privilege, exec. The child is killed when this process dies. -errno. */
int process_start_api(const struct process_api_args *args, struct process_api *out,
	struct err *err);

/* Close our end, which tells it to leave, and reap it; after `wait` ms it is killed. *status is
 * waitpid's and may be NULL. */
void process_stop_api(struct process_api *api, int wait, int *status);

/*
 * Go to the background: returns in the child, in a new session with "/" as folder and no standard
 * input and output; the parent waits for process_detach() and exits 0, or with the child's status.
 */
int process_background(struct err *err);
/* The daemon serves: let the parent go, and the terminal. A no-op in the foreground. */
void process_detach(void);

#endif
