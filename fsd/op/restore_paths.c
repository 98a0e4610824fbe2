/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fsd/op/restore_paths.h"

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
#include "fsd/op/change.h"
#include "fsd/op/wanted.h"
#include "fsd/worker/meta.h"
#include "fsd/worker/step.h"
#include "fsd/worker/work.h"
#include "snap/base/err.h"
#include "snap/base/fd.h"

#define STEPS_SHOWN 1000

/* ---- where a path stands in the live tree ---- */

struct target {
	char path[PATH_MAX]; /* the topmost missing directory on the way, or the path itself */
	bool exists;
};

static int in_the_way(struct err *err, const char *path, const char *what)
{
	err_set(err, EEXIST, "in_the_way", path, "this is %s in the live tree", what);
	err_hint(err, "restore this path itself, or move it away");
	return -EEXIST;
}

static int nested(struct err *err, const char *path)
{
	return err_set(err, EXDEV, "nested_filesystem", path,
		"another file system begins here in the live tree");
}

/* A mount, also of the same file system, or a subvolume. */
static bool other_mount(int dirfd, const char *name, const struct statx *tree)
{
	struct statx st;

	if (statx(dirfd, name, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW,
		    STATX_BASIC_STATS | STATX_MNT_ID, &st) < 0)
		return false;
	return st.stx_dev_major != tree->stx_dev_major || st.stx_dev_minor != tree->stx_dev_minor ||
	       st.stx_mnt_id != tree->stx_mnt_id;
}

/* Go down into the directory `path`[0..len), whose last component begins at `from`. The fd, 0 when
 * it is missing, or -errno. */
static int go_down(int at, const char *path, size_t from, size_t len, const struct statx *tree,
	struct err *err)
{
	char whole[PATH_MAX];
	int fd;

	memcpy(whole, path, len);
	whole[len] = '\0';
	fd = openat(at, whole + from, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 && errno == ENOENT)
		return 0;
	if (fd < 0 && (errno == ENOTDIR || errno == ELOOP))
		return in_the_way(err, whole, "not a directory");
	if (fd < 0)
		return err_sys(err, errno, "open", whole);
	if (!other_mount(fd, "", tree))
		return fd;
	close(fd);
	return nested(err, whole);
}

static int find_target(int tree, const char *path, struct target *t, struct err *err)
{
	_cleanup_fd_ int at = openat(tree, ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	size_t from = 0, len;
	struct statx st;
	struct stat leaf;

	if (at < 0 || statx(tree, "", AT_EMPTY_PATH, STATX_BASIC_STATS | STATX_MNT_ID, &st) < 0)
		return err_sys(err, errno, "stat", path);
	strcpy(t->path, path);
	t->exists = false;
	for (; len = strcspn(path + from, "/"), path[from + len]; from += len + 1) {
		int next = go_down(at, path, from, from + len, &st, err);

		if (next < 0)
			return next;
		if (next == 0) {
			t->path[from + len] = '\0';
			return 0;
		}
		close(at);
		at = next;
	}
	if (fstatat(at, path + from, &leaf, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : err_sys(err, errno, "stat", path);
	t->exists = true;
	return S_ISDIR(leaf.st_mode) && other_mount(at, path + from, &st) ? nested(err, path) : 0;
}

/* ---- plan ---- */

static int open_live(struct job *job, int site, int64_t *number, struct err *err)
{
	_cleanup_fd_ int wrapper = layout_open_live(site, job->site_name, number, err);
	int fd = wrapper < 0 ? wrapper : fd_open_dir(wrapper, LAYOUT_TREE);

	return wrapper >= 0 && fd < 0 ? err_sys(err, -fd, "open the live tree", job->site_name)
				      : fd;
}

static int plan_paths(struct job *job, int tree, const struct path_list *paths, struct err *err)
{
	int r = 0;

	for (size_t i = 0; i < paths->n && r == 0; i++) {
		struct target t;

		r = find_target(tree, paths->items[i], &t, err);
		if (r == 0 && i < STEPS_SHOWN)
			job_step(job, "%s %s", t.exists ? "replace" : "add", paths->items[i]);
	}
	if (paths->n > STEPS_SHOWN)
		job_step(job, "and %zu more", paths->n - STEPS_SHOWN);
	return r;
}

static int plan_restore(struct job *job, const struct resolved *source, struct err *err)
{
	_cleanup_fd_ int site = layout_open_site(job->pool, job->site_name);
	_cleanup_path_list_ struct path_list paths = {0};
	_cleanup_fd_ int tree = -1;
	int64_t live;
	int r;

	if (site < 0)
		return err_sys(err, -site, "open site", job->site_name);
	tree = open_live(job, site, &live, err);
	if (tree < 0)
		return tree;
	if (source->kind != SOURCE_SNAPSHOT && source->generation == live &&
		strcmp(source->site.id, job->site_id) == 0)
		return err_set(err, EINVAL, "bad_source", source->text,
			"this is the live generation itself");
	r = wanted_plan(job, source, &paths, err);
	return r == 0 ? plan_paths(job, tree, &paths, err) : r;
}

/* ---- what goes with a directory that is replaced ---- */

static int count_lost(enum snap_change change, const char *path, const char *from, void *arg)
{
	(void)path;
	(void)from;
	*(uint64_t *)arg += change == SNAP_ADDED;
	return 0;
}

static int open_dir_at(int tree, const char *path)
{
	const char *leaf;
	_cleanup_fd_ int parent = work_open_parent(tree, path, &leaf);

	return parent < 0 ? parent : fd_open_dir(parent, leaf);
}

/* A directory becomes what it was: what was made in it since is said to go. */
static int tell_lost(struct job *job, int source, int tree, const char *path, struct err *err)
{
	static const struct snap_diff_opts opts = {0};
	_cleanup_fd_ int from = open_dir_at(source, path), to = open_dir_at(tree, path);
	uint64_t lost = 0;
	int r = from < 0 || to < 0 ? 0
				   : snap_diff(from, to, &opts, &job->ctx, count_lost, &lost, err);

	if (r == 0 && lost)
		job_warn(job, "%s: files and directories that %s does not have (%" PRIu64
			") go with what is replaced; undo brings them back", path,
			job_str(job, "source"), lost);
	return r;
}

int restore_paths_survey(struct fsd *f, struct job *job, struct err *err)
{
	_cleanup_fd_ int site = op_open_site(f, job, err), dir = -1, source = -1, tree = -1;
	_cleanup_path_list_ struct path_list paths = {0};
	struct pool_root *pool;
	int64_t number, live;
	int r;

	if (site < 0 || job->undoes)
		return site < 0 ? site : 0;
	tree = open_live(job, site, &live, err);
	dir = tree < 0 ? tree : op_open_source(f, job, &pool, &number, err);
	if (dir < 0)
		return dir;
	source = layout_open_tree(dir, number);
	if (source < 0)
		return err_sys(err, -source, "open", job_str(job, "source"));
	r = wanted_load(job, &paths, err);
	for (size_t i = 0; i < paths.n && r == 0; i++)
		r = tell_lost(job, source, tree, paths.items[i], err);
	return r;
}

/* ---- stage ---- */

struct staging {
	struct job *job;
	int tree, source, work;
	struct path_list paths; /* all that was asked for */
	struct wanted item;	/* those of the item at hand */
	json_t *items;
};

static int copy_item(struct staging *s, const char *target, const char *name, struct err *err)
{
	struct job *job = s->job;
	const struct snap_copy_opts opts = {
		.reflink = job->pool->driver->caps(job->pool->handle) & POOL_SHARES,
		.source_is_live = !*job_str(job, "source_snapshot"),
		.skip = wanted_skips,
		.skip_arg = &s->item,
	};
	const char *leaf;
	_cleanup_fd_ int parent = work_open_parent(s->source, target, &leaf);
	struct snap_copy_result copied;
	int r;

	if (parent < 0)
		return err_sys(err, -parent, "open", target);
	r = snap_copy_entry(parent, leaf, s->work, name, &opts, &job->ctx, &copied, err);
	if (r == 0)
		op_count_walked(job, &copied);
	return r;
}

/* Was everything that was asked for there? */
static int check_staged(const struct staging *s, const char *target, const char *name,
	struct err *err)
{
	int r = 0;

	for (size_t i = s->item.first; i < s->item.end && r == 0; i++) {
		const char *path = s->paths.items[i];
		char staged[2 * PATH_MAX];

		snprintf(staged, sizeof(staged), "%s%s", name, path + strlen(target));
		r = wanted_check(s->job, s->work, staged, path, err);
	}
	return r;
}

static json_t *wanted_of(const struct staging *s, const char *target)
{
	const struct wanted *w = &s->item;
	json_t *list;

	if (w->end == w->first + 1 && strcmp(s->paths.items[w->first], target) == 0)
		return NULL;
	list = json_array();
	for (size_t i = w->first; i < w->end; i++)
		json_array_append_new(list, json_text(s->paths.items[i]));
	return list;
}

/* Paths that are missing with the same directory are restored with it, in one item. */
static int stage_item(struct staging *s, struct err *err)
{
	struct wanted *w = &s->item;
	struct target t;
	char name[16], folder[PATH_MAX];
	char *slash;
	int r = find_target(s->tree, s->paths.items[w->first], &t, err);

	if (r < 0)
		return r;
	for (w->end = w->first + 1;
		w->end < s->paths.n && path_is_below(s->paths.items[w->end], t.path); w->end++)
		;
	snprintf(name, sizeof(name), "%zu", json_array_size(s->items));
	strcpy(folder, t.path);
	slash = strrchr(folder, '/');
	*(slash ? slash : folder) = '\0';
	w->folder = folder;
	r = copy_item(s, t.path, name, err);
	if (r == 0)
		r = check_staged(s, t.path, name, err);
	if (r == 0)
		r = tell_lost(s->job, s->source, s->tree, t.path, err);
	if (r == 0 && json_array_append_new(s->items, change_item(s->work, json_text(t.path), name,
							wanted_of(s, t.path))) < 0)
		r = err_sys(err, ENOMEM, "plan", t.path);
	step("change.staged");
	return r;
}

static int stage_all(struct staging *s, struct err *err)
{
	struct job *job = s->job;
	struct wanted *w = &s->item;
	int r = wanted_load(job, &s->paths, err);

	w->paths = &s->paths;
	for (w->first = 0; w->first < s->paths.n && r == 0; w->first = w->end)
		r = stage_item(s, err);
	if (r == 0)
		r = job->pool->driver->sync_dir(job->pool->handle, s->work, &job->ctx, err);
	if (r == 0 && (r = fd_sync(s->tree)) < 0)
		r = err_sys(err, -r, "fsync", job->site_name);
	step("change.durable");
	return r;
}

static int run_restore(struct fsd *f, struct job *job, int tree, int64_t live, struct err *err)
{
	struct staging s = {.job = job, .tree = tree, .source = -1, .work = -1,
		.items = json_array()};
	char name[CHANGE_NAME_SIZE];
	struct pool_root *from_pool;
	_cleanup_fd_ int dir = -1, source = -1, work = -1;
	int64_t number;
	int r;

	dir = op_open_source(f, job, &from_pool, &number, err);
	source = dir < 0 ? dir : layout_open_tree(dir, number);
	r = dir < 0 ? dir : source < 0 ? err_sys(err, -source, "open", job_str(job, "source")) : 0;
	if (r == 0)
		r = work = work_make(tree, change_name(job->text, name), err);
	s.source = source;
	s.work = work;
	if (r >= 0)
		r = stage_all(&s, err);
	if (r == 0)
		r = change_commit(job, tree, work, live, json_incref(s.items), err);
	json_decref(s.items);
	path_list_release(&s.paths);
	return r;
}

/* ---- undo ---- */

static int nothing_to_undo(struct job *job, struct err *err)
{
	return err_set(err, ENOENT, "nothing_to_undo", job->site_name,
		"what was replaced is not kept any more");
}

/* The plan of the change that is to be undone: a new reference. */
static int load_undone(struct job *job, int tree, int64_t live, int *work, json_t **plan,
	struct err *err)
{
	char undone[JOB_ID_SIZE];
	int r;

	*work = work_open(tree, job_str(job, "work"));
	if (*work == -ENOENT && live != job_int(job, "changed")) {
		err_set(err, EBUSY, "changed_since", job->site_name,
			"generation %" PRId64 ", which was changed, is not live any more",
			job_int(job, "changed"));
		err_hint(err, "where fsctl generation list %s has it: fsctl publish %s:%" PRId64
			" first", job->site_name, job->site_name, job_int(job, "changed"));
		return -EBUSY;
	}
	if (*work < 0)
		return *work == -ENOENT ? nothing_to_undo(job, err)
					: err_sys(err, -*work, "open", job_str(job, "work"));
	r = meta_load(*work, WORK_PLAN, job->site_name, plan, err);
	if (r < 0)
		return r == -ENOENT ? nothing_to_undo(job, err) : r;
	if (json_object_get(*plan, "done") &&
		strcmp(json_str_at(*plan, "job") ?: "", job_id_format(job->undoes, undone)) == 0)
		return 0;
	json_decref(*plan);
	return nothing_to_undo(job, err);
}

static int refuse_changed(struct job *job, int tree, json_t *plan, struct snap_ctx *ctx,
	struct err *err)
{
	uint64_t changed = 0;
	char undone[JOB_ID_SIZE];
	int r;

	if (json_true_at(job->intent, "discard_since"))
		return 0;
	r = change_since(tree, plan, ctx, &changed, err);
	if (r < 0 || !changed)
		return r;
	err_set(err, EBUSY, "changed_since", job->site_name,
		"%" PRIu64 " of the restored entries changed since", changed);
	err_hint(err, "fsctl undo %s --discard-since takes them back all the same",
		job_id_format(job->undoes, undone));
	return -EBUSY;
}

static void show_reverse(struct job *job, json_t *plan)
{
	json_t *item;
	size_t i;

	json_array_foreach(json_object_get(plan, "items"), i, item) {
		if (i < STEPS_SHOWN)
			job_step(job, "put %s back as it was",
				json_str_at(item, "path"));
	}
}

static int plan_undo(struct fsd *f, struct job *job, struct err *err)
{
	_cleanup_fd_ int site = layout_open_site(job->pool, job->site_name);
	_cleanup_fd_ int tree = -1, work = -1;
	char name[CHANGE_NAME_SIZE], id[JOB_ID_SIZE];
	json_t *intent, *result, *plan = NULL;
	const char *known;
	struct cat_job done;
	int64_t live;
	int r = catalog_job_get(f->catalog, job->undoes, &done, err);

	if (r < 0)
		return r;
	intent = json_loads(done.intent ?: "{}", 0, NULL);
	result = json_loads(done.result ?: "{}", 0, NULL);
	known = json_str_at(intent, "work");
	job_intend_str(job, "work", known ?: change_name(job_id_format(job->undoes, id), name));
	job_intend_int(job, "changed", json_int_at(result, "generation"));
	job_intend(job, "paths", json_incref(json_object_get(intent, "paths")));
	json_decref(intent);
	json_decref(result);
	cat_job_release(&done);
	if (site < 0)
		return err_sys(err, -site, "open site", job->site_name);
	tree = open_live(job, site, &live, err);
	if (tree < 0)
		return tree;
	r = load_undone(job, tree, live, &work, &plan, err);
	if (r < 0)
		return r;
	r = refuse_changed(job, tree, plan, NULL, err);
	if (r == 0)
		show_reverse(job, plan);
	json_decref(plan);
	return r;
}

static int run_undo(struct job *job, int tree, int64_t live, struct err *err)
{
	_cleanup_fd_ int work = -1;
	json_t *plan = NULL, *items;
	int r = load_undone(job, tree, live, &work, &plan, err);

	if (r < 0)
		return r;
	r = refuse_changed(job, tree, plan, &job->ctx, err);
	if (r == 0) {
		items = change_reverse(work, plan);
		r = items ? change_commit(job, tree, work, live, items, err)
			  : err_sys(err, EIO, "plan the undo", job->site_name);
	}
	json_decref(plan);
	return r;
}

int restore_paths_undo(struct fsd *f, const struct cat_job *done, json_t *intent,
	struct request *request, struct err *err)
{
	json_t *path;
	size_t i;

	(void)f;
	request_init(request, OP_RESTORE);
	request_set_str(request, F_SITE, done->site);
	request_set_str(request, F_SOURCE, done->site);
	json_array_foreach(json_object_get(intent, "paths"), i, path) {
		char *bytes = NULL;
		int r = json_text_decode(json_string_value(path), &bytes);

		if (r == 0)
			r = request_add(request, F_PATHS, bytes);
		free(bytes);
		if (r < 0) {
			request_release(request);
			return err_sys(err, -r, "undo", done->site_name);
		}
	}
	return 0;
}

/* ---- the steps of a job ---- */

int restore_paths_plan(struct fsd *f, struct job *job, const struct resolved *source,
	struct err *err)
{
	return job->undoes ? plan_undo(f, job, err) : plan_restore(job, source, err);
}

int restore_paths_run(struct fsd *f, struct job *job, int site, struct err *err)
{
	_cleanup_fd_ int stage = -1, tree = -1;
	int64_t live;

	tree = open_live(job, site, &live, err);
	if (tree < 0)
		return tree;
	/* Nothing lies there: it says to recovery that this job had begun. */
	stage = layout_stage(job->pool, job->id);
	if (stage < 0)
		return err_sys(err, -stage, "stage", job->site_name);
	return job->undoes ? run_undo(job, tree, live, err)
			   : run_restore(f, job, tree, live, err);
}

/* The work directory of the job: its own, or that of what it undoes. */
static int open_work(struct job *job, int site, int *tree)
{
	char name[CHANGE_NAME_SIZE];
	int64_t live;
	int r = layout_live(site, &live);

	*tree = r < 0 ? r : layout_open_tree(site, live);
	if (*tree < 0)
		return *tree;
	return work_open(*tree, job->undoes ? job_str(job, "work") : change_name(job->text, name));
}

int restore_paths_committed(struct job *job, int site)
{
	_cleanup_fd_ int tree = -1;
	_cleanup_fd_ int work = open_work(job, site, &tree);

	if (work == -ENOENT || (work == -EBADMSG && fd_exists(job->pool->staging, job->text) == 0))
		return 0; /* a damaged link waits to be mended by jobs that this must not hold up */
	return work < 0 ? work : change_committed(job, work);
}

int restore_paths_revert(struct job *job, int site, struct err *err)
{
	_cleanup_fd_ int tree = -1;
	_cleanup_fd_ int work = open_work(job, site, &tree);
	struct snap_ctx ctx = {0};
	char name[CHANGE_NAME_SIZE];
	int r;

	if (job->undoes || work == -ENOENT || work == -EBADMSG)
		return 0;
	r = work < 0 ? work : change_committed(job, work);
	if (r)
		return r < 0 ? err_sys(err, -r, "open", job->site_name) : 0;
	r = work_remove(tree, change_name(job->text, name), work, &ctx, err);
	if (r == 0 && (r = fd_sync(tree)) < 0) /* or it may come back when nobody remembers it */
		err_sys(err, -r, "fsync", job->site_name);
	return r;
}

int restore_paths_finish(struct job *job, int site, struct err *err)
{
	_cleanup_fd_ int tree = -1;
	_cleanup_fd_ int work = open_work(job, site, &tree);
	int r = work < 0 ? err_sys(err, -work, "open", job->site_name)
			 : change_apply(job, tree, work, err);

	return r < 0 ? r : job_sweep(job, err);
}

int restore_paths_record(struct fsd *f, struct job *job, struct err *err)
{
	struct cat_site site;
	int r = catalog_site_get(f->catalog, job->site_id, &site, err);

	return r < 0 ? r : op_record_site(f, job, site.name, NULL, err);
}
