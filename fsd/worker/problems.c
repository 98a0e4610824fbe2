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

void problems_add(struct problems *p, bool critical, const char *scope, const struct err *err)
{
	pthread_mutex_lock(&p->lock);
	if (!p->items)
		p->items = calloc(PROBLEMS_KEPT, sizeof(*p->items));
	if (p->items && p->n < PROBLEMS_KEPT) {
		p->items[p->n].critical = critical;
		snprintf(p->items[p->n].scope, sizeof(p->items[p->n].scope), "%s", scope);
		p->items[p->n++].err = *err;
	}
	pthread_mutex_unlock(&p->lock);
}

void problems_clear(struct problems *p, const char *scope)
{
	unsigned kept = 0;

	pthread_mutex_lock(&p->lock);
	for (unsigned i = 0; i < p->n; i++) {
		if (strcmp(p->items[i].scope, scope) != 0)
			p->items[kept++] = p->items[i];
	}
	p->n = kept;
	pthread_mutex_unlock(&p->lock);
}

void problems_each(struct problems *p, void (*fn)(bool, const struct err *, void *), void *arg)
{
	pthread_mutex_lock(&p->lock);
	for (unsigned i = 0; i < p->n; i++)
		fn(p->items[i].critical, &p->items[i].err, arg);
	pthread_mutex_unlock(&p->lock);
}
