/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The list of pool drivers, the choice among them, and the names of methods. */
#include "backends/pool/pool.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "snap/base/buf.h"
#include "snap/base/err.h"

/* In the order of "auto": what costs least first. */
static const struct pool_driver *const automatic[] = {
	&pool_driver_btrfs,
	&pool_driver_copy,
};

#define N_AUTOMATIC (sizeof(automatic) / sizeof(automatic[0]))

static const char *const method_names[] = {
	[POOL_METHOD_SNAPSHOT] = "snapshot",
	[POOL_METHOD_REFLINK] = "reflink",
	[POOL_METHOD_HARDLINK] = "hardlink",
	[POOL_METHOD_GIT] = "git",
	[POOL_METHOD_COPY] = "copy",
};

#define N_METHODS (sizeof(method_names) / sizeof(method_names[0]))

const char *pool_method_name(enum pool_method m)
{
	return (size_t)m < N_METHODS ? method_names[m] : "unknown";
}

int pool_method_parse(const char *name, enum pool_method *out)
{
	for (size_t i = 0; i < N_METHODS; i++) {
		if (strcmp(name, method_names[i]) == 0) {
			*out = (enum pool_method)i;
			return 0;
		}
	}
	return -EINVAL;
}

const struct pool_driver *pool_driver_find(const char *name)
{
	for (size_t i = 0; i < N_AUTOMATIC; i++) {
		if (strcmp(name, automatic[i]->name) == 0)
			return automatic[i];
	}
#ifdef POOL_WITH_FAULT
	if (strcmp(name, pool_driver_fault.name) == 0)
		return &pool_driver_fault;
#endif
	return NULL;
}

/* A probe that fails is a driver that does not fit; why it failed stands in `why`. */
static bool fits(const struct pool_driver *driver, int rootfd, char why[POOL_WHY_SIZE],
	struct buf *lines)
{
	int r;

	why[0] = '\0';
	r = driver->probe(rootfd, why);
	buf_printf(lines, "%s: %s, %s\n", driver->name, r > 0 ? "yes" : "no", why);
	return r > 0;
}

/* The first that fits, or whether `only` does; all are probed, for the report. `why` is of the last
 * that counted. */
static const struct pool_driver *probe(int rootfd, const struct pool_driver *only,
	char why[POOL_WHY_SIZE], struct buf *lines)
{
	const struct pool_driver *chosen = NULL;
	bool listed = false;

	for (size_t i = 0; i < N_AUTOMATIC; i++) {
		char other[POOL_WHY_SIZE];
		bool counts = !only || only == automatic[i];

		listed = listed || only == automatic[i];
		if (fits(automatic[i], rootfd, counts ? why : other, lines) && counts && !chosen)
			chosen = automatic[i];
	}
	return only && !listed && fits(only, rootfd, why, lines) ? only : chosen;
}

static int choose(int rootfd, const char *name, const struct pool_driver **out,
	struct buf *lines, struct err *err)
{
	const struct pool_driver *only = name ? pool_driver_find(name) : NULL;
	char why[POOL_WHY_SIZE];

	if (name && !only)
		return err_set(err, EINVAL, "unknown_driver", name,
			"there is no pool driver of this name");
	*out = probe(rootfd, only, why, lines);
	if (*out)
		return 0;
	return err_set(err, EOPNOTSUPP, "driver_unfit", name ? name : "auto", "%s",
		name ? why : "no pool driver can serve this directory");
}

int pool_driver_choose(int rootfd, const char *wanted, const char *before,
	const struct pool_driver **out, char **report, struct err *err)
{
	bool automatically = strcmp(wanted, "auto") == 0;
	const struct pool_driver *chosen = NULL;
	_cleanup_buf_ struct buf lines = BUF_INIT;
	int r = choose(rootfd, automatically ? before : wanted, &chosen, &lines, err);

	if (r == 0)
		buf_printf(&lines, "%s is %s\n", chosen->name,
			!automatically ? "chosen, as configured"
			: before ? "kept, since it served the pool before; \"driver\" in fsd.conf "
				   "changes it"
				 : "chosen, the first that fits");
	if (buf_error(&lines))
		return err_sys(err, ENOMEM, "pool report", NULL);
	/* The report is of use above all when nothing fits. */
	if (report)
		*report = buf_steal(&lines);
	if (r == 0)
		*out = chosen;
	return r;
}
