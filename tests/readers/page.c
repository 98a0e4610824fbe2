/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/readers/page.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "snap/base/fd.h"

static const char *const files[PAGE_FILES] = {
	"index.php", "config.php", "lib/a.php", "lib/deep/b.php", "lib/deep/c.php", "style.css",
};

const char *page_file(unsigned n)
{
	return files[n];
}

const char *page_way_name(enum page_way way)
{
	static const char *const names[PAGE_WAYS] = {"opened", "resolved", "by path"};

	return names[way];
}

/* Of one size, so that writing a mark in place leaves nothing of another. */
void page_mark(char out[PAGE_MARK_SIZE], int64_t mark)
{
	snprintf(out, PAGE_MARK_SIZE, "generation %011" PRId64 "\n", mark);
}

int page_write(int tree, int64_t mark)
{
	char text[PAGE_MARK_SIZE];

	page_mark(text, mark);
	if ((mkdirat(tree, "lib", 0755) < 0 || mkdirat(tree, "lib/deep", 0755) < 0) &&
		errno != EEXIST)
		return -errno;
	for (unsigned n = 0; n < PAGE_FILES; n++) {
		_cleanup_fd_ int fd = openat(tree, files[n], O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
		int r = fd < 0 ? -errno : fd_write_all(fd, text, strlen(text));

		if (r < 0)
			return r;
	}
	return 0;
}

/* ---- one reader ---- */

struct reader {
	int site; /* its directory */
	enum page_way way;
	struct page_tally *tally;
	int64_t last; /* the mark of its last page */
};

static void wrong(struct reader *r, _Atomic uint64_t *counter, const char *what, const char *file)
{
	if (!*r->tally->first)
		snprintf(r->tally->first, sizeof(r->tally->first), "%s: %s: %s",
			page_way_name(r->way), file, what);
	atomic_fetch_add(counter, 1);
}

static void failed(struct reader *r, const char *file)
{
	wrong(r, &r->tally->errors, strerror(errno), file);
}

/* The mark of a file, 0 when it cannot be had. */
static int64_t read_mark(struct reader *r, int dir, const char *path)
{
	_cleanup_fd_ int fd = openat(dir, path, O_RDONLY | O_CLOEXEC);
	char text[2 * PAGE_MARK_SIZE];
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	int64_t mark;

	if (n < 0) {
		failed(r, path);
		return 0;
	}
	text[n] = '\0';
	if (sscanf(text, "generation %" SCNd64 "\n", &mark) == 1 && mark > 0)
		return mark;
	wrong(r, &r->tally->errors, "no mark in it", path);
	return 0;
}

/* All files of one page, each `prefix` and its name beneath `dir`. */
static void read_files(struct reader *r, int dir, const char *prefix)
{
	int64_t first = 0;

	for (unsigned n = 0; n < PAGE_FILES; n++) {
		char path[128];
		int64_t mark;

		snprintf(path, sizeof(path), "%s%s", prefix, files[n]);
		mark = read_mark(r, dir, path);
		if (!mark)
			return;
		if (first && mark != first && r->way != PAGE_BY_PATH) {
			wrong(r, &r->tally->mixtures, "of another generation than the page", path);
			return;
		}
		first = mark;
	}
	if (r->last && first != r->last)
		atomic_fetch_add(&r->tally->switches, 1);
	r->last = first;
}

static void read_opened(struct reader *r)
{
	_cleanup_fd_ int live = openat(r->site, "live", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (live < 0)
		failed(r, "live");
	else
		read_files(r, live, "");
}

static void read_resolved(struct reader *r)
{
	char target[64];
	ssize_t n = readlinkat(r->site, "live", target, sizeof(target) - 2);

	if (n < 0) {
		failed(r, "live");
		return;
	}
	strcpy(target + n, "/");
	read_files(r, r->site, target);
}

static _Noreturn void read_pages(struct reader *r, const _Atomic bool *stop)
{
	while (!atomic_load(stop)) {
		if (r->way == PAGE_OPENED)
			read_opened(r);
		else if (r->way == PAGE_RESOLVED)
			read_resolved(r);
		else
			read_files(r, r->site, "live/");
		atomic_fetch_add(&r->tally->pages, 1);
	}
	_exit(0);
}

/* ---- all of them ---- */

static void *shared(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

static int start_one(struct page_readers *r, int site)
{
	struct reader reader = {site, r->n % PAGE_WAYS, &r->tallies[r->n], 0};
	pid_t pid = fork();

	if (pid < 0)
		return -errno;
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		nice(15); /* publishing goes first, or it would wait for its turn at every fsync */
		read_pages(&reader, r->stop);
	}
	r->pids[r->n++] = pid;
	return 0;
}

/* Until each has read a page. */
static int wait_for_pages(const struct page_readers *r)
{
	for (unsigned i = 0; i < r->n; i++) {
		while (!atomic_load(&r->tallies[i].pages)) {
			if (waitpid(r->pids[i], NULL, WNOHANG) != 0)
				return -EIO;
			sched_yield();
		}
	}
	return 0;
}

int page_readers_start(struct page_readers *r, const char *path, unsigned n)
{
	_cleanup_fd_ int site = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int ret = site < 0 ? -errno : 0;

	*r = (struct page_readers){.tallies = shared(n * sizeof(*r->tallies)),
		.pids = calloc(n, sizeof(*r->pids)), .stop = shared(sizeof(*r->stop))};
	if (!r->tallies || !r->pids || !r->stop)
		return -ENOMEM;
	fflush(NULL);
	while (ret == 0 && r->n < n)
		ret = start_one(r, site);
	return ret < 0 ? ret : wait_for_pages(r);
}

void page_readers_stop(struct page_readers *r)
{
	atomic_store(r->stop, true);
	for (unsigned i = 0; i < r->n; i++)
		waitpid(r->pids[i], NULL, 0);
}

void page_readers_release(struct page_readers *r)
{
	munmap(r->tallies, r->n * sizeof(*r->tallies));
	munmap(r->stop, sizeof(*r->stop));
	free(r->pids);
}

struct page_tally page_sum(const struct page_readers *r)
{
	struct page_tally sum = {0};

	for (unsigned i = 0; i < r->n; i++) {
		const struct page_tally *t = &r->tallies[i];

		sum.pages += t->pages;
		sum.switches += t->switches;
		sum.errors += t->errors;
		sum.mixtures += t->mixtures;
		if (!*sum.first)
			memcpy(sum.first, t->first, sizeof(sum.first));
	}
	return sum;
}

uint64_t page_least_switches(const struct page_readers *r)
{
	uint64_t least = UINT64_MAX;

	for (unsigned i = 0; i < r->n; i++) {
		uint64_t n = r->tallies[i].switches;

		least = n < least ? n : least;
	}
	return least;
}
