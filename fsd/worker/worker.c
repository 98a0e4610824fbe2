/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The worker's life: open, recover, serve, stop. */
#include "fsd/worker/worker.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fsd/core/log.h"
#include "fsd/core/notify.h"
#include "fsd/worker/housekeeping.h"
#include "fsd/worker/serve.h"
#include "fsd/worker/state.h"
#include "snap/base/clock.h"
#include "snap/base/fd.h"

#define READERS 2
#define LOOP_MS 30000
#define CONFIG_SCOPE "config" /* of problems */

struct worker {
	struct fsd fsd;
	const struct worker_args *args;
	struct serve *serve;
	struct config **configs; /* every one that was loaded: threads may still read an old one */
	unsigned n_configs;
	bool stop;
	struct err *err;
};

/* ---- start ---- */

static int keep_config(struct worker *w, struct config *c)
{
	struct config **more = realloc(w->configs, (w->n_configs + 1) * sizeof(*more));

	if (!more)
		return -ENOMEM;
	w->configs = more;
	w->configs[w->n_configs++] = c;
	atomic_store(&w->fsd.config, c);
	return 0;
}

static int open_catalog(struct fsd *f, struct err *err)
{
	int r = catalog_open(fsd_config(f)->catalog, CATALOG_CREATE, &f->catalog, err);

	if (r == 0)
		r = catalog_job_last(f->catalog, &f->jobs.last_id, err);
	if (r == 0) {
		int64_t event;

		r = catalog_event_last(f->catalog, &event, err);
		if (r == 0)
			atomic_store(&f->last_event, event);
	}
	return r;
}

/* A pool that is offline is a problem, not a reason to leave the others unserved; one that another
 * fsd holds is, and so is a catalog that is damaged. */
static bool is_fatal(const struct err *e)
{
	return strcmp(e->code, "locked") == 0 || strcmp(e->code, "catalog_corrupt") == 0;
}

static int open_pools(struct fsd *f, struct err *err)
{
	for (unsigned i = 0; i < f->pools.n; i++) {
		struct err e = ERR_INIT;

		if (pool_root_open(&f->pools.items[i], f->catalog, &f->write_lock, &e) == 0 ||
			!is_fatal(&e))
			continue;
		*err = e;
		return -e.num;
	}
	return pools_add_past(&f->pools, f->catalog, err);
}

/* Every job without an outcome is in the queue before the first of them is looked at. */
static int recover(struct fsd *f, struct err *err)
{
	int r = jobs_load(f, err);

	for (unsigned i = 0; i < f->pools.n && r == 0; i++) {
		struct pool_root *root = &f->pools.items[i];
		struct err e = ERR_INIT;

		if (root->fd < 0 || housekeeping_bring_online(f, root, &e) < 0)
			housekeeping_tell_offline(f, root);
		if (e.num && is_fatal(&e)) {
			*err = e;
			return -e.num;
		}
	}
	if (r == 0)
		jobs_recover(f, NULL);
	return r;
}

static int say_ready(struct worker *w)
{
	struct msg ready = {.type = MSG_READY,
		.id = (uint64_t)atomic_load(&w->fsd.last_event)};
	int r = msg_send(w->args->msg_fd, &ready);

	return r < 0 ? err_set(w->err, -r, "api_died", NULL, "the api process is gone") : 0;
}

/* MSG_READY comes before what makes events and jobs: nothing may reach the api before it. Jobs come
 * after housekeeping, which they wake. */
static int start(struct worker *w)
{
	struct fsd *f = &w->fsd;
	const struct config *c = fsd_config(f);
	int r = open_catalog(f, w->err);

	if (r == 0)
		r = pools_init(&f->pools, c, f->catalog, w->err);
	if (r == 0)
		r = pools_match(&f->pools, f->catalog, w->err);
	if (r == 0)
		r = open_pools(f, w->err);
	if (r == 0)
		r = recover(f, w->err);
	if (r == 0)
		r = serve_start(f, READERS, &w->serve, w->err);
	if (r == 0)
		r = say_ready(w);
	f->jobs.on_end = serve_job_end;
	if (r == 0)
		r = housekeeping_start(f, w->err);
	if (r == 0)
		r = jobs_start(f, c->max_jobs);
	if (r < 0 && !w->err->num)
		err_sys(w->err, -r, "start", NULL);
	return r;
}

static void announce(struct worker *w)
{
	unsigned n = fsd_config(&w->fsd)->n_pools;

	notify_status("serving %u pool%s", n, n == 1 ? "" : "s");
	notify_ready();
	log_msg(LOG_INFO, "fsd serves", "socket", fsd_config(&w->fsd)->socket, NULL);
}

static void announce_stop(void)
{
	notify_stopping();
	notify_status("stopping: jobs come to a safe point");
	log_msg(LOG_INFO, "fsd is stopping: jobs come to a safe point", NULL);
}

/* ---- main loop ---- */

/* All of it or nothing: half of a reload is worse than none. */
static int follow(struct worker *w, struct config *next, struct err *err)
{
	struct fsd *f = &w->fsd;
	char what[CONFIG_WHAT_SIZE];
	int r;

	if (config_frozen(fsd_config(f), next, what)) {
		err_set(err, EBUSY, "needs_restart", what, "this cannot change while fsd runs");
		err_hint(err, "restart fsd, or take the change back in %.200s", next->file);
		return -EBUSY;
	}
	r = jobs_grow(f, next->max_jobs);
	if (r == 0)
		r = keep_config(w, next);
	if (r < 0)
		return err_sys(err, -r, "follow the configuration", next->file);
	jobs_follow(f, next);
	log_level((int)next->log_level);
	return 0;
}

/* Whoever asked for it by a signal reads no answer. */
static void reload_refused(struct worker *w, const struct err *why)
{
	struct err e = ERR_INIT;

	log_err(LOG_ERR, "the new configuration is refused; the old one stays", why, NULL);
	err_set(&e, why->num, "config_refused", why->object,
		"fsd does not run with the configuration as it is now: %.250s", why->reason);
	err_hint(&e, "%s%smend it, then reload fsd (SIGHUP)", why->hint, *why->hint ? "; or " : "");
	problems_add(&w->fsd.problems, false, CONFIG_SCOPE, &e);
}

static void reload(struct worker *w)
{
	const char *file = fsd_config(&w->fsd)->file;
	struct config *next = NULL;
	struct err err = ERR_INIT;

	notify_reloading();
	problems_clear(&w->fsd.problems, CONFIG_SCOPE);
	if (config_load(file, &next, &err) == 0 && follow(w, next, &err) == 0) {
		log_msg(LOG_INFO, "configuration reloaded", "file", file, NULL);
	} else {
		config_free(&next);
		reload_refused(w, &err);
	}
	notify_ready();
}

static int api_died(struct worker *w)
{
	w->stop = true;
	return err_set(w->err, EPIPE, "api_died", NULL, "the api process is gone");
}

/* Looks without reaping: until then the pid stays this child's. */
static bool api_is_gone(pid_t pid)
{
	siginfo_t info = {.si_pid = 0};

	return waitid(P_PID, pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == pid;
}

static int on_signal(struct worker *w)
{
	struct signalfd_siginfo info;

	while (read(w->args->signal_fd, &info, sizeof(info)) == sizeof(info)) {
		if (info.ssi_signo == SIGHUP)
			reload(w);
		else if (info.ssi_signo != SIGCHLD)
			w->stop = true;
		else if (api_is_gone(w->args->api_pid))
			return api_died(w);
	}
	return 0;
}

static int on_message(struct worker *w)
{
	struct msg m = MSG_INIT;
	int r = msg_recv(w->args->msg_fd, &m, REQUEST_SIZE_MAX);

	if (r == 1)
		serve_message(w->serve, &m);
	msg_release(&m);
	if (r == 0 || r == -EPIPE || r == -ECONNRESET)
		return api_died(w);
	if (r < 0 && r != -EAGAIN && r != -EINTR)
		log_msg(LOG_ERR, "bad message from the api", "reason", strerror(-r), NULL);
	return 0;
}

static int loop_ms(struct worker *w)
{
	int64_t watchdog = notify_watchdog_interval();
	int most = watchdog && watchdog < LOOP_MS * NSEC_PER_MSEC ? (int)(watchdog / NSEC_PER_MSEC)
								  : LOOP_MS;

	return waiters_timeout(&w->fsd.waiters, clock_mono(), most);
}

static int loop(struct worker *w)
{
	struct pollfd fds[] = {
		{.fd = w->args->msg_fd, .events = POLLIN},
		{.fd = w->args->signal_fd, .events = POLLIN},
		{.fd = w->fsd.wake_fd, .events = POLLIN},
	};
	uint64_t count;
	int r = 0;

	while (!w->stop && r == 0) {
		int n = poll(fds, 3, loop_ms(w));

		if (n < 0 && errno != EINTR)
			return err_sys(w->err, errno, "poll", NULL);
		notify_watchdog();
		if (n <= 0)
			fds[0].revents = fds[1].revents = fds[2].revents = 0;
		if (fds[2].revents)
			fd_read_all(w->fsd.wake_fd, &count, sizeof(count));
		serve_due(w->serve);
		if (fds[1].revents)
			r = on_signal(w);
		if (r == 0 && fds[0].revents)
			r = on_message(w);
	}
	return r;
}

/* ---- stop ---- */

static void stop(struct worker *w)
{
	struct fsd *f = &w->fsd;

	atomic_store(&f->stopping, true);
	housekeeping_cancel(f);
	serve_stop(&w->serve);
	jobs_stop(f); /* its threads wake housekeeping, so they go first */
	housekeeping_stop(f);
	jobs_release(&f->jobs);
	pools_release(&f->pools);
	catalog_close(&f->catalog);
	waiters_release(&f->waiters);
	problems_release(&f->problems);
	spools_release(&f->spools);
	fd_close(&f->wake_fd);
	for (unsigned i = 0; i < w->n_configs; i++)
		config_free(&w->configs[i]);
	free(w->configs);
}

int worker_run(const struct worker_args *args, struct err *err)
{
	struct worker w = {.args = args, .err = err};
	struct fsd *f = &w.fsd;
	int r;

	f->msg_fd = args->msg_fd;
	f->started = clock_real();
	pthread_mutex_init(&f->send_lock, NULL);
	pthread_mutex_init(&f->write_lock, NULL);
	waiters_init(&f->waiters);
	problems_init(&f->problems);
	spools_init(&f->spools);
	jobs_init(&f->jobs, args->kinds);
	f->wake_fd = eventfd(0, EFD_CLOEXEC);
	r = keep_config(&w, args->config);
	if (r == 0)
		r = start(&w);
	if (r == 0) {
		announce(&w);
		r = loop(&w);
		announce_stop();
	}
	stop(&w);
	return r;
}
