/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * site.json and meta.json: what the pool itself says about a site, a generation, a snapshot; the
 * truth the catalog is rebuilt from. Documents are read and rewritten as JSON, so that keys of a
 * newer fsd survive; the typed forms are the catalog's records.
 *
 * site.json: format, id, created, protected, expires, linked, last_generation, labels {}, holds []
 * gen/N/meta.json: format, number, created, method, consistency, origin, retired, retired_by, job,
 *   as_of
 * snapshot meta.json: format, id, site, site_name, name, kind, time, generation, method,
 *   consistency, unsettled {}, gap_ns, expires, job, look, labels {}, holds []
 * Times are integers, ns since 1970 UTC; jobs are ids as text.
 */
#ifndef FSD_WORKER_META_H
#define FSD_WORKER_META_H

#include <jansson.h>

#include "backends/catalog/catalog.h"

struct err;

#define META_SITE "site.json"
#define META_WRAPPER "meta.json"
#define META_FORMAT 1
#define META_SIZE_MAX (1u << 20) /* bytes of a document */

/* Read dirfd/name; `object` is for messages. New reference. -ENOENT, -EBADMSG "bad_meta",
 * -EPROTO "newer_format". */
int meta_load(int dirfd, const char *name, const char *object, json_t **doc, struct err *err);
/* Write it durably (the directory is the caller's to sync). One that meta_load() would refuse for
 * its size does not replace the old one: -E2BIG "too_large". */
int meta_store(int dirfd, const char *name, const char *object, json_t *doc, struct err *err);

/* A copy of the document in another directory, durable like one that is stored; with `commit`,
 * once the file system has committed what changed in it. */
int meta_copy(int from, int to, const char *name, bool commit, const char *object,
	struct err *err);

json_t *meta_site_new(const struct cat_site *s, json_t *labels);
json_t *meta_generation_new(const struct cat_generation *g);
json_t *meta_snapshot_new(const struct cat_snapshot *s, json_t *labels);

/* Typed forms; fields that come from elsewhere (site: name, pool, live; generation: site; snapshot:
 * pool, bytes) are left as they are. -EBADMSG "bad_meta". */
int meta_site(json_t *doc, const char *object, struct cat_site *s, struct err *err);
int meta_generation(json_t *doc, const char *object, struct cat_generation *g, struct err *err);
int meta_snapshot(json_t *doc, const char *object, struct cat_snapshot *s, struct err *err);

/* Replace the file dirfd/name by one in which `key` is `value` (stolen; NULL removes). */
int meta_change(int dirfd, const char *name, const char *object, const char *key, json_t *value,
	struct err *err);

#endif
