/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Deleted sites that were ejected by copy. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#include "fsd/core/json.h"
#include "fsd/worker/kept.h"
#include "fsd/worker/kept_priv.h"
#include "fsd/worker/layout.h"
#include "fsd/worker/meta.h"
#include "fsd/worker/reflect.h"
#include "fsd/worker/state.h"
#include "fsd/worker/work.h"
#include "snap/base/clock.h"
#include "snap/base/err.h"
#include "snap/base/fd.h"
#include "snap/settle.h"

struct ejected {
	struct fsd *f;
	struct pool_root *pool;
	const char *id;
	int site;
	char *directory;
	int64_t since, looked;
	bool told; /* since when `since` says */
	struct paths late;
};

/* 1; 0: it was not ejected, or not by copy; -errno. */
static int ejected_load(struct ejected *e, struct err *err)
{
	json_t *doc, *note;
	int r = meta_load(e->site, META_SITE, e->id, &doc, err);

	if (r < 0)
		return r;
	note = json_object_get(doc, "ejected");
	e->since = json_int_at(note, "since");
	e->told = json_true_at(note, "told");
	if (json_object_get(note, "generation")) /* its live tree itself became the directory */
		note = NULL;
	r = note ? json_text_decode(json_str_at(note, "path"), &e->directory) : 0;
	r = r < 0 ? err_set(err, EBADMSG, "bad_meta", e->id, "\"ejected\" cannot be read") : !!note;
	json_decref(doc);
	return r;
}

static int note_renewal(struct ejected *e, int64_t now, struct err *err)
{
	json_t *doc;
	int r = meta_load(e->site, META_SITE, e->id, &doc, err);

	if (r < 0)
		return r;
	json_object_set_new(doc, "deleted", json_integer(now));
	json_object_set_new(doc, "ejected",
		json_pack("{s:o,s:I,s:b}", "path", json_text(e->directory), "since",
			(json_int_t)e->looked, "told", 1));
	r = meta_store(e->site, META_SITE, e->id, doc, err);
	json_decref(doc);
	if (r == 0 && (r = fd_sync(e->site)) < 0)
		err_sys(err, -r, "fsync", e->id);
	return r;
}

/* Told first, as above; and the catalog's time before the note, which says that all is told. */
static int renew(struct ejected *e, struct err *err)
{
	int64_t now = clock_real();
	int r = reflect_deleted(e->f, e->pool, e->id, now, err);

	return r == 0 ? note_renewal(e, now, err) : r;
}

static void keep_ejected(struct ejected *e, struct err *err)
{
	char directory[PATH_MAX], reason[PATH_MAX + 64];
	const struct kept_told told = {
		.kind = "eject.late_writes",
		.site = e->id,
		.directory = directory,
		.late = &e->late,
		.reason = reason,
		.hint = "take over what you need, and end whoever still writes there",
	};

	snprintf(directory, sizeof(directory), "%s/.fsd/deleted/%s/live", e->pool->config->path,
		e->id);
	snprintf(reason, sizeof(reason), "after %s had been made of it", e->directory);
	pthread_mutex_lock(&e->f->write_lock);
	if (kept_may_purge(e->f, e->id, err) && kept_tell(e->f, &told) == 0)
		renew(e, err);
	pthread_mutex_unlock(&e->f->write_lock);
}

/* What was replaced in its tree before, and was still kept for undo. */
static int add_replaced(const struct kept_work *w, void *arg)
{
	struct ejected *e = arg;
	int r = 0;

	for (size_t i = 0; i < w->late.n && r == 0; i++)
		r = paths_add(&e->late, w->late.items[i].path, "written");
	return r;
}

/* 1: there is something that is only in there; 0: there is not; -errno. */
static int look_at_ejected(struct ejected *e, struct snap_ctx *ctx, struct err *err)
{
	_cleanup_fd_ int tree = -1;
	int64_t live;
	int r = ejected_load(e, err);

	if (r <= 0)
		return r;
	r = layout_live(e->site, &live);
	tree = r < 0 ? r : layout_open_tree(e->site, live);
	if (tree < 0)
		return err_sys(err, -tree, "open the tree", e->id);
	e->looked = settle_now();
	r = snap_changed(tree, e->since + 1, ctx, &e->late, err);
	if (r == 0)
		r = kept_look_at_tree(tree, e->told ? e->since : 0, ctx, add_replaced, e, err);
	if (r == 0 && e->late.total)
		keep_ejected(e, err);
	return r < 0 ? r : e->late.total != 0;
}

int kept_ejected(struct fsd *f, struct pool_root *r, const char *id, struct snap_ctx *ctx,
	struct err *err)
{
	_cleanup_fd_ int site = fd_open_dir(r->deleted, id);
	struct ejected e = {.f = f, .pool = r, .id = id, .site = site, .late = PATHS_INIT};
	int kept;

	if (site == -ENOENT)
		return 0;
	kept = site < 0 ? err_sys(err, -site, "open deleted site", id)
			: look_at_ejected(&e, ctx, err);
	if (kept < 0 && !*err->hint) /* it stays: somebody has to look */
		err_hint(err, "look into %.200s/.fsd/deleted/%s; remove it when nothing there is "
			"needed", r->config->path, id);
	paths_release(&e.late);
	free(e.directory);
	return kept;
}
