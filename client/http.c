/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The response parser: one function for each state. */
#include "client/http.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>
#include <strings.h>

void http_init(struct http *h, http_body_fn *body, void *arg)
{
	h->status = 0;
	h->keep_alive = true;
	h->type[0] = '\0';
	h->why = NULL;
	h->state = HTTP_STATUS;
	h->body = body;
	h->arg = arg;
	h->has_length = h->chunked = h->has_encoding = false;
	h->left = 0;
	h->headers = h->interim = 0;
	h->line_len = 0;
}

static int bad(struct http *h, const char *why)
{
	h->why = why;
	return -EBADMSG;
}

/* tchar of RFC 9110, 5.6.2 */
static bool is_token(unsigned char c)
{
	return isalnum(c) || (c && strchr("!#$%&'*+-.^_`|~", c));
}

/* "HTTP/1.1 200 OK"; the reason may be missing, with or without its blank. */
static int status_line(struct http *h, const char *s)
{
	if (strncmp(s, "HTTP/1.1 ", 9) != 0)
		return bad(h, "not HTTP/1.1");
	s += 9;
	for (int i = 0; i < 3; i++) {
		if (s[i] < '0' || s[i] > '9')
			return bad(h, "bad status");
	}
	if (s[3] != ' ' && s[3] != '\0')
		return bad(h, "bad status");
	h->status = (s[0] - '0') * 100 + (s[1] - '0') * 10 + (s[2] - '0');
	if (h->status < 100 || h->status > 599 || h->status == 101)
		return bad(h, "unexpected status");
	h->state = HTTP_HEADER;
	return 0;
}

/* Only digits, no sign, no overflow. */
static int content_length(struct http *h, const char *value)
{
	uint64_t n = 0;

	if (h->has_length)
		return bad(h, "two lengths");
	if (!*value || strlen(value) > 18)
		return bad(h, "bad length");
	for (const char *p = value; *p; p++) {
		if (*p < '0' || *p > '9')
			return bad(h, "bad length");
		n = n * 10 + (unsigned)(*p - '0');
	}
	h->has_length = true;
	h->left = n;
	return 0;
}

static int transfer_encoding(struct http *h, const char *value)
{
	if (h->has_encoding || strcasecmp(value, "chunked") != 0)
		return bad(h, "unknown transfer encoding");
	h->has_encoding = h->chunked = true;
	return 0;
}

static void content_type(struct http *h, const char *value)
{
	size_t len = strcspn(value, "; \t");

	if (len >= sizeof(h->type))
		len = 0;
	for (size_t i = 0; i < len; i++)
		h->type[i] = (char)tolower((unsigned char)value[i]);
	h->type[len] = '\0';
}

/* Connection is a list of words. */
static bool has_word(const char *list, const char *word)
{
	size_t len = strlen(word);

	while (*list) {
		list += strspn(list, ", \t");
		if (strncasecmp(list, word, len) == 0 && strchr(", \t", list[len]))
			return true;
		list += strcspn(list, ",");
	}
	return false;
}

/* Split "Name: value" in place and drop the blanks around the value. */
static int split_header(struct http *h, char *line, char **value)
{
	char *colon = line, *end;

	while (is_token((unsigned char)*colon))
		colon++;
	if (colon == line || *colon != ':')
		return bad(h, "bad header name");
	*colon = '\0';
	*value = colon + 1 + strspn(colon + 1, " \t");
	end = *value + strlen(*value);
	while (end > *value && (end[-1] == ' ' || end[-1] == '\t'))
		*--end = '\0';
	for (const char *p = *value; *p; p++) {
		if (((unsigned char)*p < ' ' && *p != '\t') || *p == 0x7f)
			return bad(h, "control character in a header");
	}
	return 0;
}

static int header(struct http *h, char *line)
{
	char *value;
	int r;

	if (++h->headers > HTTP_HEADERS_MAX)
		return bad(h, "too many headers");
	r = split_header(h, line, &value);
	if (r < 0)
		return r;
	if (h->state == HTTP_TRAILER)
		return 0;
	if (strcasecmp(line, "Content-Length") == 0)
		return content_length(h, value);
	if (strcasecmp(line, "Transfer-Encoding") == 0)
		return transfer_encoding(h, value);
	if (strcasecmp(line, "Content-Type") == 0)
		content_type(h, value);
	else if (strcasecmp(line, "Connection") == 0 && has_word(value, "close"))
		h->keep_alive = false;
	return 0;
}

/* The empty line after the headers: which body comes? */
static int headers_end(struct http *h)
{
	if (h->has_length && h->chunked)
		return bad(h, "a length and chunks");
	if (h->status < 200) {
		unsigned interim = h->interim + 1;

		if (interim > HTTP_INTERIM_MAX || h->has_length || h->chunked)
			return bad(h, "bad interim answer");
		http_init(h, h->body, h->arg);
		h->interim = interim;
		return 0;
	}
	if (h->status == 204 || h->status == 304) {
		if (h->chunked || h->left)
			return bad(h, "a body where none may be");
		h->state = HTTP_DONE;
		return 0;
	}
	if (h->chunked) {
		h->state = HTTP_CHUNK_SIZE;
		return 0;
	}
	if (!h->has_length)
		return bad(h, "no length");
	h->state = h->left ? HTTP_BODY : HTTP_DONE;
	return 0;
}

/* At most 7 hex digits (256 MiB a chunk); extensions are skipped. */
static int chunk_size(struct http *h, const char *s)
{
	size_t digits = strspn(s, "0123456789abcdefABCDEF");

	if (!digits || digits > 7)
		return bad(h, "bad chunk size");
	if (s[digits] && s[digits] != ';' && s[digits] != ' ' && s[digits] != '\t')
		return bad(h, "bad chunk size");
	h->left = 0;
	for (size_t i = 0; i < digits; i++) {
		int c = tolower((unsigned char)s[i]);

		h->left = h->left * 16 + (unsigned)(c <= '9' ? c - '0' : c - 'a' + 10);
	}
	h->state = h->left ? HTTP_CHUNK : HTTP_TRAILER;
	return 0;
}

static int line_end(struct http *h)
{
	char *line = h->line;

	line[h->line_len] = '\0';
	if (strlen(line) != h->line_len)
		return bad(h, "a NUL in the head");
	h->line_len = 0;
	switch (h->state) {
	case HTTP_STATUS:
		return status_line(h, line);
	case HTTP_HEADER:
		return *line ? header(h, line) : headers_end(h);
	case HTTP_CHUNK_SIZE:
		return chunk_size(h, line);
	case HTTP_CHUNK_END:
		if (*line)
			return bad(h, "a chunk longer than its size");
		h->state = HTTP_CHUNK_SIZE;
		return 0;
	default: /* HTTP_TRAILER */
		if (*line)
			return header(h, line);
		h->state = HTTP_DONE;
		return 0;
	}
}

/* Collect a line up to its CRLF. */
static ssize_t feed_line(struct http *h, const char *data, size_t len)
{
	const char *nl = memchr(data, '\n', len);
	size_t n = nl ? (size_t)(nl - data) + 1 : len;
	int r;

	if (h->line_len + n > HTTP_LINE_MAX)
		return bad(h, "line too long");
	memcpy(h->line + h->line_len, data, n);
	h->line_len += n;
	if (!nl)
		return (ssize_t)n;
	if (h->line_len < 2 || h->line[h->line_len - 2] != '\r')
		return bad(h, "a line that does not end in CR LF");
	h->line_len -= 2;
	if (memchr(h->line, '\r', h->line_len))
		return bad(h, "a stray CR");
	r = line_end(h);
	return r < 0 ? r : (ssize_t)n;
}

static ssize_t feed_body(struct http *h, const char *data, size_t len)
{
	size_t n = len < h->left ? len : (size_t)h->left;
	int r = h->body(h->arg, data, n);

	if (r < 0)
		return r;
	h->left -= n;
	if (!h->left)
		h->state = h->state == HTTP_CHUNK ? HTTP_CHUNK_END : HTTP_DONE;
	return (ssize_t)n;
}

ssize_t http_feed(struct http *h, const char *data, size_t len)
{
	size_t used = 0;

	while (used < len && !http_done(h)) {
		bool body = h->state == HTTP_BODY || h->state == HTTP_CHUNK;
		ssize_t n = body ? feed_body(h, data + used, len - used) :
				   feed_line(h, data + used, len - used);

		if (n < 0)
			return n;
		used += (size_t)n;
	}
	return (ssize_t)used;
}
