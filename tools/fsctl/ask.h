/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef FSCTL_ASK_H
#define FSCTL_ASK_H

#include "tools/fsctl/cli.h"

/* Ask the question in err->reason. 0: yes; otherwise the exit code, after saying that nothing was
 * changed. Without a terminal nobody is asked, and the hint says --yes. */
int ask_confirm(const struct cli *c, const struct fsc_error *err);

#endif
