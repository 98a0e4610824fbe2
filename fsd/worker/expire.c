/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fsd/worker/expire.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fsd/core/json.h"
#include "fsd/core/log.h"
#include "snap/base/clock.h"
#include "snap/base/err.h"

#define ASK_AGAIN_MIN (60 * NSEC_PER_SEC)
#define ASK_AGAIN_MAX (3600 * NSEC_PER_SEC)

/* ---- what is due ---- */

struct due {
	struct fsd *f;
	int64_t now;
	json_t *requests; /* object: key -> {"op", "text", "generation"} */
};

/* `text`: what the request names. */
static void add_due(struct due *d, enum op op, const char *text, int64_t number)
{
	char key[3 * NAME_SIZE];

	snprintf(key, sizeof(key), "%d:%s:%" PRId64, (int)op, text, number);
	json_object_set_new(d->requests, key,
		json_pack("{s:i,s:s,s:I}", "op", (int)op, "text", text, "generation",
			(json_int_t)number));
}

static int site_due(const struct cat_site *s, void *arg)
{
	struct due *d = arg;

	if (!s->protect)
		add_due(d, OP_SITE_DELETE, s->id, 0);
	return 0;
}

static int snapshot_due(const struct cat_snapshot *s, void *arg)
{
	struct due *d = arg;
	char source[2 * NAME_SIZE];

	if (s->look) /* what was written late in it is still to be told */
		return 0;
	snprintf(source, sizeof(source), "%s@%s", s->site, s->name);
	add_due(d, OP_SNAPSHOT_DELETE, source, 0);
	return 0;
}

/* The retired generations of one site: while they are few they are kept, the newest always. */
struct generation_due {
	struct due *due;
	char site[ID_SIZE];
	struct retired {
		int64_t number, when, by;
	} items[256];
	unsigned n;
};

static int newest_first(const void *a, const void *b)
{
	const struct retired *x = a, *y = b;

	if (x->when != y->when)
		return x->when < y->when ? 1 : -1;
	/* One tick of the clock saw both: jobs count upwards. */
	return (x->by < y->by) - (x->by > y->by);
}

static void flush_generations(struct generation_due *g)
{
	const struct config *c = fsd_config(g->due->f);
	unsigned keep = c->keep_generations ? c->keep_generations : 1;

	if (g->n)
		qsort(g->items, g->n, sizeof(g->items[0]), newest_first);
	for (unsigned i = keep; i < g->n; i++) {
		if (g->items[i].when + c->grace <= g->due->now)
			add_due(g->due, OP_GENERATION_RETIRE, g->site, g->items[i].number);
	}
	g->n = 0;
}

static int generation_seen(const struct cat_generation *row, void *arg)
{
	struct generation_due *g = arg;

	if (strcmp(g->site, row->site) != 0) {
		flush_generations(g);
		strcpy(g->site, row->site);
	}
	if (g->n < sizeof(g->items) / sizeof(g->items[0]))
		g->items[g->n++] = (struct retired){row->number, row->retired, row->retired_by};
	return 0;
}

/* ---- asking ---- */

/* The job's id; 0: it is not to be had now. */
static int64_t submit(struct fsd *f, const json_t *due)
{
	enum op op = (enum op)json_int_at(due, "op");
	int64_t number = json_int_at(due, "generation"), id = 0;
	struct err err = ERR_INIT;
	struct request r;

	request_init(&r, op);
	request_set_str(&r, op == OP_SNAPSHOT_DELETE ? F_SOURCE : F_SITE,
		json_str_at(due, "text"));
	if (number)
		request_set_int(&r, F_GENERATION, number);
	request_set_int(&r, F_CONFIRM, 1);
	request_set_str(&r, F_NOTE, "expired");
	if (jobs_submit_internal(f, &r, &id, &err) < 0)
		log_err(LOG_DEBUG, "not expired yet", &err, NULL);
	request_release(&r);
	return id;
}

/* What is still due though its job has ended has failed: the next time is later each time. */
static json_t *ask(struct due *d, const json_t *due, json_t *before)
{
	int64_t next = json_int_at(before, "next");
	int64_t wait = 2 * json_int_at(before, "wait");

	if (jobs_unfinished(d->f, json_int_at(before, "job")) ||
		(d->now < next && next - d->now <= ASK_AGAIN_MAX)) /* the clock may be set back */
		return json_incref(before);
	wait = wait < ASK_AGAIN_MIN ? ASK_AGAIN_MIN : wait > ASK_AGAIN_MAX ? ASK_AGAIN_MAX : wait;
	return json_pack("{s:I,s:I,s:I}", "job", (json_int_t)submit(d->f, due), "next",
		(json_int_t)(d->now + wait), "wait", (json_int_t)wait);
}

static void ask_all(struct due *d, json_t *asked, const struct snap_ctx *ctx)
{
	const char *key;
	json_t *due;
	void *next;

	json_object_foreach_safe(asked, next, key, due) {
		if (!json_object_get(d->requests, key))
			json_object_del(asked, key); /* it was done */
	}
	json_object_foreach(d->requests, key, due) {
		if (snap_canceled(ctx))
			break;
		json_object_set_new(asked, key, ask(d, due, json_object_get(asked, key)));
	}
}

/* ---- all of it ---- */

void expire_look(struct fsd *f, struct catalog *c, int64_t now, json_t *asked,
	struct snap_ctx *ctx)
{
	struct due due = {f, now, json_object()};
	struct generation_due generations = {.due = &due};
	struct cat_site_filter sites = {.expired_by = now};
	struct cat_snapshot_filter snapshots = {.expired_by = now};
	struct err err = ERR_INIT;

	catalog_sites(c, &sites, site_due, &due, &err);
	catalog_snapshots(c, &snapshots, snapshot_due, &due, &err);
	catalog_retired(c, NULL, generation_seen, &generations, &err);
	flush_generations(&generations);
	ask_all(&due, asked, ctx);
	json_decref(due.requests);
	spools_expire(&f->spools);
	pthread_mutex_lock(&f->write_lock);
	catalog_expire(f->catalog, now - fsd_config(f)->job_keep, &err);
	pthread_mutex_unlock(&f->write_lock);
	if (err.num)
		log_err(LOG_WARNING, "cannot look for what has expired", &err, NULL);
}
