/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reading the files and giving keys their meaning. Whether files may be trusted is decided on the
 * opened descriptor; config_value.c holds what a size, a path or a group looks like.
 */
#include "fsd/core/config.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <syslog.h>
#include <unistd.h>

#include "fsd/core/config_value.h"
#include "fsd/core/id.h"
#include "fsd/core/ini.h"
#include "snap/base/buf.h"
#include "snap/base/clock.h"
#include "snap/base/err.h"
#include "snap/base/fd.h"

#define FILE_MAX (1u << 20)

struct key {
	const char *name;
	config_set_fn *set;
	size_t offset; /* of the field in its struct */
	int64_t min, max;
	bool repeats;
};

#define FSD(field) offsetof(struct config, field)
#define POOL(field) offsetof(struct config_pool, field)

static const struct key fsd_keys[] = {
	{"catalog", config_set_path, FSD(catalog)},
	{"socket", config_set_socket, FSD(socket)},
	{"api_user", config_set_word, FSD(api_user)},
	{"admin_group", config_set_group, FSD(admin_group)},
	{"operator_group", config_set_group, FSD(operator_group)},
	{"viewer_group", config_set_group, FSD(viewer_group)},
	{"import_from", config_set_dirs, FSD(import_from), .repeats = true},
	{"min_free", config_set_min_free, 0},
	{"grace", config_set_duration, FSD(grace)},
	{"keep_generations", config_set_number, FSD(keep_generations), 1, 10000},
	{"undo_keep", config_set_duration, FSD(undo_keep)},
	{"job_keep", config_set_duration, FSD(job_keep)},
	{"max_jobs", config_set_number, FSD(max_jobs), 1, 256},
	{"log_level", config_set_level, FSD(log_level)},
};
static const struct key pool_keys[] = {
	{"path", config_set_path, POOL(path)},
	{"driver", config_set_word, POOL(driver)},
	{"jobs", config_set_number, POOL(jobs), 1, 256},
};
#define N_FSD (sizeof(fsd_keys) / sizeof(fsd_keys[0]))
#define N_POOL (sizeof(pool_keys) / sizeof(pool_keys[0]))

/* Where the values of a pool stand, for errors found when everything is read. */
struct origin {
	unsigned section_file; /* the last file that had the section */
	char *section, *path;  /* "FILE:LINE"; path NULL while not given */
};

struct load {
	struct config *c;
	struct origin *origins; /* one for each pool */
	struct err *err;
	const char *file;
	unsigned n_file; /* from 1 */
	unsigned line;
	struct config_pool *pool;      /* the section being read; NULL: [fsd] */
	unsigned seen[N_FSD + N_POOL]; /* line of each key in this file and section */
};

static const char *where(const struct load *l, char out[PATH_MAX + 16])
{
	snprintf(out, PATH_MAX + 16, "%s:%u", l->file, l->line);
	return out;
}

__attribute__((format(printf, 2, 3)))
static int bad(struct load *l, const char *fmt, ...)
{
	char object[PATH_MAX + 16], reason[ERR_TEXT_SIZE];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(reason, sizeof(reason), fmt, ap);
	va_end(ap);
	return err_set(l->err, EINVAL, "bad_config", where(l, object), "%s", reason);
}

static int no_memory(struct load *l)
{
	return err_sys(l->err, ENOMEM, "read the configuration", l->file);
}

/* ---- sections and keys ---- */

static int pool_add(struct load *l, const char *name)
{
	struct config *c = l->c;
	struct config_pool *pools;
	struct origin *origins;

	pools = realloc(c->pools, (c->n_pools + 1) * sizeof(*pools));
	if (!pools)
		return no_memory(l);
	c->pools = pools;
	origins = realloc(l->origins, (c->n_pools + 1) * sizeof(*origins));
	if (!origins)
		return no_memory(l);
	l->origins = origins;
	l->pool = &pools[c->n_pools];
	origins[c->n_pools] = (struct origin){0};
	*l->pool = (struct config_pool){.jobs = 4};
	c->n_pools++;
	l->pool->name = strdup(name);
	l->pool->driver = strdup("auto");
	return l->pool->name && l->pool->driver ? 0 : no_memory(l);
}

static struct origin *origin(const struct load *l, const struct config_pool *p)
{
	return &l->origins[p - l->c->pools];
}

static int note_origin(struct load *l, char **text)
{
	char at[PATH_MAX + 16];

	free(*text);
	*text = strdup(where(l, at));
	return *text ? 0 : no_memory(l);
}

static int pool_section(struct load *l, const char *name)
{
	struct err why = ERR_INIT;
	int r;

	if (name_check(name, &why) < 0)
		return bad(l, "\"%s\" cannot be a pool's name: %s", name, why.reason);
	l->pool = NULL;
	for (unsigned i = 0; i < l->c->n_pools; i++) {
		if (strcmp(l->c->pools[i].name, name) == 0)
			l->pool = &l->c->pools[i];
	}
	if (l->pool && origin(l, l->pool)->section_file == l->n_file)
		return bad(l, "pool \"%s\" stands twice in this file", name);
	r = l->pool ? 0 : pool_add(l, name);
	if (r == 0)
		r = note_origin(l, &origin(l, l->pool)->section);
	if (r == 0)
		origin(l, l->pool)->section_file = l->n_file;
	memset(l->seen + N_FSD, 0, N_POOL * sizeof(l->seen[0]));
	return r;
}

static int begin_section(struct load *l, const char *section)
{
	size_t word = strcspn(section, " \t");
	const char *name = section + word + strspn(section + word, " \t");

	if (strcmp(section, "fsd") == 0) {
		l->pool = NULL;
		return 0;
	}
	if (word == 4 && strncmp(section, "pool", 4) == 0)
		return *name ? pool_section(l, name) : bad(l, "a pool needs a name: [pool NAME]");
	return bad(l, "unknown section \"%s\"", section);
}

static int set_key(struct load *l, const struct key *k, unsigned *seen, const char *value)
{
	char *base = l->pool ? (char *)l->pool : (char *)l->c, why[ERR_TEXT_SIZE] = "";
	int r;

	if (*seen && !k->repeats)
		return bad(l, "\"%s\" was already given on line %u", k->name, *seen);
	*seen = l->line;
	if (*value == '\0' && !k->repeats)
		return bad(l, "\"%s\" has no value", k->name);
	r = k->set(base + k->offset, value,
		&(struct config_set){.c = l->c, .min = k->min, .max = k->max, .why = why});
	if (r == -ENOMEM)
		return no_memory(l);
	if (r < 0)
		return bad(l, "%s = %s: %s", k->name, value, why);
	if (l->pool && strcmp(k->name, "path") == 0)
		return note_origin(l, &origin(l, l->pool)->path);
	if (l->pool && strcmp(k->name, "driver") == 0)
		return note_origin(l, &l->pool->driver_at);
	return 0;
}

static int on_line(void *arg, const char *section, const char *key, const char *value)
{
	struct load *l = arg;
	const struct key *keys = l->pool ? pool_keys : fsd_keys;
	size_t n = l->pool ? N_POOL : N_FSD;

	if (!key)
		return begin_section(l, section);
	for (size_t i = 0; i < n; i++) {
		if (strcmp(keys[i].name, key) == 0)
			return set_key(l, &keys[i], &l->seen[(l->pool ? N_FSD : 0) + i], value);
	}
	return bad(l, "unknown key \"%s\" in section [%s]", key, section);
}

/* ---- files ---- */

static int refused(const char *path, struct err *err, const char *why)
{
	return err_set(err, EPERM, "bad_config", path, "refused, since it %s", why);
}

/* As root, what others can write or place is not read. */
static int check_trust(const struct stat *st, const char *path, bool sticky_ok, struct err *err)
{
	if (geteuid() != 0)
		return 0;
	if (S_ISLNK(st->st_mode))
		return st->st_uid ? refused(path, err, "is a symbolic link not owned by root") : 0;
	if (sticky_ok && (st->st_mode & S_ISVTX))
		return 0;
	if (st->st_uid != 0)
		return refused(path, err, "is not owned by root");
	if ((st->st_mode & S_IWOTH) || ((st->st_mode & S_IWGRP) && st->st_gid != 0))
		return refused(path, err, "is writable by others");
	return 0;
}

static int bad_file(const char *path, int num, struct err *err)
{
	return err_set(err, num, "bad_config", path, "cannot be read: %s", strerror(num));
}

static int read_file(const char *path, char **text, size_t *len, struct err *err)
{
	_cleanup_fd_ int fd = -1;
	struct stat st;
	int r;

	if (lstat(path, &st) < 0)
		return bad_file(path, errno, err);
	r = S_ISLNK(st.st_mode) ? check_trust(&st, path, false, err) : 0;
	if (r < 0)
		return r;
	fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		return bad_file(path, errno, err);
	if (!S_ISREG(st.st_mode))
		return err_set(err, EINVAL, "bad_config", path, "is not a regular file");
	r = check_trust(&st, path, false, err);
	if (r < 0)
		return r;
	if (st.st_size > FILE_MAX)
		return err_set(err, EFBIG, "bad_config", path, "is larger than 1 MiB");
	*text = malloc(st.st_size + 1);
	if (!*text)
		return bad_file(path, ENOMEM, err);
	*len = st.st_size;
	r = fd_read_all(fd, *text, *len);
	return r < 0 ? bad_file(path, -r, err) : 0;
}

static int load_file(struct load *l, const char *path)
{
	_cleanup_free_ char *text = NULL;
	const char *why = NULL;
	size_t len = 0;
	int r;

	r = read_file(path, &text, &len, l->err);
	if (r < 0)
		return r;
	l->file = path;
	l->n_file++;
	l->pool = NULL;
	memset(l->seen, 0, sizeof(l->seen));
	r = ini_read(text, len, on_line, l, &l->line, &why);
	if (r == -ENOMEM)
		return no_memory(l);
	return why ? bad(l, "%s", why) : r;
}

static int is_drop_in(const struct dirent *d)
{
	size_t len = strlen(d->d_name);

	return d->d_name[0] != '.' && len > 5 && strcmp(d->d_name + len - 5, ".conf") == 0;
}

static int byte_order(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static int load_drop_ins(struct load *l)
{
	_cleanup_buf_ struct buf path = BUF_INIT;
	struct dirent **names = NULL;
	struct stat st;
	size_t dir_len;
	int n, r;

	buf_printf(&path, "%s.d", l->c->file);
	if (buf_error(&path))
		return no_memory(l);
	if (stat(path.data, &st) < 0)
		return errno == ENOENT ? 0 : bad_file(path.data, errno, l->err);
	r = check_trust(&st, path.data, false, l->err);
	if (r < 0)
		return r;
	n = scandir(path.data, &names, is_drop_in, byte_order);
	if (n < 0)
		return bad_file(path.data, errno, l->err);
	dir_len = path.len;
	for (int i = 0; i < n; i++) {
		path.len = dir_len;
		buf_printf(&path, "/%s", names[i]->d_name);
		if (r == 0)
			r = buf_error(&path) ? no_memory(l) : load_file(l, path.data);
		free(names[i]);
	}
	free(names);
	return r;
}

/* ---- the whole ---- */

static int missing(struct load *l, const char *what)
{
	return err_set(l->err, EINVAL, "bad_config", l->c->file, "%s is missing", what);
}

static int check_pool(struct load *l, unsigned i)
{
	const struct config *c = l->c;
	const struct config_pool *p = &c->pools[i];
	const struct origin *at = &l->origins[i];

	if (!p->path)
		return err_set(l->err, EINVAL, "bad_config", at->section, "pool \"%s\" has no path",
			p->name);
	if (config_path_beneath(c->catalog, p->path) || config_path_beneath(c->socket, p->path))
		return err_set(l->err, EINVAL, "bad_config", at->path,
			"fsd's own catalog and socket may not lie in pool \"%s\"", p->name);
	for (unsigned j = 0; j < i; j++) {
		const struct config_pool *q = &c->pools[j];

		if (config_path_beneath(p->path, q->path) || config_path_beneath(q->path, p->path))
			return err_set(l->err, EINVAL, "bad_config", at->path,
				"pools \"%s\" and \"%s\" lie in one another", q->name, p->name);
	}
	return 0;
}

static int check_whole(struct load *l)
{
	if (!l->c->catalog)
		return missing(l, "catalog = FILE in section [fsd]");
	if (!l->c->socket)
		return missing(l, "socket = PATH in section [fsd]");
	if (strcmp(l->c->catalog, l->c->socket) == 0)
		return err_set(l->err, EINVAL, "bad_config", l->c->file,
			"catalog and socket are both %s", l->c->socket);
	if (!l->c->n_pools)
		return missing(l, "a section [pool NAME]");
	for (unsigned i = 0; i < l->c->n_pools; i++) {
		int r = check_pool(l, i);

		if (r < 0)
			return r;
	}
	return 0;
}

static int absolute(const char *file, char **out, struct err *err)
{
	_cleanup_free_ char *cwd = NULL;
	char *folder, *slash;
	struct stat st;
	int r;

	if (file[0] != '/') {
		cwd = getcwd(NULL, 0);
		if (!cwd)
			return bad_file(file, errno, err);
	}
	if (asprintf(out, "%s%s%s", cwd ? cwd : "", cwd ? "/" : "", file) < 0) {
		*out = NULL;
		return bad_file(file, ENOMEM, err);
	}
	folder = strdup(*out);
	slash = folder ? strrchr(folder, '/') : NULL;
	if (slash)
		slash[slash == folder] = '\0';
	r = !folder || stat(folder, &st) < 0 ? bad_file(file, errno, err)
					     : check_trust(&st, folder, true, err);
	free(folder);
	return r;
}

static int defaults(struct config *c)
{
	*c = (struct config){
		.api_user = strdup("fsd"),
		.admin_gid = -1,
		.operator_gid = -1,
		.viewer_gid = -1,
		.min_free_percent = 10,
		.grace = 24 * 3600 * NSEC_PER_SEC,
		.keep_generations = 2,
		.undo_keep = 7 * 86400 * NSEC_PER_SEC,
		.job_keep = 30 * 86400 * NSEC_PER_SEC,
		.max_jobs = 4,
		.log_level = LOG_INFO,
	};
	return c->api_user ? 0 : -ENOMEM;
}

static void release_origins(struct load *l)
{
	for (unsigned i = 0; i < l->c->n_pools; i++) {
		free(l->origins[i].section);
		free(l->origins[i].path);
	}
	free(l->origins);
}

int config_load(const char *file, struct config **out, struct err *err)
{
	struct load l = {.err = err, .file = file};
	int r;

	l.c = malloc(sizeof(*l.c));
	if (!l.c || defaults(l.c) < 0) {
		free(l.c);
		return no_memory(&l);
	}
	r = absolute(file, &l.c->file, err);
	if (r == 0)
		r = load_file(&l, l.c->file);
	if (r == 0)
		r = load_drop_ins(&l);
	if (r == 0)
		r = check_whole(&l);
	release_origins(&l);
	if (r < 0)
		config_free(&l.c);
	else
		*out = l.c;
	return r;
}

void config_free(struct config **cp)
{
	struct config *c = *cp;

	*cp = NULL;
	if (!c)
		return;
	for (unsigned i = 0; i < c->n_pools; i++) {
		free(c->pools[i].name);
		free(c->pools[i].path);
		free(c->pools[i].driver);
		free(c->pools[i].driver_at);
	}
	for (unsigned i = 0; i < c->n_import_from; i++)
		free(c->import_from[i]);
	free(c->pools);
	free(c->import_from);
	free(c->file);
	free(c->catalog);
	free(c->socket);
	free(c->api_user);
	free(c->admin_group);
	free(c->operator_group);
	free(c->viewer_group);
	free(c);
}

const struct config_pool *config_pool(const struct config *c, const char *name)
{
	for (unsigned i = 0; i < c->n_pools; i++) {
		if (strcmp(c->pools[i].name, name) == 0)
			return &c->pools[i];
	}
	return NULL;
}

static bool frozen_pool(char what[CONFIG_WHAT_SIZE], const char *pool, const char *key)
{
	snprintf(what, CONFIG_WHAT_SIZE, "[pool %s]%s", pool, key);
	return true;
}

static bool frozen(char what[CONFIG_WHAT_SIZE], const char *key)
{
	snprintf(what, CONFIG_WHAT_SIZE, "%s", key);
	return true;
}

bool config_frozen(const struct config *from, const struct config *to, char what[CONFIG_WHAT_SIZE])
{
	if (strcmp(from->catalog, to->catalog) != 0)
		return frozen(what, "catalog");
	if (strcmp(from->socket, to->socket) != 0)
		return frozen(what, "socket");
	if (strcmp(from->api_user, to->api_user) != 0)
		return frozen(what, "api_user");
	for (unsigned i = 0; i < to->n_pools; i++) {
		if (!config_pool(from, to->pools[i].name))
			return frozen_pool(what, to->pools[i].name, "");
	}
	for (unsigned i = 0; i < from->n_pools; i++) {
		const struct config_pool *a = &from->pools[i], *b = config_pool(to, a->name);

		if (!b)
			return frozen_pool(what, a->name, "");
		if (strcmp(a->path, b->path) != 0)
			return frozen_pool(what, a->name, " path");
		if (strcmp(a->driver, b->driver) != 0)
			return frozen_pool(what, a->name, " driver");
	}
	return false;
}
