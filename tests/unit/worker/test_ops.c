/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Operations on sites, on btrfs and on a plain directory: what they make, refuse and undo. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "fsd/op/late.h"
#include "fsd/worker/retired.h"
#include "snap/base/clock.h"
#include "snap/base/err.h"
#include "snap/base/fd.h"
#include "tests/unit/worker/harness.h"

static const char *file_system;

static int setup(void **state)
{
	*state = harness_new(file_system);
	return 0;
}

static void done(json_t *view)
{
	json_decref(view);
}

static void refused(json_t *view, const char *code)
{
	assert_string_equal(harness_text(view, "code"), code);
	json_decref(view);
}

static void make_site(struct harness *h, const char *name)
{
	done(harness_done(h, "site-create", "name", name, NULL));
	harness_write(h, name, "index.php", "one");
}

static void test_create__makes_an_empty_site_once(void **state)
{
	HARNESS(h);
	json_t *v = harness_done(h, "site-create", "name", "shop", NULL);

	assert_string_equal(harness_text(v, "result.site.name"), "shop");
	assert_int_equal(harness_int(v, "result.site.live.generation"), 1);
	json_decref(v);
	refused(harness_job(h, "site-create", "name", "shop", NULL), "name_taken");
	refused(harness_job(h, "site-create", "name", "main", NULL), "name_taken");
	refused(harness_job(h, "site-create", "name", "latest", NULL), "reserved_name");
	refused(harness_job(h, "site-create", "name", "Shop", NULL), "bad_name");
	refused(harness_job(h, "site-create", "name", "x", "from", "nothing", NULL), "not_found");
	harness_write(h, "shop", "f", "x");
}

static void test_snapshot__keeps_what_was_there(void **state)
{
	HARNESS(h);
	make_site(h, "shop");
	done(harness_done(h, "snapshot", "site", "shop", "name", "before", NULL));
	harness_write(h, "shop", "index.php", "two");
	done(harness_done(h, "clone", "source", "shop@before", "name", "old", NULL));
	done(harness_done(h, "clone", "source", "shop", "name", "new", NULL));
	harness_expect(h, "old", "index.php", "one");
	harness_expect(h, "new", "index.php", "two");
	harness_write(h, "old", "index.php", "three");
	harness_expect(h, "shop", "index.php", "two");
	refused(harness_job(h, "snapshot", "site", "shop", "name", "before", NULL), "name_taken");
}

static void test_snapshot__two_in_a_second_have_two_names(void **state)
{
	HARNESS(h);
	make_site(h, "shop");
	for (int i = 0; i < 4; i++)
		done(harness_done(h, "snapshot", "site", "shop", NULL));
	done(harness_done(h, "clone", "source", "shop@latest", "name", "copy", NULL));
	harness_expect(h, "copy", "index.php", "one");
}

static void test_restore__goes_back_and_undo_goes_forward(void **state)
{
	HARNESS(h);
	json_t *v;

	make_site(h, "shop");
	done(harness_done(h, "snapshot", "site", "shop", "name", "before", NULL));
	harness_write(h, "shop", "index.php", "two");
	harness_write(h, "shop", "new", "n");
	refused(harness_job(h, "restore", "source", "shop@before", NULL), "confirmation_needed");
	harness_expect(h, "shop", "index.php", "two");
	v = harness_done(h, "restore", "source", "shop@before", "confirm", "1", NULL);
	assert_int_equal(harness_int(v, "result.generation"), 2);
	assert_int_equal(harness_int(v, "result.retired"), 1);
	harness_expect(h, "shop", "index.php", "one");
	harness_expect(h, "shop", "new", NULL);
	done(harness_done(h, "undo", "job", harness_text(v, "id"), NULL));
	harness_expect(h, "shop", "index.php", "two");
	harness_expect(h, "shop", "new", "n");
	refused(harness_job(h, "undo", "job", harness_text(v, "id"), NULL), "already_undone");
	json_decref(v);
}

static void test_restore__says_how_much_goes_back(void **state)
{
	HARNESS(h);
	json_t *v;

	make_site(h, "shop");
	done(harness_done(h, "snapshot", "site", "shop", "name", "a", NULL));
	harness_write(h, "shop", "index.php", "two");
	harness_write(h, "shop", "new1", "n");
	harness_write(h, "shop", "new2", "n");
	v = harness_job(h, "restore", "source", "shop@a", NULL);
	assert_string_equal(harness_text(v, "code"), "confirmation_needed");
	assert_non_null(strstr(harness_text(v, "reason"), "1 changed and 2 new"));
	json_decref(v);
	v = harness_job(h, "restore", "source", "shop@a", "dry_run", "1", NULL);
	assert_non_null(strstr(harness_text(v, "plan.confirm"), "1 changed and 2 new"));
	json_decref(v);
	harness_expect(h, "shop", "index.php", "two");
}

static void test_undo__of_undo_is_the_identity(void **state)
{
	HARNESS(h);
	json_t *restore, *undo;

	make_site(h, "shop");
	done(harness_done(h, "snapshot", "site", "shop", "name", "before", NULL));
	harness_write(h, "shop", "index.php", "two");
	restore = harness_done(h, "restore", "source", "shop@before", "confirm", "1", NULL);
	undo = harness_done(h, "undo", "job", harness_text(restore, "id"), NULL);
	assert_string_equal(harness_text(undo, "kind"), "undo");
	done(harness_done(h, "undo", "job", harness_text(undo, "id"), NULL));
	harness_expect(h, "shop", "index.php", "one");
	json_decref(restore);
	json_decref(undo);
}

static void test_publish__and_rollback_switch_generations(void **state)
{
	HARNESS(h);
	make_site(h, "shop");
	refused(harness_job(h, "rollback", "site", "shop", NULL), "nothing_to_roll_back");
	done(harness_done(h, "generation-create", "site", "shop", NULL));
	harness_write(h, "shop", "index.php", "changed");
	refused(harness_job(h, "publish", "site", "shop", "generation", "7", NULL), "not_found");
	refused(harness_job(h, "publish", "site", "shop", "generation", "1", NULL), "already_live");
	done(harness_done(h, "publish", "site", "shop", "generation", "2", NULL));
	harness_expect(h, "shop", "index.php", "one");
	refused(harness_job(h, "generation-delete", "site", "shop", "generation", "2", NULL),
		"is_live");
	done(harness_done(h, "rollback", "site", "shop", NULL));
	harness_expect(h, "shop", "index.php", "changed");
	done(harness_done(h, "generation-delete", "site", "shop", "generation", "2", "confirm", "1",
		NULL));
	/* a number is never given twice */
	done(harness_done(h, "generation-create", "site", "shop", NULL));
	refused(harness_job(h, "publish", "site", "shop", "generation", "2", NULL), "not_found");
	done(harness_done(h, "publish", "site", "shop", "generation", "3", NULL));
}

static void test_delete__parks_a_site_for_undo(void **state)
{
	HARNESS(h);
	json_t *v;

	make_site(h, "shop");
	done(harness_done(h, "snapshot", "site", "shop", "name", "kept", NULL));
	done(harness_done(h, "site-set", "site", "shop", "set", "protected=yes", NULL));
	refused(harness_job(h, "site-delete", "site", "shop", "confirm", "1", NULL), "protected");
	done(harness_done(h, "site-set", "site", "shop", "set", "protected=no", NULL));
	v = harness_done(h, "site-delete", "site", "shop", "confirm", "1", NULL);
	refused(harness_job(h, "snapshot", "site", "shop", NULL), "site_deleted");
	done(harness_done(h, "clone", "source", "shop@kept", "name", "again", NULL));
	harness_expect(h, "again", "index.php", "one");
	done(harness_done(h, "undo", "job", harness_text(v, "id"), NULL));
	harness_expect(h, "shop", "index.php", "one");
	json_decref(v);
}

static void test_hold__keeps_a_snapshot_from_deletion(void **state)
{
	HARNESS(h);
	make_site(h, "shop");
	done(harness_done(h, "snapshot", "site", "shop", "name", "a", NULL));
	done(harness_done(h, "snapshot-hold", "source", "shop@a", "hold", "1", NULL));
	refused(harness_job(h, "snapshot-delete", "source", "shop@a", "confirm", "1", NULL),
		"held");
	done(harness_done(h, "snapshot-hold", "source", "shop@a", "hold", "0", NULL));
	refused(harness_job(h, "snapshot-delete", "source", "shop@latest", NULL), "bad_source");
	refused(harness_job(h, "snapshot-delete", "source", "shop", NULL), "bad_source");
	done(harness_done(h, "snapshot-delete", "source", "shop@a", "confirm", "1", NULL));
	refused(harness_job(h, "clone", "source", "shop@a", "name", "x", NULL), "not_found");
}

static void test_rename__keeps_snapshots_and_is_undone(void **state)
{
	HARNESS(h);
	json_t *v;

	make_site(h, "shop");
	done(harness_done(h, "snapshot", "site", "shop", "name", "a", NULL));
	v = harness_done(h, "site-rename", "site", "shop", "name", "boutique", NULL);
	harness_expect(h, "boutique", "index.php", "one");
	done(harness_done(h, "clone", "source", "boutique@a", "name", "copy", NULL));
	done(harness_done(h, "undo", "job", harness_text(v, "id"), NULL));
	harness_expect(h, "shop", "index.php", "one");
	json_decref(v);
}

static void test_set__labels_are_set_removed_and_undone(void **state)
{
	HARNESS(h);
	json_t *v;

	make_site(h, "shop");
	done(harness_done(h, "site-set", "site", "shop", "set", "label.owner=anna", NULL));
	v = harness_done(h, "site-set", "site", "shop", "set", "label.owner", "set",
		"label.team=web", NULL);
	assert_string_equal(harness_text(v, "result.site.labels.team"), "web");
	assert_string_equal(harness_text(v, "result.site.labels.owner"), "");
	done(harness_done(h, "undo", "job", harness_text(v, "id"), NULL));
	json_decref(v);
	v = harness_done(h, "site-measure", "site", "shop", NULL);
	assert_string_equal(harness_text(v, "result.site.labels.owner"), "anna");
	assert_string_equal(harness_text(v, "result.site.labels.team"), "");
	assert_int_equal(harness_int(v, "result.site.bytes.logical"), 3);
	json_decref(v);
	refused(harness_job(h, "site-set", "site", "shop", "set", "nonsense=1", NULL),
		"bad_request");
}

static void test_diff__lists_changes_since_a_snapshot(void **state)
{
	HARNESS(h);
	json_t *v, *item;

	make_site(h, "shop");
	done(harness_done(h, "snapshot", "site", "shop", "name", "a", NULL));
	harness_write(h, "shop", "index.php", "two!");
	harness_write(h, "shop", "new", "n");
	v = harness_done(h, "diff", "a", "shop@a", NULL);
	assert_int_equal(harness_int(v, "result.counts.+"), 1);
	assert_int_equal(harness_int(v, "result.counts.M"), 1);
	item = json_array_get(json_object_get(json_object_get(v, "result"), "items"), 0);
	assert_non_null(item);
	json_decref(v);
	v = harness_done(h, "diff", "a", "shop@a", "paths", "new", NULL);
	assert_int_equal(harness_int(v, "result.counts.+"), 1);
	assert_int_equal(harness_int(v, "result.counts.M"), 0);
	json_decref(v);
	refused(harness_job(h, "diff", "a", "shop", NULL), "bad_source");
}

static void test_retire__turns_a_generation_into_an_undo_snapshot(void **state)
{
	HARNESS(h);
	json_t *restore, *v;

	make_site(h, "shop");
	done(harness_done(h, "snapshot", "site", "shop", "name", "a", NULL));
	harness_write(h, "shop", "index.php", "two");
	restore = harness_done(h, "restore", "source", "shop@a", "confirm", "1", NULL);
	done(harness_done(h, "snapshot", "site", "shop", "name", "undo-1", NULL)); /* in its way */
	v = harness_done(h, "generation-retire", "site", "shop", "generation", "1", NULL);
	assert_string_equal(harness_text(v, "result.snapshot.kind"), "undo");
	assert_string_equal(harness_text(v, "result.snapshot.name"), "undo-1-2");
	json_decref(v);
	refused(harness_job(h, "publish", "site", "shop", "generation", "1", NULL), "not_found");
	done(harness_done(h, "undo", "job", harness_text(restore, "id"), NULL));
	harness_expect(h, "shop", "index.php", "two");
	json_decref(restore);
}

static int open_in_pool(struct harness *h, const char *path, int flags)
{
	char full[512];

	snprintf(full, sizeof(full), "%s/%s", h->pool, path);
	return open(full, flags | O_CLOEXEC, 0644);
}

static void write_in_pool(struct harness *h, const char *path, const char *text)
{
	int fd = open_in_pool(h, path, O_WRONLY | O_CREAT | O_TRUNC);

	assert_true(fd >= 0);
	assert_int_equal(fd_write_all(fd, text, strlen(text)), 0);
	close(fd);
}

/* A site whose generation 1 was live and is retired, and 2 is live. */
static void make_retired(struct harness *h, const char *site)
{
	make_site(h, site);
	late_now(); /* the tick of that write is over */
	done(harness_done(h, "generation-create", "site", site, NULL));
	done(harness_done(h, "publish", "site", site, "generation", "2", NULL));
}

static int note_late(const struct cat_event *e, void *arg)
{
	json_t **data = arg;

	if (strcmp(e->kind, "generation.late_writes") == 0) {
		assert_null(*data);
		*data = json_loads(e->data, 0, NULL);
		assert_non_null(*data);
	}
	return 0;
}

/* What housekeeping tells by now: the event's data, NULL: nothing. */
static json_t *late(struct harness *h)
{
	struct cat_event_filter all = {0};
	struct snap_ctx ctx = {0};
	json_t *data = NULL;

	assert_int_equal(retired_look(&h->fsd, pools_find(&h->fsd.pools, "main"), &ctx), 0);
	pthread_mutex_lock(&h->fsd.write_lock);
	assert_int_equal(catalog_events(h->fsd.catalog, &all, note_late, &data, NULL), 0);
	pthread_mutex_unlock(&h->fsd.write_lock);
	return data;
}

static void test_retire__tells_once_what_was_written_late_and_loses_none_of_it(void **state)
{
	HARNESS(h);
	json_t *v;
	int held;

	make_retired(h, "shop");
	write_in_pool(h, "sites/shop/gen/1/tree/upload", "late");
	held = open_in_pool(h, "sites/shop/gen/1/tree/log", O_WRONLY | O_CREAT | O_APPEND);
	assert_int_equal(fd_write_all(held, "before ", 7), 0);
	done(harness_done(h, "generation-retire", "site", "shop", "generation", "1", NULL));
	assert_int_equal(fd_write_all(held, "after", 5), 0); /* who holds it still has it */
	close(held);
	for (int i = 0; i < 2; i++) {
		v = late(h);
		assert_int_equal(harness_int(v, "total"), 2);
		assert_string_equal(harness_text(v, "snapshot"), "undo-1");
		json_decref(v);
	}
	done(harness_done(h, "clone", "source", "shop@undo-1", "name", "copy", NULL));
	harness_expect(h, "copy", "upload", "late");
	harness_expect(h, "copy", "log", "before after");
	harness_expect(h, "copy", "index.php", "one");
}

static void test_retire__tells_nothing_where_nothing_was_written_late(void **state)
{
	HARNESS(h);

	make_retired(h, "shop");
	done(harness_done(h, "generation-retire", "site", "shop", "generation", "1", NULL));
	assert_null(late(h));
}

static void test_retire__makes_a_snapshot_like_any_other(void **state)
{
	HARNESS(h);
	json_t *v;

	make_retired(h, "shop");
	harness_write(h, "shop", "new.php", "two");
	done(harness_done(h, "generation-retire", "site", "shop", "generation", "1", NULL));
	v = harness_done(h, "check", "source", "shop@undo-1", NULL);
	assert_true(json_is_true(json_object_get(json_object_get(v, "result"), "ok")));
	json_decref(v);
	v = harness_done(h, "diff", "a", "shop@undo-1", NULL);
	assert_int_equal(harness_int(v, "result.counts.+"), 1);
	assert_int_equal(harness_int(v, "result.counts.M"), 0);
	json_decref(v);
	done(harness_done(h, "restore", "source", "shop@undo-1", "confirm", "1", NULL));
	harness_expect(h, "shop", "new.php", NULL);
	harness_expect(h, "shop", "index.php", "one");
	harness_write(h, "shop", "index.php", "three"); /* what was restored is writable */
	done(harness_done(h, "restore", "source", "shop@undo-1", "paths", "index.php", NULL));
	harness_expect(h, "shop", "index.php", "one");
	done(harness_done(h, "snapshot-delete", "source", "shop@undo-1", "confirm", "1", NULL));
	v = harness_done(h, "pool-check", "pool", "main", NULL);
	assert_true(json_is_true(json_object_get(json_object_get(v, "result"), "ok")));
	json_decref(v);
}

/* After a rollback the newest generation is a retired one. */
static void test_retire__never_gives_a_number_twice(void **state)
{
	HARNESS(h);
	json_t *v;

	make_retired(h, "shop");
	done(harness_done(h, "rollback", "site", "shop", NULL));
	done(harness_done(h, "generation-retire", "site", "shop", "generation", "2", NULL));
	v = harness_done(h, "generation-create", "site", "shop", NULL);
	assert_int_equal(harness_int(v, "result.generation.number"), 3);
	json_decref(v);
}

/* A retirement that was cut short, and then the catalog was lost: only a shell tells of it. */
static void test_scan__takes_no_shell_for_a_snapshot(void **state)
{
	HARNESS(h);
	char path[512], shell[256];
	json_t *v;

	make_retired(h, "shop");
	v = harness_done(h, "snapshot", "site", "shop", "name", "empty", NULL);
	snprintf(shell, sizeof(shell), "%s/.fsd/snapshots/%s/empty/gen/2", h->pool,
		harness_text(v, "result.snapshot.site.id"));
	json_decref(v);
	harness_stop(h);
	snprintf(path, sizeof(path), "%s/sites/taken", h->pool);
	assert_int_equal(rename(shell, path), 0);
	assert_int_equal(unlink(h->config.catalog), 0);
	harness_start(h);
	v = harness_done(h, "pool-scan", "pool", "main", NULL);
	assert_int_equal(json_array_size(json_object_get(json_object_get(v, "result"), "failed")),
		2);
	json_decref(v);
	refused(harness_job(h, "clone", "source", "shop@empty", "name", "x", NULL), "not_found");
	refused(harness_job(h, "snapshot", "site", "shop", "name", "empty", NULL), "name_taken");
	assert_true(harness_has_problem(h, "snapshot_unfinished"));
}

static json_t *failed_of_scan(struct harness *h, size_t n)
{
	json_t *v = harness_done(h, "pool-scan", "pool", "main", NULL);
	json_t *failed = json_object_get(json_object_get(v, "result"), "failed");

	if (json_array_size(failed) != n)
		fail_msg("%s", json_dumps(v, JSON_INDENT(1)));
	return v;
}

static void in_sites(struct harness *h, const char *command, const char *a, const char *b)
{
	char text[512];

	snprintf(text, sizeof(text), "cd %s/sites && %s %s %s", h->pool, command, a, b);
	assert_int_equal(system(text), 0);
}

/* The label goes into the site's own site.json and into nothing else. */
static void expect_the_site(struct harness *h, const char *name, const char *label)
{
	char set[64];
	json_t *v;

	snprintf(set, sizeof(set), "label.%s=1", label);
	done(harness_done(h, "site-set", "site", name, "set", set, NULL));
	v = harness_done(h, "site-measure", "site", name, NULL);
	assert_string_equal(harness_text(v, "result.site.name"), name);
	json_decref(v);
	in_sites(h, "grep -q", label, strcmp(name, "shop") == 0 ? "shop/site.json" : "a/site.json");
}

static void test_scan__leaves_a_copy_of_a_site_alone_and_names_it(void **state)
{
	HARNESS(h);
	json_t *v;

	make_site(h, "shop");
	in_sites(h, "cp -a", "shop", "a"); /* before it by name, after it by birth */
	for (int i = 0; i < 3; i++) {
		done(failed_of_scan(h, 1));
		assert_true(harness_has_problem(h, "duplicate_id"));
		expect_the_site(h, "shop", "again");
		refused(harness_job(h, "site-set", "site", "a", "set", "label.x=y", NULL),
			"not_found");
		in_sites(h, "! grep -q", "again", "a/site.json");
		if (i == 1) { /* nobody knows any more */
			harness_stop(h);
			assert_int_equal(unlink(h->config.catalog), 0);
			harness_start(h);
		}
	}
	v = harness_done(h, "pool-check", "pool", "main", NULL);
	assert_non_null(strstr(json_string_value(json_object_get(json_array_get(json_object_get(
		json_object_get(v, "result"), "problems"), 0), "reason")), "/sites/shop"));
	json_decref(v);
	in_sites(h, "mv", "shop", "../away");
	done(failed_of_scan(h, 0));
	assert_false(harness_has_problem(h, "duplicate_id"));
	expect_the_site(h, "a", "taken");
}

/* A copy of the one put in the place of the other: both names lead to one id. */
static void test_scan__knows_a_site_that_was_overwritten_by_a_copy(void **state)
{
	HARNESS(h);
	json_t *v;

	make_site(h, "shop");
	make_site(h, "a");
	in_sites(h, "rm -f", "a/site.json", "");
	in_sites(h, "cp -a", "shop/site.json", "a/site.json");
	v = harness_job(h, "site-set", "site", "a", "set", "label.x=y", NULL);
	assert_string_equal(harness_text(v, "error.code"), "other_id"); /* not yet scanned */
	json_decref(v);
	done(failed_of_scan(h, 1));
	refused(harness_job(h, "site-set", "site", "a", "set", "label.x=y", NULL), "not_found");
	expect_the_site(h, "shop", "again");
}

/* Parked by other hands: the deletion has not happened, and the copy is not what it is about. */
static void test_delete__does_not_take_a_parked_copy_for_its_own_work(void **state)
{
	HARNESS(h);
	char path[256];
	json_t *v;

	v = harness_done(h, "site-create", "name", "shop", NULL);
	snprintf(path, sizeof(path), "../.fsd/deleted/%s", harness_text(v, "result.site.id"));
	json_decref(v);
	in_sites(h, "cp -a", "shop", path);
	v = harness_job(h, "site-delete", "site", "shop", "confirm", "1", NULL);
	assert_string_equal(harness_text(v, "state"), "failed");
	json_decref(v);
	done(failed_of_scan(h, 1));
	expect_the_site(h, "shop", "again");
}

/* Three publishes leave three retired generations; with no grace time all but the newest go. */
static void test_expiry__retires_old_generations_and_deletes_what_expired(void **state)
{
	HARNESS(h);
	json_t *v;

	make_site(h, "shop");
	make_site(h, "brief");
	done(harness_done(h, "snapshot", "site", "shop", "name", "a", "expires", "1s", NULL));
	done(harness_done(h, "site-set", "site", "brief", "set", "expires=1s", NULL));
	for (int i = 0; i < 3; i++)
		done(harness_done(h, "restore", "source", "shop@a", "confirm", "1", NULL));
	harness_stop(h);
	h->config.grace = 0;
	h->config.keep_generations = 1;
	sleep(1); /* until "1s" is over, by the clock that counts */
	harness_start(h);
	for (int i = 0; i < 4; i++) /* two snapshots retired, one expired, one site deleted */
		harness_wait_event(h);
	refused(harness_job(h, "publish", "site", "shop", "generation", "1", NULL), "not_found");
	refused(harness_job(h, "publish", "site", "shop", "generation", "2", NULL), "not_found");
	refused(harness_job(h, "clone", "source", "shop@a", "name", "x", NULL), "not_found");
	refused(harness_job(h, "snapshot", "site", "brief", NULL), "site_deleted");
	v = harness_done(h, "rollback", "site", "shop", NULL);
	assert_int_equal(harness_int(v, "result.generation"), 3);
	json_decref(v);
}

static void failed(json_t *view, const char *code)
{
	assert_string_equal(harness_text(view, "state"), "failed");
	assert_string_equal(harness_text(view, "error.code"), code);
	json_decref(view);
}

/* It was asked for before, and is done when the deletion's turn has come. */
static void test_delete__minds_a_protection_that_was_queued_before_it(void **state)
{
	HARNESS(h);
	int64_t set, delete, eject;
	char dir[128];

	make_site(h, "shop");
	snprintf(dir, sizeof(dir), "%s/ejected", h->dir);
	harness_let_run(h, 0);
	set = harness_submit(h, "site-set", "site", "shop", "set", "protected=yes", NULL);
	delete = harness_submit(h, "site-delete", "site", "shop", "confirm", "1", NULL);
	eject = harness_submit(h, "site-eject", "site", "shop", "dir", dir, NULL);
	harness_let_run(h, 4);
	done(harness_wait(h, set));
	failed(harness_wait(h, delete), "protected");
	failed(harness_wait(h, eject), "protected");
	assert_int_equal(access(dir, F_OK), -1);
	harness_expect(h, "shop", "index.php", "one");
	done(harness_done(h, "site-set", "site", "shop", "set", "protected=no", NULL));
	done(harness_done(h, "site-delete", "site", "shop", "confirm", "1", NULL));
}

/* As housekeeping does with what it found expired. */
static int64_t expire(struct harness *h, enum op op, enum field f, const char *text,
	const char *code)
{
	struct err err = ERR_INIT;
	struct request r;
	int64_t id = 0;

	request_init(&r, op);
	request_set_str(&r, f, text);
	request_set_int(&r, F_CONFIRM, 1);
	if (code) {
		assert_true(jobs_submit_internal(&h->fsd, &r, &id, &err) < 0);
		assert_string_equal(err.code, code);
	} else {
		assert_int_equal(jobs_submit_internal(&h->fsd, &r, &id, &err), 0);
		assert_int_not_equal(id, 0);
	}
	request_release(&r);
	return id;
}

static void test_expiry__minds_that_it_was_put_off_meanwhile(void **state)
{
	HARNESS(h);
	int64_t until, set, delete;

	make_site(h, "shop");
	done(harness_done(h, "snapshot", "site", "shop", "name", "a", "expires", "1s", NULL));
	done(harness_done(h, "site-set", "site", "shop", "set", "expires=1s", NULL));
	until = clock_real() + NSEC_PER_SEC;
	while (clock_real() <= until) /* until "1s" is over, by the clock that counts */
		usleep(10000);
	harness_let_run(h, 0);
	set = harness_submit(h, "site-set", "site", "shop", "set", "expires=1h", NULL);
	delete = expire(h, OP_SITE_DELETE, F_SITE, "shop", NULL);
	harness_let_run(h, 4);
	done(harness_wait(h, set));
	failed(harness_wait(h, delete), "not_expired");
	expire(h, OP_SITE_DELETE, F_SITE, "shop", "not_expired");
	harness_expect(h, "shop", "index.php", "one");

	done(harness_done(h, "snapshot-set", "source", "shop@a", "set", "expires=never", NULL));
	expire(h, OP_SNAPSHOT_DELETE, F_SOURCE, "shop@a", "not_expired");
	done(harness_done(h, "snapshot-delete", "source", "shop@a", "confirm", "1", NULL));
}

static bool is_parked(struct harness *h, const char *id)
{
	char path[256];

	snprintf(path, sizeof(path), "%s/.fsd/deleted/%s", h->pool, id);
	return access(path, F_OK) == 0;
}

static void delete_site(struct harness *h, const char *name, char id[ID_SIZE])
{
	json_t *v;

	make_site(h, name);
	v = harness_done(h, "site-delete", "site", name, "confirm", "1", NULL);
	snprintf(id, ID_SIZE, "%s", harness_text(v, "result.site.id"));
	json_decref(v);
}

/* Its time is over while the undelete waits in the queue; that of another one is over as well. */
static void test_purge__leaves_a_site_that_is_about_to_come_back(void **state)
{
	HARNESS(h);
	char back[ID_SIZE], gone[ID_SIZE];
	json_t *v;
	int64_t id;

	delete_site(h, "a", back); /* looked at first */
	delete_site(h, "b", gone);
	harness_let_run(h, 0);
	id = harness_submit(h, "site-undelete", "site", back, NULL);
	harness_stop(h);
	h->config.undo_keep = 0;
	harness_start(h);
	while (is_parked(h, gone))
		usleep(1000);
	assert_true(is_parked(h, back));
	harness_let_run(h, 4);
	v = harness_wait(h, id);
	assert_string_equal(harness_text(v, "state"), "done");
	json_decref(v);
	harness_expect(h, "a", "index.php", "one");
	refused(harness_job(h, "site-undelete", "site", gone, NULL), "not_found");
}

/* What was live before is not known before the publish in front of it has run. */
static void test_rollback__goes_back_from_what_is_live_when_it_runs(void **state)
{
	HARNESS(h);
	int64_t first, second;
	json_t *v;

	make_site(h, "shop");
	refused(harness_job(h, "rollback", "site", "shop", NULL), "nothing_to_roll_back");
	done(harness_done(h, "generation-create", "site", "shop", NULL));
	done(harness_done(h, "generation-create", "site", "shop", NULL));
	for (int i = 0; i < 2; i++) { /* nothing before it; then 1 before it */
		harness_let_run(h, 0);
		first = harness_submit(h, "publish", "site", "shop", "generation", i ? "3" : "2",
			NULL);
		second = harness_submit(h, "rollback", "site", "shop", NULL);
		harness_let_run(h, 4);
		done(harness_wait(h, first));
		v = harness_wait(h, second);
		assert_string_equal(harness_text(v, "state"), "done");
		assert_int_equal(harness_int(v, "result.generation"), 1 + i);
		assert_int_equal(harness_int(v, "result.retired"), 2 + i);
		json_decref(v);
		if (i == 0)
			done(harness_done(h, "publish", "site", "shop", "generation", "2", NULL));
	}
}

/* Queued, and not run before the next start: it must run then, and not be called done. */
static void test_delete__of_a_damaged_snapshot_is_not_done_before_it_is_gone(void **state)
{
	HARNESS(h);
	char path[256];
	json_t *v;
	int64_t id;

	make_site(h, "shop");
	v = harness_done(h, "snapshot", "site", "shop", "name", "a", NULL);
	snprintf(path, sizeof(path), "%s/.fsd/snapshots/%s/a/meta.json", h->pool,
		harness_text(v, "result.snapshot.site.id"));
	json_decref(v);
	harness_let_run(h, 0);
	id = harness_submit(h, "snapshot-delete", "source", "shop@a", "confirm", "1", NULL);
	harness_stop(h);
	assert_int_equal(truncate(path, 10), 0);
	h->config_pool.jobs = 4;
	harness_start(h);
	v = harness_wait(h, id);
	assert_string_equal(harness_text(v, "state"), "done");
	json_decref(v);
	assert_int_equal(access(path, F_OK), -1);
}

/* By other hands: jobs on it fail and hold nothing up. */
static void test_publish__of_a_site_that_was_taken_away_fails(void **state)
{
	HARNESS(h);
	int64_t id;
	json_t *v;

	make_site(h, "shop");
	done(harness_done(h, "generation-create", "site", "shop", NULL));
	harness_let_run(h, 0);
	id = harness_submit(h, "publish", "site", "shop", "generation", "2", NULL);
	in_sites(h, "mv", "shop", "../away");
	harness_let_run(h, 4);
	v = harness_wait(h, id);
	assert_string_equal(harness_text(v, "error.code"), "site_missing");
	json_decref(v);
	done(failed_of_scan(h, 0));
}

static void test_key__the_same_request_twice_is_one_job(void **state)
{
	HARNESS(h);
	json_t *a, *b;

	make_site(h, "shop");
	a = harness_done(h, "snapshot", "site", "shop", "idempotency_key", "k1", NULL);
	b = harness_job(h, "snapshot", "site", "shop", "idempotency_key", "k1", NULL);
	assert_string_equal(harness_text(b, "id"), harness_text(a, "id"));
	json_decref(a);
	json_decref(b);
	refused(harness_job(h, "snapshot", "site", "shop", "name", "x", "idempotency_key", "k1",
			NULL), "key_reused");
}

static void test_dry_run__changes_nothing(void **state)
{
	HARNESS(h);
	json_t *v;

	make_site(h, "shop");
	v = harness_job(h, "clone", "source", "shop", "name", "copy", "dry_run", "1", NULL);
	assert_string_equal(harness_text(v, "plan.kind"), "clone");
	json_decref(v);
	refused(harness_job(h, "snapshot", "site", "copy", NULL), "not_found");
	v = harness_job(h, "site-delete", "site", "shop", "dry_run", "1", NULL);
	assert_string_equal(harness_text(v, "plan.confirm"), "Delete the site shop?");
	json_decref(v);
	harness_expect(h, "shop", "index.php", "one");
}

static void test_scan__rebuilds_a_lost_catalog(void **state)
{
	HARNESS(h);
	json_t *v;

	make_site(h, "shop");
	done(harness_done(h, "site-set", "site", "shop", "set", "label.owner=anna", NULL));
	done(harness_done(h, "snapshot", "site", "shop", "name", "a", NULL));
	done(harness_done(h, "snapshot-hold", "source", "shop@a", "hold", "1", NULL));
	make_site(h, "gone");
	done(harness_done(h, "site-delete", "site", "gone", "confirm", "1", NULL));
	harness_stop(h);
	assert_int_equal(unlink(h->config.catalog), 0);
	harness_start(h);
	refused(harness_job(h, "snapshot", "site", "shop", NULL), "not_found");
	v = harness_done(h, "pool-scan", "pool", "main", NULL);
	json_decref(v);
	refused(harness_job(h, "snapshot-delete", "source", "shop@a", "confirm", "1", NULL),
		"held");
	v = harness_done(h, "site-measure", "site", "shop", NULL);
	assert_string_equal(harness_text(v, "result.site.labels.owner"), "anna");
	json_decref(v);
	v = harness_done(h, "pool-check", "pool", "main", NULL);
	assert_true(json_is_true(json_object_get(json_object_get(v, "result"), "ok")));
	json_decref(v);
}

static void test_check__finds_a_damaged_snapshot(void **state)
{
	HARNESS(h);
	char path[256];
	json_t *v;

	make_site(h, "shop");
	v = harness_done(h, "snapshot", "site", "shop", "name", "a", NULL);
	snprintf(path, sizeof(path), "%s/.fsd/snapshots/%s/a/meta.json", h->pool,
		harness_text(v, "result.snapshot.site.id"));
	json_decref(v);
	v = harness_done(h, "check", "source", "shop@a", NULL);
	assert_true(json_is_true(json_object_get(json_object_get(v, "result"), "ok")));
	json_decref(v);
	assert_int_equal(truncate(path, 10), 0);
	v = harness_done(h, "check", "source", "shop@a", NULL);
	assert_false(json_is_true(json_object_get(json_object_get(v, "result"), "ok")));
	json_decref(v);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, harness_end)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		TEST(test_create__makes_an_empty_site_once),
		TEST(test_snapshot__keeps_what_was_there),
		TEST(test_snapshot__two_in_a_second_have_two_names),
		TEST(test_restore__goes_back_and_undo_goes_forward),
		TEST(test_restore__says_how_much_goes_back),
		TEST(test_undo__of_undo_is_the_identity),
		TEST(test_publish__and_rollback_switch_generations),
		TEST(test_delete__parks_a_site_for_undo),
		TEST(test_hold__keeps_a_snapshot_from_deletion),
		TEST(test_rename__keeps_snapshots_and_is_undone),
		TEST(test_set__labels_are_set_removed_and_undone),
		TEST(test_diff__lists_changes_since_a_snapshot),
		TEST(test_retire__turns_a_generation_into_an_undo_snapshot),
		TEST(test_retire__tells_once_what_was_written_late_and_loses_none_of_it),
		TEST(test_retire__tells_nothing_where_nothing_was_written_late),
		TEST(test_retire__makes_a_snapshot_like_any_other),
		TEST(test_retire__never_gives_a_number_twice),
		TEST(test_scan__takes_no_shell_for_a_snapshot),
		TEST(test_scan__leaves_a_copy_of_a_site_alone_and_names_it),
		TEST(test_scan__knows_a_site_that_was_overwritten_by_a_copy),
		TEST(test_delete__does_not_take_a_parked_copy_for_its_own_work),
		TEST(test_expiry__retires_old_generations_and_deletes_what_expired),
		TEST(test_delete__minds_a_protection_that_was_queued_before_it),
		TEST(test_expiry__minds_that_it_was_put_off_meanwhile),
		TEST(test_purge__leaves_a_site_that_is_about_to_come_back),
		TEST(test_rollback__goes_back_from_what_is_live_when_it_runs),
		TEST(test_delete__of_a_damaged_snapshot_is_not_done_before_it_is_gone),
		TEST(test_publish__of_a_site_that_was_taken_away_fails),
		TEST(test_key__the_same_request_twice_is_one_job),
		TEST(test_dry_run__changes_nothing),
		TEST(test_scan__rebuilds_a_lost_catalog),
		TEST(test_check__finds_a_damaged_snapshot),
	};

	file_system = argc > 1 ? argv[1] : "plain";
	return cmocka_run_group_tests_name(file_system, tests, NULL, NULL);
}
