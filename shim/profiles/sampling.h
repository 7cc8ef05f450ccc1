/* sampling.h - which allocations are sampled: a Poisson process over the bytes that a thread asks for.
 *
 * Runs in: app's thread inside an allocation hook, at any time from the loader's first malloc on.
 *
 * The maths. Points lie on the line of all bytes requested: a Poisson process with on average one point in `rate`
 * bytes. A block is sampled when at least one point falls on it:
 *     P(size) = 1 - exp(-size / rate)
 * A thread counts down the bytes to its next point (a distance drawn from the exponential distribution). The block that
 * takes the counter to 0 or below is sampled, and a new distance is drawn. A sample stands for 1 / P(size) blocks, so
 * its estimate is unbiased for every size (Horvitz and Thompson, 1952; the method is that of Go's runtime/mprof.go and
 * of tcmalloc).
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_SAMPLING_H
#define PPROFSHIM_SAMPLING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "shim/arch/arch.h"
#include "shim/base/self.h"

/* Counts `size` bytes. The fast path of malloc: one subtraction, one branch. (A size of 2^63 or more counts up instead;
 * no allocator can serve it.)
 * Returns true if the block is not sampled: go on to the real function. */
static inline bool sampling_skip(size_t size)
{
	return __builtin_expect(arch_subtract_leaves(&self.countdown_bytes, size), 1);
}

/* After sampling_skip returned false: is this block really to be sampled?
 * Returns true: record it, then call sampling_leave. False: the thread was only set up, sampling is off, or this call
 * is nested in another. */
bool sampling_enter(size_t size);
void sampling_leave(void);

/* Keep hooks that the real function calls from counting (for allocators that build calloc on malloc). Pass the result
 * of sampling_shut to sampling_open after the call. */
int64_t sampling_shut(void);
void sampling_open(int64_t before);

/* Sets the mean bytes between samples: 1 samples every block, 0 none. Until then hooks pass through. Init. */
void sampling_start(uint64_t rate_bytes);
uint64_t sampling_rate_bytes(void);

/* In a fork child: draws a new distance, so that its next block is no more likely to be sampled than any other. */
void sampling_fork_child(void);

/* Returns how many blocks and bytes one sampled block of this size stands for; objects in units of 1 /
 * SAMPLING_OBJECT_UNIT. */
enum { SAMPLING_OBJECT_UNIT = 1 << 12 };
struct sampling_weight {
	uint64_t objects, bytes;
};
struct sampling_weight sampling_weight(size_t size);

/* The maths, for the unit test: -ln(u) for u in (0, 1), and 1 - exp(-x) for x >= 0. */
double sampling_minus_log(double u);
double sampling_one_minus_exp(double x);

#endif
