/* dump.h - the stacks of all threads.
 *
 * Runs in: listener (snapshot_dump: snapshot.h), signal handler (dump_answer, dump_refuse).
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_DUMP_H
#define PPROFSHIM_DUMP_H

#include <stdint.h>

#include "shim/stack/unwind.h"

/* The listener asked this thread to write its stack to that slot. Signal handler. */
void dump_answer(uint32_t slot, struct unwind_frame f);

/* The same in a thread that libc does not know: uses no thread-local storage. */
void dump_refuse(uint32_t slot);

/* In the child nobody waits for answers. */
void dump_fork_child(void);

/* A listener begins: nobody waits for the answers that one which has ended asked for. */
void dump_begin_anew(void);

#endif
