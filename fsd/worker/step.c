/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fsd/worker/step.h"

#ifdef FSD_TESTS
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
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

/* SIGSTOP to this thread: one to the process may be taken by another while this one goes on. */
static void act(bool stop)
{
	if (stop)
		raise(SIGSTOP);
	else
		kill(getpid(), SIGKILL);
}

static struct step_control *control_map(void)
{
	static struct step_control *control;
	const char *file = getenv("FSD_STEP_CONTROL");
	int fd;

	if (control || !file)
		return control;
	fd = open(file, O_RDWR | O_CLOEXEC);
	control = mmap(NULL, sizeof(*control), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (control == MAP_FAILED)
		abort();
	close(fd);
	return control;
}

static void step_by_control(struct step_control *c, const char *name)
{
	uint64_t n = __atomic_load_n(&c->count, __ATOMIC_RELAXED) + 1;

	snprintf(c->names[n % STEP_NAMES], STEP_NAME_SIZE, "%s", name);
	__atomic_store_n(&c->count, n, __ATOMIC_RELEASE);
	if (n == __atomic_load_n(&c->at, __ATOMIC_ACQUIRE))
		act(c->action == 1);
}

static void hold(const struct step_control *c, const char *name)
{
	while (strncmp(c->hold, name, STEP_NAME_SIZE) == 0)
		nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
}

void step(const char *name)
{
	const char *file = getenv("FSD_STEP_LOG"), *at = getenv("FSD_STEP_AT");
	const char *action = getenv("FSD_STEP_ACTION");
	struct step_control *control;

	pthread_mutex_lock(&lock);
	control = control_map();
	if (control)
		step_by_control(control, name);
	count++;
	if (file)
		note(file, name);
	if (at && count == atol(at))
		act(action && strcmp(action, "stop") == 0);
	pthread_mutex_unlock(&lock);
	if (control)
		hold(control, name);
}
#endif
