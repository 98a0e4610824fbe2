/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "client/sse.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void sse_init(struct sse *s, sse_event_fn *event, void *arg)
{
	*s = (struct sse){.event = event, .arg = arg};
}

void sse_release(struct sse *s)
{
	free(s->line);
	free(s->data);
	s->line = s->data = NULL;
	s->line_size = s->data_size = 0;
	sse_restart(s);
}

void sse_restart(struct sse *s)
{
	s->line_len = s->data_len = 0;
	s->has_data = s->skip_lf = false;
	memcpy(s->next, s->id, sizeof(s->id));
}

/* Append and keep the NUL behind. */
static int append(char **buf, size_t *used, size_t *size, const char *data, size_t len)
{
	if (*used + len > SSE_EVENT_MAX)
		return -EFBIG;
	if (*used + len + 1 > *size) {
		size_t bigger = (*used + len + 1) * 2;
		char *p = realloc(*buf, bigger);

		if (!p)
			return -ENOMEM;
		*buf = p;
		*size = bigger;
	}
	memcpy(*buf + *used, data, len);
	*used += len;
	(*buf)[*used] = '\0';
	return 0;
}

/* An empty line: the event is complete. */
static int dispatch(struct sse *s)
{
	size_t len = s->data_len;

	s->data_len = 0;
	memcpy(s->id, s->next, sizeof(s->id));
	if (!s->has_data)
		return 0;
	s->has_data = false;
	return s->event(s->arg, s->id, s->data, len);
}

static int field(struct sse *s, const char *name, size_t name_len, const char *value, size_t len)
{
	if (name_len == 4 && memcmp(name, "data", 4) == 0) {
		/* Several data lines are one text, joined by line feeds. */
		int r = s->has_data ? append(&s->data, &s->data_len, &s->data_size, "\n", 1) : 0;

		s->has_data = true;
		return r < 0 ? r : append(&s->data, &s->data_len, &s->data_size, value, len);
	}
	if (name_len == 2 && memcmp(name, "id", 2) == 0 && len < SSE_ID_MAX &&
		!memchr(value, '\0', len)) {
		memcpy(s->next, value, len);
		s->next[len] = '\0';
	}
	return 0;
}

static int line_end(struct sse *s)
{
	const char *line = s->line, *colon, *value;
	size_t len = s->line_len;

	s->line_len = 0;
	if (len == 0)
		return dispatch(s);
	colon = memchr(line, ':', len);
	if (colon == line)
		return 0; /* a comment: keeps the connection alive */
	if (!colon)
		return field(s, line, len, "", 0);
	value = colon + 1;
	if (value < line + len && *value == ' ')
		value++;
	return field(s, line, (size_t)(colon - line), value, (size_t)(line + len - value));
}

static bool is_eol(char c)
{
	return c == '\n' || c == '\r';
}

int sse_feed(struct sse *s, const char *data, size_t len)
{
	for (size_t i = 0; i < len;) {
		size_t n = 0;
		int r;

		if (s->skip_lf && data[i] == '\n') { /* of a CR LF */
			s->skip_lf = false;
			i++;
			continue;
		}
		s->skip_lf = false;
		while (i + n < len && !is_eol(data[i + n]))
			n++;
		r = append(&s->line, &s->line_len, &s->line_size, data + i, n);
		if (r < 0)
			return r;
		i += n;
		if (i == len)
			return 0;
		s->skip_lf = data[i++] == '\r';
		r = line_end(s);
		if (r < 0)
			return r;
	}
	return 0;
}
