/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Values of the configuration: text to field. For config.c and its tests. */
#ifndef FSD_CORE_CONFIG_VALUE_H
#define FSD_CORE_CONFIG_VALUE_H

#include <stdbool.h>
#include <stdint.h>

struct config;

struct config_set {
	struct config *c;
	int64_t min, max; /* config_set_number */
	char *why;	  /* receives what is wrong; ERR_TEXT_SIZE bytes */
};

/* Set *field, replacing (freeing) what stood there. 0, -ENOMEM, or -EINVAL with s->why filled. */
typedef int config_set_fn(void *field, const char *value, const struct config_set *s);

config_set_fn config_set_word;	   /* char *: one word */
config_set_fn config_set_path;	   /* char *: an absolute path, slashes normalised */
config_set_fn config_set_socket;   /* the same, short enough for sockaddr_un */
config_set_fn config_set_dirs;	   /* adds to import_from; an empty value empties the list */
config_set_fn config_set_group;	   /* the field is *_group; sets *_gid too */
config_set_fn config_set_min_free; /* percent or size; the field is ignored */
config_set_fn config_set_duration; /* int64_t ns */
config_set_fn config_set_number;   /* unsigned, within min and max */
config_set_fn config_set_level;	   /* unsigned */

/* Is `path` the directory `dir` or beneath it, by its text? NULL: no. */
bool config_path_beneath(const char *path, const char *dir);

#endif
