/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The pool driver whose job is to misbehave: the copy driver, with a fault where it is told to have
 * one. Built only with -Dtests=true.
 *
 * FSD_FAULT holds rules, or FSD_FAULT_FILE names a file of them, which is read again at each call,
 * so that a test can change its mind (a missing file: no rules). One rule a line, or divided by
 * ';', the first that fits counts:
 *
 *	OPERATION NTH WHAT
 *	tree_copy 3 error ENOSPC	the third tree_copy fails at once
 *	tree_remove 1+ error EIO	every one
 *	tree_fill 1 after EIO		the work is done, then it is said to have failed
 *	* 2 delay 500			the second call of any kind waits 500 ms
 *	tree_copy 1 crash before	the process is killed; or "after" the work is done
 *
 * Calls are counted for each rule, from the time the rules were last changed. A call that no rule
 * fits goes to the copy driver. With FSD_FAULT_LOG each call appends its name to that file.
 */
#include "backends/pool/pool.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "snap/base/err.h"
#include "snap/base/fd.h"

#define RULES_MAX 16
#define TEXT_MAX 4096
/* The kernel's largest errno. */
#define ERRNO_MAX 4095

struct pool {
	struct pool *inner; /* the copy driver's */
};

enum action {
	NO_FAULT,
	ERROR_BEFORE,
	ERROR_AFTER,
	DELAY,
	CRASH_BEFORE,
	CRASH_AFTER,
};

struct fault {
	enum action action;
	int arg; /* errno or milliseconds */
};

struct rule {
	char op[32];
	unsigned nth;
	bool onwards;
	unsigned calls;
	struct fault fault;
};

static struct {
	pthread_mutex_t lock;
	char text[TEXT_MAX]; /* what the rules were made from */
	struct rule rules[RULES_MAX];
	size_t n;
	bool bad;
} control = {.lock = PTHREAD_MUTEX_INITIALIZER};

static int errno_by_name(const char *name)
{
	for (int i = 1; i <= ERRNO_MAX; i++) {
		const char *known = strerrorname_np(i);

		if (known && strcmp(known, name) == 0)
			return i;
	}
	return 0;
}

static bool parse_what(const char *what, const char *arg, struct fault *out)
{
	if (strcmp(what, "error") == 0 || strcmp(what, "after") == 0) {
		out->action = *what == 'e' ? ERROR_BEFORE : ERROR_AFTER;
		out->arg = errno_by_name(arg);
		return out->arg > 0;
	}
	if (strcmp(what, "delay") == 0) {
		out->action = DELAY;
		out->arg = atoi(arg);
		return out->arg > 0;
	}
	out->action = strcmp(arg, "before") == 0 ? CRASH_BEFORE : CRASH_AFTER;
	return strcmp(what, "crash") == 0 &&
		(out->action == CRASH_BEFORE || strcmp(arg, "after") == 0);
}

static bool parse_rule(const char *line, struct rule *out)
{
	char nth[16], what[16], arg[32], rest[2], *end;

	*out = (struct rule){0};
	if (sscanf(line, "%31s %15s %15s %31s %1s", out->op, nth, what, arg, rest) != 4)
		return false;
	out->nth = (unsigned)strtoul(nth, &end, 10);
	out->onwards = *end == '+';
	if (out->nth == 0 || *(end + out->onwards))
		return false;
	return parse_what(what, arg, &out->fault);
}

static void parse_rules(void)
{
	char copy[TEXT_MAX], *save = NULL;

	control.n = 0;
	control.bad = false;
	memcpy(copy, control.text, sizeof(copy));
	for (char *line = strtok_r(copy, ";\n", &save); line; line = strtok_r(NULL, ";\n", &save)) {
		if (!line[strspn(line, " \t")])
			continue;
		if (control.n == RULES_MAX || !parse_rule(line, &control.rules[control.n])) {
			control.bad = true;
			return;
		}
		control.n++;
	}
}

static void read_text(char text[TEXT_MAX])
{
	const char *file = getenv("FSD_FAULT_FILE"), *rules = getenv("FSD_FAULT");
	_cleanup_free_ char *data = NULL;

	memset(text, 0, TEXT_MAX);
	if (file && fd_read_file(AT_FDCWD, file, TEXT_MAX - 1, &data, NULL) == 0)
		snprintf(text, TEXT_MAX, "%s", data);
	else if (!file && rules)
		snprintf(text, TEXT_MAX, "%s", rules);
}

static void log_call(const char *op)
{
	const char *path = getenv("FSD_FAULT_LOG");
	_cleanup_fd_ int fd = -1;

	if (!path)
		return;
	fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
	if (fd >= 0)
		dprintf(fd, "%s\n", op);
}

/* Every rule for this operation counts the call; the first that is due decides. */
static struct fault choose(const char *op)
{
	struct fault chosen = {NO_FAULT, 0};

	for (size_t i = 0; i < control.n; i++) {
		struct rule *r = &control.rules[i];

		if (strcmp(r->op, "*") != 0 && strcmp(r->op, op) != 0)
			continue;
		r->calls++;
		if (chosen.action == NO_FAULT &&
			(r->calls == r->nth || (r->onwards && r->calls > r->nth)))
			chosen = r->fault;
	}
	return chosen;
}

static void sleep_ms(int ms)
{
	struct timespec left = {ms / 1000, ms % 1000 * 1000000L};

	while (nanosleep(&left, &left) < 0 && errno == EINTR)
		;
}

static int failure(const char *op, int num, struct err *err)
{
	char what[64];

	snprintf(what, sizeof(what), "%s (a fault was asked for)", op);
	return err_sys(err, num, what, NULL);
}

/* What is due before the work: 0 to go on. */
static int before(const char *op, struct fault *out, struct err *err)
{
	char text[TEXT_MAX];
	bool bad;

	log_call(op);
	read_text(text);
	pthread_mutex_lock(&control.lock);
	if (memcmp(text, control.text, sizeof(text)) != 0) {
		memcpy(control.text, text, sizeof(text));
		parse_rules();
	}
	*out = choose(op);
	bad = control.bad;
	pthread_mutex_unlock(&control.lock);
	if (bad)
		return err_set(err, EINVAL, "bad_fault", NULL, "the fault rules make no sense");
	if (out->action == DELAY)
		sleep_ms(out->arg);
	if (out->action == CRASH_BEFORE)
		kill(getpid(), SIGKILL);
	return out->action == ERROR_BEFORE ? failure(op, out->arg, err) : 0;
}

/* What is due after it. */
static int after(const char *op, const struct fault *f, int result, struct err *err)
{
	if (f->action == CRASH_AFTER)
		kill(getpid(), SIGKILL);
	if (f->action == ERROR_AFTER && result >= 0)
		return failure(op, f->arg, err);
	return result;
}

static int fault_probe(int rootfd, char why[POOL_WHY_SIZE])
{
	return pool_driver_copy.probe(rootfd, why);
}

static int fault_open(int rootfd, struct pool **out, struct err *err)
{
	struct pool *pool = calloc(1, sizeof(*pool));
	int r;

	if (!pool)
		return err_sys(err, ENOMEM, "open pool", NULL);
	r = pool_driver_copy.open(rootfd, &pool->inner, err);
	if (r < 0) {
		free(pool);
		return r;
	}
	*out = pool;
	return 0;
}

static void fault_close(struct pool **pool)
{
	if (*pool)
		pool_driver_copy.close(&(*pool)->inner);
	free(*pool);
	*pool = NULL;
}

static unsigned fault_caps(const struct pool *pool)
{
	return pool_driver_copy.caps(pool->inner);
}

/* One operation: the fault before, the copy driver's work, the fault after. */
#define WITH_FAULT(op, ...) do {						\
	struct fault f_;							\
	int r_ = before(#op, &f_, err);						\
										\
	if (r_ < 0)								\
		return r_;							\
	return after(#op, &f_, pool_driver_copy.op(__VA_ARGS__), err);		\
} while (0)

/* The same, where the answer holds memory that a failure must not leave behind. */
#define WITH_FAULT_MADE(op, ...) do {						\
	struct fault f_;							\
	int r_ = before(#op, &f_, err), done_;					\
										\
	if (r_ < 0)								\
		return r_;							\
	done_ = pool_driver_copy.op(__VA_ARGS__);				\
	r_ = after(#op, &f_, done_, err);					\
	if (done_ == 0 && r_ < 0)						\
		snap_copy_result_release(&made->copy);				\
	return r_;								\
} while (0)

static int fault_tree_create(struct pool *pool, struct tree_at at, struct err *err)
{
	WITH_FAULT(tree_create, pool->inner, at, err);
}

static int fault_tree_copy(struct pool *pool, struct tree_at from, struct tree_at to,
	unsigned flags, struct snap_ctx *ctx, struct pool_made *made, struct err *err)
{
	WITH_FAULT_MADE(tree_copy, pool->inner, from, to, flags, ctx, made, err);
}

static int fault_tree_fill(struct pool *pool, int src, struct tree_at to, unsigned flags,
	struct snap_ctx *ctx, struct pool_made *made, struct err *err)
{
	WITH_FAULT_MADE(tree_fill, pool->inner, src, to, flags, ctx, made, err);
}

static int fault_tree_adopt(struct pool *pool, struct tree_at src, struct tree_at to,
	struct err *err)
{
	WITH_FAULT(tree_adopt, pool->inner, src, to, err);
}

static int fault_tree_release(struct pool *pool, struct tree_at from, struct tree_at to,
	struct err *err)
{
	WITH_FAULT(tree_release, pool->inner, from, to, err);
}

static int fault_tree_remove(struct pool *pool, struct tree_at at, struct snap_ctx *ctx,
	struct err *err)
{
	WITH_FAULT(tree_remove, pool->inner, at, ctx, err);
}

static int fault_tree_check(struct pool *pool, struct tree_at at, bool *ro, struct err *err)
{
	WITH_FAULT(tree_check, pool->inner, at, ro, err);
}

static int fault_tree_usage(struct pool *pool, struct tree_at at, struct snap_ctx *ctx,
	struct snap_usage *out, struct err *err)
{
	WITH_FAULT(tree_usage, pool->inner, at, ctx, out, err);
}

static int fault_tree_diff(struct pool *pool, struct tree_at a, struct tree_at b, int scratch,
	const struct snap_diff_opts *opts, struct snap_ctx *ctx, snap_diff_fn *fn, void *arg,
	struct err *err)
{
	WITH_FAULT(tree_diff, pool->inner, a, b, scratch, opts, ctx, fn, arg, err);
}

static int fault_sync_dir(struct pool *pool, int dir, struct snap_ctx *ctx, struct err *err)
{
	WITH_FAULT(sync_dir, pool->inner, dir, ctx, err);
}

const struct pool_driver pool_driver_fault = {
	.name = "fault",
	.probe = fault_probe,
	.open = fault_open,
	.close = fault_close,
	.caps = fault_caps,
	.tree_create = fault_tree_create,
	.tree_copy = fault_tree_copy,
	.tree_fill = fault_tree_fill,
	.tree_adopt = fault_tree_adopt,
	.tree_release = fault_tree_release,
	.tree_remove = fault_tree_remove,
	.tree_check = fault_tree_check,
	.tree_usage = fault_tree_usage,
	.tree_diff = fault_tree_diff,
	.sync_dir = fault_sync_dir,
};
