/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* SQLite's result codes as fsd's errors (https://www.sqlite.org/rescode.html). */
#include "backends/catalog/sqlite_internal.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

struct meaning {
	int from; /* a result code, or an errno value */
	int num;
	const char *code;
	const char *reason; /* NULL: SQLite's own words */
};

/* Extended codes that say more than the primary code they belong to. */
static const struct meaning extended[] = {
	{SQLITE_CANTOPEN_SYMLINK, ELOOP, "catalog_symlink"},
	{SQLITE_CANTOPEN_ISDIR, EUCLEAN, "catalog_corrupt"},
	{SQLITE_CONSTRAINT_FOREIGNKEY, EINVAL, "bad_reference",
		"it names a tenant, pool or site that the catalog does not have"},
	{SQLITE_CONSTRAINT_PRIMARYKEY, EEXIST, "exists"},
	{SQLITE_CONSTRAINT_UNIQUE, EEXIST, "exists"},
	{SQLITE_IOERR_CORRUPTFS, EUCLEAN, "catalog_corrupt"},
	{SQLITE_IOERR_NOMEM, ENOMEM, "no_memory"},
	{SQLITE_IOERR_LOCK, EBUSY, "catalog_locked"},
};

static const struct meaning primary[] = {
	{SQLITE_BUSY, EBUSY, "catalog_locked"},
	{SQLITE_LOCKED, EBUSY, "catalog_locked"},
	{SQLITE_PROTOCOL, EBUSY, "catalog_locked"},
	{SQLITE_CORRUPT, EUCLEAN, "catalog_corrupt"},
	{SQLITE_NOTADB, EUCLEAN, "catalog_corrupt"},
	/* Our statements are right (the tests ran them), so a table or column is missing. */
	{SQLITE_ERROR, EUCLEAN, "catalog_corrupt"},
	{SQLITE_SCHEMA, EUCLEAN, "catalog_corrupt"},
	{SQLITE_FULL, ENOSPC, "no_space"},
	{SQLITE_READONLY, EROFS, "read_only"},
	{SQLITE_NOMEM, ENOMEM, "no_memory"},
	{SQLITE_PERM, EACCES, "denied"},
	{SQLITE_AUTH, EACCES, "denied"},
	{SQLITE_TOOBIG, EFBIG, "too_large"},
	{SQLITE_CONSTRAINT, EINVAL, "bad_record"},
};

/* What the system said when a file could not be opened, read or written. */
static const struct meaning systems[] = {
	{ENOSPC, ENOSPC, "no_space"},
	{EDQUOT, ENOSPC, "no_space"},
	{EFBIG, ENOSPC, "no_space"}, /* RLIMIT_FSIZE, or the file system's largest file */
	{EROFS, EROFS, "read_only"},
	{ELOOP, ELOOP, "catalog_symlink"},
	{EACCES, EACCES, "denied"},
	{EPERM, EACCES, "denied"},
};

#define FIND(table, value) find(table, sizeof(table) / sizeof((table)[0]), value)

static const struct meaning *find(const struct meaning *table, size_t n, int value)
{
	for (size_t i = 0; i < n; i++) {
		if (table[i].from == value)
			return &table[i];
	}
	return NULL;
}

static const struct meaning *meaning(int rc, int system)
{
	static const struct meaning other = {0, EIO, "io_error"};
	const struct meaning *m = FIND(extended, rc);

	if (!m)
		m = FIND(primary, rc & 0xff);
	if (!m && ((rc & 0xff) == SQLITE_IOERR || (rc & 0xff) == SQLITE_CANTOPEN))
		m = FIND(systems, system);
	return m ? m : &other;
}

static void add_hint(const struct catalog *c, const struct meaning *m, struct err *err)
{
	if (m->num == EBUSY)
		err_hint(err, "another program holds the catalog; see who has it open");
	else if (m->num == EUCLEAN)
		err_hint(err, "stop fsd, move the catalog %.200s away, start fsd; fsctl pool scan "
			"rebuilds it", c->path);
	else if (m->num == ENOSPC)
		err_hint(err, "free some space where the catalog is, %.250s", c->path);
	else if (m->num == EROFS)
		err_hint(err, "mount the file system of the catalog, %.250s, read-write; dmesg may "
			"say why it is not", c->path);
}

static int fill(struct catalog *c, int rc, const char *object, struct err *err)
{
	int system = c->db ? sqlite3_system_errno(c->db) : 0;
	const struct meaning *m = meaning(rc, system);
	const char *reason = m->reason ? m->reason : sqlite3_errmsg(c->db);
	const char *said = "";
	char text[128];

	assert((rc & 0xff) != SQLITE_MISUSE && (rc & 0xff) != SQLITE_RANGE);
	if (m->num == EIO && system)
		said = strerror_r(system, text, sizeof(text));
	err_set(err, m->num, m->code, object ? object : c->path, "%s%s%s", reason,
		said[0] ? ": " : "", said);
	add_hint(c, m, err);
	return -m->num;
}

int sql_error(struct catalog *c, int rc, const char *object, struct err *err)
{
	/* Reads can cost the transaction as well, and their callers may not care. */
	if (sql_lost(c) && c->lost.num == 0)
		fill(c, rc, NULL, &c->lost);
	return fill(c, rc, object, err);
}
