/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A shim between SQLite and its unix VFS fails the Nth call that changes something (open, write,
 * sync, truncate, delete, growing the shared memory), for every N over opening, one transaction
 * with one of each record, and closing. Afterwards the catalog opens, is sound, and holds all of
 * the transaction or nothing; what was committed before is there.
 */
#include "tests/unit/catalog/support.h"

enum mode {
	ONCE,	/* one call fails, those behind it work */
	STICKY, /* the disk is gone from then on */
	TORN,	/* half of a write arrives, then the disk is gone */
	FULL,	/* no space from then on, other calls work */
};

static struct {
	enum mode mode;
	unsigned fail_at, calls; /* fail_at 0: never */
	unsigned failed;
	bool reads; /* every read of a file fails */
} faults;

static sqlite3_vfs *unix_vfs;

struct shim {
	sqlite3_file base;
	sqlite3_file *file; /* the unix VFS's, behind this struct */
};

static sqlite3_file *real(sqlite3_file *file)
{
	return ((struct shim *)file)->file;
}

static bool fails(bool takes_space)
{
	bool fail;

	faults.calls++;
	if (!faults.fail_at || faults.calls < faults.fail_at)
		return false;
	fail = faults.mode == ONCE ? faults.calls == faults.fail_at
				   : faults.mode != FULL || takes_space;
	faults.failed += fail;
	errno = faults.mode == FULL ? ENOSPC : EIO;
	return fail;
}

static int shim_close(sqlite3_file *f)
{
	return real(f)->pMethods->xClose(real(f));
}

static int shim_read(sqlite3_file *f, void *data, int n, sqlite3_int64 at)
{
	if (faults.reads)
		return SQLITE_IOERR_READ;
	return real(f)->pMethods->xRead(real(f), data, n, at);
}

static int shim_write(sqlite3_file *f, const void *data, int n, sqlite3_int64 at)
{
	if (!fails(true))
		return real(f)->pMethods->xWrite(real(f), data, n, at);
	if (faults.mode == TORN && faults.calls == faults.fail_at)
		real(f)->pMethods->xWrite(real(f), data, n / 2, at);
	return faults.mode == FULL ? SQLITE_FULL : SQLITE_IOERR_WRITE;
}

static int shim_truncate(sqlite3_file *f, sqlite3_int64 size)
{
	return fails(false) ? SQLITE_IOERR_TRUNCATE
			    : real(f)->pMethods->xTruncate(real(f), size);
}

/* No power cut follows, so the page cache is durable enough. */
static int shim_sync(sqlite3_file *f, int flags)
{
	(void)f, (void)flags;
	return fails(false) ? SQLITE_IOERR_FSYNC : SQLITE_OK;
}

static int shim_size(sqlite3_file *f, sqlite3_int64 *size)
{
	return real(f)->pMethods->xFileSize(real(f), size);
}

static int shim_lock(sqlite3_file *f, int level)
{
	return real(f)->pMethods->xLock(real(f), level);
}

static int shim_unlock(sqlite3_file *f, int level)
{
	return real(f)->pMethods->xUnlock(real(f), level);
}

static int shim_reserved(sqlite3_file *f, int *out)
{
	return real(f)->pMethods->xCheckReservedLock(real(f), out);
}

static int shim_control(sqlite3_file *f, int op, void *arg)
{
	return real(f)->pMethods->xFileControl(real(f), op, arg);
}

static int shim_sector(sqlite3_file *f)
{
	return real(f)->pMethods->xSectorSize(real(f));
}

static int shim_device(sqlite3_file *f)
{
	return real(f)->pMethods->xDeviceCharacteristics(real(f));
}

static int shim_shm_map(sqlite3_file *f, int page, int size, int extend, void volatile **out)
{
	if (extend && fails(true))
		return SQLITE_IOERR_SHMSIZE;
	return real(f)->pMethods->xShmMap(real(f), page, size, extend, out);
}

static int shim_shm_lock(sqlite3_file *f, int at, int n, int flags)
{
	return real(f)->pMethods->xShmLock(real(f), at, n, flags);
}

static void shim_shm_barrier(sqlite3_file *f)
{
	real(f)->pMethods->xShmBarrier(real(f));
}

static int shim_shm_unmap(sqlite3_file *f, int delete_it)
{
	return real(f)->pMethods->xShmUnmap(real(f), delete_it);
}

static const sqlite3_io_methods shim_methods = {
	.iVersion = 2, /* no mmap of the file: every change passes here */
	.xClose = shim_close,
	.xRead = shim_read,
	.xWrite = shim_write,
	.xTruncate = shim_truncate,
	.xSync = shim_sync,
	.xFileSize = shim_size,
	.xLock = shim_lock,
	.xUnlock = shim_unlock,
	.xCheckReservedLock = shim_reserved,
	.xFileControl = shim_control,
	.xSectorSize = shim_sector,
	.xDeviceCharacteristics = shim_device,
	.xShmMap = shim_shm_map,
	.xShmLock = shim_shm_lock,
	.xShmBarrier = shim_shm_barrier,
	.xShmUnmap = shim_shm_unmap,
};

static int shim_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *f, int flags, int *out)
{
	struct shim *shim = (struct shim *)f;
	int rc;

	(void)vfs;
	f->pMethods = NULL;
	shim->file = (sqlite3_file *)(shim + 1);
	if (fails(true))
		return SQLITE_CANTOPEN;
	rc = unix_vfs->xOpen(unix_vfs, name, shim->file, flags, out);
	if (shim->file->pMethods)
		f->pMethods = &shim_methods;
	return rc;
}

static int shim_delete(sqlite3_vfs *vfs, const char *name, int sync_dir)
{
	(void)vfs;
	return fails(false) ? SQLITE_IOERR_DELETE : unix_vfs->xDelete(unix_vfs, name, sync_dir);
}

static int install_shim(void **state)
{
	static sqlite3_vfs shim;

	(void)state;
	unix_vfs = sqlite3_vfs_find(NULL);
	shim = *unix_vfs;
	shim.pNext = NULL;
	shim.zName = "shim";
	shim.szOsFile = sizeof(struct shim) + unix_vfs->szOsFile;
	shim.xOpen = shim_open;
	shim.xDelete = shim_delete;
	return sqlite3_vfs_register(&shim, 1);
}

/* ---- the sweep ---- */

/* Open, one transaction with record i, close, with the Nth call failing. Returns whether the
 * commit was acknowledged; *begun whether it was reached at all. */
static bool transaction_with_fault(struct scratch *s, unsigned i, unsigned n, enum mode mode)
{
	struct err err = ERR_INIT;
	int r;

	faults.mode = mode;
	faults.fail_at = n;
	faults.calls = faults.failed = 0;
	r = catalog_open(s->path, CATALOG_CREATE, &s->c, &err);
	if (r == 0)
		r = catalog_begin(s->c, &err);
	if (r == 0) {
		r = put_each(s->c, i, &err);
		if (r == 0)
			r = catalog_commit(s->c, &err);
		else
			catalog_rollback(s->c);
	}
	catalog_close(&s->c);
	if (r < 0) {
		assert_int_equal(err.num, -r);
		assert_string_not_equal(err.reason, "");
		assert_true(r == -EIO || r == -ENOSPC);
	}
	faults.fail_at = 0;
	return r == 0;
}

static void assert_whole(struct scratch *s, unsigned i, unsigned n, bool acknowledged)
{
	struct err err = ERR_INIT;
	int found;

	assert_ok(catalog_open(s->path, CATALOG_CREATE, &s->c, &err), err);
	assert_ok(catalog_check(s->c, &err), err);
	found = count_each(s->c, i);
	if (found != EACH && (found != 0 || acknowledged))
		fail_msg("call %u failed: %d of %d records, %s", n, found, EACH,
			acknowledged ? "acknowledged" : "refused");
	if (i > 1)
		assert_true(count_each(s->c, 1) == EACH);
	catalog_close(&s->c);
}

/* From a new catalog, or within one that holds a transaction and a log. */
static void sweep(struct scratch *s, enum mode mode, bool anew)
{
	unsigned n, refused = 0;
	bool done = false;

	if (!anew)
		assert_true(transaction_with_fault(s, 1, 0, ONCE));
	for (n = 1; !done; n++) {
		unsigned i = anew ? 1 : n + 1;
		bool acknowledged = transaction_with_fault(s, i, n, mode);

		done = faults.failed == 0;
		refused += !acknowledged;
		assert_whole(s, i, n, acknowledged);
		if (anew)
			remove(s->path);
	}
	print_message("%u calls failed, %u transactions refused\n", n - 2, refused);
	assert_true(refused >= 4);
}

static void test_transaction__is_whole_or_absent_when_one_call_fails(void **state)
{
	sweep(*state, ONCE, false);
}

static void test_transaction__is_whole_or_absent_when_the_disk_goes(void **state)
{
	sweep(*state, STICKY, false);
}

static void test_transaction__is_whole_or_absent_after_a_torn_write(void **state)
{
	sweep(*state, TORN, false);
}

static void test_transaction__is_whole_or_absent_when_the_disk_is_full(void **state)
{
	sweep(*state, FULL, false);
}

static void test_new_catalog__opens_after_one_failed_call(void **state)
{
	sweep(*state, ONCE, true);
}

static void test_new_catalog__opens_after_the_disk_went(void **state)
{
	sweep(*state, STICKY, true);
}

static void test_new_catalog__opens_after_a_torn_write(void **state)
{
	sweep(*state, TORN, true);
}

static void test_new_catalog__opens_after_the_disk_was_full(void **state)
{
	sweep(*state, FULL, true);
}

static void test_read__that_fails_and_is_ignored_does_not_lose_a_transaction_silently(
	void **state)
{
	struct scratch *s = *state;
	struct cat_pool pool = sample_pool(9);
	struct err err = ERR_INIT;
	struct cat_snapshot snapshot;
	char id[CAT_ID_SIZE];

	assert_true(transaction_with_fault(s, 1, 0, ONCE));
	assert_ok(catalog_open(s->path, 0, &s->c, &err), err);
	assert_ok(catalog_begin(s->c, &err), err);
	assert_ok(catalog_pool_put(s->c, &pool, &err), err);
	faults.reads = true; /* of pages that are not cached yet */
	assert_int_equal(catalog_snapshot_get_id(s->c, sample_id('n', 1, id), &snapshot, NULL),
		-EIO);
	faults.reads = false;
	assert_fails(catalog_pool_put(s->c, &pool, &err), EIO, "io_error", err);
	assert_fails(catalog_commit(s->c, &err), EIO, "io_error", err);
	err = ERR_INIT;
	assert_int_equal(catalog_pool_get(s->c, pool.name, &pool, &err), -ENOENT);
	assert_ok(catalog_pool_put(s->c, &pool, &err), err);
	assert_int_equal(count_each(s->c, 1), EACH);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST_BARE(test_transaction__is_whole_or_absent_when_one_call_fails),
		TEST_BARE(test_transaction__is_whole_or_absent_when_the_disk_goes),
		TEST_BARE(test_transaction__is_whole_or_absent_after_a_torn_write),
		TEST_BARE(test_transaction__is_whole_or_absent_when_the_disk_is_full),
		TEST_BARE(
			test_read__that_fails_and_is_ignored_does_not_lose_a_transaction_silently),
		TEST_BARE(test_new_catalog__opens_after_one_failed_call),
		TEST_BARE(test_new_catalog__opens_after_the_disk_went),
		TEST_BARE(test_new_catalog__opens_after_a_torn_write),
		TEST_BARE(test_new_catalog__opens_after_the_disk_was_full),
	};

	return cmocka_run_group_tests(tests, install_shim, NULL);
}
