/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The short diff of btrfs against the plain truth: random changes to a tree, and after each round
 * what the send stream told must mean the same as a look at both trees, and as the walking diff,
 * in both directions. FSD_ROUNDS and FSD_SEED choose another run.
 *
 * A rename means: everything at and below the old place is gone from there, everything at and below
 * the new place has come.
 */
#include "tests/conformance/pool_env.h"

#include <sys/xattr.h>

#include "backends/pool/btrfs.h"
#include "snap/send_paths.h"

#define MAX_PATHS 4000

static uint32_t seed;

static uint32_t rnd(uint32_t below)
{
	seed ^= seed << 13;
	seed ^= seed >> 17;
	seed ^= seed << 5;
	return seed % below;
}

/* The mutations. Few names, so that things get into each other's way. */

static int live;
static const struct print *known; /* what was there before this round */

/* One that was there, or any, of up to three components. */
static const char *any_path(char out[64])
{
	static const char *const names[] = {"a", "b", "c", "d", "e", "f.php", "o257-8-0"};
	uint32_t depth = 1 + rnd(3);

	*out = '\0';
	if (known && known->n > 1 && rnd(5) < 3) {
		const char *path = known->items[1 + rnd((uint32_t)known->n - 1)].path;

		if (strlen(path) < 50)
			return strcpy(out, path);
	}
	for (uint32_t i = 0; i < depth; i++) {
		if (i)
			strcat(out, "/");
		strcat(out, names[rnd(7)]);
	}
	return out;
}

static void do_write(const char *path)
{
	const int flags = O_WRONLY | O_CREAT | O_NOFOLLOW | O_NONBLOCK;
	_cleanup_fd_ int fd = openat(live, path, flags, 0644);
	char data[5000];
	size_t len = rnd(2) ? 1 + rnd(40) : rnd(sizeof(data));

	if (fd < 0)
		return;
	memset(data, (int)('a' + rnd(3)), sizeof(data));
	if (pwrite(fd, data, len, rnd(3) ? 0 : rnd(200000)) < 0)
		assert_true(errno == EINVAL || errno == EAGAIN || errno == ESPIPE ||
			errno == EBADF);
}

/* The same bytes again, or others of the same number; perhaps with the old time. */
static void do_rewrite(const char *path)
{
	_cleanup_fd_ int fd = openat(live, path, O_RDWR | O_NOFOLLOW | O_NONBLOCK);
	struct stat st;
	char data[9000];
	ssize_t n;

	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return;
	n = pread(fd, data, sizeof(data), 0);
	if (n > 0 && rnd(2))
		data[rnd((uint32_t)n)] ^= 1;
	if (n > 0)
		assert_int_equal(pwrite(fd, data, n, 0), n);
	if (rnd(3) == 0)
		futimens(fd, (struct timespec[2]){st.st_atim, st.st_mtim});
}

static void do_truncate(const char *path)
{
	_cleanup_fd_ int fd = openat(live, path, O_WRONLY | O_NOFOLLOW | O_NONBLOCK);

	if (fd >= 0 && ftruncate(fd, rnd(4) ? rnd(10000) : rnd(300000)) < 0)
		assert_int_equal(errno, EINVAL);
}

static void do_punch(const char *path)
{
	_cleanup_fd_ int fd = openat(live, path, O_WRONLY | O_NOFOLLOW | O_NONBLOCK);

	if (fd >= 0)
		fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, rnd(20000),
			1 + rnd(9000));
}

static void do_xattr(const char *path)
{
	char full[96];

	snprintf(full, sizeof(full), "/proc/self/fd/%d/%s", live, path);
	if (rnd(3))
		lsetxattr(full, rnd(2) ? "user.one" : "trusted.two", "val", 1 + rnd(3), 0);
	else
		lremovexattr(full, "user.one");
}

static void do_metadata(const char *path)
{
	struct timespec times[2] = {{0, UTIME_OMIT}, {(time_t)rnd(1000), (long)rnd(1000)}};

	switch (rnd(3)) {
	case 0:
		fchmodat(live, path, 0700 + rnd(64), 0);
		break;
	case 1:
		fchownat(live, path, rnd(3), rnd(3), AT_SYMLINK_NOFOLLOW);
		break;
	default:
		utimensat(live, path, times, AT_SYMLINK_NOFOLLOW);
	}
}

static void do_make(const char *path)
{
	switch (rnd(4)) {
	case 0:
		symlinkat(rnd(2) ? "somewhere" : "../else", live, path);
		break;
	case 1:
		mknodat(live, path, S_IFIFO | 0644, 0);
		break;
	case 2:
		mknodat(live, path, S_IFCHR | 0600, 0x103 + rnd(2));
		break;
	default:
		mkdirat(live, path, 0755);
	}
}

static void do_remove(const char *path)
{
	struct snap_ctx ctx = {0};
	const char *slash = strrchr(path, '/');
	_cleanup_fd_ int dir = -1;
	char parent[64] = ".";

	if (slash)
		snprintf(parent, sizeof(parent), "%.*s", (int)(slash - path), path);
	dir = fd_open_beneath(live, parent, O_RDONLY | O_DIRECTORY);
	if (dir >= 0)
		env.driver->tree_remove(env.pool,
			(struct tree_at){dir, slash ? slash + 1 : path}, &ctx, NULL);
}

/* What editors and deployments do. */
static void do_replace(const char *path)
{
	do_write("tmp");
	renameat(live, "tmp", live, path);
	unlinkat(live, "tmp", 0);
}

/* Something new in what is there, while there is little. */
static void grow(void)
{
	char path[64], other[64];
	size_t len = strlen(any_path(path));

	any_path(other);

	if (len < 50)
		snprintf(path + len, sizeof(path) - len, "/%c%u", (char)('a' + rnd(4)), rnd(5));
	if (rnd(6) == 0)
		linkat(live, other, live, path, 0);
	else if (rnd(5) < 2)
		mkdirat(live, path, 0755);
	else if (rnd(4))
		do_write(path);
	else
		do_make(path);
}

static void mutate(void)
{
	char x[64], y[64];

	any_path(x);
	any_path(y);
	if (known && known->n < 60 && rnd(2)) {
		grow();
		return;
	}
	switch (rnd(20)) {
	case 0: case 1:
		do_write(x);
		break;
	case 2:
		do_rewrite(x);
		break;
	case 3:
		do_truncate(x);
		break;
	case 4:
		do_punch(x);
		break;
	case 5:
		do_xattr(x);
		break;
	case 6:
		do_metadata(x);
		break;
	case 7: case 8:
		do_make(x);
		break;
	case 9:
		do_remove(x);
		break;
	case 10: case 11: case 15: case 16: case 17:
		renameat(live, x, live, y);
		break;
	case 12: case 18:
		renameat2(live, x, live, y, RENAME_EXCHANGE);
		break;
	case 13:
		linkat(live, x, live, y, 0);
		break;
	case 14:
		do_replace(x);
		break;
	default:
		mkdirat(live, x, 0755);
	}
}

/* The meaning of a diff: one letter a path, or none. */

struct meaning {
	const struct print *old, *new;
	int old_tree, new_tree;
	char *paths[MAX_PATHS];
	char change[MAX_PATHS]; /* '+', '-', 'M', 'm'; '*': gone and come: look yourself */
	size_t n;
	char last[4096];
	char last_change;
	size_t renames;
	bool walked; /* told by snap_diff */
};

static void mean(struct meaning *m, const char *path, char change)
{
	for (size_t i = 0; i < m->n; i++) {
		if (strcmp(m->paths[i], path) != 0)
			continue;
		if (change != m->change[i] && strchr("+-", change) && strchr("+-", m->change[i]))
			m->change[i] = '*';
		else if (m->change[i] == 'M' || m->change[i] == 'm')
			m->change[i] = change;
		else if (m->change[i] == '-' && (change == 'M' || change == 'm'))
			fail_msg("%s is removed and judged", path);
		return;
	}
	assert_true(m->n < MAX_PATHS);
	m->paths[m->n] = strdup(path);
	m->change[m->n++] = change;
}

static bool is_at_or_below(const char *path, const char *top)
{
	size_t len = strlen(top);

	return strncmp(path, top, len) == 0 && (path[len] == '/' || !path[len]);
}

static void mean_rename(struct meaning *m, const char *from, const char *path)
{
	struct statx x, y;

	assert_int_equal(statx(m->old_tree, from, AT_SYMLINK_NOFOLLOW, STATX_BTIME, &x), 0);
	assert_int_equal(statx(m->new_tree, path, AT_SYMLINK_NOFOLLOW, STATX_BTIME, &y), 0);
	assert_int_equal(x.stx_ino, y.stx_ino);
	assert_memory_equal(&x.stx_btime, &y.stx_btime, sizeof(x.stx_btime));
	for (size_t i = 0; i < m->old->n; i++) {
		if (is_at_or_below(m->old->items[i].path, from))
			mean(m, m->old->items[i].path, '-');
	}
	for (size_t i = 0; i < m->new->n; i++) {
		if (is_at_or_below(m->new->items[i].path, path))
			mean(m, m->new->items[i].path, '+');
	}
}

static int take(enum snap_change change, const char *path, const char *from, void *arg)
{
	struct meaning *m = arg;

	if (strcmp(path, ".") == 0)
		path = "";
	if (send_path_cmp(m->last, path) > 0)
		fail_msg("\"%s\" stands behind \"%s\"", path, m->last);
	/* Gone and come under one name is a change of what the name stands for. */
	if (strcmp(m->last, path) == 0 && m->last_change == '-' && change == SNAP_ADDED)
		fail_msg("\"%s\" is told as removed and added", path);
	m->last_change = (char)change;
	snprintf(m->last, sizeof(m->last), "%s", path);
	if (change == SNAP_RENAMED) {
		assert_string_not_equal(path, from);
		mean_rename(m, from, path);
		m->renames++;
	} else {
		assert_null(from);
		mean(m, path, (char)change);
	}
	return 0;
}

static char truth_of(const struct print_entry *a, const struct print_entry *b)
{
	if (!a || !b)
		return a ? '-' : b ? '+' : 0;
	if (strcmp(a->content, b->content) != 0)
		return 'M';
	return strcmp(a->metadata, b->metadata) != 0 ? 'm' : 0;
}

static char told(const struct meaning *m, const char *path)
{
	for (size_t i = 0; i < m->n; i++) {
		if (strcmp(m->paths[i], path) == 0)
			return m->change[i];
	}
	return 0;
}

static void assert_told(const struct meaning *m, const char *path)
{
	char expected = truth_of(print_find(m->old, path), print_find(m->new, path));
	char found = told(m, path);

	if (found == '*' && print_find(m->old, path) && print_find(m->new, path))
		return;
	/* With `full` the walk tells changed link groups as metadata. */
	if (m->walked && found == 'm' && !expected)
		return;
	if (found != expected)
		fail_msg("%s: \"%s\" is told as '%c' and is '%c'",
			m->walked ? "walk" : "send", path, found ? found : '.',
			expected ? expected : '.');
}

static void meaning_check(struct meaning *m)
{
	for (size_t i = 0; i < m->n; i++)
		assert_told(m, m->paths[i]);
	for (size_t i = 0; i < m->old->n; i++)
		assert_told(m, m->old->items[i].path);
	for (size_t i = 0; i < m->new->n; i++)
		assert_told(m, m->new->items[i].path);
	for (size_t i = 0; i < m->n; i++)
		free(m->paths[i]);
}

static unsigned renames;

/* `branches`: where both used an inode number in one transaction, for a file here and a directory
 * there, the kernel gives up or tells nonsense that is refused. Returns whether it did neither. */
static bool compare_by_send(int a, int b, const struct print *old, const struct print *new,
	bool branches)
{
	struct meaning m = {.old = old, .new = new, .old_tree = a, .new_tree = b};
	bool complete = false;
	int r = btrfs_diff_by_send(a, b, &env.ctx, take, &m, &complete, &env.err);

	assert_int_equal(r == 0, complete);
	if (branches && (r == -EIO || r == -EBADMSG))
		return false;
	assert_done(r);
	meaning_check(&m);
	renames += m.renames;
	return true;
}

static void compare_by_walk(int a, int b, const struct print *old, const struct print *new)
{
	const struct snap_diff_opts opts = {.full = true};
	struct meaning m = {.old = old, .new = new, .walked = true};

	assert_done(snap_diff(a, b, &opts, &env.ctx, take, &m, &env.err));
	meaning_check(&m);
}

static unsigned from_env(const char *name, unsigned otherwise)
{
	const char *text = getenv(name);

	return text ? (unsigned)strtoul(text, NULL, 10) : otherwise;
}

static int take_snapshot(const char *name)
{
	const struct tree_at to = {env.two, name};
	struct pool_made made = {0};

	assert_done(env.driver->tree_copy(env.pool, at(env.one), to, POOL_COPY_READ_ONLY, &env.ctx,
		&made, &env.err));
	return fd_open_dir(env.two, name);
}

static void drop_snapshot(const char *name)
{
	assert_done(env.driver->tree_remove(env.pool, (struct tree_at){env.two, name}, &env.ctx,
		&env.err));
}

static void test_diff__by_send_stream_means_what_both_trees_show(void **state)
{
	unsigned rounds = from_env("FSD_ROUNDS", 400), entries = 0;
	char before[16] = "s0", after[16];
	struct print old, new;
	int a, b;

	(void)state;
	seed = from_env("FSD_SEED", 20261122);
	assert_done(env.driver->tree_create(env.pool, at(env.one), &env.err));
	live = tree_of(env.one);
	a = take_snapshot(before);
	print_take(a, &old);
	for (unsigned i = 1; i <= rounds; i++) {
		uint32_t begun = seed;

		known = &old;
		for (uint32_t n = 1 + rnd(25); n; n--)
			mutate();
		snprintf(after, sizeof(after), "s%u", i);
		b = take_snapshot(after);
		print_take(b, &new);
		print_message("round %u from %u\r", i, begun);
		compare_by_send(a, b, &old, &new, false);
		compare_by_send(b, a, &new, &old, false);
		entries += new.n;
		compare_by_walk(a, b, &old, &new);
		close(a);
		drop_snapshot(before);
		print_release(&old);
		a = b;
		old = new;
		memcpy(before, after, sizeof(before));
	}
	known = NULL;
	print_message("%u rounds of %u entries, %u renames told\n", rounds, entries / rounds,
		renames);
	close(a);
	drop_snapshot(before);
	print_release(&old);
	close(live);
	assert_true(renames > rounds);
}

/* What this process has read so far, pipes included, by /proc/self/io. */
static uint64_t bytes_read(void)
{
	FILE *f = fopen("/proc/self/io", "re");
	unsigned long long n = 0;

	assert_non_null(f);
	assert_int_equal(fscanf(f, "rchar: %llu", &n), 1);
	fclose(f);
	return n;
}

static int count(enum snap_change change, const char *path, const char *from, void *arg)
{
	(void)change;
	(void)path;
	(void)from;
	++*(unsigned *)arg;
	return 0;
}

static void test_diff__by_send_stream_reads_no_data(void **state)
{
	static const char data[1 << 20] = "x";
	unsigned changes = 0;
	bool complete = false;
	uint64_t before;
	int a, b, fd;

	(void)state;
	assert_done(env.driver->tree_create(env.pool, at(env.one), &env.err));
	live = tree_of(env.one);
	a = take_snapshot("a");
	fd = openat(live, "new", O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
	for (int i = 0; i < 16; i++)
		assert_int_equal(write(fd, data, sizeof(data)), sizeof(data));
	close(fd);
	b = take_snapshot("b");
	before = bytes_read();
	assert_done(btrfs_diff_by_send(a, b, &env.ctx, count, &changes, &complete, &env.err));
	assert_in_range(bytes_read() - before, 1, sizeof(data));
	assert_true(complete && changes);
	close(a);
	close(b);
	close(live);
	drop_snapshot("a");
	drop_snapshot("b");
}

/* A tree and its clone that both went on: from the same point, so inode numbers are given twice. */
static void test_diff__of_branches_means_what_both_trees_show(void **state)
{
	unsigned rounds = from_env("FSD_ROUNDS", 400) / 4, complete = 0;
	_cleanup_fd_ int three = -1;

	(void)state;
	seed = from_env("FSD_SEED", 7);
	assert_done(env.driver->tree_create(env.pool, at(env.one), &env.err));
	assert_int_equal(mkdirat(env.root, "three", 0755), 0);
	three = fd_open_dir(env.root, "three");
	for (unsigned i = 0; i < rounds; i++) {
		struct print base, old, new;
		int a, b;

		assert_done(env.driver->tree_remove(env.pool, at(three), &env.ctx, &env.err));
		copy_tree(env.one, three, 0);
		live = tree_of(env.one);
		print_take(live, &base);
		known = &base;
		for (uint32_t n = 1 + rnd(25); n; n--)
			mutate();
		close(live);
		live = tree_of(three);
		for (uint32_t n = 1 + rnd(25); n; n--)
			mutate();
		close(live);
		known = NULL;
		print_release(&base);
		a = take_snapshot("a");
		assert_done(env.driver->tree_copy(env.pool, at(three),
			(struct tree_at){env.two, "b"}, POOL_COPY_READ_ONLY, &env.ctx,
			&(struct pool_made){0}, &env.err));
		b = fd_open_dir(env.two, "b");
		print_take(a, &old);
		print_take(b, &new);
		complete += compare_by_send(a, b, &old, &new, true);
		complete += compare_by_send(b, a, &new, &old, true);
		print_release(&old);
		print_release(&new);
		close(a);
		close(b);
		drop_snapshot("a");
		drop_snapshot("b");
	}
	assert_done(env.driver->tree_remove(env.pool, at(three), &env.ctx, &env.err));
	assert_int_equal(unlinkat(env.root, "three", AT_REMOVEDIR), 0);
	print_message("%u rounds of branches, %u of %u streams complete\n", rounds, complete,
		2 * rounds);
	assert_true(complete > rounds * 18 / 10);
}

static int body(const struct box *box)
{
	const struct CMUnitTest tests[] = {
		POOL_UNIT_TEST(test_diff__by_send_stream_means_what_both_trees_show),
		POOL_UNIT_TEST(test_diff__by_send_stream_reads_no_data),
		POOL_UNIT_TEST(test_diff__of_branches_means_what_both_trees_show),
	};

	env.box = box;
	return cmocka_run_group_tests(tests, NULL, NULL) ? 1 : 0;
}

int main(void)
{
	env.driver = &pool_driver_btrfs;
	return box_run("btrfs", "", body);
}
