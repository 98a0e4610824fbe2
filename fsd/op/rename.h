/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A site's name changes: DIR, of import --link, follows. */
#ifndef FSD_OP_RENAME_H
#define FSD_OP_RENAME_H

struct err;
struct fsd;
struct job;

/*
 * The site that was "from" is "name" by now, and "linked" is its DIR, all three in the intent: lead
 * DIR to it, durably. Where DIR does not lead to "from" it is left alone, with a warning. May be
 * done twice, and blocks a moment. -errno: DIR is out of reach, or cannot be changed.
 */
int rename_turn(struct fsd *f, struct job *job, struct err *err);

#endif
