/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The schema, one step a version; docs and tools read it with `sqlite3 FILE .schema`. A step that
 * was released is never edited: what changes later is a further step.
 *
 * Columns bear the names of the records' fields in catalog.h. Wide tables keep SQLite's rowid
 * (flat trees), narrow ones with a key of their own go without. Labels and holds name a site or a
 * snapshot, jobs, events and snapshots may outlive what they name: no foreign keys there.
 * AUTOINCREMENT: ids of jobs and events that were expired are never used again.
 */
#include "backends/catalog/sqlite_internal.h"

static const char schema_1[] =
	"PRAGMA application_id = 0x66736463;\n"

	"CREATE TABLE tenants(\n"
	"	id INTEGER PRIMARY KEY,\n"
	"	name TEXT NOT NULL UNIQUE\n"
	") STRICT;\n"
	"INSERT INTO tenants VALUES(1, 'default');\n"

	"CREATE TABLE pools(\n"
	"	id TEXT NOT NULL PRIMARY KEY,\n"
	"	name TEXT NOT NULL UNIQUE,\n"
	"	driver TEXT NOT NULL,\n"
	"	path TEXT NOT NULL,\n"
	"	seen INTEGER NOT NULL\n"
	") STRICT;\n"

	"CREATE TABLE sites(\n"
	"	id TEXT NOT NULL PRIMARY KEY,\n"
	"	name TEXT NOT NULL,\n"
	"	pool TEXT NOT NULL REFERENCES pools(name) ON UPDATE CASCADE,\n"
	"	tenant INTEGER NOT NULL REFERENCES tenants(id),\n"
	"	created INTEGER NOT NULL,\n"
	"	deleted INTEGER NOT NULL,\n"
	"	live INTEGER NOT NULL,\n"
	"	expires INTEGER NOT NULL,\n"
	"	protect INTEGER NOT NULL,\n"
	"	linked TEXT NOT NULL,\n"
	"	measured INTEGER NOT NULL,\n"
	"	logical INTEGER NOT NULL,\n"
	"	shared INTEGER NOT NULL,\n"
	"	exclusive INTEGER NOT NULL,\n"
	"	entries INTEGER NOT NULL\n"
	") STRICT;\n"
	"CREATE UNIQUE INDEX sites_in_use ON sites(name) WHERE deleted = 0;\n"
	"CREATE INDEX sites_in_pool ON sites(pool, name) WHERE deleted = 0;\n"
	"CREATE INDEX sites_deleted ON sites(id) WHERE deleted <> 0;\n"
	"CREATE INDEX sites_expires ON sites(expires) WHERE expires <> 0;\n"

	"CREATE TABLE generations(\n"
	"	site TEXT NOT NULL REFERENCES sites(id) ON DELETE CASCADE,\n"
	"	number INTEGER NOT NULL,\n"
	"	created INTEGER NOT NULL,\n"
	"	method TEXT NOT NULL,\n"
	"	consistency TEXT NOT NULL,\n"
	"	origin TEXT NOT NULL,\n"
	"	retired INTEGER NOT NULL,\n"
	"	retired_by INTEGER NOT NULL,\n"
	"	job INTEGER NOT NULL,\n"
	"	PRIMARY KEY(site, number)\n"
	") STRICT, WITHOUT ROWID;\n"
	"CREATE INDEX generations_retired ON generations(site, number) WHERE retired <> 0;\n"

	"CREATE TABLE snapshots(\n"
	"	id TEXT NOT NULL PRIMARY KEY,\n"
	"	site TEXT NOT NULL,\n"
	"	site_name TEXT NOT NULL,\n"
	"	name TEXT NOT NULL,\n"
	"	pool TEXT NOT NULL REFERENCES pools(name) ON UPDATE CASCADE,\n"
	"	kind TEXT NOT NULL,\n"
	"	created INTEGER NOT NULL,\n"
	"	generation INTEGER NOT NULL,\n"
	"	method TEXT NOT NULL,\n"
	"	consistency TEXT NOT NULL,\n"
	"	gap_ns INTEGER NOT NULL,\n"
	"	expires INTEGER NOT NULL,\n"
	"	job INTEGER NOT NULL,\n"
	"	measured INTEGER NOT NULL,\n"
	"	logical INTEGER NOT NULL,\n"
	"	shared INTEGER NOT NULL,\n"
	"	exclusive INTEGER NOT NULL,\n"
	"	entries INTEGER NOT NULL\n"
	") STRICT;\n"
	"CREATE UNIQUE INDEX snapshots_name ON snapshots(site, name);\n"
	"CREATE INDEX snapshots_of_site ON snapshots(site, created, id);\n"
	"CREATE INDEX snapshots_of_name ON snapshots(site_name, created, id);\n"
	"CREATE INDEX snapshots_time ON snapshots(created, id);\n"
	"CREATE INDEX snapshots_expires ON snapshots(expires) WHERE expires <> 0;\n"

	"CREATE TABLE labels(\n"
	"	object TEXT NOT NULL,\n"
	"	key TEXT NOT NULL,\n"
	"	value TEXT NOT NULL,\n"
	"	PRIMARY KEY(object, key)\n"
	") STRICT, WITHOUT ROWID;\n"
	"CREATE INDEX labels_key ON labels(key, value);\n"

	"CREATE TABLE holds(\n"
	"	object TEXT NOT NULL,\n"
	"	tag TEXT NOT NULL,\n"
	"	reason TEXT NOT NULL,\n"
	"	created INTEGER NOT NULL,\n"
	"	PRIMARY KEY(object, tag)\n"
	") STRICT, WITHOUT ROWID;\n"

	"CREATE TABLE jobs(\n"
	"	id INTEGER PRIMARY KEY AUTOINCREMENT,\n"
	"	kind TEXT NOT NULL,\n"
	"	state TEXT NOT NULL,\n"
	"	site TEXT NOT NULL,\n"
	"	site_name TEXT NOT NULL,\n"
	"	pool TEXT NOT NULL,\n"
	"	actor TEXT NOT NULL,\n"
	"	note TEXT NOT NULL,\n"
	"	key TEXT NOT NULL,\n"
	"	created INTEGER NOT NULL,\n"
	"	started INTEGER NOT NULL,\n"
	"	finished INTEGER NOT NULL,\n"
	"	undone_by INTEGER NOT NULL,\n"
	"	args TEXT,\n"
	"	intent TEXT,\n"
	"	result TEXT,\n"
	"	stats TEXT,\n"
	"	error TEXT\n"
	") STRICT;\n"
	"CREATE UNIQUE INDEX jobs_key ON jobs(actor, key) WHERE key <> '';\n"
	"CREATE INDEX jobs_state ON jobs(state, id);\n"
	"CREATE INDEX jobs_site ON jobs(site, id);\n"
	"CREATE INDEX jobs_site_name ON jobs(site_name, id);\n"
	"CREATE INDEX jobs_finished ON jobs(finished) WHERE finished <> 0;\n"

	"CREATE TABLE events(\n"
	"	id INTEGER PRIMARY KEY AUTOINCREMENT,\n"
	"	time INTEGER NOT NULL,\n"
	"	kind TEXT NOT NULL,\n"
	"	site TEXT NOT NULL,\n"
	"	job INTEGER NOT NULL,\n"
	"	data TEXT\n"
	") STRICT;\n"
	"CREATE INDEX events_time ON events(time);\n"
	"CREATE INDEX events_job ON events(job, id) WHERE job <> 0;\n"
	"CREATE INDEX events_site ON events(site, id) WHERE site <> '';\n";

static const char schema_2[] =
	"CREATE INDEX sites_deleted_name ON sites(name, deleted) WHERE deleted <> 0;\n";

static const char schema_3[] =
	"ALTER TABLE snapshots ADD COLUMN look INTEGER NOT NULL DEFAULT 0;\n"
	"CREATE INDEX snapshots_look ON snapshots(look) WHERE look <> 0;\n";

static const char schema_4[] =
	"CREATE TABLE unsettled(\n"
	"	snapshot TEXT NOT NULL PRIMARY KEY,\n"
	"	paths TEXT NOT NULL\n"
	") STRICT;\n";

const struct sql_step sql_steps[CATALOG_SCHEMA] = {
	{schema_1},
	{schema_2},
	{schema_3},
	{schema_4},
};
