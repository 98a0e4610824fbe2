/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fsd/worker/kept.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fsd/core/json.h"
#include "fsd/core/log.h"
#include "fsd/worker/layout.h"
#include "fsd/worker/meta.h"
#include "fsd/worker/present.h"
#include "fsd/worker/reflect.h"
#include "fsd/worker/state.h"
#include "fsd/worker/step.h"
#include "fsd/worker/work.h"
#include "snap/base/clock.h"
#include "snap/base/err.h"
#include "snap/base/fd.h"
#include "snap/changed.h"
#include "snap/remove.h"
#include "snap/settle.h"
#include "snap/skip.h"

/* ---- telling ---- */

struct told {
	const char *kind; /* of the event: "import.late_writes" */
	const char *site; /* id */
	const char *directory;
	const char *reason; /* "after import had put it aside" */
	const char *hint;
	const struct paths *late;
};

/* write_lock is held. */
static int tell(struct fsd *f, const struct told *t)
{
	struct cat_event e = {.time = clock_real()};
	json_t *data = present_late(t->late);
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

struct sweep {
	struct fsd *f;
	struct pool_root *r;
	struct snap_ctx *ctx;
	const char *site; /* id */
	int64_t before;
};

static void cannot(const struct sweep *s, const char *what, const struct err *err)
{
	if (err->num && !snap_canceled(s->ctx))
		log_err(LOG_WARNING, what, err, "site", s->site, NULL);
}

/* ---- work directories ---- */

struct kept_work {
	const char *name;
	int dir;
	json_t *plan; /* NULL: none, or not to be read */
	int64_t since; /* ns: what is newer was written late */
	int64_t taken; /* ns, by ctime: the last of its entries was taken out */
	struct paths late;
};

static int64_t number(const json_t *json, const char *key)
{
	return json_integer_value(json_object_get(json, key));
}

/* Since when is it kept? A change that was never finished: when it was last touched. */
static int64_t kept_since(const struct kept_work *w)
{
	int64_t done = number(w->plan, "done"), looked = number(w->plan, "looked");
	struct stat st;

	if (done)
		return looked > done ? looked : done;
	return fstat(w->dir, &st) == 0 ? st.st_mtim.tv_sec * NSEC_PER_SEC : 0;
}

static int add_late(struct kept_work *w, const char *path, const struct paths *below)
{
	_cleanup_free_ char *whole = NULL;
	int r = 0;

	for (size_t i = 0; i < below->n && r == 0; i++) {
		free(whole);
		if (asprintf(&whole, "%s/%s", path, below->items[i].path) < 0) {
			whole = NULL;
			return -ENOMEM;
		}
		r = paths_add(&w->late, whole, "written");
	}
	w->late.total += below->total - below->n;
	return r;
}

/*
 * An item's entry. The rename that brought it here changed its ctime, and so did those of its other
 * names: a later one is a write, also where somebody has set the mtime back. Where a crash kept
 * that time from being noted, the mtime has to do.
 */
static bool entry_is_late(const struct kept_work *w, const json_t *item, const struct stat *st)
{
	int64_t last = w->taken > w->since ? w->taken : w->since;

	return clock_of(&st->st_mtim) > w->since ||
	       (number(item, "taken") && clock_of(&st->st_ctim) > last);
}

static void note_last(struct kept_work *w)
{
	json_t *item;
	size_t i;

	w->taken = 0;
	json_array_foreach(json_object_get(w->plan, "items"), i, item) {
		if (number(item, "taken") > w->taken)
			w->taken = number(item, "taken");
	}
}

static int look_at_entry(struct kept_work *w, const json_t *item, const char *name,
	const char *path, struct snap_ctx *ctx, struct err *err)
{
	_cleanup_fd_ int dir = -1;
	struct paths below = PATHS_INIT;
	struct stat st;
	int r = 0;

	if (fstatat(w->dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : err_sys(err, errno, "stat", path);
	if (entry_is_late(w, item, &st))
		r = paths_add(&w->late, path, "written");
	if (r == 0 && S_ISDIR(st.st_mode)) {
		dir = fd_open_dir(w->dir, name);
		r = dir < 0 ? err_sys(err, -dir, "open", path)
			    : snap_changed(dir, w->since + 1, ctx, &below, err);
		if (r == 0)
			r = add_late(w, path, &below);
		paths_release(&below);
	}
	return r == -ENOMEM ? err_sys(err, ENOMEM, "look", path) : r;
}

static int look_at_work(struct kept_work *w, struct snap_ctx *ctx, struct err *err)
{
	json_t *item;
	size_t i;
	int r = 0;

	note_last(w);
	json_array_foreach(json_object_get(w->plan, "items"), i, item) {
		const char *name = json_string_value(json_object_get(item, "name"));
		char *path = NULL;

		if (r < 0 || !name || strchr(name, '/') ||
			json_text_decode(json_string_value(json_object_get(item, "path")),
				&path) < 0)
			continue;
		r = look_at_entry(w, item, name, path, ctx, err);
		free(path);
	}
	return r;
}

/* Told first: a crash in between tells it twice. Then its time begins anew. */
static void keep_work(const struct sweep *s, struct kept_work *w, int64_t looked)
{
	char directory[PATH_MAX], holder[JOB_ID_SIZE];
	const struct told told = {
		.kind = "replaced.late_writes",
		.site = s->site,
		.directory = directory,
		.late = &w->late,
		.reason = "after something else had taken its place in the live tree",
		.hint = "take over what you need, and end whoever still writes there",
	};
	struct err err = ERR_INIT;

	json_object_set_new(w->plan, "looked", json_integer(looked));
	pthread_mutex_lock(&s->f->write_lock);
	if (!jobs_holds(s->f, "site", s->site, true, holder) &&
		fd_path(w->dir, NULL, directory, sizeof(directory)) == 0 &&
		tell(s->f, &told) == 0)
		meta_store(w->dir, WORK_PLAN, s->site, w->plan, &err);
	pthread_mutex_unlock(&s->f->write_lock);
	cannot(s, "cannot keep what was replaced", &err);
}

/*
 * Out of the reach of an undo: it is planned under write_lock, so one that comes later does not
 * find the directory, and one that came before holds the site. 1: taken.
 */
static int take_out(const struct sweep *s, int tree, const char *name, char out[NAME_MAX + 1])
{
	char holder[JOB_ID_SIZE];
	int r = 0;

	if (snprintf(out, NAME_MAX + 1, SNAP_WORK_GONE "%s", name + strlen(SNAP_WORK_PREFIX)) >
	    NAME_MAX)
		return -ENAMETOOLONG;
	pthread_mutex_lock(&s->f->write_lock);
	if (!jobs_holds(s->f, "site", s->site, true, holder))
		r = renameat2(tree, name, tree, out, RENAME_NOREPLACE) < 0 ? -errno : 1;
	pthread_mutex_unlock(&s->f->write_lock);
	return r;
}

/* 1: it may go; 0: it is kept, or cannot be looked at. */
static int judge_work(const struct sweep *s, struct kept_work *w, struct err *err)
{
	int64_t looked = settle_now(), last = number(w->plan, "looked");

	w->since = last ? last : number(w->plan, "since");
	if (look_at_work(w, s->ctx, err) < 0)
		return 0;
	if (w->late.total)
		keep_work(s, w, looked);
	return !w->late.total;
}

static bool is_gone(const struct kept_work *w)
{
	return strncmp(w->name, SNAP_WORK_GONE, strlen(SNAP_WORK_GONE)) == 0;
}

static void sweep_marked(const struct sweep *s, int tree, struct kept_work *w)
{
	char gone[NAME_MAX + 1];
	struct err err = ERR_INIT;

	if (is_gone(w))
		strcpy(gone, w->name);
	else if (judge_work(s, w, &err) != 1 || take_out(s, tree, w->name, gone) != 1)
		goto out;
	step("kept.looked");
	work_remove(tree, gone, w->dir, s->ctx, &err);
out:
	cannot(s, "cannot remove what was kept for undo", &err);
}

static void sweep_work(const struct sweep *s, int tree, const char *name)
{
	_cleanup_fd_ int dir = work_open(tree, name);
	struct kept_work w = {.name = name, .dir = dir, .late = PATHS_INIT};

	if (dir < 0)
		return;
	if (meta_load(dir, WORK_PLAN, WORK_PLAN, &w.plan, NULL) < 0)
		w.plan = NULL;
	if (is_gone(&w) || kept_since(&w) < s->before)
		sweep_marked(s, tree, &w);
	paths_release(&w.late);
	json_decref(w.plan);
}

static void sweep_tree(const struct sweep *s, int tree)
{
	json_t *names = work_list(tree), *name;
	size_t i;

	json_array_foreach(names, i, name) {
		if (!snap_canceled(s->ctx))
			sweep_work(s, tree, json_string_value(name));
	}
	json_decref(names);
}

/* ---- directories that import put aside ---- */

struct parked {
	char *path;
	uint64_t ino, parent; /* inodes: its own, its directory's */
	int64_t since; /* what is newer by its ctime is not in the site */
	json_t *note;
	struct paths late;
};

static void parked_release(struct parked *p)
{
	paths_release(&p->late);
	json_decref(p->note);
	free(p->path);
}

static int parked_load(const struct sweep *s, int site, struct parked *p)
{
	json_t *doc, *value;
	const char *text;
	int r = meta_load(site, META_SITE, s->site, &doc, NULL);

	if (r < 0)
		return r;
	value = json_object_get(doc, "parked");
	text = json_string_value(json_object_get(value, "path"));
	p->ino = (uint64_t)number(value, "ino");
	p->parent = (uint64_t)number(value, "parent");
	p->since = number(value, "since");
	p->note = json_incref(value);
	r = text ? json_text_decode(text, &p->path) : -ENOENT;
	json_decref(doc);
	return r < 0 ? r : *p->path == '/' ? 0 : -ENOENT;
}

/* By name and inode: another one of this name is not ours. The fd or -errno. */
static int open_parked(const struct parked *p, int parent, const char *name)
{
	struct stat st;
	int dir = parent < 0 ? parent : fd_open_dir(parent, name);

	if (dir < 0)
		return dir;
	if (strstr(name, SNAP_WORK_PREFIX) && fstat(dir, &st) == 0 && st.st_ino == p->ino)
		return dir;
	close(dir);
	return -ENOENT;
}

static bool is_inode(int fd, uint64_t ino)
{
	struct stat st;

	return fd >= 0 && fstat(fd, &st) == 0 && st.st_ino == ino;
}

/* It cannot be looked at or removed, as err says: tried again until undo_keep is over twice. */
static int give_up_parked(const struct sweep *s, const struct parked *p, struct err *err)
{
	if (snap_canceled(s->ctx) || p->since >= s->before - fsd_config(s->f)->undo_keep)
		return -err->num;
	err_hint(err, "it is yours to remove");
	cannot(s, "a directory that import put aside is given up", err);
	err_clear(err);
	return 0;
}

/*
 * It is not where it was put. If the directory that had it is still there, it is gone; else the
 * disk of both may not be mounted.
 */
static int lost_parked(const struct sweep *s, const struct parked *p, int parent, struct err *err)
{
	int r;

	if (is_inode(parent, p->parent))
		return fd_sync(parent);
	err_set(err, ENOENT, "not_found", p->path,
		"it is not where import put it, nor is its folder");
	r = give_up_parked(s, p, err);
	err_clear(err); /* nothing that somebody would have to do */
	return r;
}

/* Removing changes the ctimes of what is still there, which is no late write for the next look. */
static int note_removal(const struct sweep *s, int site, const struct parked *p, struct err *err)
{
	char holder[JOB_ID_SIZE];
	int r = -EBUSY;

	json_object_set_new(p->note, "removing", json_true());
	pthread_mutex_lock(&s->f->write_lock);
	if (!jobs_holds(s->f, "site", s->site, true, holder))
		r = meta_change(site, META_SITE, s->site, "parked", json_incref(p->note), err);
	pthread_mutex_unlock(&s->f->write_lock);
	step("kept.removing");
	return r;
}

/* 0: all of it may go, or there are late writes; -errno. */
static int look_at_parked(const struct sweep *s, int site, int dir, struct parked *p,
	struct err *err)
{
	bool begun = json_is_true(json_object_get(p->note, "removing"));
	int r = begun ? snap_written(dir, p->since + 1, s->ctx, &p->late, err)
		      : snap_changed(dir, p->since + 1, s->ctx, &p->late, err);

	step("kept.looked");
	return r == 0 && !p->late.total && !begun ? note_removal(s, site, p, err) : r;
}

static bool is_absent(int r)
{
	return r == -ENOENT || r == -ENOTDIR || r == -ELOOP || r == -EXDEV;
}

/* It is about what lies in the directory, or the directory. */
static void name_parked(const struct parked *p, struct err *err)
{
	char object[ERR_OBJECT_SIZE];

	if (!err->in_tree)
		return;
	snprintf(object, sizeof(object), "%.250s/%.250s", p->path, err->object);
	strcpy(err->object, object);
	err->in_tree = false;
}

/* With late writes it stays. 0: it is to be forgotten; -errno: not now, and err says why if there
 * is more to it than a job that holds the site. */
static int remove_parked(const struct sweep *s, int site, struct parked *p, struct err *err)
{
	_cleanup_fd_ int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	const char *name = NULL;
	_cleanup_fd_ int parent =
		root < 0 ? -errno : work_open_parent(root, p->path + 1, &name);
	_cleanup_fd_ int dir = open_parked(p, parent, name);
	int r;

	if (is_absent(dir))
		return lost_parked(s, p, parent, err);
	r = dir < 0 ? err_sys(err, -dir, "open", p->path) : look_at_parked(s, site, dir, p, err);
	if (r == 0 && !p->late.total) {
		r = snap_remove_held(parent, name, dir, s->ctx, err);
		/* Or it may come back when nobody knows of it. */
		if (r == 0 && (r = fd_sync(parent)) < 0)
			err_sys(err, -r, "fsync", p->path);
		step("kept.removed");
	}
	name_parked(p, err);
	return err->num ? give_up_parked(s, p, err) : r;
}

/* site.json is a job's to change, unless none holds the site. */
static void forget_parked(const struct sweep *s, int site, const struct parked *p)
{
	const struct told told = {
		.kind = "import.late_writes",
		.site = s->site,
		.directory = p->path,
		.late = &p->late,
		.reason = "after import had put it aside",
		.hint = "take over what you need, end whoever still writes there, and remove it",
	};
	char holder[JOB_ID_SIZE];

	pthread_mutex_lock(&s->f->write_lock);
	if (!jobs_holds(s->f, "site", s->site, true, holder) &&
		(!p->late.total || tell(s->f, &told) == 0))
		meta_change(site, META_SITE, s->site, "parked", NULL, NULL);
	pthread_mutex_unlock(&s->f->write_lock);
}

static void sweep_parked(const struct sweep *s, int site, struct err *err)
{
	struct parked p = {.late = PATHS_INIT};

	if (parked_load(s, site, &p) == 0 && p.since < s->before &&
		remove_parked(s, site, &p, err) == 0)
		forget_parked(s, site, &p);
	parked_release(&p);
}

/* ---- the sweep ---- */

static void sweep_site(struct sweep *s, const char *id, const char *name)
{
	_cleanup_fd_ int site = *name ? layout_open_site(s->r, name)
				      : fd_open_dir(s->r->deleted, id);
	_cleanup_free_ int64_t *numbers = NULL;
	struct err err = ERR_INIT;
	unsigned n = 0;

	if (site < 0)
		return;
	s->site = id;
	sweep_parked(s, site, &err);
	cannot(s, "cannot remove a directory that import put aside", &err);
	if (!*name || layout_generations(site, &numbers, &n) < 0)
		return;
	for (unsigned i = 0; i < n && !snap_canceled(s->ctx); i++) {
		_cleanup_fd_ int tree = layout_open_tree(site, numbers[i]);

		if (tree >= 0)
			sweep_tree(s, tree);
	}
}

static int note_site(const struct cat_site *row, void *arg)
{
	return json_object_set_new(arg, row->id, json_string(row->deleted ? "" : row->name));
}

void kept_sweep(struct fsd *f, struct catalog *c, struct pool_root *r, struct snap_ctx *ctx)
{
	struct sweep s = {.f = f, .r = r, .ctx = ctx,
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

int kept_parked(struct fsd *f, struct pool_root *r, const char *id, struct snap_ctx *ctx,
	struct err *err)
{
	struct sweep s = {.f = f, .r = r, .ctx = ctx, .site = id,
		.before = clock_real() - fsd_config(f)->undo_keep};
	_cleanup_fd_ int site = fd_open_dir(r->deleted, id);
	struct parked p = {.late = PATHS_INIT};
	bool left;

	if (site < 0)
		return 0;
	sweep_parked(&s, site, err);
	if (err->num) {
		err_hint(err, "import put it aside for deleted site %s, which is kept as long; "
			"make it removable, or move it away", id);
		return -err->num;
	}
	left = parked_load(&s, site, &p) == 0;
	parked_release(&p);
	return left;
}

/* ---- ejected sites ---- */

bool kept_may_purge(struct fsd *f, const char *id, struct err *err)
{
	char holder[JOB_ID_SIZE];
	struct cat_site s;

	return catalog_site_get(f->catalog, id, &s, err) == 0 && s.deleted &&
	       s.deleted < clock_real() - fsd_config(f)->undo_keep &&
	       !jobs_holds(f, "site", id, true, holder);
}

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
	e->since = number(note, "since");
	e->told = json_is_true(json_object_get(note, "told"));
	r = note ? json_text_decode(json_string_value(json_object_get(note, "path")), &e->directory)
		 : 0;
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
	const struct told told = {
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
	if (kept_may_purge(e->f, e->id, err) && tell(e->f, &told) == 0)
		renew(e, err);
	pthread_mutex_unlock(&e->f->write_lock);
}

/* What was replaced in its tree before, and was still kept for undo. */
static int look_at_its_work(struct ejected *e, int tree, const char *name, struct snap_ctx *ctx,
	struct err *err)
{
	_cleanup_fd_ int dir = work_open(tree, name);
	struct kept_work w = {.dir = dir, .late = PATHS_INIT};
	int r = dir < 0 ? err_sys(err, -dir, "open", name)
			: meta_load(dir, WORK_PLAN, e->id, &w.plan, err);

	if (r < 0)
		return r;
	w.since = e->told ? e->since : number(w.plan, "since");
	r = look_at_work(&w, ctx, err);
	for (size_t i = 0; i < w.late.n && r == 0; i++)
		r = paths_add(&e->late, w.late.items[i].path, "written");
	paths_release(&w.late);
	json_decref(w.plan);
	return r;
}

static int look_at_all_work(struct ejected *e, int tree, struct snap_ctx *ctx, struct err *err)
{
	json_t *names = work_list(tree), *name;
	int r = names ? 0 : err_sys(err, EIO, "list", e->id);
	size_t i;

	json_array_foreach(names, i, name) {
		if (r == 0)
			r = look_at_its_work(e, tree, json_string_value(name), ctx, err);
	}
	json_decref(names);
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
		r = look_at_all_work(e, tree, ctx, err);
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
