/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Every kind of job. To add one: a row in fsd/core/request_table.c, a const struct here. */
#ifndef FSD_OP_OPS_H
#define FSD_OP_OPS_H

#include "fsd/worker/jobs.h"

extern const struct op_kind op_site_create;	  /* site_new.c */
extern const struct op_kind op_clone;		  /* site_new.c */
extern const struct op_kind op_site_import;	  /* import.c */
extern const struct op_kind op_site_eject;	  /* eject.c */
extern const struct op_kind op_site_delete;	  /* site_delete.c */
extern const struct op_kind op_site_undelete;	  /* site_delete.c */
extern const struct op_kind op_site_set;	  /* set.c */
extern const struct op_kind op_site_rename;	  /* rename.c */
extern const struct op_kind op_site_measure;	  /* measure.c */
extern const struct op_kind op_snapshot_create;	  /* snapshot.c */
extern const struct op_kind op_snapshot_delete;	  /* snapshot.c */
extern const struct op_kind op_snapshot_set;	  /* set.c */
extern const struct op_kind op_snapshot_hold;	  /* set.c */
extern const struct op_kind op_snapshot_measure;  /* measure.c */
extern const struct op_kind op_publish;		  /* publish.c */
extern const struct op_kind op_rollback;	  /* publish.c */
extern const struct op_kind op_restore;		  /* restore.c */
extern const struct op_kind op_restore_to;	  /* restore_to.c */
extern const struct op_kind op_generation_create; /* generation.c */
extern const struct op_kind op_generation_delete; /* generation.c */
extern const struct op_kind op_generation_retire; /* retire.c */
extern const struct op_kind op_diff;		  /* inspect.c */
extern const struct op_kind op_check;		  /* inspect.c */
extern const struct op_kind op_pool_scan;	  /* pool.c */
extern const struct op_kind op_pool_check;	  /* pool.c */

/* By enum op; NULL where there is none. */
extern const struct op_kind *const ops[OP_COUNT];

#endif
