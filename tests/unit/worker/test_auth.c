/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Every role and every operation; who may not delete may not have it deleted either. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "fsd/worker/auth.h"
#include "snap/base/err.h"

enum { STRANGERS = 4000, VIEWERS, OPERATORS, ADMINS };

static char file[] = "/etc/fsd/fsd.conf";
static char admins[] = "admins", operators[] = "operators", viewers[] = "viewers";

static const struct config groups = {
	.file = file,
	.admin_group = admins,
	.operator_group = operators,
	.viewer_group = viewers,
	.admin_gid = ADMINS,
	.operator_gid = OPERATORS,
	.viewer_gid = VIEWERS,
};
static const struct config no_groups = {
	.file = file,
	.admin_gid = (gid_t)-1,
	.operator_gid = (gid_t)-1,
	.viewer_gid = (gid_t)-1,
};

/* An ordinary user, not the one who runs the test, in this group alone. */
static struct actor member_of(gid_t gid)
{
	return (struct actor){.uid = geteuid() + 4000, .gids = {gid}, .n_gids = 1};
}

static const gid_t gid_of[] = {
	[ROLE_NONE] = STRANGERS,
	[ROLE_VIEWER] = VIEWERS,
	[ROLE_OPERATOR] = OPERATORS,
	[ROLE_ADMIN] = ADMINS,
};

static void test_role__is_the_highest_that_a_group_gives(void **state)
{
	struct actor a;

	(void)state;
	for (enum role role = ROLE_NONE; role <= ROLE_ADMIN; role++) {
		a = member_of(gid_of[role]);
		assert_int_equal(auth_role(&groups, &a), role);
		assert_int_equal(auth_role(&no_groups, &a), ROLE_NONE);
		for (enum role other = ROLE_NONE; other <= ROLE_ADMIN; other++) {
			a.gids[1] = gid_of[other];
			a.n_gids = 2;
			assert_int_equal(auth_role(&groups, &a), role > other ? role : other);
		}
	}
	a.n_gids = 0; /* what lies behind does not count */
	assert_int_equal(auth_role(&groups, &a), ROLE_NONE);
	a = member_of((gid_t)-1); /* which stands for "not set" */
	assert_int_equal(auth_role(&no_groups, &a), ROLE_NONE);
}

static void test_role__of_root_and_of_who_runs_fsd_is_admin(void **state)
{
	struct actor root = {.uid = 0}, self = {.uid = geteuid()}, other = member_of(STRANGERS);

	(void)state;
	assert_int_equal(auth_role(&no_groups, &root), ROLE_ADMIN);
	assert_int_equal(auth_role(&no_groups, &self), ROLE_ADMIN);
	other.gids[0] = 0; /* root's group is not root */
	assert_int_equal(auth_role(&no_groups, &other), ROLE_NONE);
}

static int ask(enum role role, struct request *r, struct err *err)
{
	*err = ERR_INIT;
	r->actor = member_of(gid_of[role]);
	return auth_check(&groups, r, err);
}

static void test_check__every_operation_takes_the_role_of_the_table(void **state)
{
	struct request r;
	struct err err;

	(void)state;
	for (enum op op = OP_NONE + 1; op < OP_COUNT; op++) {
		request_init(&r, op);
		if (op == OP_SNAPSHOT_HOLD)
			request_set_int(&r, F_HOLD, true);
		for (enum role role = ROLE_NONE; role <= ROLE_ADMIN; role++) {
			bool may = role >= op_specs[op].role;

			if (ask(role, &r, &err) != (may ? 0 : -EACCES))
				fail_msg("%s: wrong answer to %s", op_specs[op].name,
					role_name(role));
			if (!may)
				assert_string_equal(err.code, "forbidden");
		}
		request_release(&r);
	}
}

static void set_all(struct request *r, const char *const *items)
{
	for (size_t i = 0; items[i]; i++)
		assert_int_equal(request_add(r, F_SET, items[i]), 0);
}

static void expect_needs(enum role need, struct request *r, const char *what)
{
	struct err err;

	for (enum role role = ROLE_NONE; role <= ROLE_ADMIN; role++) {
		if (ask(role, r, &err) != (role >= need ? 0 : -EACCES))
			fail_msg("%s: wrong answer to %s", what, role_name(role));
	}
	request_release(r);
}

static void test_check__of_what_lets_be_deleted_takes_the_role_of_deleting(void **state)
{
	static const struct {
		enum op op;
		const char *items[3];
		enum role need;
	} cases[] = {
		{OP_SITE_SET, {"expires=1s"}, ROLE_ADMIN},
		{OP_SITE_SET, {"expires="}, ROLE_ADMIN},
		{OP_SITE_SET, {"expires=never"}, ROLE_OPERATOR},
		{OP_SITE_SET, {"expires"}, ROLE_OPERATOR},
		{OP_SITE_SET, {"protected=no"}, ROLE_ADMIN},
		{OP_SITE_SET, {"protected"}, ROLE_ADMIN},
		{OP_SITE_SET, {"protected=yes"}, ROLE_OPERATOR},
		{OP_SITE_SET, {"protected=yes", "expires=1s"}, ROLE_ADMIN},
		{OP_SITE_SET, {"label.expires=1s", "label.protected=no"}, ROLE_OPERATOR},
		{OP_SITE_SET, {"expiresnot=1", "protectedness"},
			ROLE_OPERATOR}, /* refused by plan */
		{OP_SNAPSHOT_SET, {"label.a=b", "expires=1s"}, ROLE_ADMIN},
		{OP_SNAPSHOT_SET, {"expires=never"}, ROLE_OPERATOR},
		{OP_SNAPSHOT_SET, {"label.a=b"}, ROLE_OPERATOR},
	};
	struct request r;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		request_init(&r, cases[i].op);
		set_all(&r, cases[i].items);
		expect_needs(cases[i].need, &r, cases[i].items[0]);
	}
	for (int hold = 0; hold <= 1; hold++) {
		request_init(&r, OP_SNAPSHOT_HOLD);
		request_set_int(&r, F_HOLD, hold);
		expect_needs(hold ? ROLE_OPERATOR : ROLE_ADMIN, &r, "hold");
	}
	request_init(&r, OP_CLONE); /* what one makes may end as one says */
	request_set_str(&r, F_EXPIRES, "1s");
	expect_needs(ROLE_OPERATOR, &r, "clone");
}

static void test_check__says_who_may(void **state)
{
	struct err err = ERR_INIT;
	struct request r;

	(void)state;
	request_init(&r, OP_SITE_SET);
	request_set_str(&r, F_SITE, "shop");
	request_add(&r, F_SET, "protected=no");
	ask(ROLE_OPERATOR, &r, &err);
	assert_string_equal(err.object, "shop");
	assert_non_null(strstr(err.reason, "has the role operator"));
	assert_non_null(
		strstr(err.reason, "taking its protection off needs admin as deleting does"));
	assert_non_null(strstr(err.hint, "the group admins"));
	err = ERR_INIT;
	auth_check(&no_groups, &r, &err);
	assert_non_null(strstr(err.hint, "admin_group in /etc/fsd/fsd.conf"));
	request_release(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_role__is_the_highest_that_a_group_gives),
		cmocka_unit_test(test_role__of_root_and_of_who_runs_fsd_is_admin),
		cmocka_unit_test(test_check__every_operation_takes_the_role_of_the_table),
		cmocka_unit_test(test_check__of_what_lets_be_deleted_takes_the_role_of_deleting),
		cmocka_unit_test(test_check__says_who_may),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
