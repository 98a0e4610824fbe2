/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the files of pools.h share. */
#ifndef FSD_WORKER_POOLS_PRIV_H
#define FSD_WORKER_POOLS_PRIV_H

struct config_pool;
struct pool_root;

/* Offline; `config` is borrowed for as long as it lives. */
void pool_root_init(struct pool_root *r, const struct config_pool *config);

#endif
