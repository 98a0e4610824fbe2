/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "snap/idmap.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>
#include <xxhash.h>

static struct idmap_slot *slot_of(const struct idmap *m, uint64_t a, uint64_t b)
{
	uint64_t pair[2] = {a, b};
	size_t i = XXH3_64bits_withSeed(pair, sizeof(pair), m->key) & (m->size - 1);

	while (m->slots[i].value && (m->slots[i].a != a || m->slots[i].b != b))
		i = (i + 1) & (m->size - 1);
	return &m->slots[i];
}

uint64_t *idmap_get(const struct idmap *m, uint64_t a, uint64_t b)
{
	struct idmap_slot *s = m->size ? slot_of(m, a, b) : NULL;

	return s && s->value ? &s->value : NULL;
}

static int grow(struct idmap *m)
{
	struct idmap bigger = {.size = m->size ? m->size * 2 : 64, .n = m->n, .key = m->key};

	if (!bigger.key && getrandom(&bigger.key, sizeof(bigger.key), 0) != sizeof(bigger.key))
		bigger.key = (uintptr_t)m | 1;
	bigger.slots = calloc(bigger.size, sizeof(*bigger.slots));
	if (!bigger.slots)
		return -ENOMEM;
	for (size_t i = 0; i < m->size; i++) {
		if (m->slots[i].value)
			*slot_of(&bigger, m->slots[i].a, m->slots[i].b) = m->slots[i];
	}
	free(m->slots);
	*m = bigger;
	return 0;
}

int idmap_set(struct idmap *m, uint64_t a, uint64_t b, uint64_t value)
{
	struct idmap_slot *s;

	if (m->n >= m->size / 4 * 3 && grow(m) < 0)
		return -ENOMEM;
	s = slot_of(m, a, b);
	m->n += s->value == 0;
	*s = (struct idmap_slot){.a = a, .b = b, .value = value};
	return 0;
}

void idmap_release(struct idmap *m)
{
	free(m->slots);
	*m = (struct idmap){0};
}
