/* delays.h - block and mutex profiles: which waits are kept, and the counters for waiters and holders.
 *
 * Runs in: app's thread inside a hook; listener; init; fork.
 *
 * Sampling is Go's (runtime/mprof.go). A wait of at least the block rate is always kept. A shorter one is kept with
 * probability delay / rate, and then stands for rate / delay waits and a delay of one rate: unbiased for delays and for
 * counts. Of the releases by holders one in `fraction` is kept, and stands for `fraction` of them.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_DELAYS_H
#define PPROFSHIM_DELAYS_H

#include <stdbool.h>
#include <stdint.h>

#include "shim/stack/unwind.h"

/* Counts a wait in `call` (enum wait_call) for another thread, by the caller at `from`, from since_ns to now_ns
 * (CLOCK_MONOTONIC). alone: a handler may make this call, or leave it by a jump. errno is preserved. */
void delays_waited(unsigned call, uint64_t since_ns, uint64_t now_ns, struct unwind_frame from, bool alone);

/* The caller of `function` at `from` is about to unlock this lock. errno is preserved.
 * Returns the delay of other threads that it caused so far, in ns; 0 if none waits. */
uint64_t delays_lets_go(uintptr_t lock, uintptr_t function, struct unwind_frame from);

/* The calling thread's last wait was for this mutex, which it has now. errno is preserved. */
void delays_acquired(uintptr_t mutex);

/* Counts that the caller of `function` at `from` has unlocked this lock, and delayed other threads by delay_ns in all;
 * 0: it delayed none. errno is preserved. */
void delays_caused(uintptr_t lock, uintptr_t function, uint64_t delay_ns, struct unwind_frame from);

/* Sets the rates; 0: off. Until then nothing is watched. Init. */
void delays_start(uint64_t block_rate_ns, uint64_t mutex_fraction);

/* In a fork child: no waits yet, and no rates asked for by requests. */
void delays_fork_child(void);

#endif
