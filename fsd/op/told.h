/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a job says it came to, when fsd was killed before it could record that. */
#ifndef FSD_OP_TOLD_H
#define FSD_OP_TOLD_H

#include "fsd/worker/jobs.h"

/* What the job comes to (result, warnings, method, consistency), noted before the last of what else
 * would tell it is gone: recovery may find nothing left to do, and is to tell it all the same.
 * Without a commit where that is noted already. */
int told_keep(struct fsd *f, struct job *job, struct err *err);
void told_recall(struct job *job);
/* Where finish begins once more: what it did before it does not do, or warn of, again. */
void told_recall_warnings(struct job *job);

/* Of a job that was recovered: how it copied, as the document of what it made says (NULL: it does
 * not); as that of its site's generation does, if the job made that (write_lock is held). */
void told_recall_made(struct job *job, const char *method, const char *consistency);
void told_recall_generation(struct fsd *f, struct job *job, int64_t number);

#endif
