/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Who may ask for what: decided here, from uid and groups that the kernel told the api process. */
#ifndef FSD_WORKER_AUTH_H
#define FSD_WORKER_AUTH_H

#include "fsd/core/config.h"
#include "fsd/core/request.h"

struct err;

/* Root and fsd's own user are admins; otherwise the highest role one of the groups gives. */
enum role auth_role(const struct config *config, const struct actor *actor);

/*
 * May this peer ask this? 0, or -EACCES "forbidden" with what would help. The least role is the
 * table's (fsd/core/request_table.c); but what lets housekeeping delete an object (releasing a
 * hold, setting when it expires, taking its protection off) takes the role that deleting it takes.
 */
int auth_check(const struct config *config, const struct request *r, struct err *err);

#endif
