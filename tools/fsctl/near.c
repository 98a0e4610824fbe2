/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What was meant by a mistyped word: the nearest one that exists. */
#include <stdio.h>
#include <string.h>

#include "tools/fsctl/table.h"

#define WORD_MAX 40

static int least(int a, int b)
{
	return a < b ? a : b;
}

/* Letters to insert, remove, replace or exchange with the next one (the restricted Damerau
 * distance); large for words that are too long to be anything. */
static int distance(const char *a, const char *b)
{
	size_t la = strlen(a), lb = strlen(b);
	int d[WORD_MAX + 1][WORD_MAX + 1];

	if (la > WORD_MAX || lb > WORD_MAX)
		return WORD_MAX;
	for (size_t i = 0; i <= la; i++) {
		for (size_t k = 0; k <= lb; k++) {
			if (!i || !k) {
				d[i][k] = (int)(i + k);
				continue;
			}
			d[i][k] = least(d[i - 1][k - 1] + (a[i - 1] != b[k - 1]),
				least(d[i - 1][k], d[i][k - 1]) + 1);
			if (i > 1 && k > 1 && a[i - 1] == b[k - 2] && a[i - 2] == b[k - 1])
				d[i][k] = least(d[i][k], d[i - 2][k - 2] + 1);
		}
	}
	return d[la][lb];
}

struct nearest {
	const char *meant;
	int distance;
};

/* One letter in three may be wrong. */
static void consider(struct nearest *n, const char *typed, const char *known, const char *meant)
{
	int far = distance(typed, known);

	if (far < n->distance && far <= ((int)strlen(known) + 1) / 3) {
		n->distance = far;
		n->meant = meant;
	}
}

static size_t first_word(const char *words, char out[WORD_MAX])
{
	size_t len = strcspn(words, " ");

	snprintf(out, WORD_MAX, "%.*s", (int)len, words);
	return len;
}

const char *command_near(const char *word, const char *second)
{
	struct nearest n = {.distance = WORD_MAX};
	bool known = second && is_noun(word);
	char first[WORD_MAX];

	for (const struct command *cmd = commands; cmd->words; cmd++) {
		size_t len = first_word(cmd->words, first);

		if (!known)
			consider(&n, word, first, cmd->words);
		else if (cmd->words[len] && strcmp(first, word) == 0)
			consider(&n, second, cmd->words + len + 1, cmd->words);
	}
	if (!known && second && n.meant && n.meant[first_word(n.meant, first)])
		return command_near(first, second) ?: n.meant; /* a noun that is no command alone */
	return n.meant;
}

const char *option_near(const struct command *cmd, const char *dashed)
{
	struct nearest n = {.distance = WORD_MAX};

	dashed += strspn(dashed, "-");
	for (size_t i = 0; cmd && cmd->options[i].name; i++)
		consider(&n, dashed, cmd->options[i].name, cmd->options[i].name);
	for (const struct global_option *g = global_options; g->name; g++)
		consider(&n, dashed, g->name, g->name);
	return n.meant;
}
