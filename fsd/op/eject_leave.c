/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* An ejected site leaves sites/: parked as a deleted one is or, where nothing of it is left but the
 * tree that was given away, for good. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "fsd/core/json.h"
#include "fsd/op/eject_priv.h"
#include "fsd/worker/layout.h"
#include "fsd/worker/meta.h"
#include "snap/base/clock.h"
#include "snap/base/err.h"
#include "snap/base/fd.h"

/* When it was retired, 0: never, if its tree is whole; else -ENODATA; other -errno: what cannot be
 * seen is not gone. */
static int64_t whole_since(const struct eject *e, int64_t number, struct err *err)
{
	_cleanup_fd_ int wrapper = layout_open_generation(e->site, number);
	struct pool_root *p = e->job->pool;
	struct tree_at tree = {wrapper, LAYOUT_TREE};
	int r = wrapper < 0 ? err_sys(err, -wrapper, "open generation", e->name)
			    : p->driver->tree_check(p->handle, tree, NULL, err);
	int64_t retired;
	json_t *doc;

	if (r <= 0)
		return r < 0 ? r : -ENODATA;
	if (op_doc_load(wrapper, META_WRAPPER, &doc) != 1)
		return 0;
	retired = json_int_at(doc, "retired");
	json_decref(doc);
	return retired > 0 ? retired : 0;
}

/* The whole generation that was live last, else the newest one, which never was: somebody may be
 * at work on it. 0: none; or -errno. */
static int64_t whole_generation(const struct eject *e, struct err *err)
{
	_cleanup_free_ int64_t *numbers = NULL;
	int64_t last = 0, found = 0;
	unsigned n = 0;
	int r = layout_generations(e->site, &numbers, &n);

	if (r < 0)
		return err_sys(err, -r, "list generations", e->name);
	for (unsigned i = 0; i < n; i++) {
		int64_t since = whole_since(e, numbers[i], err);

		if (since < 0 && since != -ENODATA)
			return since;
		if (since >= last) {
			last = since;
			found = numbers[i];
		}
	}
	return found;
}

/* The live tree was given away: what is left of the site is made whole without it. 0: nothing is
 * left. */
static int64_t mend(struct eject *e, const json_t *note, struct err *err)
{
	struct job *job = e->job;
	_cleanup_fd_ int gen = fd_open_dir(e->site, "gen");
	int64_t gone = json_int_at(note, "generation"), other;
	char number[LAYOUT_NUMBER_SIZE];
	int r = 0;

	if (gen < 0)
		return err_sys(err, -gen, "open gen", e->name);
	other = whole_generation(e, err);
	if (other <= 0)
		return other;
	if (e->live == gone || !e->live)
		r = layout_publish(e->site, other, job->id);
	layout_sweep_site(e->site, LEFT_ALL);
	snprintf(number, sizeof(number), "%" PRId64, gone);
	if (r == 0 && fd_exists(gen, number) == 1)
		r = layout_discard(job->pool, job->id, gen, number);
	return r < 0 ? err_sys(err, -r, "retire the live generation", e->name) : other;
}

json_t *eject_mark(const struct eject *e, int64_t since)
{
	return json_pack("{s:o,s:I}", "path", json_text(e->out.o.path), "since", (json_int_t)since);
}

/* For whoever brings back what is left; the number is not given twice. */
static void note_given(const struct eject *e, json_t *doc, int64_t generation)
{
	json_object_set_new(doc, "ejected",
		json_pack("{s:o,s:I}", "path", json_text(e->out.o.path), "generation",
			(json_int_t)generation));
	if (json_int_at(doc, "last_generation") < generation)
		json_object_set_new(doc, "last_generation", json_integer(generation));
}

static int park(struct eject *e, const json_t *note, struct err *err)
{
	json_t *doc;
	int r = meta_load(e->site, META_SITE, e->name, &doc, err);

	if (r < 0)
		return r;
	json_object_set_new(doc, "name", json_string(e->name));
	json_object_set_new(doc, "deleted", json_integer(clock_real()));
	json_object_del(doc, "linked");
	if (eject_released(note))
		note_given(e, doc, json_int_at(note, "generation"));
	else
		json_object_set_new(doc, "ejected", eject_mark(e, json_int_at(note, "since")));
	r = meta_store(e->site, META_SITE, e->name, doc, err);
	json_decref(doc);
	if (r == 0 && (r = layout_park(e->job->pool, e->site, e->name, e->job->site_id)) < 0)
		r = err_sys(err, -r, "rename into deleted", e->name);
	return r;
}

static int forget(struct eject *e, struct err *err)
{
	struct pool_root *p = e->job->pool;
	json_t *doc, *parked;
	char id[ID_SIZE];
	int r;

	if (meta_load(e->site, META_SITE, e->name, &doc, NULL) == 0) {
		parked = json_object_get(json_object_get(doc, "parked"), "path");
		if (parked)
			job_warn(e->job, "%s, which import put aside, is yours now",
				json_string_value(parked));
		json_decref(doc);
	}
	id_new(id);
	r = layout_move(p->sites, e->name, p->trash, id);
	return r < 0 ? err_sys(err, -r, "rename into trash", e->name) : 0;
}

int eject_leave(struct eject *e, const json_t *note, struct err *err)
{
	int64_t left = 1;

	if (fd_exists(e->job->pool->sites, e->name) != 1)
		return 0;
	if (eject_released(note))
		left = mend(e, note, err);
	return left < 0 ? (int)left : left ? park(e, note, err) : forget(e, err);
}
