/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What went wrong, told once. A function that can fail returns 0 or -errno and, where it has a
 * `struct err *`, fills it at the place of the failure; callers pass it up unchanged and whoever
 * ends the job prints it. Nothing here allocates or logs.
 */
#ifndef SNAP_BASE_ERR_H
#define SNAP_BASE_ERR_H

#include <stdbool.h>

#define ERR_OBJECT_SIZE 512
#define ERR_TEXT_SIZE 384

struct err {
	int num;		      /* errno value, > 0; 0 while nothing failed */
	const char *code;	      /* stable API code, static storage: "name_taken" */
	char object[ERR_OBJECT_SIZE]; /* the name or path it is about; "" if none */
	bool in_tree;		      /* object is a path in a tree; who knows the tree names it */
	char reason[ERR_TEXT_SIZE];   /* one sentence, no trailing full stop */
	char hint[ERR_TEXT_SIZE];     /* what to do next; "" if nothing helps */
};

#define ERR_INIT ((struct err){0})

/*
 * Fill `e` and return -num. `code` must have static storage; `object` may be NULL. Texts that are
 * too long are cut at the end (objects at the front, since the tail of a path says more). `e` may
 * be NULL. An err that is already filled is replaced.
 */
int err_set(struct err *e, int num, const char *code, const char *object, const char *fmt, ...)
	__attribute__((format(printf, 5, 6)));

/*
 * The same for a failed system call or library call: the code is derived from num (ENOSPC and
 * EDQUOT "no_space", EROFS "read_only", EACCES and EPERM "denied", ENOENT "not_found", ECANCELED
 * "canceled", ENOMEM "no_memory", others "io_error") and the reason is "op: strerror(num)"; that of
 * a lease (EWOULDBLOCK of "open") says what it is.
 */
int err_sys(struct err *e, int num, const char *op, const char *object);

/* Add what to do next. */
void err_hint(struct err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Its object is a path in a tree. */
void err_in_tree(struct err *e);

void err_clear(struct err *e);

#endif
