/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Names, SOURCEs, times, durations, ids and escaped text: the small parsers. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "fsd/core/id.h"
#include "fsd/core/json.h"
#include "snap/base/clock.h"
#include "snap/base/err.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool ok)
{
	if (!ok)
		abort();
}

static void sources(const char *s)
{
	struct err err = ERR_INIT;
	struct source src;
	int64_t t;

	if (source_parse(s, &src, &err) < 0) {
		must(err.num && *err.reason);
	} else {
		must(name_valid(src.site));
		must(src.kind != SOURCE_SNAPSHOT || name_valid(src.name));
		must(src.kind != SOURCE_GENERATION || src.generation > 0);
	}
	if (name_check(s, NULL) == 0)
		must(name_valid(s) && time_parse_last(s, &t) < 0 && !id_valid(s) &&
			source_parse(s, &src, NULL) == 0 && src.kind == SOURCE_LIVE);
}

static void times(const char *s)
{
	char text[TIME_TEXT_SIZE];
	int64_t t, again;

	if (time_parse_last(s, &t) == 0) {
		must(time_parse_last(time_format(t, text), &again) == 0);
		must(again >= t && again - t < NSEC_PER_MSEC);
	}
	duration_parse(s, &t);
}

static void ids(const char *s)
{
	char text[JOB_ID_SIZE];
	int64_t id;

	if (job_id_parse(s, &id) == 0)
		must(strcasecmp(job_id_format(id, text), s) == 0);
}

static void texts(const char *s)
{
	json_t *j = json_text(s);
	char *back = NULL;

	must(j && json_text_decode(json_string_value(j), &back) == 0 && strcmp(back, s) == 0);
	free(back);
	json_decref(j);
	if (json_text_decode(s, &back) == 0)
		free(back);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *s = malloc(size + 1);

	must(s != NULL);
	memcpy(s, data, size);
	s[size] = '\0';
	sources(s);
	times(s);
	ids(s);
	texts(s);
	free(s);
	return 0;
}
