/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "snap/depth.h"

/* A step has to gain this much to stay. */
#define WORTH 1.15

void depth_init(struct depth *d, unsigned limit)
{
	*d = (struct depth){
		.limit = limit < 1 ? 1 : limit > DEPTH_MAX ? DEPTH_MAX : limit,
		.now = 1,
		.serial = DEPTH_RECHECK,
	};
}

unsigned depth_for(struct depth *d, uint64_t n)
{
	if (n < DEPTH_BATCH || d->limit == 1)
		return 1;
	if (d->now > 1 && --d->serial == 0) {
		d->serial = DEPTH_RECHECK;
		return 1;
	}
	return d->now;
}

static void restart(struct depth *d)
{
	d->batches = 0;
	d->items = d->ns = 0;
}

static double rate(const struct depth *d)
{
	return d->ns ? d->items * 1e9 / d->ns : 0;
}

/* Serial batches: do they wait? Cold trees show a mixture, so half is much. */
static void learn_serial(struct depth *d, bool waits)
{
	if (!waits) {
		d->now = 1;
		d->trial = false;
		restart(d);
		return;
	}
	if (d->now > 1 || d->batches < 2)
		return;
	d->best = rate(d);
	d->last = 1;
	d->now = d->limit < 4 ? d->limit : 4;
	d->trial = true;
	restart(d);
}

static void judge(struct depth *d)
{
	double now = rate(d);

	restart(d);
	if (now < d->best * WORTH) {
		d->now = d->last;
		d->trial = false;
		d->hold = DEPTH_HOLD;
		return;
	}
	d->best = now;
	d->last = d->now;
	d->trial = d->now < d->limit;
	d->now = d->now * 2 < d->limit ? d->now * 2 : d->limit;
}

void depth_learn(struct depth *d, unsigned depth, uint64_t n, uint64_t wall, uint64_t cpu)
{
	if (n < DEPTH_BATCH || d->limit == 1)
		return;
	if (d->hold) {
		d->hold--;
		return;
	}
	if (depth != d->now) { /* a recheck */
		learn_serial(d, wall > 2 * cpu);
		return;
	}
	d->batches++;
	d->items += n;
	d->ns += wall;
	if (depth == 1)
		learn_serial(d, wall > 2 * cpu);
	else if (d->trial && d->batches >= DEPTH_TRIAL)
		judge(d);
}
