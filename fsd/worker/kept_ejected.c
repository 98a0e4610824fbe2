/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Deleted sites that were ejected: the tree that was copied, and the retired ones. */
#include <errno.h>
#include <inttypes.h>
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
	bool by_copy;
	int64_t since;	/* its live tree, by copy; and all, once it was told of late writes */
	int64_t looked; /* when this look began */
	bool told, kept;
	struct paths late; /* of one generation */
};

/* 1; 0: it was not ejected; -errno. */
static int ejected_load(struct ejected *e, struct err *err)
{
	json_t *doc, *note;
	int r = meta_load(e->site, META_SITE, e->id, &doc, err);

	if (r < 0)
		return r;
	note = json_object_get(doc, "ejected");
	e->since = json_int_at(note, "since");
	e->told = json_true_at(note, "told");
	/* Else its live tree itself became the directory. */
	e->by_copy = !json_object_get(note, "generation");
	r = note ? json_text_decode(json_str_at(note, "path"), &e->directory) : 0;
	r = r < 0 ? err_set(err, EBADMSG, "bad_meta", e->id, "\"ejected\" cannot be read") : !!note;
	json_decref(doc);
	return r;
}

static int note_renewal(struct ejected *e, int64_t now, struct err *err)
{
	json_t *doc, *note;
	int r = meta_load(e->site, META_SITE, e->id, &doc, err);

	if (r < 0)
		return r;
	note = json_object_get(doc, "ejected");
	json_object_set_new(note, "since", json_integer(e->looked));
	json_object_set_new(note, "told", json_true());
	json_object_set_new(doc, "deleted", json_integer(now));
	r = meta_store(e->site, META_SITE, e->id, doc, err);
	json_decref(doc);
	if (r == 0 && (r = fd_sync(e->site)) < 0)
		err_sys(err, -r, "fsync", e->id);
	return r;
}

/* All is told by now; and the catalog's time before the note, which says that. */
static int renew(struct ejected *e, struct err *err)
{
	int64_t now = clock_real();
	int r = 0;

	pthread_mutex_lock(&e->f->write_lock);
	if (kept_may_purge(e->f, e->id, err)) {
		r = reflect_deleted(e->f, e->pool, e->id, now, err);
		if (r == 0)
			r = note_renewal(e, now, err);
	}
	pthread_mutex_unlock(&e->f->write_lock);
	return r;
}

static int tell(struct ejected *e, int64_t number, bool copied, struct err *err)
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
	int r = 0;

	snprintf(directory, sizeof(directory), "%s/.fsd/deleted/%s/gen/%" PRId64 "/" LAYOUT_TREE,
		e->pool->config->path, e->id, number);
	snprintf(reason, sizeof(reason), copied ? "after %s had been made of its site"
		: "after it was retired; %s was made of the live one", e->directory);
	pthread_mutex_lock(&e->f->write_lock);
	if (kept_may_purge(e->f, e->id, err))
		r = kept_tell(e->f, &told);
	pthread_mutex_unlock(&e->f->write_lock);
	e->kept |= r == 0;
	return r < 0 ? err_sys(err, -r, "tell of late writes", e->id) : 0;
}

/* Since when a write to one of its generations is late; 0: never. */
static int64_t late_since(const struct ejected *e, int64_t number, bool live)
{
	_cleanup_fd_ int wrapper = layout_open_generation(e->site, number);
	int64_t retired = 0;
	json_t *doc;

	if (live && e->by_copy)
		return e->since + 1;
	if (wrapper >= 0 && meta_load(wrapper, META_WRAPPER, e->id, &doc, NULL) == 0) {
		retired = json_int_at(doc, "retired");
		json_decref(doc);
	}
	return retired > 0 && e->told && e->since >= retired ? e->since + 1 : retired;
}

static int look_at_generation(struct ejected *e, int64_t number, bool live, struct snap_ctx *ctx,
	struct err *err)
{
	int64_t since = late_since(e, number, live);
	_cleanup_fd_ int tree = since > 0 ? layout_open_tree(e->site, number) : -ENOENT;
	int r;

	if (tree == -ENOENT && !(live && e->by_copy))
		return 0;
	if (tree < 0)
		return err_sys(err, -tree, "open the tree", e->id);
	r = snap_changed(tree, since, ctx, &e->late, err);
	if (r == 0 && e->late.total)
		r = tell(e, number, live && e->by_copy, err);
	paths_release(&e->late);
	if (r == 0) /* what was replaced in it before, and was still kept for undo */
		r = kept_tell_replaced(e->f, e->id, tree, e->told ? e->since : 0, ctx, err);
	e->kept |= r == 1;
	return r < 0 ? r : 0;
}

/* 1: there is something that is only in there; 0: there is not; -errno. */
static int look_at_ejected(struct ejected *e, struct snap_ctx *ctx, struct err *err)
{
	_cleanup_free_ int64_t *numbers = NULL;
	int64_t live = 0;
	unsigned n = 0;
	int r = ejected_load(e, err);

	if (r <= 0)
		return r;
	e->looked = settle_now();
	r = layout_live(e->site, &live);
	if (r == 0 || !e->by_copy)
		r = layout_generations(e->site, &numbers, &n);
	if (r < 0)
		return err_sys(err, -r, "open its generations", e->id);
	for (unsigned i = 0; i < n && r == 0; i++)
		r = look_at_generation(e, numbers[i], numbers[i] == live, ctx, err);
	if (r == 0 && e->kept)
		r = renew(e, err);
	return r < 0 ? r : e->kept;
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
