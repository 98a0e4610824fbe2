/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Ids and names: how they are made, written and checked. */
#ifndef FSD_CORE_ID_H
#define FSD_CORE_ID_H

#include <stdbool.h>
#include <stdint.h>

struct err;

#define ID_SIZE 37	/* UUID text with NUL */
#define JOB_ID_SIZE 16	/* job id text with NUL */
#define NAME_SIZE 201

/* A new UUID version 7 (RFC 9562), lower case: ids of sites, snapshots and pools. */
void id_new(char out[ID_SIZE]);
bool id_valid(const char *s);

/*
 * Jobs and events count upwards: an id is the larger of the last id + 1 and the time in ms since
 * 1970, so ids do not repeat after a lost catalog. A job's is written in Crockford's base 32, lower
 * case, 9 characters today. job_id_parse: also upper case; 0 or -EINVAL.
 */
int64_t id_next(int64_t last);
const char *job_id_format(int64_t id, char out[JOB_ID_SIZE]);
int job_id_parse(const char *s, int64_t *id);

/*
 * Is this a legal name for a new site, snapshot or pool: [a-z0-9] then [a-z0-9._-], at most 200
 * bytes; nothing that parses as a time or date, none of names_reserved. 0, or -EINVAL "bad_name" /
 * "reserved_name" with the rule as reason. Also refused: names that look like an id, and names that
 * end in "." or contain "..".
 */
int name_check(const char *name, struct err *err);
/* The words of fsctl's command line, now and to come, with a blank between; fsctl(1) lists them. */
extern const char names_reserved[];
/* Only the rule of the bytes: could something be called so? (Ids are such names too.) */
bool name_valid(const char *name);

/* SOURCE of the command line, taken apart; nothing is looked up. */
enum source_kind {
	SOURCE_LIVE,	   /* SITE */
	SOURCE_SNAPSHOT,   /* SITE@NAME */
	SOURCE_LATEST,	   /* SITE@latest */
	SOURCE_TIME,	   /* SITE@TIME: the newest not after its end */
	SOURCE_GENERATION, /* SITE:7 */
};
struct source {
	enum source_kind kind;
	char site[NAME_SIZE]; /* a name or an id */
	char name[NAME_SIZE];
	int64_t time; /* ns; the end of the day, minute, second, ... that was named */
	int64_t generation;
};
/* 0, or -EINVAL "bad_source" with what is wrong ("SITE@" with nothing behind it, ...). */
int source_parse(const char *text, struct source *out, struct err *err);

#endif
