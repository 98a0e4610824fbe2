/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the service manager hears, on a real datagram socket. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <cmocka.h>

#include "fsd/core/notify.h"
#include "snap/base/clock.h"
#include "tests/unit/core/scratch.h"

static int manager(const char *folder, char path[108])
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/notify", folder);
	assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	strcpy(path, addr.sun_path);
	return fd;
}

static void hears(int fd, const char *text)
{
	char got[600];
	ssize_t n = recv(fd, got, sizeof(got) - 1, 0);

	assert_true(n > 0);
	got[n] = '\0';
	assert_string_equal(got, text);
}

static void test_notify__tells_the_manager(void **state)
{
	char path[108], got[100];
	int fd = manager(*state, path);

	setenv("NOTIFY_SOCKET", path, 1);
	setenv("WATCHDOG_USEC", "3000000", 1);
	assert_int_equal(notify_open(), 1);
	assert_null(getenv("NOTIFY_SOCKET"));
	assert_null(getenv("WATCHDOG_USEC"));
	assert_int_equal(notify_watchdog_interval(), 1500 * NSEC_PER_MSEC);
	notify_ready();
	hears(fd, "READY=1");
	notify_status("%d sites", 3);
	hears(fd, "STATUS=3 sites");
	notify_watchdog();
	hears(fd, "WATCHDOG=1");
	notify_stopping();
	hears(fd, "STOPPING=1");
	notify_reloading();
	assert_true(recv(fd, got, sizeof(got), 0) > 30);
	assert_memory_equal(got, "RELOADING=1\nMONOTONIC_USEC=", 27);
	close(fd);
	notify_ready(); /* nobody listens any more: no matter */
}

static void test_notify__knows_abstract_sockets(void **state)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), len;
	char name[100];

	(void)state;
	len = snprintf(name, sizeof(name), "@fsd-test-%d", (int)getpid());
	memcpy(addr.sun_path + 1, name + 1, len - 1);
	assert_int_equal(bind(fd, (struct sockaddr *)&addr,
		offsetof(struct sockaddr_un, sun_path) + len), 0);
	setenv("NOTIFY_SOCKET", name, 1);
	assert_int_equal(notify_open(), 1);
	notify_ready();
	hears(fd, "READY=1");
	close(fd);
}

static void test_notify__without_a_manager_nothing_happens(void **state)
{
	(void)state;
	unsetenv("NOTIFY_SOCKET");
	setenv("WATCHDOG_USEC", "3000000", 1);
	assert_int_equal(notify_open(), 0);
	assert_int_equal(notify_watchdog_interval(), 0);
	notify_ready();
	setenv("NOTIFY_SOCKET", "relative", 1);
	assert_int_equal(notify_open(), 0);
}

static void test_notify__a_watchdog_of_another_process_is_not_ours(void **state)
{
	char path[108], pid[20];
	int fd = manager(*state, path);

	setenv("NOTIFY_SOCKET", path, 1);
	setenv("WATCHDOG_USEC", "3000000", 1);
	setenv("WATCHDOG_PID", "1", 1);
	assert_int_equal(notify_open(), 1);
	assert_int_equal(notify_watchdog_interval(), 0);
	snprintf(pid, sizeof(pid), "%d", (int)getpid());
	setenv("NOTIFY_SOCKET", path, 1);
	setenv("WATCHDOG_USEC", "3000000", 1);
	setenv("WATCHDOG_PID", pid, 1);
	assert_int_equal(notify_open(), 1);
	assert_int_equal(notify_watchdog_interval(), 1500 * NSEC_PER_MSEC);
	close(fd);
}

/* Blocking here would hang the daemon with a manager that does not read (it did). */
static void test_notify__a_manager_that_does_not_read_holds_nothing_up(void **state)
{
	char path[108], got[100];
	int fd = manager(*state, path), said = 0;

	setenv("NOTIFY_SOCKET", path, 1);
	setenv("WATCHDOG_USEC", "2", 1); /* each call is due */
	assert_int_equal(notify_open(), 1);
	for (int i = 0; i < 1000; i++)
		notify_watchdog();
	while (recv(fd, got, sizeof(got), 0) > 0)
		said++;
	assert_in_range(said, 1, 999);
	setenv("NOTIFY_SOCKET", path, 1);
	assert_int_equal(notify_open(), 1);
	notify_watchdog(); /* nobody waits for it */
	assert_true(recv(fd, got, sizeof(got), 0) < 0);
	close(fd);
}

static int calls;

static void count(void)
{
	calls++;
}

static void test_notify__calls_back_once(void **state)
{
	(void)state;
	notify_on_ready(count);
	notify_reloading();
	assert_int_equal(calls, 0);
	notify_ready();
	notify_ready();
	assert_int_equal(calls, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		scratch_test(test_notify__tells_the_manager),
		scratch_test(test_notify__knows_abstract_sockets),
		scratch_test(test_notify__without_a_manager_nothing_happens),
		scratch_test(test_notify__a_watchdog_of_another_process_is_not_ours),
		scratch_test(test_notify__a_manager_that_does_not_read_holds_nothing_up),
		scratch_test(test_notify__calls_back_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
