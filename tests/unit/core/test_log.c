/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The log as text: standard error goes to a file meanwhile. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "fsd/core/log.h"
#include "snap/base/clock.h"
#include "snap/base/err.h"
#include "snap/base/fd.h"
#include "tests/unit/core/scratch.h"

static int saved;

static void capture(void)
{
	int fd = open("log", O_RDWR | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);

	saved = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 10);
	dup2(fd, STDERR_FILENO);
	close(fd);
}

/* The caller frees. */
static char *captured(void)
{
	char *text = NULL;

	dup2(saved, STDERR_FILENO);
	close(saved);
	assert_int_equal(fd_read_file(AT_FDCWD, "log", 1 << 20, &text, NULL), 0);
	return text;
}

/* One line, behind its time, is this. */
static void expect(const char *line)
{
	_cleanup_free_ char *text = captured();
	char *end = strchr(text, ' ');
	int64_t t;

	assert_non_null(end);
	*end = '\0';
	assert_int_equal(time_parse_last(text, &t), 0);
	assert_string_equal(end + 1, line);
}

static void test_log__text_has_time_process_level_and_fields(void **state)
{
	(void)state;
	log_open("fsd", LOG_INFO);
	capture();
	log_msg(LOG_INFO, "job done", "job", "01ab", "site", NULL, "pool", "", "note", "a \"b\"\\",
		NULL);
	expect("fsd info: job done job=01ab note=\"a \\\"b\\\"\\\\\"\n");
}

static void test_log__bytes_of_names_cannot_forge_lines(void **state)
{
	(void)state;
	log_open("fsd-api", LOG_INFO);
	capture();
	log_msg(LOG_WARNING, "bad\nname", "path", "a\nb\033c", NULL);
	expect("fsd-api warning: bad\\nname path=\"a\\nb\\x1bc\"\n");
}

static void test_log__levels_above_the_limit_are_silent(void **state)
{
	_cleanup_free_ char *text = NULL;

	(void)state;
	log_open("fsd", LOG_WARNING);
	capture();
	log_msg(LOG_INFO, "no", NULL);
	log_level(LOG_DEBUG);
	log_msg(LOG_DEBUG, "yes", NULL);
	text = captured();
	assert_null(strstr(text, "no\n"));
	assert_non_null(strstr(text, "fsd debug: yes\n"));
}

static void test_log__an_error_says_object_reason_and_hint(void **state)
{
	struct err err = ERR_INIT;

	(void)state;
	log_open("fsd", LOG_INFO);
	err_set(&err, EINVAL, "bad_config", "/etc/fsd.conf:3", "unknown key \"x\"");
	err_hint(&err, "see fsd.conf(5)");
	capture();
	log_err(LOG_ERR, "cannot start", &err, "pool", "main", NULL);
	expect("fsd error: cannot start: /etc/fsd.conf:3: unknown key \"x\"; see fsd.conf(5)"
	       " code=bad_config pool=main\n");
}

static void *chatter(void *arg)
{
	for (int i = 0; i < 200; i++)
		log_msg(LOG_INFO, arg, "field", "0123456789012345678901234567890123456789", NULL);
	return NULL;
}

static void test_log__messages_of_threads_do_not_mix(void **state)
{
	_cleanup_free_ char *text = NULL;
	char first[] = "aaaa", second[] = "bbbb";
	pthread_t a, b;
	int lines = 0;

	(void)state;
	log_open("fsd", LOG_INFO);
	capture();
	assert_int_equal(pthread_create(&a, NULL, chatter, first), 0);
	assert_int_equal(pthread_create(&b, NULL, chatter, second), 0);
	pthread_join(a, NULL);
	pthread_join(b, NULL);
	text = captured();
	for (char *s = text, *end; *s; s = end + 1, lines++) {
		end = strchr(s, '\n');
		assert_non_null(end);
		assert_int_equal(end - s, 24 + strlen(" fsd info: aaaa field=") + 40);
	}
	assert_int_equal(lines, 400);
}

/* The journal's socket in a /run of our own; -1 where that cannot be had. */
static int own_journal(void)
{
	struct sockaddr_un addr = {
		.sun_family = AF_UNIX, .sun_path = "/run/systemd/journal/socket"};
	int fd;

	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
		mount("tmpfs", "/run", "tmpfs", 0, NULL) < 0)
		return -1;
	mkdir("/run/systemd", 0755);
	mkdir("/run/systemd/journal", 0755);
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	return bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 ? -1 : fd;
}

/* Say that the journal's stream has this inode, or one that differs. */
static void journal_is_stderr(int difference)
{
	struct stat st;
	char id[80];

	fstat(STDERR_FILENO, &st);
	snprintf(id, sizeof(id), "%llu:%llu", (unsigned long long)st.st_dev,
		(unsigned long long)st.st_ino + difference);
	setenv("JOURNAL_STREAM", id, 1);
	log_open("fsd", LOG_INFO);
}

/* In a child, which has namespaces of its own: 0, or the number of what went wrong. */
static int log_to_journal(void)
{
	static const char plain[] = "MESSAGE=job done\nPRIORITY=6\nSYSLOG_IDENTIFIER=fsd\n"
				    "FSD_JOB=01ab\n";
	static const char lines[] = "MESSAGE=x\nPRIORITY=4\nSYSLOG_IDENTIFIER=fsd\n"
				    "FSD_PATH\n\3\0\0\0\0\0\0\0a\nb\n";
	char got[4096], *text;
	int fd = own_journal();
	ssize_t n;

	if (fd < 0)
		return 77;
	capture();
	journal_is_stderr(1);
	log_msg(LOG_INFO, "not there", NULL);
	if (recv(fd, got, sizeof(got), 0) >= 0)
		return 4;
	journal_is_stderr(0);
	log_msg(LOG_INFO, "job done", "job", "01ab", NULL);
	n = recv(fd, got, sizeof(got), 0);
	if (n != sizeof(plain) - 1 || memcmp(got, plain, n) != 0)
		return 1;
	log_msg(LOG_WARNING, "x", "path", "a\nb", NULL);
	n = recv(fd, got, sizeof(got), 0);
	if (n != sizeof(lines) - 1 || memcmp(got, lines, n) != 0)
		return 2;
	close(fd); /* a journal that went away: text, rather than nothing */
	log_msg(LOG_INFO, "still here", NULL);
	text = captured();
	return strstr(text, "not there") && strstr(text, "still here") && !strstr(text, "job done")
		       ? 0 : 3;
}

static void test_log__the_journal_gets_fields_and_text_when_it_is_gone(void **state)
{
	pid_t pid = fork();
	int status;

	(void)state;
	if (pid == 0)
		_exit(log_to_journal());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == 77) {
		print_message("skipped: needs root for a /run of its own\n");
		skip();
	}
	assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		scratch_test(test_log__text_has_time_process_level_and_fields),
		scratch_test(test_log__bytes_of_names_cannot_forge_lines),
		scratch_test(test_log__levels_above_the_limit_are_silent),
		scratch_test(test_log__an_error_says_object_reason_and_hint),
		scratch_test(test_log__messages_of_threads_do_not_mix),
		scratch_test(test_log__the_journal_gets_fields_and_text_when_it_is_gone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
