/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fsd/op/ops.h"

const struct op_kind *const ops[OP_COUNT] = {
	[OP_SITE_CREATE] = &op_site_create,
	[OP_SITE_IMPORT] = &op_site_import,
	[OP_SITE_EJECT] = &op_site_eject,
	[OP_SITE_SET] = &op_site_set,
	[OP_SITE_RENAME] = &op_site_rename,
	[OP_SITE_DELETE] = &op_site_delete,
	[OP_SITE_UNDELETE] = &op_site_undelete,
	[OP_SITE_MEASURE] = &op_site_measure,
	[OP_SNAPSHOT_CREATE] = &op_snapshot_create,
	[OP_SNAPSHOT_DELETE] = &op_snapshot_delete,
	[OP_SNAPSHOT_SET] = &op_snapshot_set,
	[OP_SNAPSHOT_HOLD] = &op_snapshot_hold,
	[OP_CLONE] = &op_clone,
	[OP_RESTORE] = &op_restore,
	[OP_RESTORE_TO] = &op_restore_to,
	[OP_PUBLISH] = &op_publish,
	[OP_ROLLBACK] = &op_rollback,
	[OP_GENERATION_CREATE] = &op_generation_create,
	[OP_GENERATION_DELETE] = &op_generation_delete,
	[OP_GENERATION_RETIRE] = &op_generation_retire,
	[OP_DIFF] = &op_diff,
	[OP_CHECK] = &op_check,
	[OP_POOL_SCAN] = &op_pool_scan,
	[OP_POOL_CHECK] = &op_pool_check,
};
