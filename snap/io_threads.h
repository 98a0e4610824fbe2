/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The threads I/O driver: plain system calls; the items of a batch overlap where that pays. */
#ifndef SNAP_IO_THREADS_H
#define SNAP_IO_THREADS_H

#include "snap/io.h"

/* Blocks until place_free; uses at most ctx->threads threads (0: its own choice). */
int io_threads_new(struct snap_ctx *ctx, struct io_place **out);

/* A directory of the place from a descriptor, which stays the caller's (it is opened anew). */
int io_threads_dir(struct io_place *place, int fd, struct io_dir **out);

#endif
