/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One message is one datagram or one write, so that messages of threads and of both processes do
 * not mix. The journal's native protocol is a list of KEY=VALUE lines in one datagram
 * (systemd.io/JOURNAL_NATIVE_PROTOCOL); that is less than a library with its dependencies in a
 * root daemon would cost.
 */
#include "fsd/core/log.h"

#include <ctype.h>
#include <endian.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "snap/base/buf.h"
#include "snap/base/clock.h"
#include "snap/base/err.h"
#include "snap/base/fd.h"

#define JOURNAL_SOCKET "/run/systemd/journal/socket"
#define FIELDS_MAX 24

struct field {
	const char *name, *value;
};

struct entry {
	int level;
	const char *message;
	struct field fields[FIELDS_MAX];
	unsigned n;
};

static const char *process = "fsd";
static atomic_int max_level = LOG_INFO;
static int journal = -1;
static atomic_bool background;

/* Is standard error the stream that the service manager connected to the journal? */
static bool stderr_is_journal(void)
{
	const char *text = getenv("JOURNAL_STREAM");
	unsigned long long dev, ino;
	struct stat st;

	if (!text || sscanf(text, "%llu:%llu", &dev, &ino) != 2)
		return false;
	return fstat(STDERR_FILENO, &st) == 0 && st.st_dev == dev && st.st_ino == ino;
}

void log_open(const char *name, int level)
{
	process = name;
	log_level(level);
	fd_close(&journal);
	if (stderr_is_journal())
		journal = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
}

void log_level(int level)
{
	max_level = level;
}

void log_background(void)
{
	openlog(process, LOG_PID | LOG_NDELAY, LOG_DAEMON);
	background = true;
}

/* ---- journal ---- */

static void journal_field(struct buf *b, const char *prefix, const char *name, const char *value)
{
	size_t len = strlen(value);
	uint64_t size = htole64(len);

	buf_adds(b, prefix);
	for (; *name; name++)
		buf_printf(b, "%c", *name == '-' ? '_' : toupper((unsigned char)*name));
	if (memchr(value, '\n', len)) {
		buf_adds(b, "\n");
		buf_add(b, &size, sizeof(size));
	} else {
		buf_adds(b, "=");
	}
	buf_add(b, value, len);
	buf_adds(b, "\n");
}

static bool to_journal(const struct entry *e)
{
	struct sockaddr_un to = {.sun_family = AF_UNIX, .sun_path = JOURNAL_SOCKET};
	_cleanup_buf_ struct buf b = BUF_INIT;
	char priority[4];

	snprintf(priority, sizeof(priority), "%d", e->level & LOG_PRIMASK);
	journal_field(&b, "", "MESSAGE", e->message);
	journal_field(&b, "", "PRIORITY", priority);
	journal_field(&b, "", "SYSLOG_IDENTIFIER", process);
	for (unsigned i = 0; i < e->n; i++)
		journal_field(&b, "FSD_", e->fields[i].name, e->fields[i].value);
	if (buf_error(&b))
		return false;
	return sendto(journal, b.data, b.len, MSG_NOSIGNAL, (struct sockaddr *)&to, sizeof(to)) ==
	       (ssize_t)b.len;
}

/* ---- text ---- */

/* One line whatever the bytes: a file's name must not be able to write log lines. */
static void add_escaped(struct buf *b, const char *s)
{
	for (; *s; s++) {
		unsigned char c = *s;

		if (c == '\n')
			buf_adds(b, "\\n");
		else if (c < 0x20 || c == 0x7f)
			buf_printf(b, "\\x%02x", c);
		else
			buf_add(b, s, 1);
	}
}

static void add_field(struct buf *b, const struct field *f)
{
	bool quote = strpbrk(f->value, " \t\n\"=") != NULL;

	buf_printf(b, " %s=", f->name);
	if (!quote) {
		add_escaped(b, f->value);
		return;
	}
	buf_adds(b, "\"");
	for (const char *s = f->value; *s; s++) {
		if (*s == '"' || *s == '\\')
			buf_adds(b, "\\");
		add_escaped(b, (char[]){*s, '\0'});
	}
	buf_adds(b, "\"");
}

static void to_text(const struct entry *e)
{
	static const char *const words[] = {
		"emerg", "alert", "crit", "error", "warning", "notice", "info", "debug"};
	_cleanup_buf_ struct buf b = BUF_INIT;
	char now[TIME_TEXT_SIZE];

	if (!background)
		buf_printf(&b, "%s %s %s: ", time_format(clock_real(), now), process,
			words[e->level & LOG_PRIMASK]);
	add_escaped(&b, e->message);
	for (unsigned i = 0; i < e->n; i++)
		add_field(&b, &e->fields[i]);
	if (background) {
		syslog(e->level, "%s", buf_str(&b));
		return;
	}
	buf_adds(&b, "\n");
	if (!buf_error(&b) && write(STDERR_FILENO, b.data, b.len) < 0)
		return; /* nowhere left to say it */
}

/* ---- both ---- */

static void add(struct entry *e, const char *name, const char *value)
{
	if (value && *value && e->n < FIELDS_MAX)
		e->fields[e->n++] = (struct field){name, value};
}

static void add_list(struct entry *e, va_list ap)
{
	const char *name;

	while ((name = va_arg(ap, const char *)))
		add(e, name, va_arg(ap, const char *));
}

static bool wanted(int level)
{
	return (level & LOG_PRIMASK) <= max_level;
}

void log_msg(int level, const char *message, ...)
{
	struct entry e = {.level = level, .message = message};
	va_list ap;

	if (!wanted(level))
		return;
	va_start(ap, message);
	add_list(&e, ap);
	va_end(ap);
	if (journal < 0 || !to_journal(&e))
		to_text(&e);
}

void log_err(int level, const char *message, const struct err *err, ...)
{
	_cleanup_buf_ struct buf b = BUF_INIT;
	struct entry e = {.level = level};
	va_list ap;

	if (!wanted(level))
		return;
	buf_adds(&b, message);
	if (err->object[0])
		buf_printf(&b, ": %s", err->object);
	buf_printf(&b, ": %s", err->reason[0] ? err->reason : strerrordesc_np(err->num));
	if (err->hint[0])
		buf_printf(&b, "; %s", err->hint);
	e.message = buf_error(&b) ? message : b.data;
	add(&e, "code", err->code);
	if (journal >= 0) {
		add(&e, "object", err->object);
		add(&e, "reason", err->reason);
		add(&e, "hint", err->hint);
	}
	va_start(ap, err);
	add_list(&e, ap);
	va_end(ap);
	if (journal < 0 || !to_journal(&e))
		to_text(&e);
}
