/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the files of eject.c share. */
#ifndef FSD_OP_EJECT_PRIV_H
#define FSD_OP_EJECT_PRIV_H

#include <jansson.h>

#include "fsd/core/json.h"
#include "fsd/op/copy_out.h"

/* What a job has in its hands. */
struct eject {
	struct job *job;
	struct copy_out out;
	char name[NAME_SIZE]; /* the site's, now */
	bool own_link;
	int64_t live; /* 0: its link is damaged */
	int site, wrapper, stage; /* -1 where there is none */
};

/* Of the job's note (eject.c): was the tree itself given away? */
static inline bool eject_released(const json_t *note)
{
	return json_true_at(note, "released");
}

/* The site leaves sites/, once more where it was cut short. 0 or -errno. */
int eject_leave(struct eject *e, const json_t *note, struct err *err);

/* For whoever looks what was written in the parked tree since (worker/kept.h). New reference. */
json_t *eject_mark(const struct eject *e, int64_t since);

#endif
