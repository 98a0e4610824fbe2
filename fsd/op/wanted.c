/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fsd/op/wanted.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fsd/core/json.h"
#include "fsd/op/common.h"
#include "snap/base/err.h"
#include "snap/base/fd.h"
#include "snap/skip.h"

/* ---- plan ---- */

static int check_word(const char *path, struct err *err)
{
	if (strlen(path) >= PATH_MAX)
		return err_set(err, EINVAL, "bad_path", path, "the path is too long");
	for (const char *s = path; s; s = strchr(s, '/') ? strchr(s, '/') + 1 : NULL) {
		size_t len = strcspn(s, "/");

		if (len > NAME_MAX)
			return err_set(err, EINVAL, "bad_path", path, "a name in it is too long");
		if (!len || (len == 1 && s[0] == '.') || (len == 2 && s[0] == '.' && s[1] == '.'))
			return err_set(err, EINVAL, "bad_path", path,
				"this is not a plain relative path");
	}
	return 0;
}

/* As it is completed by a shell: "dir/". */
static int add_word(struct path_list *paths, const char *word, struct err *err)
{
	_cleanup_free_ char *path = strdup(word);
	size_t len = strlen(word);
	int r;

	if (!path)
		return err_sys(err, ENOMEM, "plan", NULL);
	while (len > 1 && path[len - 1] == '/')
		path[--len] = '\0';
	r = check_word(path, err);
	return r == 0 && path_list_add(paths, path) < 0 ? err_sys(err, ENOMEM, "plan", NULL) : r;
}

static int requested(struct job *job, struct path_list *paths, struct err *err)
{
	size_t n, size = 0;
	char *const *items = request_list(&job->request, F_PATHS, &n);
	int r = n ? 0 : err_set(err, EINVAL, "bad_request", "paths", "the list is empty");

	for (size_t i = 0; i < n && r == 0; i++) {
		size += strlen(items[i]) + 150; /* with all that a plan says of it */
		r = add_word(paths, items[i], err);
	}
	if (r == 0 && size > 1 << 20)
		r = err_set(err, E2BIG, "too_large", "paths",
			"these are too many paths for one job");
	path_list_reduce(paths);
	return r;
}

static int open_source(const struct resolved *source, struct err *err)
{
	_cleanup_fd_ int dir = resolve_open(source);
	int r = dir < 0 ? err_sys(err, -dir, "open", source->text)
			: op_require_tree(dir, source->generation, source->text, err);
	int fd = r < 0 ? r : layout_open_tree(dir, source->generation);

	return r == 0 && fd < 0 ? err_sys(err, -fd, "open", source->text) : fd;
}

static int check_source(int source, const char *text, const char *path, struct err *err)
{
	_cleanup_fd_ int fd = fd_open_beneath(source, path, O_PATH | O_NOFOLLOW);

	if (fd >= 0 && snap_is_work(source, path))
		return err_set(err, EINVAL, "bad_path", path, "this is fsd's own");
	if (fd >= 0)
		return 0;
	if (fd == -ELOOP)
		return err_set(err, EINVAL, "bad_path", path,
			"the path leads through a symbolic link");
	if (fd != -ENOENT && fd != -ENOTDIR)
		return err_sys(err, -fd, "open", path);
	err_set(err, ENOENT, "not_found", path, "%s has no such path", text);
	err_hint(err, "ls \"$(fsctl path %s)\" shows what it has", text);
	return -ENOENT;
}

static void intend(struct job *job, const struct path_list *paths)
{
	json_t *list = json_array();

	for (size_t i = 0; i < paths->n; i++)
		json_array_append_new(list, json_text(paths->items[i]));
	job_intend(job, "paths", list);
}

int wanted_plan(struct job *job, const struct resolved *source, struct path_list *paths,
	struct err *err)
{
	_cleanup_fd_ int from = -1;
	int r = requested(job, paths, err);

	if (r < 0)
		return r;
	from = open_source(source, err);
	if (from < 0)
		return from;
	for (size_t i = 0; i < paths->n && r == 0; i++)
		r = check_source(from, source->text, paths->items[i], err);
	intend(job, paths);
	return r;
}

static int check_either(const struct resolved *a, const struct resolved *b,
	const struct path_list *paths, struct err *err)
{
	_cleanup_fd_ int tree_a = open_source(a, err);
	_cleanup_fd_ int tree_b = tree_a < 0 ? -1 : open_source(b, err);
	int r = 0;

	if (tree_a < 0 || tree_b < 0)
		return tree_a < 0 ? tree_a : tree_b;
	for (size_t i = 0; i < paths->n && r == 0; i++) {
		if (check_source(tree_a, a->text, paths->items[i], NULL) == 0)
			continue;
		r = check_source(tree_b, b->text, paths->items[i], err);
		if (r == -ENOENT)
			err_set(err, ENOENT, "not_found", paths->items[i],
				"neither %s nor %s has such a path", a->text, b->text);
	}
	return r;
}

int wanted_plan_either(struct job *job, const struct resolved *a, const struct resolved *b,
	struct err *err)
{
	_cleanup_path_list_ struct path_list paths = {0};
	int r = requested(job, &paths, err);

	if (r == 0)
		r = check_either(a, b, &paths, err);
	if (r == 0)
		intend(job, &paths);
	return r;
}

/* ---- run ---- */

int wanted_load(const struct job *job, struct path_list *paths, struct err *err)
{
	json_t *path;
	size_t i;
	int r = 0;

	json_array_foreach(json_object_get(job->intent, "paths"), i, path) {
		char *bytes = NULL;

		if (json_text_decode(json_string_value(path), &bytes) < 0 ||
			path_list_add(paths, bytes) < 0)
			r = err_sys(err, ENOMEM, "plan", NULL);
		free(bytes);
	}
	return r;
}

bool wanted_skips(const char *path, void *arg)
{
	const struct wanted *w = arg;
	char whole[2 * PATH_MAX];

	snprintf(whole, sizeof(whole), "%s%s%s", w->folder, *w->folder ? "/" : "", path);
	for (size_t i = w->first; i < w->end; i++) {
		if (path_is_below(whole, w->paths->items[i]) ||
			path_is_below(w->paths->items[i], whole))
			return false;
	}
	return true;
}

int wanted_check(const struct job *job, int dir, const char *at, const char *path, struct err *err)
{
	int fd = fd_open_beneath(dir, at, O_PATH | O_NOFOLLOW);

	if (fd < 0)
		return err_set(err, ENOENT, "not_found", path, "%s has it no more",
			job_str(job, "source"));
	close(fd);
	return 0;
}
