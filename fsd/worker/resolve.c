/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fsd/worker/resolve.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fsd/worker/layout.h"
#include "snap/base/err.h"

static int no_site(const char *ref, struct err *err)
{
	err_set(err, ENOENT, "not_found", ref, "there is no such site");
	err_hint(err, "fsctl site list");
	return -ENOENT;
}

int resolve_site(struct fsd *f, struct catalog *c, const char *ref, struct cat_site *out,
	struct pool_root **pool, struct err *err)
{
	int r = catalog_site_get(c, ref, out, err);

	if (r == -ENOENT)
		return no_site(ref, err);
	if (r < 0)
		return r;
	if (out->deleted) {
		err_set(err, ENOENT, "site_deleted", ref, "this site was deleted");
		err_hint(err, "fsctl job list --site %s names the job to undo", out->id);
		return -ENOENT;
	}
	return pool ? pools_require(&f->pools, out->pool, pool, err) : 0;
}

/* ---- snapshots: of a site in use, else of any site that ever had the name ---- */

/* Not what was retired: its tree is older than it, and mostly what somebody wanted to be rid of. */
static int take_snapshot(const struct cat_snapshot *s, void *arg)
{
	if (strcmp(s->kind, "undo") == 0)
		return 0;
	*(struct cat_snapshot *)arg = *s;
	return 1;
}

struct by_name {
	const char *name;
	struct cat_snapshot *out;
};

static int take_named(const struct cat_snapshot *s, void *arg)
{
	struct by_name *want = arg;

	if (strcmp(s->name, want->name) != 0)
		return 0;
	*want->out = *s;
	return 1;
}

static int find_snapshot(struct catalog *c, const struct source *src, const struct cat_site *site,
	struct cat_snapshot *out, struct err *err)
{
	struct cat_snapshot_filter filter = {
		.site = site ? site->id : NULL,
		.site_name = site ? NULL : src->site,
		.newest_first = true,
	};
	struct by_name want = {src->name, out};

	if (src->kind == SOURCE_SNAPSHOT && site)
		return catalog_snapshot_get(c, site->id, src->name, out, err);
	if (src->kind == SOURCE_SNAPSHOT)
		return catalog_snapshots(c, &filter, take_named, &want, err);
	if (src->kind == SOURCE_TIME)
		filter.not_after = src->time;
	return catalog_snapshots(c, &filter, take_snapshot, out, err);
}

/* The site of a snapshot that was found by a name the site no longer has: by another one, or gone. */
static int site_of_snapshot(struct catalog *c, struct resolved *out, struct err *err)
{
	int r = catalog_site_get(c, out->snapshot.site, &out->site, err);

	if (r < 0 && r != -ENOENT)
		return r;
	out->site_gone = r == -ENOENT || out->site.deleted;
	if (r == -ENOENT) {
		strcpy(out->site.id, out->snapshot.site);
		strcpy(out->site.name, out->snapshot.site_name);
	}
	return 0;
}

static int resolve_snapshot(struct catalog *c, const struct source *src, const char *text,
	struct resolved *out, struct err *err)
{
	const struct cat_site *site = out->site_gone && !out->site.id[0] ? NULL : &out->site;
	int r = find_snapshot(c, src, site, &out->snapshot, err);

	if (r == 0 && !out->snapshot.id[0])
		r = -ENOENT;
	if (r == -ENOENT) {
		err_set(err, ENOENT, "not_found", text, "%s",
			src->kind == SOURCE_TIME ? "there is no snapshot that old"
						 : "there is no such snapshot");
		err_hint(err, "fsctl snapshot list %s", src->site);
		return r;
	}
	if (r >= 0 && !site)
		r = site_of_snapshot(c, out, err);
	if (r < 0)
		return r;
	out->kind = SOURCE_SNAPSHOT;
	out->generation = out->snapshot.generation;
	snprintf(out->text, sizeof(out->text), "%s@%s", out->site.name, out->snapshot.name);
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
	r = catalog_site_get(c, src.site, &out->site, err);
	if (r < 0 && r != -ENOENT)
		return r;
	out->site_gone = r == -ENOENT || out->site.deleted;
	if (out->site_gone && !names_snapshot(&src))
		return resolve_site(f, c, src.site, &out->site, NULL, err);
	if (names_snapshot(&src)) {
		r = resolve_snapshot(c, &src, text, out, err);
	} else if (src.kind == SOURCE_GENERATION) {
		r = resolve_generation(c, &src, text, out, err);
	} else {
		out->generation = out->site.live;
		strcpy(out->text, out->site.name);
		r = 0;
	}
	if (r < 0)
		return r;
	return pools_require(&f->pools,
		out->kind == SOURCE_SNAPSHOT ? out->snapshot.pool : out->site.pool, &out->pool, err);
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
