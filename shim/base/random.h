/* random.h - random numbers: a sequence a thread.
 *
 * Runs in: app's thread inside a hook; init; fork.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_RANDOM_H
#define PPROFSHIM_RANDOM_H

#include <stdint.h>

/* Init: seed the sequences of all threads. */
void random_start(uint64_t seed);

/* In a fork child: begin another sequence than the parent's. */
void random_fork_child(void);

/* Returns 64 random bits of this thread's sequence. */
uint64_t random_next(void);

#endif
