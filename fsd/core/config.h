/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The configuration: INI, one file and its drop-ins (FILE.d/ *.conf in byte order; a later value
 * replaces an earlier one; import_from adds, and an empty value empties the list). Unknown sections
 * and keys, the same key or pool twice in one file, bad values and missing required ones are errors
 * that name file and line. Run by root, a file that others can write, or that is reached by a
 * symbolic link of theirs, is refused. Read-only once loaded; a reload makes a new one.
 */
#ifndef FSD_CORE_CONFIG_H
#define FSD_CORE_CONFIG_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct err;

#define CONFIG_PATH "/etc/fsd/fsd.conf"

struct config_pool {
	char *name;   /* [pool NAME] */
	char *path;   /* absolute */
	char *driver; /* "auto" or a driver's name */
	char *driver_at; /* "FILE:LINE", NULL where none is given: for who knows the drivers */
	unsigned jobs; /* how many jobs may change it at once; default 4 */
};

struct config {
	char *file;	   /* absolute path of the main file */
	char *catalog;	   /* absolute */
	char *socket;	   /* absolute */
	char *api_user;	   /* default "fsd"; without root ignored */
	char *admin_group; /* NULL: nobody but root and fsd's own user */
	char *operator_group;
	char *viewer_group;
	gid_t admin_gid, operator_gid, viewer_gid; /* (gid_t)-1: none */
	char **import_from; /* absolute directories; repeated key or separated by ':' */
	unsigned n_import_from;
	unsigned min_free_percent; /* min_free = 10% ... */
	uint64_t min_free_bytes;   /* ... or 20G; the other one is 0 */
	int64_t grace;		   /* ns; default 24h */
	unsigned keep_generations; /* default 2 */
	int64_t undo_keep;	   /* ns; default 7d */
	int64_t job_keep;	   /* ns; default 30d: how long jobs and events stay listed */
	unsigned max_jobs;	   /* jobs running at once over all pools; default 4 */
	unsigned log_level;	   /* syslog's: 3 err, 4 warning, 6 info (default), 7 debug */
	struct config_pool *pools;
	unsigned n_pools; /* >= 1 */
};

/* Load and check. The caller owns *out. Does not touch pools, catalog or socket. Errors: code
 * "bad_config", object "FILE:LINE". */
int config_load(const char *file, struct config **out, struct err *err);
void config_free(struct config **c);
/* NULL when there is none. */
const struct config_pool *config_pool(const struct config *c, const char *name);

/* What a reload may not change: catalog, socket, api_user, which pools there are, their paths and
 * drivers. False when `to` can follow `from`; otherwise *what is the first, as "[pool NAME] KEY",
 * "[pool NAME]" for one that came or went, or "KEY". */
#define CONFIG_WHAT_SIZE 256
bool config_frozen(const struct config *from, const struct config *to, char what[CONFIG_WHAT_SIZE]);

#endif
