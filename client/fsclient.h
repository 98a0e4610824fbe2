/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * libfsclient: talk to fsd, the fileserver daemon for web site trees.
 *
 * A program opens a handle, asks for jobs (everything that changes or reads a tree) and reads
 * objects (everything the catalog knows). docs/api.md describes the requests and the objects;
 * this library carries them and hides how.
 *
 *	struct fsc_error err;
 *	struct fsc *fsc = NULL;
 *	struct fsc_value *answer = NULL, *job = NULL;
 *
 *	struct fsc_request *req = fsc_request_new("snapshot");
 *	fsc_request_set_str(req, "site", "shop");
 *	if (fsc_open(NULL, &fsc, &err) < 0 || fsc_submit(fsc, req, 0, &answer, &err) < 0 ||
 *	    fsc_job_wait(fsc, fsc_value_str(answer, "job.id"), NULL, NULL, -1, &job, &err) < 0 ||
 *	    fsc_job_outcome(job, &err) < 0)
 *		errx(err.exit, "%s: %s", err.object, err.reason);
 *
 * CONVENTIONS
 *
 * Return values. Functions that can fail return 0, or a negative errno value; a positive value
 * only where it says so. Results go through out-parameters, which are written only on success.
 *
 * Errors. `err` may be NULL wherever it is a parameter; otherwise it is filled on every failure
 * and left alone on success.
 *
 * Ownership. `struct X **out`: the caller owns the result and frees it with fsc_X_free(), which
 * takes a pointer to the pointer, sets it to NULL, and accepts NULL in it. A returned `const`
 * pointer is borrowed: from a value until its root is freed, from anything else until the next
 * call on it. Strings that are passed in are copied.
 *
 * Threads. There is no global state. One handle, with the lists and event streams opened from it,
 * belongs to one thread at a time; any number of handles may be used in parallel.
 *
 * Blocking. Whatever takes a `struct fsc *` may block: until the daemon answers, fsd being silent
 * for longer than the handle's timeout (-ETIMEDOUT), or its wake-up descriptor becoming readable
 * (-EINTR). No signal is raised (no SIGPIPE) and none is handled.
 *
 * Lost connections. A connection is made at the first call and kept. When it is lost, reads and
 * requests are sent again over a new one, until there was none for ten seconds: fsd may be
 * restarting. A job is asked for under an idempotency key, so the second sending of a request is
 * the same job.
 *
 * Compatibility. Symbols are versioned (FSC_0.1); structures that callers look into grow only at
 * the end, and struct fsc_error keeps room for that.
 */
#ifndef FSCLIENT_H
#define FSCLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define FSC_PUBLIC __attribute__((visibility("default")))
#else
#define FSC_PUBLIC
#endif

struct fsc;	    /* a handle: one daemon, one connection */
struct fsc_request; /* a job that is asked for */
struct fsc_value;   /* an answer, or a part of one */
struct fsc_list;    /* a list being read, page by page */
struct fsc_events;  /* a stream of events */

/* The version of the library, "0.1.0". Static. */
FSC_PUBLIC const char *fsc_version(void);

/* ---- errors ---- */

/* What a command line program should exit with; fsctl does. */
enum fsc_exit {
	FSC_EXIT_DONE = 0,
	FSC_EXIT_FAILED = 1,
	FSC_EXIT_USAGE = 2,	   /* wrong usage, or a confirmation is missing: nothing changed */
	FSC_EXIT_NOT_FOUND = 3,
	FSC_EXIT_IN_THE_WAY = 4,   /* exists, held, protected, has dependents, locked */
	FSC_EXIT_LIMIT = 5,	   /* no space, or over a limit */
	FSC_EXIT_NOT_ALLOWED = 6,
	FSC_EXIT_UNREACHABLE = 7,  /* fsd does not answer */
	FSC_EXIT_PARTIAL = 8,	   /* done in part: the result names what failed */
	FSC_EXIT_INTERRUPTED = 130 /* the wait was interrupted; the job goes on */
};

/*
 * What went wrong. The texts are UTF-8 and never end in a full stop; they may hold whatever a name
 * or path holds, control characters included: escape them before a terminal sees them. Texts that
 * are too long are cut.
 *
 * `code` is stable and meant for programs: those of the daemon are listed in docs/api.md
 * ("not_found", "name_taken", "confirmation_needed", ...); the library's own are
 *	unreachable	nobody answers at the URL
 *	timeout		fsd was silent for too long, or a job has not ended in time
 *	interrupted	the wake-up descriptor became readable, or the callback said stop
 *	bad_response	what answers does not speak the API
 *	bad_request	the request could not be put together (see the reason)
 *	bad_url, unsupported_url
 *	no_memory
 */
struct fsc_error {
	int num;	   /* errno value, > 0 */
	int http;	   /* status of the answer; 0: none came */
	int exit;	   /* enum fsc_exit */
	char code[64];
	char title[128];
	char object[512];  /* the name or path it is about, or "" */
	char reason[1024]; /* one sentence */
	char hint[512];	   /* what to do next, or "" */
	char reserved[264];
};

/* ---- handle ---- */

/*
 * Make a handle for the daemon at `url`: "unix:///run/fsd/fsd.sock" or an absolute path. NULL is
 * $FSD_URL, or /run/fsd/fsd.sock where that is unset or empty. Does not connect and does not block.
 *
 * -EINVAL ("bad_url"), -EPROTONOSUPPORT ("unsupported_url": https:// and http://, which this
 * version does not speak), -ENAMETOOLONG (a socket's path has at most 107 bytes), -ENOMEM.
 */
FSC_PUBLIC int fsc_open(const char *url, struct fsc **out, struct fsc_error *err);

/* Close the connection and free the handle. Lists and event streams of it must be freed before. */
FSC_PUBLIC void fsc_close(struct fsc **fsc);

/* How long fsd may be silent during one exchange, in milliseconds (default 30,000); time that fsd
 * was asked to wait for a job is added. 0 is without limit. */
FSC_PUBLIC void fsc_set_timeout(struct fsc *fsc, unsigned milliseconds);

/*
 * A descriptor that ends whatever call blocks, with -EINTR, as soon as it is readable (a signalfd,
 * an eventfd, a pipe); -1 is none. It is only polled, never read: it stays the caller's, and calls
 * go on failing until it has been drained. What was asked for goes on in the daemon.
 */
FSC_PUBLIC void fsc_set_wakeup(struct fsc *fsc, int fd);

/* ---- jobs ---- */

/*
 * A request for a job of this kind ("snapshot", "clone", "site-delete": the table in docs/api.md),
 * with a fresh random idempotency key. NULL without memory or randomness.
 */
FSC_PUBLIC struct fsc_request *fsc_request_new(const char *kind);
FSC_PUBLIC void fsc_request_free(struct fsc_request **req);

/*
 * Set an argument; one that is set already is replaced. Everything is copied. 0, or -ENOMEM or
 * -EINVAL (NULL where a text is needed), which fsc_submit() will report too, so that callers may
 * check once. A request that was submitted gets a new key with the next argument that is set.
 *
 * Texts are bytes: what is not UTF-8 travels in the escaped form of docs/api.md.
 *
 * set_list	`n` texts.
 * set_map	`n` pairs; keys[i] with values[i], or null where values[i] is NULL.
 */
FSC_PUBLIC int fsc_request_set_str(struct fsc_request *req, const char *key, const char *value);
FSC_PUBLIC int fsc_request_set_int(struct fsc_request *req, const char *key, int64_t value);
FSC_PUBLIC int fsc_request_set_bool(struct fsc_request *req, const char *key, bool value);
FSC_PUBLIC int fsc_request_set_list(struct fsc_request *req, const char *key,
	const char *const items[], size_t n);
FSC_PUBLIC int fsc_request_set_map(struct fsc_request *req, const char *key,
	const char *const keys[], const char *const values[], size_t n);

/* The idempotency key; borrowed. */
FSC_PUBLIC const char *fsc_request_key(const struct fsc_request *req);
/* A key of one's own (1 to 200 printable ASCII characters), kept across runs of a program, makes a
 * repeated run the same job. 0, -EINVAL or -ENOMEM. */
FSC_PUBLIC int fsc_request_set_key(struct fsc_request *req, const char *key);

/*
 * Ask for the job. fsd answers when the job is accepted and durable, and waits up to `wait` seconds
 * (0 to 60) for it to end. *answer is an object:
 *	{"job": {...}}		accepted; it may have ended already (see fsc_job_ended())
 *	{"plan": {...}}		if the argument "dry_run" is true; nothing was done
 *
 * Refused requests fail, and no job exists. -EAGAIN with code "confirmation_needed": err->reason
 * is a question; ask it, set the argument "confirm" to true, and submit again. -EINTR: the request
 * may have been accepted; submitting the same one again tells, and is still the same job.
 */
FSC_PUBLIC int fsc_submit(struct fsc *fsc, struct fsc_request *req, unsigned wait,
	struct fsc_value **answer, struct fsc_error *err);

/*
 * How far a job is. (The structure grows only at the end.) No number goes back from one call to the
 * next, also where fsd was started anew meanwhile. A total is of the whole job, and no more is
 * done; 0: unknown.
 */
struct fsc_progress {
	uint64_t entries_done, entries_total;
	uint64_t bytes_done, bytes_total;
	const struct fsc_value *job; /* the job object, borrowed until the callback returns */
};
/* Called some five times a second until the job has ended, then no more. Not 0: stop waiting. It
 * must not use the handle. */
typedef int fsc_progress_fn(const struct fsc_progress *progress, void *arg);

/*
 * Wait until the job has ended: done, failed or canceled (fsc_job_outcome() tells), 0 in each
 * case. `timeout` is in milliseconds; 0 only looks, -1 is without limit. `progress` and `job` may
 * be NULL.
 *
 * -ETIMEDOUT: it has not ended. -EINTR: the wake-up descriptor; -ECANCELED: the callback. The job
 * goes on in each of these cases.
 */
FSC_PUBLIC int fsc_job_wait(struct fsc *fsc, const char *id, fsc_progress_fn *progress, void *arg,
	int timeout, struct fsc_value **job, struct fsc_error *err);

/* Ask a job to stop; fsd answers at once. *job (may be NULL) is the job as it then is. -EBUSY with
 * code "job_ended" when it has ended. */
FSC_PUBLIC int fsc_job_cancel(struct fsc *fsc, const char *id, struct fsc_value **job,
	struct fsc_error *err);

/* Of a job object: has it ended? */
FSC_PUBLIC bool fsc_job_ended(const struct fsc_value *job);
/*
 * Of a job object that has ended: 0 done; 1 done in part, its result has a non-empty "failed";
 * otherwise err is filled from its "error". -EINPROGRESS: it has not ended.
 */
FSC_PUBLIC int fsc_job_outcome(const struct fsc_value *job, struct fsc_error *err);

/* ---- reading ---- */

/*
 * A path of the API: like asprintf, but only %s, %d (an int), %lld and %% exist, and each text is
 * percent-encoded: fsc_path("/v1/sites/%s", name). malloc'd; NULL without memory, or with another
 * conversion in `fmt`.
 */
FSC_PUBLIC char *fsc_path(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* Append "?key=value", or "&key=value", to a malloc'd *path; nothing where value is NULL. 0 or
 * -ENOMEM (*path is unchanged). */
FSC_PUBLIC int fsc_path_add(char **path, const char *key, const char *value);

/* GET `path`, an object or a list. -ENOENT: no such object. */
FSC_PUBLIC int fsc_get(struct fsc *fsc, const char *path, struct fsc_value **out,
	struct fsc_error *err);

/*
 * Go through all items of a list ("/v1/sites?label=a"), fetching page after page as needed. Opening
 * does not ask fsd. NULL without memory. A "limit" in the path is the size of a page (fsd's default
 * is 100, at most 1000), not of the list.
 */
FSC_PUBLIC struct fsc_list *fsc_list_new(struct fsc *fsc, const char *path);
FSC_PUBLIC void fsc_list_free(struct fsc_list **list);
/* 1 and the next item (borrowed until the next call); 0 at the end; or -errno. */
FSC_PUBLIC int fsc_list_next(struct fsc_list *list, const struct fsc_value **item,
	struct fsc_error *err);
/* After items 1 to n of a page: the cursor that continues after the page, or NULL at the end of
 * the list. Borrowed until the next call. */
FSC_PUBLIC const char *fsc_list_cursor(const struct fsc_list *list);

/* ---- events ---- */

/*
 * The events after the one with id `after`; NULL or "": from now on. The stream has a connection of
 * its own, with the handle's URL, timeouts and wake-up descriptor as they are now, and connects
 * again by itself. No event is lost or repeated by that, once fsd has answered or `after` was
 * given. Does not block.
 */
FSC_PUBLIC int fsc_events_open(struct fsc *fsc, const char *after, struct fsc_events **out,
	struct fsc_error *err);
FSC_PUBLIC void fsc_events_free(struct fsc_events **events);
/* 1 and the next event (borrowed until the next call); 0: none came within `timeout` milliseconds
 * (-1: no limit); or -errno. */
FSC_PUBLIC int fsc_events_next(struct fsc_events *events, int timeout,
	const struct fsc_value **event, struct fsc_error *err);

/* ---- values ---- */

enum fsc_type { FSC_NULL, FSC_BOOL, FSC_INT, FSC_REAL, FSC_STR, FSC_LIST, FSC_OBJECT };

/*
 * Look into a value. `path` names a member, or one of a member: "live.path"; NULL or "" is the
 * value itself. Keys that hold dots (labels) are reached by fsc_value_member(). Everything accepts
 * a NULL value and finds nothing in it; what is found is borrowed from the root.
 */
FSC_PUBLIC const struct fsc_value *fsc_value_at(const struct fsc_value *v, const char *path);
FSC_PUBLIC const struct fsc_value *fsc_value_member(const struct fsc_value *v, const char *key);
/* FSC_NULL also where there is nothing. */
FSC_PUBLIC enum fsc_type fsc_value_type(const struct fsc_value *v);
/* NULL where it is not a string. Valid UTF-8. */
FSC_PUBLIC const char *fsc_value_str(const struct fsc_value *v, const char *path);
/* `other` where it is not a number (a boolean, for fsc_value_bool). */
FSC_PUBLIC int64_t fsc_value_int(const struct fsc_value *v, const char *path, int64_t other);
FSC_PUBLIC double fsc_value_real(const struct fsc_value *v, const char *path, double other);
FSC_PUBLIC bool fsc_value_bool(const struct fsc_value *v, const char *path, bool other);
/* The bytes of a path or name that travels as text (docs/api.md: bytes that are not UTF-8 are
 * escaped). malloc'd; NULL where it is not a string, or without memory. */
FSC_PUBLIC char *fsc_value_bytes(const struct fsc_value *v, const char *path);

/* How many items (of a list) or members (of an object); 0 for others. */
FSC_PUBLIC size_t fsc_value_count(const struct fsc_value *v);
FSC_PUBLIC const struct fsc_value *fsc_value_item(const struct fsc_value *v, size_t i);
/* The members of an object, in order: the key after `key` (one that this function returned); NULL
 * is the beginning, and comes back at the end. */
FSC_PUBLIC const char *fsc_value_next(const struct fsc_value *v, const char *key);

/* The value as JSON text, in one line or (indent > 0) with so many blanks a level. malloc'd; NULL
 * without memory. */
FSC_PUBLIC char *fsc_value_text(const struct fsc_value *v, unsigned indent);
/* Parse JSON text; a key that occurs twice in an object is an error. -EBADMSG or -ENOMEM. */
FSC_PUBLIC int fsc_value_parse(const char *text, size_t len, struct fsc_value **out);
/* Only for values got through a `struct fsc_value **`. */
FSC_PUBLIC void fsc_value_free(struct fsc_value **v);

#ifdef __cplusplus
}
#endif
#endif
