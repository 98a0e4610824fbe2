/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fsd/worker/step.h"

#ifdef FSD_TESTS
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static long count;

static void note(const char *file, const char *name)
{
	char line[128];
	int fd = open(file, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
	int len = snprintf(line, sizeof(line), "%s\n", name);

	if (fd >= 0) {
		if (write(fd, line, len) != len)
			abort();
		close(fd);
	}
}

void step(const char *name)
{
	const char *file = getenv("FSD_STEP_LOG"), *at = getenv("FSD_STEP_AT");
	const char *action = getenv("FSD_STEP_ACTION");

	if (!file && !at)
		return;
	pthread_mutex_lock(&lock);
	count++;
	if (file)
		note(file, name);
	if (at && count == atol(at))
		kill(getpid(), action && strcmp(action, "stop") == 0 ? SIGSTOP : SIGKILL);
	pthread_mutex_unlock(&lock);
}
#endif
