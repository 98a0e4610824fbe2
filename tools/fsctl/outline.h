/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* An object of no known shape, for people. */
#ifndef FSCTL_OUTLINE_H
#define FSCTL_OUTLINE_H

#include <stdbool.h>
#include <stdio.h>

#include "client/fsclient.h"

/*
 * A line for each member that is not empty: its key, and its value from one column on. What has a
 * name is called by it ("site  shop"), members of members are "counts.M", of long lists the first
 * items are shown. The first line is begun by `head` (without controls), the others are indented by
 * its length.
 */
void outline_print(const struct fsc_value *object, const char *head, bool human);

/* The same in one line: "snapshot=undo-1 total=120". */
void outline_pairs(FILE *f, const struct fsc_value *object, bool human);

#endif
