/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fsd/worker/auth.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "snap/base/err.h"

static bool in_group(const struct actor *a, gid_t gid)
{
	for (unsigned i = 0; gid != (gid_t)-1 && i < a->n_gids; i++) {
		if (a->gids[i] == gid)
			return true;
	}
	return false;
}

enum role auth_role(const struct config *c, const struct actor *a)
{
	if (a->uid == 0 || a->uid == geteuid() || in_group(a, c->admin_gid))
		return ROLE_ADMIN;
	if (in_group(a, c->operator_gid))
		return ROLE_OPERATOR;
	return in_group(a, c->viewer_gid) ? ROLE_VIEWER : ROLE_NONE;
}

static const char *group_for(const struct config *c, enum role role)
{
	if (role <= ROLE_VIEWER && c->viewer_group)
		return c->viewer_group;
	if (role <= ROLE_OPERATOR && c->operator_group)
		return c->operator_group;
	return c->admin_group;
}

/* ---- what lets housekeeping delete takes the role of deleting ---- */

/* A property that keeps an object as long as it has this value. */
struct guard {
	const char *key, *keeps;
	bool keeps_removed; /* so does having none */
	const char *step;   /* what setting anything else is called */
};

static const struct guard guards[] = {
	{"expires", "never", true, "setting when it expires"},
	{"protected", "yes", false, "taking its protection off"},
};

/* Does this "K=V", or "K" that is to be removed, take the guard away? */
static bool takes_away(const struct guard *g, const char *item)
{
	size_t len = strlen(g->key);

	if (strncmp(item, g->key, len) != 0)
		return false;
	if (item[len] == '=')
		return strcmp(item + len + 1, g->keeps) != 0;
	return item[len] == '\0' && !g->keeps_removed;
}

static const char *taken_away(const struct request *r)
{
	size_t n;
	char *const *items = request_list(r, F_SET, &n);

	for (size_t i = 0; i < n; i++) {
		for (size_t k = 0; k < sizeof(guards) / sizeof(guards[0]); k++) {
			if (takes_away(&guards[k], items[i]))
				return guards[k].step;
		}
	}
	return NULL;
}

/* The step towards a deletion that this request is; NULL: none, or it says so by its name. */
static const char *step_to_deletion(const struct request *r)
{
	if (r->op == OP_SNAPSHOT_HOLD)
		return request_bool(r, F_HOLD) ? NULL : "releasing a hold";
	return r->op == OP_SITE_SET || r->op == OP_SNAPSHOT_SET ? taken_away(r) : NULL;
}

/* What the request names, for messages. */
static const char *about(const struct request *r)
{
	static const enum field fields[] = {F_SITE, F_SOURCE, F_NAME, F_POOL, F_JOB, F_A};

	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
		if (request_has(r, fields[i]))
			return request_str(r, fields[i]);
	}
	return NULL;
}

int auth_check(const struct config *c, const struct request *r, struct err *err)
{
	enum role need = op_specs[r->op].role, have = auth_role(c, &r->actor);
	const char *step = step_to_deletion(r), *group;

	if (step)
		need = op_specs[r->op == OP_SITE_SET ? OP_SITE_DELETE : OP_SNAPSHOT_DELETE].role;
	if (have >= need)
		return 0;
	err_set(err, EACCES, "forbidden", about(r),
		"uid %u has the role %s, %s needs %s%s", r->actor.uid, role_name(have),
		step ? step : "this", role_name(need), step ? " as deleting does" : "");
	group = group_for(c, need);
	if (group)
		err_hint(err, "members of the group %s may; or ask as root", group);
	else
		err_hint(err, "ask as root, or set %s_group in %s", role_name(need), c->file);
	return -EACCES;
}
