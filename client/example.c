/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a program does with libfsclient: take a snapshot of a site, watch the job, then list the
 * site's snapshots. Build it with
 *
 *	cc example.c $(pkg-config --cflags --libs fsclient)
 */
#include <fsclient.h>

#include <stdio.h>
#include <stdlib.h>

static int failed(const struct fsc_error *err)
{
	fprintf(stderr, "%s: %s\n", err->object, err->reason);
	if (err->hint[0])
		fprintf(stderr, "%s\n", err->hint);
	return err->exit;
}

static int watch(const struct fsc_progress *p, void *arg)
{
	(void)arg;
	fprintf(stderr, "%llu of %llu entries\n", (unsigned long long)p->entries_done,
		(unsigned long long)p->entries_total);
	return 0; /* go on */
}

/* The job's end is waited for in any case: what it made is in its result. */
static int take_snapshot(struct fsc *fsc, const char *site, struct fsc_error *err)
{
	struct fsc_request *req = fsc_request_new("snapshot");
	struct fsc_value *answer = NULL, *job = NULL;
	int r = -1;

	if (!req)
		return -1;
	/* A setter that failed makes the submit fail. */
	fsc_request_set_str(req, "site", site);
	r = fsc_submit(fsc, req, 0, &answer, err);
	if (r == 0)
		r = fsc_job_wait(fsc, fsc_value_str(answer, "job.id"), watch, NULL, -1, &job, err);
	if (r == 0)
		r = fsc_job_outcome(job, err);
	if (r == 0)
		printf("made %s@%s\n", site, fsc_value_str(job, "result.snapshot.name"));
	fsc_value_free(&job);
	fsc_value_free(&answer);
	fsc_request_free(&req);
	return r;
}

static int list_snapshots(struct fsc *fsc, const char *site, struct fsc_error *err)
{
	const struct fsc_value *item;
	struct fsc_list *list;
	char *path = fsc_path("/v1/snapshots?site=%s", site);
	int r = -1;

	list = path ? fsc_list_new(fsc, path) : NULL;
	while (list && (r = fsc_list_next(list, &item, err)) == 1)
		printf("%s  %s  held: %s\n", fsc_value_str(item, "name"),
			fsc_value_str(item, "time"),
			fsc_value_bool(item, "hold", false) ? "yes" : "no");
	fsc_list_free(&list);
	free(path);
	return r;
}

int main(int argc, char **argv)
{
	struct fsc_error err = {.exit = 1, .reason = "out of memory"};
	struct fsc *fsc = NULL;
	int r;

	if (argc != 2) {
		fprintf(stderr, "usage: %s SITE\n", argv[0]);
		return 2;
	}
	r = fsc_open(NULL, &fsc, &err); /* $FSD_URL, or the default */
	if (r == 0)
		r = take_snapshot(fsc, argv[1], &err);
	if (r == 0)
		r = list_snapshots(fsc, argv[1], &err);
	fsc_close(&fsc);
	return r < 0 ? failed(&err) : 0;
}
