/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fsd/worker/kept.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "fsd/core/json.h"
#include "fsd/core/log.h"
#include "fsd/worker/kept_priv.h"
#include "fsd/worker/layout.h"
#include "fsd/worker/present.h"
#include "fsd/worker/state.h"
#include "snap/base/clock.h"
#include "snap/base/err.h"
#include "snap/base/fd.h"
#include "snap/skip.h"

int kept_tell(struct fsd *f, const struct kept_told *t)
{
	struct cat_event e = {.time = clock_real()};
	json_t *data = present_paths(t->late);
	_cleanup_free_ char *text = NULL;
	struct err err = ERR_INIT;
	int r;

	json_object_set_new(data, "directory", json_text(t->directory));
	text = json_dumps(data, JSON_COMPACT);
	json_decref(data);
	e.data = text;
	snprintf(e.kind, sizeof(e.kind), "%s", t->kind);
	snprintf(e.site, sizeof(e.site), "%s", t->site);
	r = fsd_event(f, &e, &err);
	err_set(&err, EBUSY, "late_writes", t->directory,
		"%" PRIu64 " paths were written in it %s, first: %s; it is kept", t->late->total,
		t->reason, t->late->items[0].path);
	err_hint(&err, "%s", t->hint);
	log_err(LOG_WARNING, "what was kept for undo is still in use", &err, "site", t->site, NULL);
	return r;
}

void kept_cannot(const struct kept_pass *s, const char *what, const struct err *err)
{
	if (err->num && !snap_canceled(s->ctx))
		log_err(LOG_WARNING, what, err, "site", s->site, NULL);
}

bool kept_may_purge(struct fsd *f, const char *id, struct err *err)
{
	char holder[JOB_ID_SIZE];
	struct cat_site s;

	return catalog_site_get(f->catalog, id, &s, err) == 0 && s.deleted &&
	       s.deleted < clock_real() - fsd_config(f)->undo_keep &&
	       !jobs_holds(f, "site", id, true, holder);
}

static void sweep_site(struct kept_pass *s, const char *id, const char *name)
{
	_cleanup_fd_ int site = *name ? layout_open_site(s->r, name)
				      : fd_open_dir(s->r->deleted, id);
	_cleanup_free_ int64_t *numbers = NULL;
	struct err err = ERR_INIT;
	unsigned n = 0;

	if (site < 0)
		return;
	s->site = id;
	kept_sweep_parked(s, site, &err);
	kept_cannot(s, "cannot remove a directory that import put aside", &err);
	if (!*name || layout_generations(site, &numbers, &n) < 0)
		return;
	for (unsigned i = 0; i < n && !snap_canceled(s->ctx); i++) {
		_cleanup_fd_ int tree = layout_open_tree(site, numbers[i]);

		if (tree >= 0)
			kept_sweep_tree(s, tree);
	}
}

static int note_site(const struct cat_site *row, void *arg)
{
	return json_object_set_new(arg, row->id, json_string(row->deleted ? "" : row->name));
}

void kept_sweep(struct fsd *f, struct catalog *c, struct pool_root *r, struct snap_ctx *ctx)
{
	struct kept_pass s = {.f = f, .r = r, .ctx = ctx,
		.before = clock_real() - fsd_config(f)->undo_keep};
	struct cat_site_filter filter = {.pool = r->config->name};
	json_t *sites = json_object(), *name;
	const char *id;

	/* Noted first: a removal takes long, and a list is a read transaction. */
	catalog_sites(c, &filter, note_site, sites, NULL);
	filter.deleted = true;
	catalog_sites(c, &filter, note_site, sites, NULL);
	json_object_foreach(sites, id, name) {
		if (snap_canceled(ctx))
			break;
		sweep_site(&s, id, json_string_value(name));
	}
	json_decref(sites);
}
