/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fsd/worker/problems.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void problems_init(struct problems *p)
{
	*p = (struct problems){0};
	pthread_mutex_init(&p->lock, NULL);
}

void problems_release(struct problems *p)
{
	free(p->items);
	pthread_mutex_destroy(&p->lock);
}

/* The same one told before; p->n: there is none. */
static unsigned find(const struct problems *p, const char *scope, const struct err *err)
{
	unsigned i = 0;

	while (i < p->n && (strcmp(p->items[i].scope, scope) != 0 ||
		strcmp(p->items[i].err.code, err->code) != 0 ||
		strcmp(p->items[i].err.object, err->object) != 0))
		i++;
	return i;
}

/* For one that is new: the next, or that of a warning. PROBLEMS_KEPT: there is none. */
static unsigned room(const struct problems *p, bool critical)
{
	unsigned i = p->n;

	if (i < PROBLEMS_KEPT)
		return i;
	for (; critical && i > 0; i--) {
		if (!p->items[i - 1].critical)
			return i - 1;
	}
	return PROBLEMS_KEPT;
}

bool problems_add(struct problems *p, bool critical, const char *scope, const struct err *err)
{
	unsigned i = PROBLEMS_KEPT;
	bool fresh = false;

	pthread_mutex_lock(&p->lock);
	if (!p->items)
		p->items = calloc(PROBLEMS_KEPT, sizeof(*p->items));
	if (p->items) {
		i = find(p, scope, err);
		fresh = i == p->n;
		if (fresh)
			i = room(p, critical);
	}
	if (i < PROBLEMS_KEPT) {
		p->items[i].critical = critical;
		p->items[i].stale = false;
		snprintf(p->items[i].scope, sizeof(p->items[i].scope), "%s", scope);
		p->items[i].err = *err;
		p->n += i == p->n;
	}
	pthread_mutex_unlock(&p->lock);
	return fresh && i < PROBLEMS_KEPT;
}

/* "SITE:N" is about SITE, too. */
static bool is_about(const struct err *err, const char *object)
{
	size_t len = strlen(object);

	return strncmp(err->object, object, len) == 0 &&
	       (err->object[len] == '\0' || err->object[len] == ':');
}

bool problems_drop(struct problems *p, const char *scope, const char *object)
{
	unsigned kept = 0, before;

	pthread_mutex_lock(&p->lock);
	before = p->n;
	for (unsigned i = 0; i < before; i++) {
		if (strcmp(p->items[i].scope, scope) != 0 ||
			!is_about(&p->items[i].err, object))
			p->items[kept++] = p->items[i];
	}
	p->n = kept;
	pthread_mutex_unlock(&p->lock);
	return kept < before;
}

void problems_begin(struct problems *p, const char *scope)
{
	pthread_mutex_lock(&p->lock);
	for (unsigned i = 0; i < p->n; i++) {
		if (strcmp(p->items[i].scope, scope) == 0)
			p->items[i].stale = true;
	}
	pthread_mutex_unlock(&p->lock);
}

void problems_end(struct problems *p, const char *scope)
{
	unsigned kept = 0;

	pthread_mutex_lock(&p->lock);
	for (unsigned i = 0; i < p->n; i++) {
		if (!p->items[i].stale || strcmp(p->items[i].scope, scope) != 0)
			p->items[kept++] = p->items[i];
	}
	p->n = kept;
	pthread_mutex_unlock(&p->lock);
}

void problems_clear(struct problems *p, const char *scope)
{
	problems_begin(p, scope);
	problems_end(p, scope);
}

void problems_each(struct problems *p, void (*fn)(bool, const struct err *, void *), void *arg)
{
	pthread_mutex_lock(&p->lock);
	for (unsigned i = 0; i < p->n; i++)
		fn(p->items[i].critical, &p->items[i].err, arg);
	pthread_mutex_unlock(&p->lock);
}
