/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Pools, sites and generations. */
#include "backends/catalog/sqlite_internal.h"

#include <errno.h>

/* ---- pools ---- */

static const struct column pool_columns[] = {
	COLUMN(TEXT, cat_pool, id),
	COLUMN(TEXT, cat_pool, name),
	COLUMN(TEXT, cat_pool, driver),
	COLUMN(TEXT, cat_pool, path),
	COLUMN(INT, cat_pool, seen),
};

static const struct record pool_record = {
	.table = "pools",
	.key = "id",
	.code = "name_taken",
	.name = offsetof(struct cat_pool, name),
	COLUMNS(pool_columns),
};

int catalog_pool_put(struct catalog *c, const struct cat_pool *p, struct err *err)
{
	bool own;
	int r = sql_begin_nested(c, &own, err);

	if (r < 0)
		return r;
	/* One that has another name now: its sites and snapshots follow by reference. */
	r = sql_change(c,
		"UPDATE jobs SET pool = ?1 WHERE pool <> ?1 AND "
		"pool = (SELECT name FROM pools WHERE id = ?2)", p->name, p->id, err);
	if (r == 0)
		r = sql_put(c, &pool_record, p, err);
	return sql_end_nested(c, own, r, err);
}

int catalog_pool_get(struct catalog *c, const char *name, struct cat_pool *out, struct err *err)
{
	_cleanup_query_ struct query q;

	query_init(&q, &pool_record);
	query_where_text(&q, "name = ?", name);
	return query_one(c, &q, out, err);
}

int catalog_pools(struct catalog *c, int (*fn)(const struct cat_pool *, void *), void *arg,
	struct err *err)
{
	_cleanup_query_ struct query q;
	struct cat_pool pool;
	int r;

	query_init(&q, &pool_record);
	query_order(&q, "name", 0);
	while ((r = query_next(c, &q, &pool, err)) > 0) {
		r = fn(&pool, arg);
		if (r)
			break;
	}
	return r;
}

int catalog_pool_delete(struct catalog *c, const char *name, struct err *err)
{
	return sql_change(c, "DELETE FROM pools WHERE name = ?", name, NULL, err);
}

int catalog_pool_count(struct catalog *c, const char *name, struct cat_pool_count *out,
	struct err *err)
{
	struct cat_pool_count n;
	int r = sql_int(c, "SELECT count(*) FROM sites WHERE deleted = 0 AND pool = ?", name,
		&n.sites, err);

	if (r == 0)
		r = sql_int(c, "SELECT count(*) FROM sites WHERE deleted <> 0 AND pool = ?", name,
			&n.deleted, err);
	if (r == 0)
		r = sql_int(c, "SELECT count(*) FROM snapshots WHERE pool = ?", name, &n.snapshots,
			err);
	if (r == 0)
		r = sql_int(c, "SELECT count(*) FROM jobs WHERE state = 'queued' AND pool = ?",
			name, &n.unfinished, err);
	if (r == 0)
		*out = n;
	return r;
}

/* ---- sites ---- */

static const struct column site_columns[] = {
	COLUMN(TEXT, cat_site, id),
	COLUMN(TEXT, cat_site, name),
	COLUMN(TEXT, cat_site, pool),
	COLUMN(INT, cat_site, tenant),
	COLUMN(INT, cat_site, created),
	COLUMN(INT, cat_site, deleted),
	COLUMN(INT, cat_site, live),
	COLUMN(INT, cat_site, expires),
	COLUMN(BOOL, cat_site, protect),
	COLUMN(TEXT, cat_site, linked),
	USAGE_COLUMNS(cat_site),
};

static const struct record site_record = {
	.table = "sites",
	.key = "id",
	.code = "name_taken",
	.name = offsetof(struct cat_site, name),
	COLUMNS(site_columns),
};

int catalog_site_put(struct catalog *c, const struct cat_site *s, struct err *err)
{
	return sql_put(c, &site_record, s, err);
}

int catalog_site_get(struct catalog *c, const char *ref, struct cat_site *out, struct err *err)
{
	_cleanup_query_ struct query q;

	query_init(&q, &site_record);
	query_where_text(&q, "(id = ?1 OR (name = ?1 AND deleted = 0))", ref);
	return query_one(c, &q, out, err);
}

int catalog_site_delete(struct catalog *c, const char *id, struct err *err)
{
	bool own;
	int r = sql_begin_nested(c, &own, err);

	if (r < 0)
		return r;
	r = sql_change(c, "DELETE FROM labels WHERE object = ?", id, NULL, err);
	if (r == 0)
		r = sql_change(c, "DELETE FROM holds WHERE object = ?", id, NULL, err);
	if (r == 0) /* its generations by the foreign key */
		r = sql_change(c, "DELETE FROM sites WHERE id = ?", id, NULL, err);
	return sql_end_nested(c, own, r, err);
}

int catalog_sites(struct catalog *c, const struct cat_site_filter *f,
	int (*fn)(const struct cat_site *, void *), void *arg, struct err *err)
{
	_cleanup_query_ struct query q;
	struct cat_site site;
	int r;

	query_init(&q, &site_record);
	query_where(&q, f->deleted ? "deleted <> 0" : "deleted = 0");
	if (f->pool)
		query_where_text(&q, "pool = ?", f->pool);
	if (f->name)
		query_where_text(&q, "name = ?", f->name);
	if (f->label)
		query_where_label(&q, f->label);
	if (f->after)
		query_where_text(&q, f->deleted ? "id > ?" : "name > ?", f->after);
	if (f->expired_by)
		query_where_int(&q, "expires <> 0 AND expires <= ?", f->expired_by);
	query_order(&q,
		f->expired_by ? "expires"
		: f->name     ? "deleted DESC"
		: f->deleted  ? "id"
			      : "name",
		f->limit);
	while ((r = query_next(c, &q, &site, err)) > 0) {
		r = fn(&site, arg);
		if (r)
			break;
	}
	return r;
}

int catalog_site_count(struct catalog *c, const char *pool, uint64_t *n, struct err *err)
{
	int64_t count;
	int r = sql_int(c,
		pool ? "SELECT count(*) FROM sites WHERE deleted = 0 AND pool = ?"
		     : "SELECT count(*) FROM sites WHERE deleted = 0",
		pool, &count, err);

	if (r == 0)
		*n = count;
	return r;
}

/* ---- generations ---- */

static const struct column generation_columns[] = {
	COLUMN(TEXT, cat_generation, site),
	COLUMN(INT, cat_generation, number),
	COLUMN(INT, cat_generation, created),
	COLUMN(TEXT, cat_generation, method),
	COLUMN(TEXT, cat_generation, consistency),
	COLUMN(TEXT, cat_generation, origin),
	COLUMN(INT, cat_generation, retired),
	COLUMN(INT, cat_generation, retired_by),
	COLUMN(INT, cat_generation, job),
};

static const struct record generation_record = {
	.table = "generations",
	.key = "site, number",
	.code = "exists",
	.name = offsetof(struct cat_generation, site),
	COLUMNS(generation_columns),
};

int catalog_generation_put(struct catalog *c, const struct cat_generation *g, struct err *err)
{
	return sql_put(c, &generation_record, g, err);
}

int catalog_generation_get(struct catalog *c, const char *site, int64_t number,
	struct cat_generation *out, struct err *err)
{
	_cleanup_query_ struct query q;

	query_init(&q, &generation_record);
	query_where_text(&q, "site = ?", site);
	query_where_int(&q, "number = ?", number);
	return query_one(c, &q, out, err);
}

int catalog_generation_delete(struct catalog *c, const char *site, int64_t number, struct err *err)
{
	sqlite3_stmt *s;
	int r = sql_statement(c, "DELETE FROM generations WHERE site = ? AND number = ?", &s, err);

	if (r < 0)
		return r;
	sqlite3_bind_text(s, 1, site, -1, SQLITE_STATIC);
	sqlite3_bind_int64(s, 2, number);
	return sql_write(c, s, site, err);
}

static int list_generations(struct catalog *c, struct query *q,
	int (*fn)(const struct cat_generation *, void *), void *arg, struct err *err)
{
	struct cat_generation generation;
	int r;

	query_order(q, "site, number", 0);
	while ((r = query_next(c, q, &generation, err)) > 0) {
		r = fn(&generation, arg);
		if (r)
			break;
	}
	return r;
}

int catalog_generations(struct catalog *c, const char *site,
	int (*fn)(const struct cat_generation *, void *), void *arg, struct err *err)
{
	_cleanup_query_ struct query q;

	query_init(&q, &generation_record);
	query_where_text(&q, "site = ?", site);
	return list_generations(c, &q, fn, arg, err);
}

int catalog_retired(struct catalog *c, const char *pool,
	int (*fn)(const struct cat_generation *, void *), void *arg, struct err *err)
{
	_cleanup_query_ struct query q;

	query_init(&q, &generation_record);
	query_where(&q, "retired <> 0");
	if (pool)
		query_where_text(&q,
			"site IN (SELECT id FROM sites WHERE deleted = 0 AND pool = ?)", pool);
	return list_generations(c, &q, fn, arg, err);
}
