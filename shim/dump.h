/* dump.h - the stacks of all threads.
 *
 * Runs in: listener (snapshot_dump: snapshot.h), signal handler (dump_answer).
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_DUMP_H
#define PPROFSHIM_DUMP_H

#include <stdint.h>

#include "shim/unwind.h"

/* The listener asked this thread for its stack, to be written to that slot. Signal handler. */
void dump_answer(uint32_t slot, struct unwind_frame f);

/* Nobody waits for answers in the child. */
void dump_fork_child(void);

#endif
