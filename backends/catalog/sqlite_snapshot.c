/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Snapshots, what of them is unsettled, labels and holds. */
#include "backends/catalog/sqlite_internal.h"

#include <errno.h>
#include <string.h>

/* A text that is too long fills its field without an end, which sql_put refuses. */
static void fill(char *field, size_t size, const char *text)
{
	size_t len = strnlen(text, size);

	memcpy(field, text, len);
	if (len < size)
		field[len] = '\0';
}

/* ---- snapshots ---- */

static const struct column snapshot_columns[] = {
	COLUMN(TEXT, cat_snapshot, id),
	COLUMN(TEXT, cat_snapshot, site),
	COLUMN(TEXT, cat_snapshot, site_name),
	COLUMN(TEXT, cat_snapshot, name),
	COLUMN(TEXT, cat_snapshot, pool),
	COLUMN(TEXT, cat_snapshot, kind),
	COLUMN(INT, cat_snapshot, created),
	COLUMN(INT, cat_snapshot, generation),
	COLUMN(TEXT, cat_snapshot, method),
	COLUMN(TEXT, cat_snapshot, consistency),
	COLUMN(INT, cat_snapshot, gap_ns),
	COLUMN(INT, cat_snapshot, expires),
	COLUMN(INT, cat_snapshot, job),
	COLUMN(INT, cat_snapshot, look),
	USAGE_COLUMNS(cat_snapshot),
};

static const struct record snapshot_record = {
	.table = "snapshots",
	.key = "id",
	.code = "name_taken",
	.name = offsetof(struct cat_snapshot, name),
	COLUMNS(snapshot_columns),
};

int catalog_snapshot_put(struct catalog *c, const struct cat_snapshot *s, struct err *err)
{
	return sql_put(c, &snapshot_record, s, err);
}

int catalog_snapshot_get(struct catalog *c, const char *site, const char *name,
	struct cat_snapshot *out, struct err *err)
{
	_cleanup_query_ struct query q;

	query_init(&q, &snapshot_record);
	query_where_text(&q, "site = ?", site);
	query_where_text(&q, "name = ?", name);
	return query_one(c, &q, out, err);
}

int catalog_snapshot_get_id(struct catalog *c, const char *id, struct cat_snapshot *out,
	struct err *err)
{
	_cleanup_query_ struct query q;

	query_init(&q, &snapshot_record);
	query_where_text(&q, "id = ?", id);
	return query_one(c, &q, out, err);
}

int catalog_snapshot_delete(struct catalog *c, const char *id, struct err *err)
{
	bool own;
	int r = sql_begin_nested(c, &own, err);

	if (r < 0)
		return r;
	r = sql_change(c, "DELETE FROM labels WHERE object = ?", id, NULL, err);
	if (r == 0)
		r = sql_change(c, "DELETE FROM holds WHERE object = ?", id, NULL, err);
	if (r == 0)
		r = catalog_unsettled_set(c, id, NULL, err);
	if (r == 0)
		r = sql_change(c, "DELETE FROM snapshots WHERE id = ?", id, NULL, err);
	return sql_end_nested(c, own, r, err);
}

int catalog_snapshots(struct catalog *c, const struct cat_snapshot_filter *f,
	int (*fn)(const struct cat_snapshot *, void *), void *arg, struct err *err)
{
	_cleanup_query_ struct query q;
	struct cat_snapshot snapshot;
	int r;

	query_init(&q, &snapshot_record);
	if (f->site)
		query_where_text(&q, "site = ?", f->site);
	if (f->site_name)
		query_where_text(&q, "site_name = ?", f->site_name);
	if (f->label)
		query_where_label(&q, f->label);
	if (f->not_after)
		query_where_int(&q, "created <= ?", f->not_after);
	if (f->after) {
		query_where_int(&q, f->newest_first ? "(created, id) < (?, ?)"
						    : "(created, id) > (?, ?)", f->after_time);
		query_arg_text(&q, f->after);
	}
	if (f->expired_by)
		query_where_int(&q, "expires <> 0 AND expires <= ?", f->expired_by);
	if (f->to_look_at)
		query_where(&q, "look <> 0");
	query_order(&q,
		f->expired_by	  ? "expires"
		: f->to_look_at	  ? "look"
		: f->newest_first ? "created DESC, id DESC"
				  : "created, id",
		f->limit);
	while ((r = query_next(c, &q, &snapshot, err)) > 0) {
		r = fn(&snapshot, arg);
		if (r)
			break;
	}
	return r;
}

/* ---- unsettled ---- */

struct unsettled {
	char snapshot[CAT_ID_SIZE];
	const char *paths;
};

static const struct column unsettled_columns[] = {
	COLUMN(TEXT, unsettled, snapshot),
	COLUMN(LONG, unsettled, paths),
};

static const struct record unsettled_record = {
	.table = "unsettled",
	.key = "snapshot",
	.code = "exists",
	.name = offsetof(struct unsettled, snapshot),
	COLUMNS(unsettled_columns),
};

int catalog_unsettled_set(struct catalog *c, const char *snapshot, const char *paths,
	struct err *err)
{
	struct unsettled u = {.paths = paths};

	if (!paths)
		return sql_change(c, "DELETE FROM unsettled WHERE snapshot = ?", snapshot, NULL,
			err);
	fill(u.snapshot, sizeof(u.snapshot), snapshot);
	return sql_put(c, &unsettled_record, &u, err);
}

int catalog_unsettled(struct catalog *c, const char *snapshot, char **paths, struct err *err)
{
	_cleanup_query_ struct query q;
	struct unsettled u;
	int r;

	*paths = NULL;
	query_init(&q, &unsettled_record);
	query_where_text(&q, "snapshot = ?", snapshot);
	r = query_next(c, &q, &u, err);
	if (r <= 0)
		return r;
	*paths = strdup(u.paths);
	return *paths ? 0 : err_sys(err, ENOMEM, "read", snapshot);
}

/* ---- labels ---- */

struct label {
	char object[CAT_ID_SIZE];
	char key[CAT_NAME_SIZE];
	char value[CAT_NAME_SIZE];
};

static const struct column label_columns[] = {
	COLUMN(TEXT, label, object),
	COLUMN(TEXT, label, key),
	COLUMN(TEXT, label, value),
};

static const struct record label_record = {
	.table = "labels",
	.key = "object, key",
	.code = "exists",
	.name = offsetof(struct label, key),
	COLUMNS(label_columns),
};

int catalog_label_set(struct catalog *c, const char *object, const char *key, const char *value,
	struct err *err)
{
	struct label label;

	if (!value)
		return sql_change(c, "DELETE FROM labels WHERE object = ? AND key = ?", object,
			key, err);
	fill(label.object, sizeof(label.object), object);
	fill(label.key, sizeof(label.key), key);
	fill(label.value, sizeof(label.value), value);
	return sql_put(c, &label_record, &label, err);
}

int catalog_labels(struct catalog *c, const char *object,
	int (*fn)(const char *key, const char *value, void *), void *arg, struct err *err)
{
	_cleanup_query_ struct query q;
	struct label label;
	int r;

	query_init(&q, &label_record);
	query_where_text(&q, "object = ?", object);
	query_order(&q, "key", 0);
	while ((r = query_next(c, &q, &label, err)) > 0) {
		r = fn(label.key, label.value, arg);
		if (r)
			break;
	}
	return r;
}

/* ---- holds ---- */

static const struct column hold_columns[] = {
	COLUMN(TEXT, cat_hold, object),
	COLUMN(TEXT, cat_hold, tag),
	COLUMN(TEXT, cat_hold, reason),
	COLUMN(INT, cat_hold, created),
};

static const struct record hold_record = {
	.table = "holds",
	.key = "object, tag",
	.code = "exists",
	.name = offsetof(struct cat_hold, tag),
	COLUMNS(hold_columns),
};

int catalog_hold_put(struct catalog *c, const struct cat_hold *h, struct err *err)
{
	return sql_put(c, &hold_record, h, err);
}

int catalog_hold_delete(struct catalog *c, const char *object, const char *tag, struct err *err)
{
	return sql_change(c, "DELETE FROM holds WHERE object = ? AND tag = ?", object, tag, err);
}

int catalog_holds(struct catalog *c, const char *object, int (*fn)(const struct cat_hold *, void *),
	void *arg, struct err *err)
{
	_cleanup_query_ struct query q;
	struct cat_hold hold;
	int r;

	query_init(&q, &hold_record);
	query_where_text(&q, "object = ?", object);
	query_order(&q, "tag", 0);
	while ((r = query_next(c, &q, &hold, err)) > 0) {
		r = fn(&hold, arg);
		if (r)
			break;
	}
	return r;
}
