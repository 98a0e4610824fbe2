/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Opening the file: where it may lie, how SQLite is told to distrust it, which version it has and
 * how it gets to ours. Nothing here reads more than the header and the schema.
 *
 * SQLite's locks are POSIX locks: closing any other descriptor of the file would drop them
 * (https://www.sqlite.org/howtocorrupt.html, 2.2), so an existing file is only looked at by name.
 */
#include "backends/catalog/sqlite_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "snap/base/fd.h"

/* ---- the file ---- */

/* The folder resolved, the last component as it is. */
static int resolve(const char *path, char **folder, char **file, struct err *err)
{
	const char *slash = strrchr(path, '/');
	_cleanup_free_ char *given = NULL;

	if (path[0] != '/' || slash[1] == '\0' || strcmp(slash, "/.") == 0 ||
		strcmp(slash, "/..") == 0)
		return err_set(err, EINVAL, "bad_path", path, "the catalog is an absolute path");
	given = strndup(path, slash == path ? 1 : slash - path);
	if (!given)
		return err_sys(err, ENOMEM, "open the catalog", path);
	*folder = realpath(given, NULL);
	if (!*folder && errno == ENOENT)
		return err_set(err, ENOENT, "catalog_missing", path, "its folder does not exist");
	if (!*folder)
		return err_sys(err, errno, "resolve the catalog's folder", given);
	if (asprintf(file, "%s%s", strcmp(*folder, "/") == 0 ? "" : *folder, slash) < 0) {
		*file = NULL;
		return err_sys(err, ENOMEM, "open the catalog", path);
	}
	return 0;
}

static int no_catalog(struct err *err, const char *file, const char *what)
{
	err_set(err, EUCLEAN, "catalog_corrupt", file, "%s", what);
	err_hint(err, "if \"catalog\" in fsd.conf is right, move it away and start fsd; "
		"fsctl pool scan rebuilds the catalog");
	return -EUCLEAN;
}

/* Who can write it could make fsd delete what they like. */
static bool is_private(const struct stat *st, const char *name, struct err *err)
{
	if (!(st->st_mode & 022) && (st->st_uid == geteuid() || st->st_uid == 0))
		return true;
	err_set(err, EPERM, "catalog_exposed", name, "others can write it (mode %04o, owner %u)",
		st->st_mode & 07777, st->st_uid);
	err_hint(err, "where nobody else has changed it: chown %u %.150s; chmod 600 %.150s; "
		"otherwise move it away, start fsd, and fsctl pool scan", geteuid(), name, name);
	return false;
}

/* SQLite opens none of them through a symlink either; here the reason is plain. 1: it exists. */
static int look_at(const char *file, const char *suffix, struct err *err)
{
	char name[PATH_MAX];
	struct stat st;

	if (snprintf(name, sizeof(name), "%s%s", file, suffix) >= (int)sizeof(name))
		return err_sys(err, ENAMETOOLONG, "open the catalog", file);
	if (lstat(name, &st) < 0)
		return errno == ENOENT ? 0 : err_sys(err, errno, "look at the catalog", name);
	if (S_ISLNK(st.st_mode)) {
		err_set(err, ELOOP, "catalog_symlink", name,
			"a symbolic link stands in the place of the catalog's file");
		err_hint(err, "see who made it, and remove it; a catalog that lies elsewhere is "
			"named with \"catalog\" in fsd.conf");
		return -ELOOP;
	}
	if (!S_ISREG(st.st_mode))
		return no_catalog(err, name, "it is not a regular file");
	return is_private(&st, name, err) ? 1 : -EPERM;
}

static int look_at_all(const char *file, bool *exists, struct err *err)
{
	static const char *const suffixes[] = {"", "-wal", "-shm", "-journal"};

	for (size_t i = 0; i < sizeof(suffixes) / sizeof(suffixes[0]); i++) {
		int r = look_at(file, suffixes[i], err);

		if (r < 0)
			return r;
		if (i == 0)
			*exists = r > 0;
	}
	return 0;
}

/* SQLite would make it 0644; its log and index files take over the mode of the file. */
static int create(const char *folder, const char *file, struct err *err)
{
	_cleanup_fd_ int dir = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	_cleanup_fd_ int fd = -1;
	int r;

	if (dir < 0)
		return err_sys(err, errno, "open the catalog's folder", folder);
	fd = openat(dir, strrchr(file, '/') + 1,
		O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0 && errno != EEXIST)
		return err_sys(err, errno, "make the catalog", file);
	r = fd_sync(dir);
	return r < 0 ? err_sys(err, -r, "make the catalog", folder) : 0;
}

static int prepare_file(const char *path, unsigned flags, char **file, struct err *err)
{
	_cleanup_free_ char *folder = NULL;
	bool exists = false;
	int r = resolve(path, &folder, file, err);

	if (r == 0)
		r = look_at_all(*file, &exists, err);
	if (r < 0 || exists)
		return r;
	if (!(flags & CATALOG_CREATE) || (flags & CATALOG_READ_ONLY))
		return err_set(err, ENOENT, "catalog_missing", *file, "there is no catalog");
	return create(folder, *file, err);
}

/* ---- the handle ---- */

static const struct {
	int option, on;
} options[] = {
	{SQLITE_DBCONFIG_DEFENSIVE, 1},
	{SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0},
	{SQLITE_DBCONFIG_ENABLE_TRIGGER, 0},
	{SQLITE_DBCONFIG_ENABLE_VIEW, 0},
	{SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, 0},
	{SQLITE_DBCONFIG_DQS_DDL, 0},
	{SQLITE_DBCONFIG_DQS_DML, 0},
	{SQLITE_DBCONFIG_ENABLE_FKEY, 1},
};

static int open_handle(struct catalog *c, unsigned flags, struct err *err)
{
	int mode = flags & CATALOG_READ_ONLY ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE;
	int rc = sqlite3_open_v2(c->path, &c->db,
		mode | SQLITE_OPEN_NOFOLLOW | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_PRIVATECACHE |
			SQLITE_OPEN_EXRESCODE,
		NULL);

	if (rc != SQLITE_OK)
		return sql_error(c, rc, NULL, err);
	/* SQLite is content with less than it was asked for. */
	if (!(flags & CATALOG_READ_ONLY) && sqlite3_db_readonly(c->db, "main"))
		return err_set(err, EROFS, "read_only", c->path, "the catalog cannot be written");
	for (size_t i = 0; rc == SQLITE_OK && i < sizeof(options) / sizeof(options[0]); i++)
		rc = sqlite3_db_config(c->db, options[i].option, options[i].on, NULL);
	if (rc == SQLITE_OK)
		rc = sqlite3_busy_timeout(c->db, SQL_BUSY_MS);
	if (rc != SQLITE_OK)
		return sql_error(c, rc, NULL, err);
	/* 1 MiB of pages is enough for pages of a list; the kernel caches the file. Sorting must
	 * not make files in /tmp. */
	return sql_exec(c,
		"PRAGMA cell_size_check = 1; PRAGMA mmap_size = 0; PRAGMA temp_store = MEMORY;"
		"PRAGMA cache_size = -1024",
		err);
}

/* ---- the version ---- */

struct identity {
	int64_t application, version, tables;
};

static int read_identity(struct catalog *c, struct identity *id, struct err *err)
{
	int r = sql_int(c, "PRAGMA application_id", NULL, &id->application, err);

	if (r == 0)
		r = sql_int(c, "PRAGMA user_version", NULL, &id->version, err);
	if (r == 0)
		r = sql_int(c, "SELECT count(*) FROM sqlite_schema", NULL, &id->tables, err);
	return r;
}

static int check_identity(struct catalog *c, const struct identity *id, unsigned flags, int newest,
	struct err *err)
{
	bool blank = id->application == 0 && id->version == 0 && id->tables == 0;

	if (blank && (!(flags & CATALOG_CREATE) || (flags & CATALOG_READ_ONLY)))
		return err_set(err, ENOENT, "catalog_missing", c->path, "the file is empty");
	if (!blank && id->application != SQL_APPLICATION_ID)
		return no_catalog(err, c->path, "it is a database of another program");
	if (id->version > newest) {
		err_set(err, EPROTO, "catalog_newer", c->path,
			"its schema is %lld, this fsd knows %d", (long long)id->version, newest);
		err_hint(err, "start the newer fsd that wrote it");
		return -EPROTO;
	}
	if (id->version < newest && (flags & CATALOG_READ_ONLY))
		return err_set(err, EPROTO, "catalog_older", c->path,
			"its schema is %lld and must be migrated to %d first",
			(long long)id->version, newest);
	return 0;
}

/* Durable commits without waiting readers. A log that grew in a long transaction is cut again. */
static int set_journal(struct catalog *c, struct err *err)
{
	sqlite3_stmt *s;
	int rc, r = sql_statement(c, "PRAGMA journal_mode = WAL", &s, err);

	if (r < 0)
		return r;
	rc = sqlite3_step(s);
	if (rc != SQLITE_ROW)
		r = sql_error(c, rc, NULL, err);
	else if (strcmp((const char *)sqlite3_column_text(s, 0), "wal") != 0)
		r = err_set(err, EIO, "io_error", c->path,
			"this file system has no shared memory for the catalog's log");
	sql_done(s);
	if (r < 0)
		return r;
	return sql_exec(c, "PRAGMA synchronous = FULL; PRAGMA journal_size_limit = 4194304", err);
}

/* ---- migration ---- */

static int check_references(struct catalog *c, struct err *err)
{
	sqlite3_stmt *s;
	int rc, r = sql_statement(c, "PRAGMA foreign_key_check", &s, err);

	if (r < 0)
		return r;
	rc = sqlite3_step(s);
	if (rc == SQLITE_ROW)
		r = err_set(err, EUCLEAN, "catalog_corrupt", c->path,
			"a record in %s names one in %s that is missing",
			(const char *)sqlite3_column_text(s, 0),
			(const char *)sqlite3_column_text(s, 2));
	else if (rc != SQLITE_DONE)
		r = sql_error(c, rc, NULL, err);
	sql_done(s);
	return r;
}

/* Foreign keys are off meanwhile, so that a step can rebuild a table, and checked at its end
 * (https://www.sqlite.org/lang_altertable.html, 7). */
static int migrate_step(struct catalog *c, const struct sql_step *step, int version,
	struct err *err)
{
	char set_version[64];
	int r = catalog_begin(c, err);

	if (r < 0)
		return r;
	snprintf(set_version, sizeof(set_version), "PRAGMA user_version = %d", version);
	r = sql_exec(c, step->sql, err);
	if (r == 0)
		r = sql_exec(c, set_version, err);
	if (r == 0)
		r = check_references(c, err);
	if (r == 0)
		return catalog_commit(c, err);
	catalog_rollback(c);
	return r;
}

static int migrate(struct catalog *c, int64_t from, const struct sql_step *steps, int n_steps,
	struct err *err)
{
	int r = 0;

	sqlite3_db_config(c->db, SQLITE_DBCONFIG_ENABLE_FKEY, 0, NULL);
	for (int64_t v = from; r == 0 && v < n_steps; v++)
		r = migrate_step(c, &steps[v], v + 1, err);
	sqlite3_db_config(c->db, SQLITE_DBCONFIG_ENABLE_FKEY, 1, NULL);
	c->commits = 0;
	return r;
}

/* ---- open, check, close ---- */

static int open_checked(struct catalog *c, unsigned flags, const struct sql_step *steps,
	int n_steps, struct err *err)
{
	struct identity id;
	int r = open_handle(c, flags, err);

	if (r == 0)
		r = read_identity(c, &id, err);
	if (r == 0)
		r = check_identity(c, &id, flags, n_steps, err);
	if (r < 0 || (flags & CATALOG_READ_ONLY))
		return r;
	r = set_journal(c, err);
	return r < 0 ? r : migrate(c, id.version, steps, n_steps, err);
}

int sql_open(const char *path, unsigned flags, const struct sql_step *steps, int n_steps,
	struct catalog **out, struct err *err)
{
	struct catalog *c = calloc(1, sizeof(*c));
	int r;

	if (!c)
		return err_sys(err, ENOMEM, "open the catalog", path);
	r = prepare_file(path, flags, &c->path, err);
	if (r == 0)
		r = open_checked(c, flags, steps, n_steps, err);
	if (r < 0) {
		/* What was refused is left as it was, its log included. */
		if (c->db)
			sqlite3_db_config(c->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
		catalog_close(&c);
		return r;
	}
	*out = c;
	return 0;
}

int catalog_open(const char *path, unsigned flags, struct catalog **out, struct err *err)
{
	return sql_open(path, flags, sql_steps, CATALOG_SCHEMA, out, err);
}

void catalog_close(struct catalog **cp)
{
	struct catalog *c = *cp;

	*cp = NULL;
	if (!c)
		return;
	if (c->db)
		catalog_rollback(c);
	for (unsigned i = 0; i < c->n_statements; i++)
		sqlite3_finalize(c->statements[i]);
	sqlite3_close(c->db);
	free(c->path);
	free(c);
}

int catalog_check(struct catalog *c, struct err *err)
{
	const char *text;
	sqlite3_stmt *s;
	int rc, r = sql_statement(c, "PRAGMA integrity_check(1)", &s, err);

	if (r < 0)
		return r;
	rc = sqlite3_step(s);
	text = rc == SQLITE_ROW ? (const char *)sqlite3_column_text(s, 0) : NULL;
	if (rc != SQLITE_ROW)
		r = sql_error(c, rc, NULL, err);
	else if (!text || strcmp(text, "ok") != 0)
		r = err_set(err, EUCLEAN, "catalog_corrupt", c->path, "%s",
			text ? text : "integrity_check");
	sql_done(s);
	return r < 0 ? r : check_references(c, err);
}
