/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The configuration: what is read, what is refused and where the error points. */
#include <errno.h>
#include <grp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <syslog.h>

#include <cmocka.h>

#include "fsd/core/config.h"
#include "snap/base/clock.h"
#include "snap/base/err.h"
#include "tests/unit/core/scratch.h"

#define BASE "[fsd]\ncatalog = /c/catalog.db\nsocket = /r/fsd.sock\n"
#define POOL "[pool main]\npath = /p\n"

static struct config *load(const char *text)
{
	struct config *c = NULL;
	struct err err = ERR_INIT;

	scratch_file("fsd.conf", "%s", text);
	if (config_load("fsd.conf", &c, &err) < 0)
		fail_msg("%s: %s", err.object, err.reason);
	return c;
}

/* The file must be refused, the error standing at FOLDER/fsd.conf:LINE (0: no line). */
static void refuse(const char *folder, const char *text, unsigned line, const char *reason)
{
	struct config *c = NULL;
	struct err err = ERR_INIT;
	char object[200];

	scratch_file("fsd.conf", "%s", text);
	snprintf(object, sizeof(object), line ? "%s/fsd.conf:%u" : "%s/fsd.conf", folder, line);
	if (config_load("fsd.conf", &c, &err) == 0)
		fail_msg("accepted: %s", text);
	assert_null(c);
	assert_string_equal(err.code, "bad_config");
	assert_string_equal(err.object, object);
	if (!strstr(err.reason, reason))
		fail_msg("\"%s\" does not say \"%s\"", err.reason, reason);
}

static void test_config__fills_in_the_defaults(void **state)
{
	struct config *c = load(BASE POOL);
	char file[200];

	snprintf(file, sizeof(file), "%s/fsd.conf", (char *)*state);
	assert_string_equal(c->file, file);
	assert_string_equal(c->catalog, "/c/catalog.db");
	assert_string_equal(c->socket, "/r/fsd.sock");
	assert_string_equal(c->api_user, "fsd");
	assert_null(c->admin_group);
	assert_true(c->admin_gid == (gid_t)-1 && c->operator_gid == (gid_t)-1);
	assert_int_equal(c->n_import_from, 0);
	assert_int_equal(c->min_free_percent, 10);
	assert_int_equal(c->min_free_bytes, 0);
	assert_int_equal(c->grace, 24 * 3600 * NSEC_PER_SEC);
	assert_int_equal(c->keep_generations, 2);
	assert_int_equal(c->undo_keep, 7 * 86400 * NSEC_PER_SEC);
	assert_int_equal(c->job_keep, 30 * 86400 * NSEC_PER_SEC);
	assert_int_equal(c->max_jobs, 4);
	assert_int_equal(c->log_level, LOG_INFO);
	assert_int_equal(c->n_pools, 1);
	assert_string_equal(c->pools[0].driver, "auto");
	assert_int_equal(c->pools[0].jobs, 4);
	assert_ptr_equal(config_pool(c, "main"), &c->pools[0]);
	assert_null(config_pool(c, "other"));
	config_free(&c);
	assert_null(c);
}

static void test_config__reads_every_key(void **state)
{
	struct group *grp = getgrgid(0);
	struct config *c;
	char text[2000];

	(void)state;
	snprintf(text, sizeof(text),
		"\xEF\xBB\xBF# comment\n; another\n\n  [fsd]  \r\n\tcatalog=/c//catalog.db/\n"
		"socket = /r/fsd.sock\napi_user = anna\nadmin_group = %s\n"
		"import_from = /var/www:/home/\nimport_from=/srv/a b\n"
		"min_free = 20G\ngrace = 90s\nkeep_generations = 3\nundo_keep = 2w\njob_keep=1d\n"
		"max_jobs = 8\nlog_level = debug\n"
		"[pool main]\npath = /srv/fsd/main\ndriver = copy\njobs = 2\n"
		"[ pool  other.1 ]\npath = /srv/fsd/main2",
		grp->gr_name);
	c = load(text);
	assert_string_equal(c->catalog, "/c/catalog.db");
	assert_string_equal(c->api_user, "anna");
	assert_string_equal(c->admin_group, grp->gr_name);
	assert_int_equal(c->admin_gid, 0);
	assert_int_equal(c->n_import_from, 3);
	assert_string_equal(c->import_from[1], "/home");
	assert_string_equal(c->import_from[2], "/srv/a b");
	assert_int_equal(c->min_free_percent, 0);
	assert_int_equal(c->min_free_bytes, 20ull << 30);
	assert_int_equal(c->grace, 90 * NSEC_PER_SEC);
	assert_int_equal(c->keep_generations, 3);
	assert_int_equal(c->undo_keep, 14 * 86400 * NSEC_PER_SEC);
	assert_int_equal(c->log_level, LOG_DEBUG);
	assert_int_equal(c->n_pools, 2);
	assert_string_equal(c->pools[0].driver, "copy");
	assert_int_equal(c->pools[0].jobs, 2);
	assert_string_equal(config_pool(c, "other.1")->path, "/srv/fsd/main2");
	config_free(&c);
}

static void test_config__names_file_and_line_of_every_mistake(void **state)
{
	static const struct {
		const char *text;
		unsigned line;
		const char *reason;
	} bad[] = {
		{"", 0, "catalog = FILE in section [fsd] is missing"},
		{"[fsd]\ncatalog = /c\n" POOL, 0, "socket = PATH in section [fsd] is missing"},
		{BASE, 0, "a section [pool NAME] is missing"},
		{BASE "[pool main]\ndriver = copy\n", 4, "has no path"},
		{BASE POOL "[store x]\n", 6, "unknown section \"store x\""},
		{BASE "[pools x]\n", 4, "unknown section"},
		{BASE "[pool]\n", 4, "needs a name"},
		{BASE "[pool A]\n", 4, "cannot be a pool's name"},
		{BASE "[pool a b]\n", 4, "cannot be a pool's name"},
		{BASE "[pool latest]\n", 4, "cannot be a pool's name"},
		{BASE "colour = red\n", 4, "unknown key \"colour\" in section [fsd]"},
		{BASE POOL "grace = 1h\n", 6, "unknown key \"grace\" in section [pool main]"},
		{BASE "Grace = 1h\n", 4, "unknown key"},
		{BASE "grace = 1h\n\n# x\ngrace = 2h\n", 7, "already given on line 4"},
		{BASE POOL POOL, 6, "pool \"main\" stands twice"},
		{BASE POOL "[pool two]\npath = /p/x\n", 7,
			"\"main\" and \"two\" lie in one another"},
		{BASE POOL "[pool two]\npath = /p/\n", 7, "lie in one another"},
		{BASE "[pool main]\npath = /c\n", 5, "catalog and socket may not lie in pool"},
		{BASE "[pool main]\npath = p\n", 5, "must be absolute"},
		{BASE "[pool main]\npath = /p/../q\n", 5, "\"..\""},
		{BASE "[pool main]\npath = /\n", 5, "cannot be used"},
		{BASE "[pool main]\npath = /p\x01\n", 5, "control characters"},
		{BASE "[pool main]\npath =\n", 5, "no value"},
		{BASE POOL "jobs = 0\n", 6, "between 1 and 256"},
		{BASE POOL "driver = a b\n", 6, "one word"},
		{"[fsd]\ncatalog = catalog.db\n", 2, "must be absolute"},
		{BASE "import_from = www\n", 4, "must be absolute"},
		{BASE "min_free = 100%\n", 4, "between 0 and 99"},
		{BASE "min_free = 10 %\n", 4, "percentage"},
		{BASE "min_free = much\n", 4, "percentage"},
		{BASE "min_free = -5G\n", 4, "percentage"},
		{BASE "min_free = 5X\n", 4, "K, M, G, T, P"},
		{BASE "min_free = 10\n", 4, "percentage"},
		{BASE "grace = 5\n", 4, "unit is missing"},
		{BASE "min_free = 99999999999P\n", 4, "too large"},
		{BASE "grace = soon\n", 4, "duration"},
		{BASE "grace = 9999999999w\n", 4, "too long"},
		{BASE "keep_generations = 2.5\n", 4, "number"},
		{BASE "max_jobs = 99999999999999999999\n", 4, "number"},
		{BASE "log_level = loud\n", 4, "error, warning, info or debug"},
		{BASE "admin_group = no-such-group\n", 4, "no such group"},
		{"catalog = /c\n", 1, "before the first"},
		{"[fsd\n", 1, "must end with"},
		{"[fsd] catalog = /c\n", 1, "nothing may stand behind"},
		{"[fsd]\ncatalog /c\n", 2, "neither"},
		{"[fsd]\n = /c\n", 2, "no key"},
		{"[fsd]\nsocket = /a23456789/b23456789/c23456789/d23456789/e23456789/f23456789/"
		 "g23456789/h23456789/i23456789/j23456789/k2345678\n", 2, "at most 107"},
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		refuse(*state, bad[i].text, bad[i].line, bad[i].reason);
}

static void test_config__refuses_a_nul_byte(void **state)
{
	struct config *c = NULL;
	struct err err = ERR_INIT;

	(void)state;
	scratch_file("fsd.conf", BASE "grace = 1h%c%s", '\0', "\n" POOL);
	assert_int_equal(config_load("fsd.conf", &c, &err), -EINVAL);
	assert_non_null(strstr(err.object, "fsd.conf:4"));
}

static void test_config__drop_ins_override_in_byte_order(void **state)
{
	struct config *c;

	(void)state;
	mkdir("fsd.conf.d", 0755);
	scratch_file("fsd.conf.d/10-a.conf", "[fsd]\ngrace = 10s\nmax_jobs = 10\n");
	scratch_file("fsd.conf.d/9-b.conf", "[fsd]\ngrace = 9s\nimport_from = /b\n");
	scratch_file("fsd.conf.d/Z.conf", "[fsd]\nimport_from =\nimport_from = /z\n");
	scratch_file("fsd.conf.d/pool.conf", "[pool main]\njobs = 7\n[pool two]\npath = /two\n");
	scratch_file("fsd.conf.d/.hidden.conf", "nonsense\n");
	scratch_file("fsd.conf.d/old.conf~", "nonsense\n");
	c = load(BASE "grace = 1s\nimport_from = /main\n" POOL);
	assert_int_equal(c->grace, 9 * NSEC_PER_SEC);
	assert_int_equal(c->max_jobs, 10);
	assert_int_equal(c->n_import_from, 1);
	assert_string_equal(c->import_from[0], "/z");
	assert_int_equal(c->n_pools, 2);
	assert_int_equal(c->pools[0].jobs, 7);
	assert_string_equal(c->pools[0].path, "/p");
	config_free(&c);
}

static void test_config__a_mistake_in_a_drop_in_names_the_drop_in(void **state)
{
	struct config *c = NULL;
	struct err err = ERR_INIT;
	char object[200];

	mkdir("fsd.conf.d", 0755);
	scratch_file("fsd.conf", BASE POOL);
	scratch_file("fsd.conf.d/a.conf", "[fsd]\n\nbad = 1\n");
	assert_int_equal(config_load("fsd.conf", &c, &err), -EINVAL);
	snprintf(object, sizeof(object), "%s/fsd.conf.d/a.conf:3", (char *)*state);
	assert_string_equal(err.object, object);
}

static int load_err(struct err *err)
{
	struct config *c = NULL;
	int r = config_load("fsd.conf", &c, err);

	config_free(&c);
	assert_true(r == 0 || strcmp(err->code, "bad_config") == 0);
	return r;
}

static void test_config__a_missing_or_odd_file_is_an_error(void **state)
{
	struct err err = ERR_INIT;

	(void)state;
	assert_int_equal(load_err(&err), -ENOENT);
	mkfifo("fsd.conf", 0644);
	assert_int_equal(load_err(&err), -EINVAL);
	unlink("fsd.conf");
	scratch_file("fsd.conf", BASE POOL);
	assert_int_equal(load_err(&err), 0);
	scratch_file("fsd.conf.d", "a file where a folder belongs\n");
	assert_int_equal(load_err(&err), -ENOTDIR);
	unlink("fsd.conf.d");
	assert_int_equal(symlink("fsd.conf.d", "fsd.conf.d"), 0);
	assert_int_equal(load_err(&err), -ELOOP);
	unlink("fsd.conf.d");
	mkdir("fsd.conf.d", 0755);
	assert_int_equal(symlink("nowhere", "fsd.conf.d/a.conf"), 0);
	assert_int_equal(load_err(&err), -ENOENT);
	assert_non_null(strstr(err.object, "a.conf"));
	assert_int_equal(unlink("fsd.conf.d/a.conf"), 0);
	assert_int_equal(mkdir("fsd.conf.d/a.conf", 0755), 0);
	assert_int_equal(load_err(&err), -EINVAL);
}

/* Load as nobody where the test runs as root, whom no mode keeps from reading. */
static int load_unprivileged(struct err *err)
{
	bool root = geteuid() == 0;
	int r;

	if (root)
		assert_int_equal(seteuid(65534), 0);
	r = load_err(err);
	if (root)
		assert_int_equal(seteuid(0), 0);
	return r;
}

static void test_config__unreadable_drop_ins_are_an_error(void **state)
{
	struct err err = ERR_INIT;

	(void)state;
	chmod(".", 0755);
	mkdir("fsd.conf.d", 0755);
	scratch_file("fsd.conf", BASE POOL);
	scratch_file("fsd.conf.d/a.conf", "[fsd]\nmax_jobs = 1\n");
	assert_int_equal(load_unprivileged(&err), 0);
	chmod("fsd.conf.d/a.conf", 0);
	assert_int_equal(load_unprivileged(&err), -EACCES);
	assert_non_null(strstr(err.object, "fsd.conf.d/a.conf"));
	chmod("fsd.conf.d", 0);
	assert_int_equal(load_unprivileged(&err), -EACCES);
	chmod("fsd.conf.d", 0755);
}

static void refused_as_root(const char *object, const char *reason)
{
	struct err err = ERR_INIT;

	assert_int_equal(load_err(&err), -EPERM);
	if (!strstr(err.object, object) || !strstr(err.reason, reason))
		fail_msg("%s: %s", err.object, err.reason);
}

static void test_config__root_refuses_what_others_can_write(void **state)
{
	struct err err = ERR_INIT;

	(void)state;
	if (geteuid() != 0) {
		print_message("skipped: needs root to give files to others\n");
		skip();
	}
	mkdir("fsd.conf.d", 0755);
	scratch_file("fsd.conf", BASE POOL);
	scratch_file("fsd.conf.d/a.conf", "[fsd]\nmax_jobs = 1\n");
	assert_int_equal(load_err(&err), 0);

	chmod("fsd.conf", 0666);
	refused_as_root("fsd.conf", "writable by others");
	chmod("fsd.conf", 0664);
	assert_int_equal(load_err(&err), 0);
	assert_int_equal(chown("fsd.conf", 0, 1000), 0);
	refused_as_root("fsd.conf", "writable by others");
	assert_int_equal(chown("fsd.conf", 1000, 0), 0);
	refused_as_root("fsd.conf", "not owned by root");
	assert_int_equal(chown("fsd.conf", 0, 0), 0);

	assert_int_equal(chown("fsd.conf.d/a.conf", 1000, 0), 0);
	refused_as_root("fsd.conf.d/a.conf", "not owned by root");
	assert_int_equal(chown("fsd.conf.d/a.conf", 0, 0), 0);
	chmod("fsd.conf.d", 0777);
	refused_as_root("fsd.conf.d", "writable by others");
	chmod("fsd.conf.d", 0755);

	assert_int_equal(rename("fsd.conf", "real.conf"), 0);
	assert_int_equal(symlink("real.conf", "fsd.conf"), 0);
	assert_int_equal(load_err(&err), 0);
	assert_int_equal(lchown("fsd.conf", 1000, 1000), 0);
	refused_as_root("fsd.conf", "symbolic link not owned by root");
	assert_int_equal(lchown("fsd.conf", 0, 0), 0);

	chmod(".", 0777);
	refused_as_root("fsd-test", "writable by others");
	chmod(".", 0755);
	assert_int_equal(load_err(&err), 0);
}

static void test_config__frozen_names_what_needs_a_restart(void **state)
{
	static const struct {
		const char *text, *frozen;
	} to[] = {
		{BASE "grace = 2h\nlog_level = debug\n" POOL "jobs = 9\n", NULL},
		{"[fsd]\ncatalog = /d\nsocket = /r/fsd.sock\n" POOL, "catalog"},
		{"[fsd]\ncatalog = /c/catalog.db\nsocket = /r/b\n" POOL, "socket"},
		{BASE "api_user = x\n" POOL, "api_user"},
		{BASE POOL "[pool two]\npath = /q\n", "[pool two]"},
		{BASE "[pool two]\npath = /p\n", "[pool two]"},
		{BASE "[pool main]\npath = /q\n", "[pool main] path"},
		{BASE POOL "driver = copy\n", "[pool main] driver"},
	};
	struct config *from = load(BASE POOL);

	(void)state;
	for (size_t i = 0; i < sizeof(to) / sizeof(to[0]); i++) {
		struct config *c = load(to[i].text);
		char what[CONFIG_WHAT_SIZE] = "";

		assert_int_equal(config_frozen(from, c, what), to[i].frozen != NULL);
		assert_string_equal(what, to[i].frozen ? to[i].frozen : "");
		config_free(&c);
	}
	config_free(&from);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		scratch_test(test_config__fills_in_the_defaults),
		scratch_test(test_config__reads_every_key),
		scratch_test(test_config__names_file_and_line_of_every_mistake),
		scratch_test(test_config__refuses_a_nul_byte),
		scratch_test(test_config__drop_ins_override_in_byte_order),
		scratch_test(test_config__a_mistake_in_a_drop_in_names_the_drop_in),
		scratch_test(test_config__a_missing_or_odd_file_is_an_error),
		scratch_test(test_config__unreadable_drop_ins_are_an_error),
		scratch_test(test_config__root_refuses_what_others_can_write),
		scratch_test(test_config__frozen_names_what_needs_a_restart),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
