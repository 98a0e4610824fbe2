/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Pages of a site, read as web servers do, in tight loops by processes of their own. Every file of
 * a generation holds the generation's mark, a number from 1: a page whose files tell different
 * marks is a mixture, and whatever cannot be opened and read is an error.
 */
#ifndef TESTS_READERS_PAGE_H
#define TESTS_READERS_PAGE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define PAGE_FILES 6
#define PAGE_MARK_SIZE 24

/* How a reader comes to the files of one page. */
enum page_way {
	PAGE_OPENED,   /* open live once, then every file beneath that descriptor */
	PAGE_RESOLVED, /* read the link once, then every file by its resolved path */
	PAGE_BY_PATH,  /* every file by its path through live: may mix, but must not fail */
	PAGE_WAYS
};

/* What one reader has seen so far; in memory shared with it. */
struct page_tally {
	_Atomic uint64_t pages, switches, errors, mixtures;
	char first[256]; /* the first thing that was wrong, "" if none */
};

struct page_readers {
	struct page_tally *tallies; /* of reader n, which reads by way n % PAGE_WAYS */
	unsigned n;
	int *pids;
	_Atomic bool *stop;
};

/* The relative path of file `n` of a page, and its content. */
const char *page_file(unsigned n);
void page_mark(char out[PAGE_MARK_SIZE], int64_t mark);

/* Write all files of a page beneath a directory, in place where they exist. 0 or -errno. */
int page_write(int tree, int64_t mark);

/* Start `n` readers of the site directory `path`; they have each read a page on return. 0 or
 * -errno, -EIO when a reader ended by itself. */
int page_readers_start(struct page_readers *r, const char *path, unsigned n);
/* Stop and wait for them, and free all but the tallies. */
void page_readers_stop(struct page_readers *r);
void page_readers_release(struct page_readers *r);

/* All tallies added up; `first` of the first reader that has one. */
struct page_tally page_sum(const struct page_readers *r);
/* The least number of switches that a reader saw. */
uint64_t page_least_switches(const struct page_readers *r);

const char *page_way_name(enum page_way way);

#endif
