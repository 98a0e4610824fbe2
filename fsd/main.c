/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * fsd: arguments, and the order in which the daemon comes and goes (docs/architecture.md,
 * "Processes"). The work is done by worker_run() in this process and api_main() in its child.
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fsd/api/api.h"
#include "fsd/core/config.h"
#include "fsd/core/log.h"
#include "fsd/core/notify.h"
#include "fsd/listener.h"
#include "fsd/op/ops.h"
#include "fsd/process.h"
#include "fsd/worker/pools.h"
#include "fsd/worker/worker.h"
#include "snap/base/err.h"
#include "snap/base/fd.h"

#define EXIT_USAGE 2 /* arguments or configuration: starting again does not help */
#define API_WAIT 5000 /* ms */

struct options {
	const char *config;
	bool foreground, check;
};

static void usage(FILE *out)
{
	fputs("Usage: fsd [--config FILE] [--foreground]\n"
	      "       fsd [--config FILE] --check-config\n"
	      "\n"
	      "The fileserver daemon: snapshots, clones and restores of site trees.\n"
	      "\n"
	      "  -c, --config FILE    the configuration (" CONFIG_PATH ")\n"
	      "  -f, --foreground     stay in the foreground and log to standard error\n"
	      "      --check-config   read the configuration, say what is wrong, and exit\n"
	      "      --version        print the version and exit\n"
	      "      --help           print this and exit\n",
		out);
}

/* -1: go on; otherwise the exit status. */
static int parse_options(int argc, char **argv, struct options *o)
{
	static const struct option longs[] = {
		{"config", required_argument, NULL, 'c'},
		{"foreground", no_argument, NULL, 'f'},
		{"check-config", no_argument, NULL, 'C'},
		{"version", no_argument, NULL, 'V'},
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	int c;

	*o = (struct options){.config = CONFIG_PATH};
	while ((c = getopt_long(argc, argv, "c:f", longs, NULL)) != -1) {
		switch (c) {
		case 'c':
			o->config = optarg;
			break;
		case 'f':
			o->foreground = true;
			break;
		case 'C':
			o->check = true;
			break;
		case 'V':
			puts("fsd " FSD_VERSION);
			return 0;
		case 'h':
			usage(stdout);
			return 0;
		default:
			usage(stderr);
			return EXIT_USAGE;
		}
	}
	if (optind == argc)
		return -1;
	fprintf(stderr, "fsd: unexpected argument \"%s\"\n", argv[optind]);
	usage(stderr);
	return EXIT_USAGE;
}

static bool is_socket(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && S_ISSOCK(st.st_mode);
}

/* The child that process_start_api() made: no root any more, with the two sockets in place. */
static int run_api(int argc, char **argv)
{
	struct api_args args = {
		.listen_fds = {PROCESS_LISTEN_FD},
		.n_listen = 1,
		.msg_fd = PROCESS_MSG_FD,
		.uid = (uid_t)-1,
		.gid = (gid_t)-1,
		.limits = API_LIMITS,
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
		.no_fence = true,
#endif
	};
	struct err err = ERR_INIT;

	if (argc != 4 || !is_socket(PROCESS_MSG_FD) || !is_socket(PROCESS_LISTEN_FD)) {
		fputs("fsd: " PROCESS_ROLE_API " is for fsd itself\n", stderr);
		return EXIT_USAGE;
	}
	log_open("fsd-api", atoi(argv[2]));
	if (strcmp(argv[3], "background") == 0)
		log_background();
	if (api_main(&args, &err) == 0)
		return EXIT_SUCCESS;
	log_err(LOG_ERR, "the api process ends", &err, NULL);
	return EXIT_FAILURE;
}

/* What the configuration names and others define. */
static int check_names(const struct config *c, struct process_user *user, struct err *err)
{
	int r = pools_check(c, err);

	return r == 0 ? process_find_user(c->api_user, user, err) : r;
}

static void say_how_api_ended(int status)
{
	char text[64];

	if (WIFSIGNALED(status))
		snprintf(text, sizeof(text), "killed by signal %d (%s)", WTERMSIG(status),
			sigabbrev_np(WTERMSIG(status)));
	else
		snprintf(text, sizeof(text), "exit status %d", WEXITSTATUS(status));
	log_msg(LOG_ERR, "the api process ended", "how", text, NULL);
}

/* Everything between the configuration and the end. Takes the config over. */
static int serve(struct config *c, const struct process_user *user, bool background,
	struct err *err)
{
	struct process_api_args api_args = {.log_level = c->log_level, .background = background,
		.user = *user};
	struct worker_args worker = {.config = c, .kinds = ops};
	struct process_api api = PROCESS_API_INIT;
	struct listener listener = LISTENER_INIT;
	_cleanup_fd_ int lock = -1, signals = -1;
	int r, status;

	r = pools_unlocked(c, err);
	if (r == 0)
		r = process_lock_catalog(c->catalog, &lock, err);
	if (r == 0)
		r = listener_open(&listener, c->socket, err);
	if (r == 0)
		r = process_signals(&signals, err);
	api_args.listen_fd = listener.fd;
	if (r == 0)
		r = process_start_api(&api_args, &api, err);
	fd_close(&listener.fd);
	if (r < 0) {
		config_free(&c);
		listener_release(&listener);
		return r;
	}
	worker.msg_fd = api.msg_fd;
	worker.signal_fd = signals;
	worker.api_pid = api.pid;
	r = worker_run(&worker, err);
	process_stop_api(&api, API_WAIT, &status);
	if (status != 0)
		say_how_api_ended(status);
	listener_release(&listener);
	return r;
}

/* Before there is a log of its own the operator looks at standard error. */
static int failed(const char *message, const struct err *err, int status)
{
	log_err(LOG_ERR, message, err, NULL);
	return status;
}

int main(int argc, char **argv)
{
	struct config *config = NULL;
	struct process_user user;
	struct err err = ERR_INIT;
	struct options options;
	int r, managed;

	if (argc > 1 && strcmp(argv[1], PROCESS_ROLE_API) == 0)
		return run_api(argc, argv);
	r = parse_options(argc, argv, &options);
	if (r >= 0)
		return r;
	process_prepare();
	log_open("fsd", LOG_INFO);
	if (config_load(options.config, &config, &err) < 0)
		return failed("bad configuration", &err, EXIT_USAGE);
	log_level(config->log_level);
	r = check_names(config, &user, &err);
	if (r == 0 && options.check)
		printf("%s: ok, %u pool%s\n", config->file, config->n_pools,
			config->n_pools == 1 ? "" : "s");
	if (r < 0 || options.check) {
		config_free(&config);
		return r < 0 ? failed("bad configuration", &err, EXIT_USAGE) : 0;
	}
	managed = notify_open();
	options.foreground |= managed;
	if (!options.foreground && process_background(&err) < 0)
		return failed("cannot start", &err, EXIT_FAILURE);
	notify_on_ready(process_detach);
	r = serve(config, &user, !options.foreground, &err);
	if (r < 0)
		return failed("fsd has failed", &err, EXIT_FAILURE);
	log_msg(LOG_INFO, "fsd has stopped", NULL);
	return 0;
}
