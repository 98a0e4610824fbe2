/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How many items of a batch to have under way at once, found by measuring. On a warm local file
 * system one is right: calls are processor time, and creates of several threads wait for each
 * other's locks. When calls wait for a disk or a network, depth wins three times and more. So:
 * start with one; when most of the time of a serial batch is waiting, go deeper as long as each
 * step pays; look again from time to time whether a serial batch would still wait.
 */
#ifndef SNAP_DEPTH_H
#define SNAP_DEPTH_H

#include <stdbool.h>
#include <stdint.h>

#define DEPTH_MAX 16
#define DEPTH_BATCH 8	  /* smaller batches say nothing and stay serial */
#define DEPTH_TRIAL 6	  /* batches to judge a depth by */
#define DEPTH_HOLD 200	  /* batches to leave it alone after a failed step */
#define DEPTH_RECHECK 50  /* every so many batches a serial one */

struct depth {
	unsigned limit;
	unsigned now, last; /* last: the one before the step on trial */
	bool trial;
	unsigned batches;  /* in this state */
	unsigned hold;	   /* batches until the next step may be tried */
	unsigned serial;   /* until the next recheck */
	double best; /* items a second at `last` */
	uint64_t items, ns;
};

void depth_init(struct depth *d, unsigned limit);

/* The depth for a batch of n items. */
unsigned depth_for(struct depth *d, uint64_t n);

/* What it took: `depth` as depth_for() said; `cpu` of the calling thread, which only counts when
 * it was serial. In ns. */
void depth_learn(struct depth *d, unsigned depth, uint64_t n, uint64_t wall, uint64_t cpu);

#endif
