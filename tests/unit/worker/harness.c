/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/unit/worker/harness.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "fsd/core/log.h"
#include "fsd/op/ops.h"
#include "fsd/worker/housekeeping.h"
#include "snap/base/clock.h"
#include "snap/base/fd.h"

static struct harness *current;

static __attribute__((format(printf, 1, 2))) int run_command(const char *fmt, ...)
{
	char text[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	return system(text);
}

static bool make_pool_root(struct harness *h)
{
	if (strcmp(h->file_system, "btrfs") != 0)
		return mkdir(h->pool, 0755) == 0;
	if (geteuid() != 0) {
		print_message("skipped: needs root to mount\n");
		return false;
	}
	if (mkdir(h->pool, 0755) < 0 ||
		run_command("truncate -s 1G %s/image && mkfs.btrfs -q %s/image 2>/dev/null && "
			    "mount -o loop %s/image %s", h->dir, h->dir, h->dir, h->pool) != 0) {
		print_message("skipped: cannot mount a btrfs image here\n");
		return false;
	}
	return true;
}

struct harness *harness_new(const char *file_system)
{
	struct harness *h = calloc(1, sizeof(*h));

	assert_non_null(h);
	strcpy(h->dir, "/tmp/test_worker.XXXXXX");
	assert_non_null(mkdtemp(h->dir));
	snprintf(h->pool, sizeof(h->pool), "%s/pool", h->dir);
	strcpy(h->file_system, file_system);
	h->uid = geteuid();
	if (!make_pool_root(h)) {
		run_command("rm -rf %s", h->dir);
		free(h);
		return NULL;
	}
	pthread_mutex_init(&h->lock, NULL);
	pthread_cond_init(&h->ended, NULL);
	h->views = json_object();
	h->config_pool = (struct config_pool){.name = strdup("main"), .path = h->pool,
		.driver = strdup(strcmp(file_system, "fault") == 0 ? "fault" : "auto"), .jobs = 4};
	h->config = (struct config){
		.file = strdup("test.conf"),
		.catalog = malloc(128),
		.min_free_percent = 1,
		.grace = 24 * 3600 * NSEC_PER_SEC,
		.keep_generations = 2,
		.undo_keep = 7 * 24 * 3600 * NSEC_PER_SEC,
		.job_keep = 30LL * 24 * 3600 * NSEC_PER_SEC,
		.max_jobs = 4,
		.pools = &h->config_pool,
		.n_pools = 1,
		.admin_gid = (gid_t)-1,
		.operator_gid = (gid_t)-1,
		.viewer_gid = (gid_t)-1,
	};
	snprintf(h->config.catalog, 128, "%s/catalog.db", h->dir);
	log_open("test", getenv("TEST_LOG") ? LOG_DEBUG : LOG_CRIT);
	harness_start(h);
	return h;
}

void harness_free(struct harness **hp)
{
	struct harness *h = *hp;

	*hp = NULL;
	harness_stop(h);
	if (strcmp(h->file_system, "btrfs") == 0)
		assert_int_equal(umount2(h->pool, 0), 0);
	run_command("rm -rf %s", h->dir);
	json_decref(h->views);
	free(h->config_pool.name);
	free(h->config_pool.driver);
	free(h->config.file);
	free(h->config.catalog);
	free(h);
}

int harness_plain(void **state)
{
	*state = harness_new("plain");
	return 0;
}

int harness_end(void **state)
{
	struct harness *h = *state;

	if (h) {
		harness_expect_clean(h);
		harness_free(&h);
	}
	return 0;
}

static void on_end(struct fsd *f, int64_t id, json_t *view)
{
	struct harness *h = current;
	char text[JOB_ID_SIZE];

	(void)f;
	pthread_mutex_lock(&h->lock);
	json_object_set_new(h->views, job_id_format(id, text), json_deep_copy(view));
	pthread_cond_broadcast(&h->ended);
	pthread_mutex_unlock(&h->lock);
}

void harness_start(struct harness *h)
{
	struct fsd *f = &h->fsd;
	struct err err = ERR_INIT;

	current = h;
	*f = (struct fsd){.msg_fd = -1, .started = clock_real()};
	atomic_store(&f->config, &h->config);
	pthread_mutex_init(&f->send_lock, NULL);
	pthread_mutex_init(&f->write_lock, NULL);
	waiters_init(&f->waiters);
	problems_init(&f->problems);
	spools_init(&f->spools);
	jobs_init(&f->jobs, ops);
	f->jobs.on_end = on_end;
	assert_int_equal(catalog_open(h->config.catalog, CATALOG_CREATE, &f->catalog, &err), 0);
	assert_int_equal(catalog_job_last(f->catalog, &f->jobs.last_id, &err), 0);
	assert_int_equal(pools_init(&f->pools, &h->config, f->catalog, &err), 0);
	assert_int_equal(jobs_load(f, &err), 0);
	if (housekeeping_bring_online(f, &f->pools.items[0], &err) < 0)
		fail_msg("pool: %s: %s", err.object, err.reason);
	assert_int_equal(housekeeping_start(f, &err), 0);
	assert_int_equal(jobs_start(f, h->config.max_jobs), 0);
}

void harness_stop(struct harness *h)
{
	struct fsd *f = &h->fsd;

	atomic_store(&f->stopping, true);
	jobs_stop(f);
	housekeeping_stop(f);
	jobs_release(&f->jobs);
	pools_release(&f->pools);
	catalog_close(&f->catalog);
	waiters_release(&f->waiters);
	problems_release(&f->problems);
	spools_release(&f->spools);
}

/* ---- jobs ---- */

static void set_field(struct request *r, const char *name, const char *text)
{
	for (enum field k = F_NONE + 1; k < F_COUNT; k++) {
		if (strcmp(field_specs[k].name, name) != 0)
			continue;
		if (field_specs[k].type == T_STRING)
			assert_int_equal(request_set_str(r, k, text), 0);
		else if (field_specs[k].type == T_LIST || field_specs[k].type == T_MAP)
			assert_int_equal(request_add(r, k, text), 0);
		else
			assert_int_equal(request_set_int(r, k, atoll(text)), 0);
		return;
	}
	fail_msg("no field %s", name);
}

static json_t *wait_end(struct harness *h, int64_t id)
{
	char text[JOB_ID_SIZE];
	json_t *view;

	job_id_format(id, text);
	pthread_mutex_lock(&h->lock);
	while (!(view = json_object_get(h->views, text)))
		pthread_cond_wait(&h->ended, &h->lock);
	json_incref(view);
	pthread_mutex_unlock(&h->lock);
	return view;
}

void harness_wait_event(struct harness *h)
{
	pthread_mutex_lock(&h->lock);
	while (json_object_size(h->views) <= h->seen)
		pthread_cond_wait(&h->ended, &h->lock);
	h->seen++;
	pthread_mutex_unlock(&h->lock);
}

/* The id of the new job; 0 where there is none, and *view is the answer. */
static int64_t submit(struct harness *h, const char *kind, va_list ap, json_t **view)
{
	struct job *survey = NULL;
	struct err err = ERR_INIT;
	struct request r;
	const char *name;
	int64_t id = 0;
	int ret;

	request_init(&r, op_by_kind(kind));
	r.actor.uid = h->uid;
	while ((name = va_arg(ap, const char *)))
		set_field(&r, name, va_arg(ap, const char *));
	ret = jobs_submit(&h->fsd, &r, &id, view, &survey, &err);
	if (ret == JOBS_SURVEY)
		ret = jobs_survey(&h->fsd, survey, view, &err);
	job_free(&survey);
	if (ret < 0)
		*view = json_pack("{s:s,s:s,s:s}", "code", err.code, "reason", err.reason, "hint",
			err.hint);
	request_release(&r);
	return id;
}

json_t *harness_wait(struct harness *h, int64_t id)
{
	json_t *view = wait_end(h, id);

	h->seen++;
	return view;
}

int64_t harness_submit(struct harness *h, const char *kind, ...)
{
	json_t *view = NULL;
	va_list ap;
	int64_t id;

	va_start(ap, kind);
	id = submit(h, kind, ap, &view);
	va_end(ap);
	if (!id)
		fail_msg("%s: %s", kind, json_dumps(view, JSON_INDENT(1)));
	json_decref(view);
	return id;
}

static json_t *job_v(struct harness *h, const char *kind, va_list ap)
{
	json_t *view = NULL;
	int64_t id = submit(h, kind, ap, &view);

	if (!id)
		return view;
	json_decref(view);
	return harness_wait(h, id);
}

json_t *harness_job(struct harness *h, const char *kind, ...)
{
	va_list ap;
	json_t *v;

	va_start(ap, kind);
	v = job_v(h, kind, ap);
	va_end(ap);
	return v;
}

json_t *harness_done(struct harness *h, const char *kind, ...)
{
	va_list ap;
	json_t *v;

	va_start(ap, kind);
	v = job_v(h, kind, ap);
	va_end(ap);
	if (strcmp(harness_text(v, "state"), "done") != 0)
		fail_msg("%s: %s", kind, json_dumps(v, JSON_INDENT(1)));
	return v;
}

/* ---- files ---- */

void harness_write(struct harness *h, const char *site, const char *path, const char *text)
{
	char full[512];
	int fd;

	snprintf(full, sizeof(full), "%s/sites/%s/live/%s", h->pool, site, path);
	fd = open(full, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	assert_true(fd >= 0);
	assert_int_equal(fd_write_all(fd, text, strlen(text)), 0);
	close(fd);
}

void harness_expect(struct harness *h, const char *site, const char *path, const char *text)
{
	char full[512], got[4096];
	ssize_t n;
	int fd;

	snprintf(full, sizeof(full), "%s/sites/%s/live/%s", h->pool, site, path);
	fd = open(full, O_RDONLY | O_CLOEXEC);
	if (!text) {
		assert_int_equal(fd, -1);
		return;
	}
	assert_true(fd >= 0);
	n = read(fd, got, sizeof(got) - 1);
	close(fd);
	assert_true(n >= 0);
	got[n] = '\0';
	assert_string_equal(got, text);
}

struct wanted {
	const char *code;
	bool found;
};

static void look_at_problem(bool critical, const struct err *err, void *arg)
{
	struct wanted *w = arg;

	(void)critical;
	w->found |= strcmp(err->code, w->code) == 0;
}

bool harness_has_problem(struct harness *h, const char *code)
{
	struct wanted w = {code, false};

	problems_each(&h->fsd.problems, look_at_problem, &w);
	return w.found;
}

void harness_wait_problem(struct harness *h, const char *code)
{
	while (!harness_has_problem(h, code))
		nanosleep(&(struct timespec){.tv_nsec = NSEC_PER_MSEC}, NULL);
}

void harness_let_run(struct harness *h, unsigned n)
{
	pthread_mutex_lock(&h->fsd.jobs.lock);
	h->config_pool.jobs = n; /* for the next start as well */
	atomic_store(&h->fsd.pools.items[0].jobs, n);
	pthread_cond_broadcast(&h->fsd.jobs.wake);
	pthread_mutex_unlock(&h->fsd.jobs.lock);
}

void harness_expect_clean(struct harness *h)
{
	assert_int_equal(run_command("test -z \"$(ls -A %s/.fsd/staging)\"", h->pool), 0);
}

/* ---- JSON ---- */

static json_t *at(json_t *v, const char *path)
{
	char word[64];

	while (v && *path) {
		size_t n = strcspn(path, ".");

		snprintf(word, sizeof(word), "%.*s", (int)n, path);
		v = json_object_get(v, word);
		path += n + (path[n] == '.');
	}
	return v;
}

const char *harness_text(json_t *object, const char *path)
{
	const char *s = json_string_value(at(object, path));

	return s ? s : "";
}

int64_t harness_int(json_t *object, const char *path)
{
	return json_integer_value(at(object, path));
}
