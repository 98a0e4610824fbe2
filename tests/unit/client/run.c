/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/unit/client/run.h"

#include <assert.h>
#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <stdio.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

static void child(const char *url, const char *const words[])
{
	if (url)
		setenv("FSD_URL", url, 1);
	else
		unsetenv("FSD_URL");
	setenv("TZ", "Europe/Berlin", 1);
	setenv("TERM", "xterm", 1);
	setenv("LC_ALL", "C.UTF-8", 1);
	execv(words[0], (char *const *)(uintptr_t)words);
	_exit(127);
}

static int wait_code(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, 0) < 0)
		;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static void append(char **text, size_t *len, int fd, int *open_fds)
{
	char piece[4096];
	ssize_t n = read(fd, piece, sizeof(piece));

	if (n <= 0) {
		(*open_fds)--;
		return;
	}
	*text = realloc(*text, *len + (size_t)n + 1);
	memcpy(*text + *len, piece, (size_t)n);
	*len += (size_t)n;
	(*text)[*len] = '\0';
}

void run(struct ran *r, const char *url, const char *const words[])
{
	size_t lens[2] = {0, 0};
	int out[2], err[2], left = 2, rc;
	pid_t pid;

	*r = (struct ran){.out = strdup(""), .err = strdup("")};
	rc = pipe2(out, O_CLOEXEC) | pipe2(err, O_CLOEXEC);
	assert(rc == 0);
	pid = fork();
	if (pid == 0) {
		int null = open("/dev/null", O_RDONLY);

		dup2(null, 0);
		dup2(out[1], 1);
		dup2(err[1], 2);
		child(url, words);
	}
	close(out[1]);
	close(err[1]);
	while (left) {
		struct pollfd fds[2] = {{.fd = out[0], .events = POLLIN},
			{.fd = err[0], .events = POLLIN}};
		int before = left;

		poll(fds, 2, -1);
		if (fds[0].revents)
			append(&r->out, &lens[0], out[0], &left);
		if (left != before) {
			close(out[0]);
			out[0] = -1;
			before = left;
		}
		if (fds[1].revents)
			append(&r->err, &lens[1], err[0], &left);
		if (left != before) {
			close(err[0]);
			err[0] = -1;
		}
	}
	r->code = wait_code(pid);
}

/* At a ^C a terminal throws away what was written to it, also what is said about the ^C. */
static void keep_output(int terminal)
{
	struct termios mode;
	int r = tcgetattr(terminal, &mode);

	assert(r == 0);
	mode.c_lflag |= NOFLSH;
	r = tcsetattr(terminal, TCSANOW, &mode);
	assert(r == 0);
}

void run_on_terminal(struct ran *r, const char *url, const char *after, const char *keys,
	const char *const words[])
{
	struct winsize ws = {.ws_row = 24, .ws_col = 100};
	int master, left = 1;
	size_t len = 0;
	pid_t pid;

	*r = (struct ran){.out = strdup(""), .err = strdup("")};
	pid = forkpty(&master, NULL, NULL, &ws);
	assert(pid >= 0);
	if (pid == 0)
		child(url, words);
	keep_output(master);
	while (left) {
		append(&r->out, &len, master, &left);
		if (keys && strstr(r->out, after)) {
			ssize_t n = write(master, keys, strlen(keys));

			assert(n == (ssize_t)strlen(keys));
			keys = NULL;
		}
	}
	close(master);
	r->code = wait_code(pid);
}

void ran_release(struct ran *r)
{
	free(r->out);
	free(r->err);
	r->out = r->err = NULL;
}
