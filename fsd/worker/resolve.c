/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fsd/worker/resolve.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fsd/worker/layout.h"
#include "snap/base/clock.h"
#include "snap/base/err.h"

/* ---- sites ---- */

static int take_site(const struct cat_site *s, void *arg)
{
	*(struct cat_site *)arg = *s;
	return 1;
}

static int refuse_gone(const char *ref, struct err *err)
{
	err_set(err, ENOENT, "site_deleted", ref, "this site was deleted");
	err_hint(err, "fsctl site undelete %s brings it back; fsctl site list --deleted", ref);
	return -ENOENT;
}

static int refuse_unknown(struct catalog *c, const char *ref, struct err *err)
{
	struct cat_site_filter named = {.deleted = true, .name = ref, .limit = 1};
	struct cat_site site;

	if (catalog_sites(c, &named, take_site, &site, NULL) > 0)
		return refuse_gone(ref, err);
	err_set(err, ENOENT, "not_found", ref, "there is no such site");
	err_hint(err, "fsctl site list; snapshots of sites that are gone: fsctl snapshot list");
	return -ENOENT;
}

int resolve_site(struct fsd *f, struct catalog *c, const char *ref, struct cat_site *out,
	struct pool_root **pool, struct err *err)
{
	int r = catalog_site_get(c, ref, out, err);

	if (r == -ENOENT)
		return refuse_unknown(c, ref, err);
	if (r < 0)
		return r;
	if (out->deleted)
		return refuse_gone(ref, err);
	return pool ? pools_require(&f->pools, out->pool, pool, err) : 0;
}

/* Deleted by one name, the last one first. */
struct namesakes {
	struct cat_site *first;
	unsigned n;
	char ids[256];
};

static int count_namesake(const struct cat_site *s, void *arg)
{
	struct namesakes *all = arg;
	char when[TIME_TEXT_SIZE];
	size_t len = strlen(all->ids);

	if (!all->n++)
		*all->first = *s;
	if (all->n <= 3)
		snprintf(all->ids + len, sizeof(all->ids) - len, "%s%s (deleted at %s)",
			len ? ", " : "", s->id, time_format(s->deleted, when));
	return 0;
}

int resolve_deleted(struct catalog *c, const char *ref, struct cat_site *out, struct err *err)
{
	struct cat_site_filter named = {.deleted = true, .name = ref};
	struct namesakes all = {.first = out};
	int r = catalog_site_get(c, ref, out, err);

	if (r < 0 && r != -ENOENT)
		return r;
	if (r == 0 && out->deleted)
		return 0;
	r = catalog_sites(c, &named, count_namesake, &all, err);
	if (r < 0 || all.n == 1)
		return r;
	if (all.n) {
		err_set(err, EEXIST, "ambiguous", ref, "%u deleted sites had this name", all.n);
		err_hint(err, "say which one by its id: %s%s", all.ids, all.n > 3 ? ", ..." : "");
		return -EEXIST;
	}
	err_set(err, ENOENT, "not_found", ref, "there is no such deleted site");
	err_hint(err, "fsctl site list --deleted");
	return -ENOENT;
}

/* ---- whose a snapshot is ---- */

static int take_snapshot(const struct cat_snapshot *s, void *arg)
{
	*(struct cat_snapshot *)arg = *s;
	return 1;
}

struct owner {
	struct catalog *c;
	struct cat_site *out;
	struct err *err;
};

static int take_owner(const struct cat_site *s, void *arg)
{
	struct cat_snapshot_filter its = {.site = s->id, .limit = 1};
	struct owner *o = arg;
	struct cat_snapshot one;
	int r = catalog_snapshots(o->c, &its, take_snapshot, &one, o->err);

	return r > 0 ? take_site(s, o->out) : r;
}

/* Renamed since, or forgotten: then its snapshots are all there is of it. */
static int former_owner(struct catalog *c, const char *ref, struct cat_site *out, struct err *err)
{
	struct cat_snapshot_filter made = {
		.site = id_valid(ref) ? ref : NULL,
		.site_name = id_valid(ref) ? NULL : ref,
		.newest_first = true,
		.limit = 1,
	};
	struct cat_snapshot s;
	int r = catalog_snapshots(c, &made, take_snapshot, &s, err);

	if (r <= 0)
		return r < 0 ? r : refuse_unknown(c, ref, err);
	r = catalog_site_get(c, s.site, out, err);
	if (r == -ENOENT) {
		*out = (struct cat_site){0};
		strcpy(out->id, s.site);
		strcpy(out->name, s.site_name);
	}
	return r == -ENOENT ? 0 : r;
}

int resolve_owner(struct catalog *c, const char *ref, struct cat_site *out, struct err *err)
{
	struct cat_site_filter named = {.deleted = true, .name = ref};
	struct owner owner = {c, out, err};
	int r = catalog_site_get(c, ref, out, err);

	if (r != -ENOENT)
		return r;
	r = catalog_sites(c, &named, take_owner, &owner, err);
	return r == 0 ? former_owner(c, ref, out, err) : r < 0 ? r : 0;
}

void resolve_word(struct catalog *c, const struct cat_snapshot *s, char out[CAT_NAME_SIZE])
{
	struct cat_site site, owner;

	if (catalog_site_get(c, s->site, &site, NULL) == 0)
		strcpy(out, site.name);
	else
		strcpy(out, s->site_name);
	if (resolve_owner(c, out, &owner, NULL) < 0 || strcmp(owner.id, s->site) != 0)
		strcpy(out, s->site);
}

/* ---- snapshots ---- */

/* Not what was retired: its tree is older than it, and mostly what somebody wanted to be rid of. */
static int take_latest(const struct cat_snapshot *s, void *arg)
{
	return strcmp(s->kind, "undo") == 0 ? 0 : take_snapshot(s, arg);
}

static int64_t not_after(const struct source *src)
{
	return src->kind == SOURCE_TIME ? src->time : 0;
}

static int find_snapshot(struct catalog *c, const struct source *src, const char *site,
	struct cat_snapshot *out, struct err *err)
{
	struct cat_snapshot_filter filter = {
		.site = site,
		.not_after = not_after(src),
		.newest_first = true,
	};
	int r;

	if (src->kind == SOURCE_SNAPSHOT)
		return catalog_snapshot_get(c, site, src->name, out, err);
	r = catalog_snapshots(c, &filter, take_latest, out, err);
	return r == 0 ? -ENOENT : r < 0 ? r : 0;
}

/* What was meant may be another site's that had the name before. */
struct meant {
	struct catalog *c;
	const struct source *src;
	const char *owner; /* not this one's */
	struct cat_snapshot *out;
};

static int take_meant(const struct cat_snapshot *s, void *arg)
{
	const struct meant *m = arg;

	if (strcmp(s->site, m->owner) == 0)
		return 0;
	if (m->src->kind != SOURCE_SNAPSHOT)
		return take_latest(s, m->out);
	return strcmp(s->name, m->src->name) == 0 ? take_snapshot(s, m->out) : 0;
}

static int look_for_meant(const struct cat_site *s, void *arg)
{
	const struct meant *m = arg;

	return strcmp(s->id, m->owner) != 0 &&
	       find_snapshot(m->c, m->src, s->id, m->out, NULL) == 0;
}

static bool find_meant(struct catalog *c, const struct source *src, const char *owner,
	struct cat_snapshot *out)
{
	struct cat_site_filter deleted = {.deleted = true, .name = src->site};
	struct cat_snapshot_filter made = {
		.site_name = src->site,
		.not_after = not_after(src),
		.newest_first = true,
	};
	struct meant meant = {c, src, owner, out};

	return catalog_sites(c, &deleted, look_for_meant, &meant, NULL) > 0 ||
	       catalog_snapshots(c, &made, take_meant, &meant, NULL) > 0;
}

static int no_snapshot(struct catalog *c, const struct source *src, const char *text,
	const char *owner, struct err *err)
{
	struct cat_snapshot meant;
	char word[CAT_NAME_SIZE];

	err_set(err, ENOENT, "not_found", text, "%s",
		src->kind == SOURCE_TIME ? "there is no snapshot that old"
					 : "there is no such snapshot");
	if (!find_meant(c, src, owner, &meant)) {
		err_hint(err, "fsctl snapshot list %s", src->site);
		return -ENOENT;
	}
	resolve_word(c, &meant, word);
	err_hint(err, "%s@%s is of a site that had this name before; fsctl site list --deleted "
		"lists those that were deleted", word, meant.name);
	return -ENOENT;
}

static int resolve_snapshot(struct catalog *c, const struct source *src, const char *text,
	struct resolved *out, struct err *err)
{
	char word[CAT_NAME_SIZE];
	int r = resolve_owner(c, src->site, &out->site, err);

	if (r < 0)
		return r;
	r = find_snapshot(c, src, out->site.id, &out->snapshot, err);
	if (r < 0)
		return r == -ENOENT ? no_snapshot(c, src, text, out->site.id, err) : r;
	out->kind = SOURCE_SNAPSHOT;
	out->generation = out->snapshot.generation;
	resolve_word(c, &out->snapshot, word);
	snprintf(out->text, sizeof(out->text), "%s@%s", word, out->snapshot.name);
	return 0;
}

static int resolve_generation(struct catalog *c, const struct source *src, const char *text,
	struct resolved *out, struct err *err)
{
	struct cat_generation g;
	int r = catalog_generation_get(c, out->site.id, src->generation, &g, err);

	if (r == -ENOENT) {
		err_set(err, ENOENT, "not_found", text, "there is no such generation");
		err_hint(err, "fsctl generation list %s", src->site);
	}
	if (r < 0)
		return r;
	out->generation = src->generation;
	snprintf(out->text, sizeof(out->text), "%s:%" PRId64, out->site.name, out->generation);
	return 0;
}

static bool names_snapshot(const struct source *src)
{
	return src->kind == SOURCE_SNAPSHOT || src->kind == SOURCE_LATEST ||
	       src->kind == SOURCE_TIME;
}

int resolve_source(struct fsd *f, struct catalog *c, const char *text, struct resolved *out,
	struct err *err)
{
	struct source src;
	int r = source_parse(text, &src, err);

	if (r < 0)
		return r;
	*out = (struct resolved){.kind = src.kind};
	if (names_snapshot(&src))
		r = resolve_snapshot(c, &src, text, out, err);
	else
		r = resolve_site(f, c, src.site, &out->site, NULL, err);
	if (r == 0 && src.kind == SOURCE_GENERATION) {
		r = resolve_generation(c, &src, text, out, err);
	} else if (r == 0 && src.kind == SOURCE_LIVE) {
		out->generation = out->site.live;
		strcpy(out->text, out->site.name);
	}
	if (r < 0)
		return r;
	return pools_require(&f->pools,
		out->kind == SOURCE_SNAPSHOT ? out->snapshot.pool : out->site.pool, &out->pool,
		err);
}

int resolve_require_site(const struct resolved *s, const char *instead, struct err *err)
{
	bool parked = s->site.deleted;

	if (!parked && *s->site.pool)
		return 0;
	err_set(err, ENOENT, parked ? "site_deleted" : "not_found", s->text, "its site %s",
		parked ? "was deleted" : "is gone");
	if (parked)
		err_hint(err, "fsctl site undelete %s brings it back; %s", s->site.id, instead);
	else
		err_hint(err, "%s", instead);
	return -ENOENT;
}

int resolve_open(const struct resolved *s)
{
	return s->kind == SOURCE_SNAPSHOT
		? layout_open_snapshot(s->pool, s->snapshot.site, s->snapshot.name)
		: layout_open_site(s->pool, s->site.name);
}

char *resolve_path(const struct resolved *s)
{
	const char *root = s->pool->config->path;
	char *out = NULL;
	int r;

	if (s->kind == SOURCE_SNAPSHOT)
		r = asprintf(&out, "%s/.fsd/snapshots/%s/%s/gen/%" PRId64 "/" LAYOUT_TREE, root,
			s->snapshot.site, s->snapshot.name, s->generation);
	else if (s->kind == SOURCE_GENERATION)
		r = asprintf(&out, "%s/sites/%s/gen/%" PRId64 "/" LAYOUT_TREE, root, s->site.name,
			s->generation);
	else
		r = asprintf(&out, "%s/sites/%s/live", root, s->site.name);
	return r < 0 ? NULL : out;
}
