/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The worker: the parent and main process. It alone opens the catalog and touches trees. main.c
 * prepares what it runs on (config, the catalog's lock, the socket, the api process) and calls
 * worker_run() while the process still has one thread.
 */
#ifndef FSD_WORKER_WORKER_H
#define FSD_WORKER_WORKER_H

#include <sys/types.h>

struct config;
struct err;
struct op_kind;

struct worker_args {
	/* Handed over: worker_run() frees it, or the one that a reload put in its place. */
	struct config *config;
	/* SOCK_SEQPACKET to the api process (fsd/core/msg.h). Stays the caller's: it is closed
	 * after worker_run() has returned, which tells the api to leave. */
	int msg_fd;
	/* signalfd, non-blocking, with SIGTERM, SIGINT, SIGHUP and SIGCHLD, which are blocked in
	 * this thread and so in every thread made later; SIGPIPE is ignored. The caller's. */
	int signal_fd;
	/* The only child at the start. When SIGCHLD says it is gone, or msg_fd is at its end, the
	 * worker stops its jobs at safe points and returns -EPIPE "api_died"; it leaves the child
	 * unreaped (the caller says how it ended). */
	pid_t api_pid;
	/* What each kind of job does, by enum op (fsd/op/ops.h); static storage. */
	const struct op_kind *const *kinds;
};

/*
 * Open catalog and pools, recover, serve until told to stop. Blocks. Returns 0 after a clean stop
 * (SIGTERM, SIGINT: running jobs stop at a safe point and are queued again), or -errno with `err`
 * filled: nothing of a job is left running either way.
 *
 * The worker's part of the manager's protocol (fsd/core/notify.h): notify_ready() when requests
 * are answered (after MSG_READY was sent), notify_watchdog() from the main loop at least every
 * notify_watchdog_interval(), notify_stopping() at the beginning of a stop. On SIGHUP:
 * notify_reloading(), config_load() of config->file, and where that fails or config_frozen() names
 * a key, the running config stays and the reason is logged; then notify_ready() again.
 *
 * Locks (fsd/core/lock.h): the catalog's is held by the caller. The worker takes each pool's,
 * lock_take() of "lock" in the pool's .fsd directory, when it opens the pool; one that is held by
 * another fsd is an error that ends the start.
 */
int worker_run(const struct worker_args *args, struct err *err);

#endif
