/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "snap/base/clock.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static int64_t reading(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return clock_of(&ts);
}

int64_t clock_real(void)
{
	return reading(CLOCK_REALTIME);
}

int64_t clock_mono(void)
{
	return reading(CLOCK_MONOTONIC);
}

int64_t clock_boot(void)
{
	return reading(CLOCK_BOOTTIME);
}

static struct tm utc(int64_t ns)
{
	time_t t = ns / NSEC_PER_SEC;
	struct tm tm;

	gmtime_r(&t, &tm);
	return tm;
}

const char *time_format(int64_t ns, char out[TIME_TEXT_SIZE])
{
	struct tm tm = utc(ns);
	size_t len = strftime(out, TIME_TEXT_SIZE, "%Y-%m-%dT%H:%M:%S", &tm);

	snprintf(out + len, TIME_TEXT_SIZE - len, ".%03dZ",
		(int)(ns % NSEC_PER_SEC / NSEC_PER_MSEC));
	return out;
}

const char *time_name(int64_t ns, char out[TIME_TEXT_SIZE])
{
	struct tm tm = utc(ns);

	strftime(out, TIME_TEXT_SIZE, "%Y%m%dt%H%M%Sz", &tm);
	return out;
}

/* Exactly `width` digits. */
static int digits(const char **s, int width, int *out)
{
	int n = 0;

	for (int i = 0; i < width; i++, (*s)++) {
		if (!isdigit((unsigned char)**s))
			return -EINVAL;
		n = n * 10 + (**s - '0');
	}
	*out = n;
	return 0;
}

/* Nothing, "Z", or "+hh:mm". */
static int zone(const char *s, int *offset_sec)
{
	int sign, h, m;

	*offset_sec = 0;
	if (*s == '\0' || ((*s == 'Z' || *s == 'z') && s[1] == '\0'))
		return 0;
	if (*s != '+' && *s != '-')
		return -EINVAL;
	sign = *s++ == '-' ? -1 : 1;
	if (digits(&s, 2, &h) < 0 || *s++ != ':' || digits(&s, 2, &m) < 0 || *s || h > 23 || m > 59)
		return -EINVAL;
	*offset_sec = sign * (h * 3600 + m * 60);
	return 0;
}

/* The last moment within the second that begins with these digits; without any, of the second. */
static int fraction(const char **s, int64_t *ns)
{
	int64_t unit = NSEC_PER_SEC;

	*ns = NSEC_PER_SEC - 1;
	if (**s != '.')
		return 0;
	if (!isdigit((unsigned char)*++*s))
		return -EINVAL;
	for (; isdigit((unsigned char)**s) && unit > 1; (*s)++) {
		unit /= 10;
		*ns -= ('9' - **s) * unit;
	}
	*s += strspn(*s, "0123456789");
	return 0;
}

/* The clock part and what follows it; what is missing is the last of the day, or minute. */
static int clock_part(const char *s, struct tm *tm, int64_t *ns, int *offset)
{
	*ns = NSEC_PER_SEC - 1;
	*offset = 0;
	if (*s == '\0')
		return 0;
	if (*s != 'T' && *s != 't' && *s != ' ')
		return -EINVAL;
	s++;
	if (digits(&s, 2, &tm->tm_hour) < 0 || *s++ != ':' || digits(&s, 2, &tm->tm_min) < 0)
		return -EINVAL;
	if (*s == ':') {
		s++;
		if (digits(&s, 2, &tm->tm_sec) < 0 || fraction(&s, ns) < 0)
			return -EINVAL;
	}
	return zone(s, offset);
}

int time_parse_last(const char *text, int64_t *real_ns)
{
	struct tm tm = {.tm_hour = 23, .tm_min = 59, .tm_sec = 59}, check;
	const char *s = text;
	int64_t ns;
	time_t t;
	int offset;

	if (digits(&s, 4, &tm.tm_year) < 0 || *s++ != '-' || digits(&s, 2, &tm.tm_mon) < 0 ||
		*s++ != '-' || digits(&s, 2, &tm.tm_mday) < 0)
		return -EINVAL;
	if (clock_part(s, &tm, &ns, &offset) < 0)
		return -EINVAL;
	tm.tm_year -= 1900;
	tm.tm_mon -= 1;
	/* 1970 to 2261: what int64_t nanoseconds hold. */
	if (tm.tm_year < 70 || tm.tm_year > 361 || tm.tm_hour > 23 || tm.tm_min > 59 ||
		tm.tm_sec > 60)
		return -EINVAL;
	check = tm;
	t = timegm(&check);
	if (check.tm_mon != tm.tm_mon || (check.tm_mday != tm.tm_mday && tm.tm_sec != 60))
		return -EINVAL;
	*real_ns = (t - offset) * NSEC_PER_SEC + ns;
	return 0;
}

static const struct {
	char unit;
	int64_t seconds;
} units[] = {{'s', 1}, {'m', 60}, {'h', 3600}, {'d', 86400}, {'w', 7 * 86400}};

#define UNITS (sizeof(units) / sizeof(units[0]))

int duration_parse(const char *text, int64_t *ns)
{
	int64_t factor = 0, out;
	char *end;
	long long n;

	if (!isdigit((unsigned char)*text))
		return -EINVAL;
	errno = 0;
	n = strtoll(text, &end, 10);
	if (errno)
		return -ERANGE;
	for (size_t i = 0; i < UNITS; i++) {
		if (*end == units[i].unit && end[1] == '\0')
			factor = units[i].seconds;
	}
	if (!factor && (n || *end))
		return -EINVAL;
	if (__builtin_mul_overflow(n, factor * NSEC_PER_SEC, &out))
		return -ERANGE;
	*ns = out;
	return 0;
}

const char *duration_format(int64_t ns, char out[TIME_TEXT_SIZE])
{
	int64_t seconds = ns / NSEC_PER_SEC;
	size_t i = UNITS - 2; /* days: nobody counts in weeks */

	while (i > 0 && (!seconds || seconds % units[i].seconds))
		i--;
	snprintf(out, TIME_TEXT_SIZE, "%lld%c", (long long)(seconds / units[i].seconds),
		units[i].unit);
	return out;
}
