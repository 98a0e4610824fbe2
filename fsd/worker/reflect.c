/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fsd/worker/reflect.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fsd/core/json.h"
#include "fsd/worker/layout.h"
#include "fsd/worker/meta.h"
#include "fsd/worker/scan.h"
#include "snap/base/clock.h"
#include "snap/base/err.h"
#include "snap/base/fd.h"

/* ---- labels and holds ---- */

struct known {
	json_t *keys; /* object: key or tag -> true */
};

static int note_label(const char *key, const char *value, void *arg)
{
	(void)value;
	return json_object_set_new(((struct known *)arg)->keys, key, json_true());
}

static int note_hold(const struct cat_hold *h, void *arg)
{
	return json_object_set_new(((struct known *)arg)->keys, h->tag, json_true());
}

static int reflect_labels(struct fsd *f, const char *object, json_t *doc, struct err *err)
{
	json_t *labels = json_object_get(doc, "labels"), *v;
	struct known old = {json_object()};
	const char *key;
	int r = catalog_labels(f->catalog, object, note_label, &old, err);

	json_object_foreach(labels, key, v) {
		if (r == 0 && json_is_string(v))
			r = catalog_label_set(f->catalog, object, key, json_string_value(v), err);
		json_object_del(old.keys, key);
	}
	json_object_foreach(old.keys, key, v) {
		if (r == 0)
			r = catalog_label_set(f->catalog, object, key, NULL, err);
	}
	json_decref(old.keys);
	return r;
}

static void read_hold(json_t *v, const char *object, struct cat_hold *h)
{
	const char *tag = json_str_at(v, "tag");
	const char *reason = json_str_at(v, "reason");

	*h = (struct cat_hold){.created = json_int_at(v, "created")};
	snprintf(h->object, sizeof(h->object), "%s", object);
	snprintf(h->tag, sizeof(h->tag), "%s", tag ? tag : "default");
	snprintf(h->reason, sizeof(h->reason), "%s", reason ? reason : "");
}

static int reflect_holds(struct fsd *f, const char *object, json_t *doc, struct err *err)
{
	json_t *holds = json_object_get(doc, "holds"), *v;
	struct known old = {json_object()};
	const char *tag;
	size_t i;
	int r = catalog_holds(f->catalog, object, note_hold, &old, err);

	json_array_foreach(holds, i, v) {
		struct cat_hold h;

		read_hold(v, object, &h);
		if (r == 0)
			r = catalog_hold_put(f->catalog, &h, err);
		json_object_del(old.keys, h.tag);
	}
	json_object_foreach(old.keys, tag, v) {
		if (r == 0)
			r = catalog_hold_delete(f->catalog, object, tag, err);
	}
	json_decref(old.keys);
	return r;
}

/* ---- generations ---- */

static int read_generation(int wrapper, const char *name, struct cat_generation *g, struct err *err)
{
	json_t *doc;
	int r = meta_load(wrapper, META_WRAPPER, name, &doc, err);

	if (r < 0)
		return r;
	r = meta_generation(doc, name, g, err);
	json_decref(doc);
	return r;
}

static int reflect_generation(struct fsd *f, int dir, const struct cat_site *site, int64_t number,
	struct err *err)
{
	_cleanup_fd_ int wrapper = layout_open_generation(dir, number);
	struct cat_generation g = {0}, known;
	int r;

	if (wrapper < 0)
		return err_sys(err, -wrapper, "open generation", site->name);
	r = read_generation(wrapper, site->name, &g, err);
	/* Of a deleted site what is known will do; it is told when the site comes back. */
	if (r < 0 && site->deleted &&
		catalog_generation_get(f->catalog, site->id, number, &known, NULL) == 0) {
		err_clear(err);
		return 0;
	}
	if (r < 0)
		return r;
	strcpy(g.site, site->id);
	g.number = number;
	if (number == site->live) /* a mark of a publish that came to nothing */
		g.retired = g.retired_by = 0;
	return catalog_generation_put(f->catalog, &g, err);
}

struct stale {
	const int64_t *numbers;
	unsigned n;
	int64_t gone[64];
	unsigned n_gone;
};

static int find_stale(const struct cat_generation *g, void *arg)
{
	struct stale *s = arg;

	for (unsigned i = 0; i < s->n; i++) {
		if (s->numbers[i] == g->number)
			return 0;
	}
	if (s->n_gone < sizeof(s->gone) / sizeof(s->gone[0]))
		s->gone[s->n_gone++] = g->number;
	return 0;
}

static int reflect_generations(struct fsd *f, int dir, const struct cat_site *site, struct err *err)
{
	_cleanup_free_ int64_t *numbers = NULL;
	struct stale stale = {0};
	unsigned n = 0;
	int r = layout_generations(dir, &numbers, &n);

	if (r < 0)
		return err_sys(err, -r, "list generations", site->name);
	for (unsigned i = 0; i < n && r == 0; i++)
		r = reflect_generation(f, dir, site, numbers[i], err);
	do {
		stale = (struct stale){.numbers = numbers, .n = n};
		if (r == 0)
			r = catalog_generations(f->catalog, site->id, find_stale, &stale, err);
		for (unsigned i = 0; i < stale.n_gone && r == 0; i++)
			r = catalog_generation_delete(f->catalog, site->id, stale.gone[i], err);
	} while (r == 0 && stale.n_gone);
	return r;
}

/* ---- two directories with one id ---- */

static bool has_id(int dir, const char *id)
{
	json_t *doc;
	bool same;

	if (dir < 0 || meta_load(dir, META_SITE, id, &doc, NULL) < 0)
		return false;
	same = json_is_string(json_object_get(doc, "id")) &&
	       strcmp(json_str_at(doc, "id"), id) == 0;
	json_decref(doc);
	return same;
}

/* Does what the catalog says of this site still stand? With its pool away nobody can say no, but
 * who took its section out may have put its sites elsewhere. */
static bool stands(const struct pool_root *r, const struct cat_site *s)
{
	_cleanup_fd_ int dir = -1;

	if (!r->handle)
		return !r->past;
	dir = s->deleted ? fd_open_dir(r->deleted, s->id) : layout_open_site(r, s->name);
	return has_id(dir, s->id);
}

static const char *place(const struct pool_root *r, bool deleted, const char *name,
	char out[PATH_MAX + NAME_SIZE])
{
	snprintf(out, PATH_MAX + NAME_SIZE, "%s/%s/%s", r->config->path,
		deleted ? ".fsd/deleted" : "sites", name);
	return out;
}

static int tell_twin(const struct pool_root *r, int dir, const char *name,
	const struct pool_root *other, const struct cat_site *s, struct err *err)
{
	char here[PATH_MAX + NAME_SIZE], there[PATH_MAX + NAME_SIZE];
	int64_t live;
	_cleanup_fd_ int wrapper = layout_open_live(dir, "", &live, NULL);

	place(r, !name, name ? name : s->id, here);
	place(other, s->deleted, s->deleted ? s->id : s->name, there);
	err_set(err, EEXIST, "duplicate_id", here, "it has the id of %.250s, which is the site; "
		"this one is left alone", there);
	if (wrapper >= 0 && layout_foreign_tree(r, wrapper))
		err_hint(err, LAYOUT_FOREIGN ", so it cannot be a site here: move it out of the "
			"pool, then fsctl site import NEW DIR/gen/%" PRId64 "/" LAYOUT_TREE, live);
	else
		err_hint(err, "move it out of the pool, or give it an \"id\" of its own in "
			"site.json (uuidgen), then fsctl pool scan %.60s", r->config->name);
	return 1;
}

static int tell_taken(const struct pool_root *r, const char *name, const struct pool_root *other,
	struct err *err)
{
	char here[PATH_MAX + NAME_SIZE];

	err_set(err, EEXIST, "name_taken", place(r, false, name, here), "pool %.60s has the site "
		"of this name; this one is left alone", other->config->name);
	err_hint(err, "rename one of them: fsctl site rename %.100s NEW, or this directory; then "
		"fsctl pool scan %.60s", name, r->config->name);
	return 1;
}

/* Is there a site of this name in another pool? */
static int name_taken(struct fsd *f, struct catalog *c, const struct pool_root *r, const char *name,
	const char *id, struct err *err)
{
	struct pool_root *other;
	struct cat_site s;
	int ret = catalog_site_get(c, name, &s, err);

	if (ret < 0 || s.deleted || strcmp(s.name, name) != 0 || strcmp(s.id, id) == 0)
		return ret == -ENOENT ? 0 : ret;
	other = pools_find(&f->pools, s.pool);
	return other && other != r && stands(other, &s) ? tell_taken(r, name, other, err) : 0;
}

int reflect_twin(struct fsd *f, struct catalog *c, struct pool_root *r, int dir, const char *name,
	struct err *err)
{
	struct pool_root *other;
	struct cat_site s;
	char id[ID_SIZE];
	json_t *doc;
	int ret = meta_load(dir, META_SITE, "", &doc, NULL);

	if (ret < 0)
		return 0; /* told where it is read */
	ret = snprintf(id, sizeof(id), "%s", json_str_at(doc, "id") ?: "");
	json_decref(doc);
	ret = ret && ret < ID_SIZE ? catalog_site_get(c, id, &s, err) : -ENOENT;
	if (ret == -ENOENT || (ret == 0 && strcmp(s.id, id) != 0))
		return name ? name_taken(f, c, r, name, id, err) : 0;
	if (ret < 0)
		return ret;
	other = pools_find(&f->pools, s.pool);
	if (!other ||
	    (other == r && !s.deleted == !!name && (!name || strcmp(s.name, name) == 0)) ||
	    !stands(other, &s))
		return 0;
	return tell_twin(r, dir, name, other, &s, err);
}

/* ---- sites ---- */

static const char *live_scope(const char *id, char out[64])
{
	snprintf(out, 64, "live:%.50s", id);
	return out;
}

int reflect_live(struct fsd *f, int dir, const char *id, const char *name, struct err *err)
{
	struct err e = ERR_INIT;
	char scope[64];
	int64_t number;
	_cleanup_fd_ int wrapper = layout_open_live(dir, name, &number, &e);

	live_scope(id, scope);
	problems_begin(&f->problems, scope); /* also of the name that the site had */
	if (wrapper < 0)
		problems_add(&f->problems, true, scope, &e);
	problems_end(&f->problems, scope);
	if (wrapper < 0 && err)
		*err = e;
	return wrapper < 0 ? wrapper : 0;
}

static int tell_import(const struct pool_root *r, const char *name, const json_t *note,
	struct err *err)
{
	const char *job = json_str_at(note, "job");
	const char *noted = json_str_at(note, "path");
	_cleanup_free_ char *path = NULL;

	if (noted) /* an older fsd noted none */
		json_text_decode(noted, &path);
	err_set(err, EBUSY, "import_unfinished", name, "its import was cut short and no job will "
		"finish it: what was written in %.200s since it was copied is there or in "
		"DIR.fsd-%.20s beside it, and not in the site",
		path ? path : "DIR", job ? job : "JOB");
	err_hint(err, "take over what you need; in %.100s/sites/%.100s/site.json take \"import\" "
		"out and, where DIR is a link to the site, put its \"path\" in as \"linked\"; "
		"then fsctl pool scan %.50s", r->config->path, name, r->config->name);
	return -EBUSY;
}

int reflect_import(const struct pool_root *r, const char *name, struct err *err)
{
	_cleanup_fd_ int dir = layout_open_site(r, name);
	const json_t *note;
	json_t *doc;
	int ret;

	if (dir < 0 || meta_load(dir, META_SITE, name, &doc, NULL) < 0)
		return 0; /* told where it is read */
	note = json_object_get(doc, "import");
	ret = note ? tell_import(r, name, note, err) : 0;
	json_decref(doc);
	return ret;
}

/* What only the catalog knows of a site (measured bytes) stays. */
static int known_site(struct fsd *f, json_t *doc, struct cat_site *s, struct err *err)
{
	const char *id = json_str_at(doc, "id");
	int r = id ? catalog_site_get(f->catalog, id, s, err) : -ENOENT;

	if (r == -ENOENT)
		*s = (struct cat_site){.tenant = 1};
	return r == -ENOENT ? 0 : r;
}

static int read_site(struct fsd *f, struct pool_root *r, int dir, const char *name,
	struct cat_site *s, json_t **doc, struct err *err)
{
	int ret = meta_load(dir, META_SITE, name, doc, err);

	if (ret < 0)
		return ret;
	ret = known_site(f, *doc, s, err);
	if (ret == 0)
		ret = meta_site(*doc, name, s, err);
	if (ret == 0) /* a damaged one: what was live, so that it can be mended */
		layout_live(dir, &s->live);
	if (ret < 0)
		json_decref(*doc);
	else
		strcpy(s->pool, r->config->name);
	return ret;
}

static int put_site(struct fsd *f, int dir, struct cat_site *s, json_t *doc, struct err *err)
{
	int r = catalog_site_put(f->catalog, s, err);

	if (r == 0)
		r = reflect_labels(f, s->id, doc, err);
	return r == 0 ? reflect_generations(f, dir, s, err) : r;
}

static int site_gone(struct fsd *f, struct pool_root *r, const char *name, struct err *err)
{
	struct cat_site s;
	int ret = catalog_site_get(f->catalog, name, &s, err);

	scan_again(f, r, name, NULL);
	if (ret == 0 && strcmp(s.name, name) == 0 && strcmp(s.pool, r->config->name) == 0 &&
		!s.deleted)
		return catalog_site_delete(f->catalog, s.id, err);
	return ret == -ENOENT ? 0 : ret;
}

int reflect_site(struct fsd *f, struct pool_root *r, const char *name, struct cat_site *out,
	struct err *err)
{
	_cleanup_fd_ int dir = layout_open_site(r, name);
	char was[CAT_NAME_SIZE];
	struct cat_site s;
	json_t *doc;
	int ret;

	if (dir == -ENOENT)
		return site_gone(f, r, name, err);
	if (dir < 0)
		return err_sys(err, -dir, "open site", name);
	ret = reflect_twin(f, f->catalog, r, dir, name, err);
	if (ret < 0)
		return ret;
	if (ret == 1) /* what the catalog has by this name is not there any more */
		return site_gone(f, r, name, NULL) < 0 ? err_sys(err, EIO, "forget", name)
						       : -EEXIST;
	ret = read_site(f, r, dir, name, &s, &doc, err);
	if (ret < 0)
		return ret;
	strcpy(was, s.deleted ? s.id : s.name);
	snprintf(s.name, sizeof(s.name), "%s", name);
	s.deleted = 0;
	reflect_live(f, dir, s.id, name, NULL);
	ret = put_site(f, dir, &s, doc, err);
	json_decref(doc);
	scan_again(f, r, was, &s);
	if (ret == 0 && out)
		*out = s;
	return ret;
}

static int deleted_gone(struct fsd *f, struct pool_root *r, const char *id, struct err *err)
{
	struct cat_site s;
	int ret = catalog_site_get(f->catalog, id, &s, err);

	scan_again(f, r, id, NULL);
	if (ret == 0 && s.deleted)
		return catalog_site_delete(f->catalog, id, err);
	return ret == -ENOENT ? 0 : ret;
}

/*
 * The time noted in its site.json; but a full pool could not take one, and has none or that of an
 * earlier deletion. It was renamed here and not later than its ctime, with which it is kept longer
 * rather than shorter.
 */
static int64_t deletion_time(int dir, const json_t *doc)
{
	int64_t noted = json_int_at(doc, "deleted");
	int64_t latest = clock_real();
	struct stat st;

	if (fstat(dir, &st) == 0 && clock_of(&st.st_ctim) < latest)
		latest = clock_of(&st.st_ctim);
	return noted > 0 && noted > latest - 60 * NSEC_PER_SEC ? noted : latest;
}

/* What a rebuilt catalog does not know. */
static void recall_deletion(struct cat_site *s, int dir, const json_t *doc, const char *id)
{
	const char *name = json_str_at(doc, "name");

	if (!s->name[0])
		snprintf(s->name, sizeof(s->name), "%s", name ? name : id);
	if (!s->deleted)
		s->deleted = deletion_time(dir, doc);
}

int reflect_deleted(struct fsd *f, struct pool_root *r, const char *id, int64_t when,
	struct err *err)
{
	_cleanup_fd_ int dir = fd_open_dir(r->deleted, id);
	char scope[64];
	struct cat_site s;
	json_t *doc;
	int ret;

	if (dir == -ENOENT)
		return deleted_gone(f, r, id, err);
	if (dir < 0)
		return err_sys(err, -dir, "open deleted site", id);
	ret = reflect_twin(f, f->catalog, r, dir, NULL, err);
	if (ret)
		return ret < 0 ? ret : -EEXIST;
	ret = read_site(f, r, dir, id, &s, &doc, err);
	if (ret < 0)
		return ret;
	if (!s.deleted)
		scan_again(f, r, s.name, NULL);
	if (when)
		s.deleted = when;
	recall_deletion(&s, dir, doc, id);
	problems_clear(&f->problems, live_scope(s.id, scope));
	ret = put_site(f, dir, &s, doc, err);
	json_decref(doc);
	return ret;
}

/* ---- snapshots ---- */

static int snapshot_gone(struct fsd *f, struct pool_root *r, const char *site_id, const char *name,
	struct err *err)
{
	char path[CAT_ID_SIZE + CAT_NAME_SIZE];
	struct cat_snapshot s;
	int ret = catalog_snapshot_get(f->catalog, site_id, name, &s, err);

	snprintf(path, sizeof(path), "%s/%s", site_id, name);
	scan_again(f, r, path, NULL);
	if (ret == 0)
		return catalog_snapshot_delete(f->catalog, s.id, err);
	return ret == -ENOENT ? 0 : ret;
}

int reflect_is_shell(int dir, int64_t *job)
{
	struct cat_snapshot s = {0};
	json_t *doc;
	int r = meta_load(dir, META_WRAPPER, META_WRAPPER, &doc, NULL);

	if (r < 0)
		return 0;
	r = meta_snapshot(doc, META_WRAPPER, &s, NULL);
	json_decref(doc);
	if (r < 0)
		return 0;
	if (job)
		*job = s.job;
	_cleanup_fd_ int wrapper = layout_open_generation(dir, s.generation);
	return wrapper == -ENOENT;
}

static int reflect_unsettled(struct fsd *f, const char *snapshot, const json_t *doc,
	struct err *err)
{
	const json_t *unsettled = json_object_get(doc, "unsettled");
	_cleanup_free_ char *text = unsettled ? json_dumps(unsettled, JSON_COMPACT) : NULL;

	return catalog_unsettled_set(f->catalog, snapshot, text, err);
}

/* Its job moves the generation in, or removes it when it is recovered. */
static int refuse_shell(const struct pool_root *r, const char *site_id, const char *name,
	struct err *err)
{
	err_set(err, ENOENT, "snapshot_unfinished", name,
		"its generation is not in it; a retirement that was cut short leaves it "
		"with the site");
	err_hint(err, "fsctl generation list SITE; then rm -r %s/.fsd/snapshots/%s/%s",
		r->config->path, site_id, name);
	return -ENOENT;
}

int reflect_snapshot(struct fsd *f, struct pool_root *r, const char *site_id, const char *name,
	struct cat_snapshot *out, struct err *err)
{
	_cleanup_fd_ int dir = layout_open_snapshot(r, site_id, name);
	struct cat_snapshot s = {0};
	int64_t job = 0;
	json_t *doc;
	int ret;

	if (dir == -ENOENT)
		return snapshot_gone(f, r, site_id, name, err);
	if (dir < 0)
		return err_sys(err, -dir, "open snapshot", name);
	if (reflect_is_shell(dir, &job))
		return !out && jobs_unfinished(f, job) ? 0 : refuse_shell(r, site_id, name, err);
	ret = meta_load(dir, META_WRAPPER, name, &doc, err);
	if (ret < 0)
		return ret;
	ret = catalog_snapshot_get(f->catalog, site_id, name, &s, err);
	if (ret == 0 || ret == -ENOENT)
		ret = meta_snapshot(doc, name, &s, err);
	if (ret == 0 && (strcmp(s.site, site_id) != 0 || strcmp(s.name, name) != 0))
		ret = err_set(err, EBADMSG, "bad_meta", name,
			"its meta.json belongs to another snapshot");
	strcpy(s.pool, r->config->name);
	if (ret == 0)
		ret = catalog_snapshot_put(f->catalog, &s, err);
	if (ret == 0)
		ret = reflect_labels(f, s.id, doc, err);
	if (ret == 0)
		ret = reflect_holds(f, s.id, doc, err);
	if (ret == 0)
		ret = reflect_unsettled(f, s.id, doc, err);
	json_decref(doc);
	if (ret == 0 && out)
		*out = s;
	return ret;
}
