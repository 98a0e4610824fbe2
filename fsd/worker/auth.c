/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fsd/worker/auth.h"

#include <errno.h>
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

int auth_check(const struct config *c, const struct request *r, struct err *err)
{
	enum role need = op_specs[r->op].role, have = auth_role(c, &r->actor);
	const char *group = group_for(c, need);

	if (have >= need)
		return 0;
	err_set(err, EACCES, "forbidden", op_specs[r->op].name,
		"uid %u has the role %s, this needs %s", r->actor.uid, role_name(have),
		role_name(need));
	if (group)
		err_hint(err, "members of the group %s may; or ask as root", group);
	else
		err_hint(err, "ask as root, or set %s_group in %s", role_name(need), c->file);
	return -EACCES;
}
