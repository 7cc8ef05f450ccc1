/* clock.h - the kernel's clocks without libc: through the vDSO, which asks for no thread state.
 *
 * Runs in: everywhere, after init.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_CLOCK_H
#define PPROFSHIM_CLOCK_H

#include <stdint.h>
#include <time.h>

/* Init: find the vDSO's function. */
void clock_start(void);

/* Nanoseconds of a clock. CLOCK_MONOTONIC_COARSE costs a fifth of CLOCK_MONOTONIC, and is up to a tick behind. */
uint64_t clock_ns(int clock);

/* The kernel's tick. */
uint64_t clock_tick_ns(void);

#endif
