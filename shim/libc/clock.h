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

/* The program denies itself the processor's counter (PR_SET_TSC): from now on it is not read. */
void clock_do_without_counter(void);

/* Nanoseconds of CLOCK_MONOTONIC, or of CLOCK_MONOTONIC_COARSE, which costs a fifth of it and is up to a tick behind.
 * In a confined program (confined.h) the coarse one answers for both; 0 if that takes a system call. */
uint64_t clock_ns(int clock);

/* The kernel's tick. */
uint64_t clock_tick_ns(void);

#endif
