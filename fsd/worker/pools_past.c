/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Pools of the catalog that the configuration does not name. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "fsd/core/json.h"
#include "fsd/core/log.h"
#include "fsd/worker/pools.h"
#include "fsd/worker/pools_priv.h"
#include "snap/base/err.h"

struct past_pool {
	struct config_pool config; /* its texts are the row's */
	struct cat_pool row;
};

static int64_t sum(const struct cat_pool_count *has)
{
	return has->sites + has->deleted + has->snapshots + has->unfinished;
}

struct look {
	struct pools *p;
	struct catalog *c;
	json_t *names;
	struct err *err;
};

static int look_for_nothing(const struct cat_pool *row, void *arg)
{
	const struct look *l = arg;
	const struct pool_root *root = pools_find(l->p, row->name);
	struct cat_pool_count has;
	int r;

	if (root && strcmp(root->config->path, row->path) == 0)
		return 0;
	r = catalog_pool_count(l->c, row->name, &has, l->err);
	if (r == 0 && !sum(&has) && json_array_append_new(l->names, json_string(row->name)) < 0)
		r = err_sys(l->err, ENOMEM, "pools", NULL);
	return r;
}

static int forget(struct pools *p, struct catalog *c, struct err *err)
{
	struct look l = {p, c, json_array(), err};
	int r = catalog_pools(c, look_for_nothing, &l, err);
	json_t *name;
	size_t i;

	json_array_foreach(l.names, i, name) {
		if (r == 0)
			r = catalog_pool_delete(c, json_string_value(name), err);
		if (r == 0)
			log_msg(LOG_NOTICE, "pool forgotten: nothing is left of it", "pool",
				json_string_value(name), NULL);
	}
	json_decref(l.names);
	return r;
}

/* Is it the pool at the path of a section whose name the catalog does not know? */
static int look_for_renamed(const struct cat_pool *row, void *arg)
{
	const struct look *l = arg;
	struct cat_pool other;

	if (pools_find(l->p, row->name))
		return 0;
	for (unsigned i = 0; i < l->p->n; i++) {
		struct pool_root *r = &l->p->items[i];

		if (strcmp(r->config->path, row->path) == 0 &&
			catalog_pool_get(l->c, r->config->name, &other, NULL) == -ENOENT)
			strcpy(r->former, row->name);
	}
	return 0;
}

static int find_renamed(struct pools *p, struct catalog *c, struct err *err)
{
	struct look l = {p, c, NULL, err};

	for (unsigned i = 0; i < p->n; i++)
		p->items[i].former[0] = '\0';
	return catalog_pools(c, look_for_renamed, &l, err);
}

int pools_match(struct pools *p, struct catalog *c, struct err *err)
{
	int r = forget(p, c, err);

	return r == 0 ? find_renamed(p, c, err) : r;
}

static void refuse(struct pool_root *r, const struct cat_pool_count *has)
{
	struct err why = ERR_INIT;

	err_set(&why, ENODEV, "pool_not_configured", r->config->name,
		"the configuration does not name this pool any more, so no job reaches what the "
		"catalog had of it at the start (sites: %" PRId64 ", deleted sites: %" PRId64
		", snapshots: %" PRId64 ", unfinished jobs: %" PRId64 ")", has->sites, has->deleted,
		has->snapshots, has->unfinished);
	err_hint(&why, "put back [pool %.60s] with path = %.150s and restart fsd; how to be rid of "
		"it: docs/operations.md, \"Retiring a pool\"", r->config->name, r->config->path);
	pool_root_refuse(r, &why);
}

static int add(struct pools *p, const struct cat_pool *row, const struct cat_pool_count *has,
	struct err *err)
{
	struct pool_root *r = &p->items[p->n];
	struct past_pool *past = malloc(sizeof(*past));

	if (!past)
		return err_sys(err, ENOMEM, "pools", NULL);
	past->row = *row;
	past->config = (struct config_pool){.name = past->row.name, .path = past->row.path,
		.driver = past->row.driver};
	pool_root_init(r, &past->config);
	r->past = past;
	refuse(r, has);
	p->n++;
	return 0;
}

static int look_for_section(const struct cat_pool *row, void *arg)
{
	const struct look *l = arg;
	struct cat_pool_count has;
	int r;

	if (pools_find(l->p, row->name))
		return 0;
	r = catalog_pool_count(l->c, row->name, &has, l->err);
	return r < 0 || !sum(&has) ? r : add(l->p, row, &has, l->err);
}

int pools_add_past(struct pools *p, struct catalog *c, struct err *err)
{
	struct look l = {p, c, NULL, err};
	int r = find_renamed(p, c, err);

	return r == 0 ? catalog_pools(c, look_for_section, &l, err) : r;
}
