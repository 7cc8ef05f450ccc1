/* delays.h - which waits are kept, and the counters of both sides.
 *
 * Runs in: app's thread inside a hook; listener; init; fork.
 *
 * Sampling is Go's (runtime/mprof.go). A wait of at least the block rate is kept, a shorter one with the probability
 * delay / rate, and then stands for rate / delay waits and a delay of one rate: unbiased for delays and for counts. Of
 * the events of the holders one in `fraction` is kept, and stands for so many.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_DELAYS_H
#define PPROFSHIM_DELAYS_H

#include <stdbool.h>
#include <stdint.h>

#include "shim/stack/unwind.h"

/* A wait in `call` (enum wait_call) for another thread, of the caller at `from`, began at since_ns and ended at now_ns
 * (CLOCK_MONOTONIC): count it. alone: a handler may make this call, or leave it by a jump. errno is preserved. */
void delays_waited(unsigned call, uint64_t since_ns, uint64_t now_ns, struct unwind_frame from, bool alone);

/* The caller of `function` at `from` is about to let this lock go: what it made others wait so far, in ns, 0: nobody
 * waits. errno is preserved. */
uint64_t delays_lets_go(uintptr_t lock, uintptr_t function, struct unwind_frame from);

/* Whoever called `function` at `from` made others wait for delay_ns in all; 0: for nothing. errno is preserved. */
void delays_caused(uintptr_t function, uint64_t delay_ns, struct unwind_frame from);

/* Init: the rates; 0: off. Until then nothing is watched. */
void delays_start(uint64_t block_rate_ns, uint64_t mutex_fraction);

/* A fork child has waited for nothing yet; no request of it asks for other rates. */
void delays_fork_child(void);

#endif
