/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "snap/settle.h"

#include <errno.h>
#include <string.h>
#include <xxhash.h>

#include "snap/base/clock.h"
#include "snap/ctx.h"

#define OPEN 1 /* the digest that never matches */

void settle_init(struct settle *s, bool network)
{
	*s = (struct settle){.tick = network ? NSEC_PER_SEC : settle_tick()};
}

void settle_release(struct settle *s)
{
	idmap_release(&s->seen);
}

int64_t settle_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME_COARSE, &t);
	return clock_of(&t);
}

int64_t settle_tick(void)
{
	struct timespec tick = {.tv_nsec = 10 * NSEC_PER_MSEC};

	clock_getres(CLOCK_REALTIME_COARSE, &tick);
	return clock_of(&tick);
}

uint64_t stat_digest(const struct io_stat *st)
{
	uint64_t words[] = {st->dev, st->ino, st->size, st->mode,
		(uint64_t)st->uid << 32 | st->gid, st->mtime.tv_sec, st->mtime.tv_nsec,
		st->ctime.tv_sec, st->ctime.tv_nsec};

	return XXH3_64bits(words, sizeof(words)) | 2;
}

/*
 * The stat was taken at some time since `before`. A ctime that still lies two ticks in the future
 * comes from a clock that was set back: the next change will take it back too, so it hides nothing.
 */
static bool within_two_ticks(const struct settle *s, int64_t before, int64_t ctime)
{
	return ctime > before - 2 * s->tick && ctime < settle_now() + 2 * s->tick;
}

int settle_record(struct settle *s, const char *path, const struct io_stat *st, int64_t now,
	bool open)
{
	XXH128_hash_t h = XXH3_128bits(path, strlen(path));
	int64_t ctime = clock_of(&st->ctime);
	bool young = within_two_ticks(s, now, ctime);

	if (ctime > s->newest && (ctime <= now || young))
		s->newest = ctime;
	return idmap_set(&s->seen, h.high64, h.low64, open || young ? OPEN : stat_digest(st));
}

void settle_forget(struct settle *s, const char *path)
{
	XXH128_hash_t h = XXH3_128bits(path, strlen(path));
	uint64_t *digest = idmap_get(&s->seen, h.high64, h.low64);

	if (digest)
		*digest = OPEN;
}

enum settle_answer settle_compare(const struct settle *s, const char *path,
	const struct io_stat *st)
{
	XXH128_hash_t h = XXH3_128bits(path, strlen(path));
	const uint64_t *digest = idmap_get(&s->seen, h.high64, h.low64);

	if (!digest)
		return SETTLE_NEW;
	return *digest == stat_digest(st) ? SETTLE_SAME : SETTLE_DIFFERENT;
}

int settle_wait(const struct settle *s, struct snap_ctx *ctx)
{
	int64_t until = s->newest + 2 * s->tick, left;

	while ((left = until - settle_now()) > 0) {
		struct timespec nap = {.tv_nsec = left < 10 * NSEC_PER_MSEC ? left :
									      10 * NSEC_PER_MSEC};

		if (snap_canceled(ctx))
			return -ECANCELED;
		nanosleep(&nap, NULL);
	}
	return 0;
}
