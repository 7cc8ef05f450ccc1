/* keeper.h - the process between the listener and its helper, and what the three share.
 *
 * Runs in: listener (keeper_start, and the fields). The keeper itself and the helper's first instructions are in
 * keeper.c.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_KEEPER_H
#define PPROFSHIM_KEEPER_H

#include <stdint.h>

#include "shim/base/exports.h"
#include "shim/base/shared.h"

enum { KEEPER_ARGS_MAX = 8 };

enum { KEEPER_STARTING, KEEPER_STARTED };

/* One listener, one helper at a time. A keeper may outlive its listener for a moment; the next listener, whose child it
 * is not, sees by the first words whether the stacks are still in use. */
extern HIDDEN struct keeper_shared {
	shared_int keeper_on_stack, helper_on_stack; /* set before clone; cleared by the kernel when that process has
	                                              * ended, or is another program */
	char *argv[KEEPER_ARGS_MAX + 1];
	uint64_t memory_bytes;
	int in_fd, out_fd;
	int listener_pid;      /* of the process */
	shared_u32 state;      /* a futex: written by the keeper */
	int error;             /* of clone or execve; before KEEPER_STARTED */
	int status;            /* of the helper, when the keeper has ended */
	shared_int keeper_pid; /* written only by the listener, or by the kernel for it; 0: there is none */
} keeper_shared;

/* Starts the keeper, which starts the helper that the fields tell of.
 * Returns its pid, or a negative errno. keeper_pid has it before a handler of ours may interrupt the caller. */
long keeper_start(void);

#endif
