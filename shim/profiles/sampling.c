/* sampling.c - Poisson sampling over the bytes requested.
 *
 * Runs in: app's thread inside an allocation hook; init.
 * So: no libc (libm is not linked; its functions may allocate thread state); floating point only in registers that a
 * function call may clobber, and in an environment of its own (arch_fp_begin).
 * Shared: `sampler` is immutable after init; the rest is thread-local.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "shim/profiles/sampling.h"

#include <string.h>

#include "shim/base/compiler.h"
#include "shim/base/confined.h"
#include "shim/base/layout.h"
#include "shim/base/random.h"
#include "shim/base/shared.h"

/* A countdown that no program uses up. */
static const int64_t NEVER = INT64_MAX / 2;

static struct {
	shared_bool started;
	uint64_t rate_bytes;
} sampler FORKED;

void sampling_start(uint64_t rate_bytes)
{
	sampler.rate_bytes = rate_bytes;
	shared_store_release(&sampler.started, true);
}

uint64_t sampling_rate_bytes(void)
{
	return sampler.rate_bytes;
}

FORKED_CODE void sampling_fork_child(void)
{
	self.counts = false;
	self.countdown_bytes = 0; /* draw at once */
}

/* ln(m 2^e) = ln m + e ln 2 with m around 1; ln m = 2 artanh((m - 1) / (m + 1)), whose series gains more than a decimal
 * digit per term there. */
double sampling_minus_log(double u)
{
	uint64_t bits;
	memcpy(&bits, &u, sizeof bits);
	int exponent = (int)(bits >> 52 & 0x7ff) - 1023;
	bits = (bits & 0x000fffffffffffffu) | 0x3ff0000000000000u;
	double m;
	memcpy(&m, &bits, sizeof m);
	if (m > 1.4142135623730951) {
		m /= 2;
		exponent++;
	}
	static const double odd[] = {1.0 / 21, 1.0 / 19, 1.0 / 17, 1.0 / 15, 1.0 / 13, 1.0 / 11,
	                             1.0 / 9,  1.0 / 7,  1.0 / 5,  1.0 / 3,  1.0};
	double z = (m - 1) / (m + 1), z2 = z * z, sum = 0;
	for (size_t i = 0; i < sizeof odd / sizeof *odd; i++)
		sum = sum * z2 + odd[i];
	return -(2 * z * sum + exponent * 0.6931471805599453);
}

/* Halve x until the series of 1 - exp(-x) is short, then double back: with a = 1 - exp(-x),
 * 1 - exp(-2x) = a (2 - a). No cancellation anywhere. */
double sampling_one_minus_exp(double x)
{
	static const double part[] = {1.0 / 12, 1.0 / 11, 1.0 / 10, 1.0 / 9, 1.0 / 8, 1.0 / 7,
	                              1.0 / 6,  1.0 / 5,  1.0 / 4,  1.0 / 3, 1.0 / 2};
	int halved = 0;
	if (x > 64)
		return 1;
	for (; x > 0.25; x /= 2)
		halved++;
	double a = 1;
	for (size_t i = 0; i < sizeof part / sizeof *part; i++)
		a = 1 - a * x * part[i];
	a *= x;
	while (halved--)
		a *= 2 - a;
	return a;
}

/* The program may have unmasked floating point exceptions, or changed the rounding. So our arithmetic uses the default
 * environment, and leaves the program's as it was, flags included. The compiler knows nothing of arch_fp_begin and
 * arch_fp_end: it may move arithmetic across them, but not calls of functions that it can't look into. */
#define FP_INSIDE APART

static FP_INSIDE int64_t distance_of(uint64_t random)
{
	double u = ((double)(random >> 11) + 0.5) * 0x1p-53;
	return (int64_t)(sampling_minus_log(u) * (double)sampler.rate_bytes);
}

static FP_INSIDE void weigh(size_t size, struct sampling_weight *w)
{
	double objects = 1 / sampling_one_minus_exp((double)size / (double)sampler.rate_bytes);
	w->objects = (uint64_t)(objects * SAMPLING_OBJECT_UNIT + 0.5);
	w->bytes = (uint64_t)(objects * (double)size + 0.5);
}

/* Returns the distance to the next point, rounded so that a block of integer size is hit with exactly P(size). */
static int64_t draw_distance(void)
{
	if (sampler.rate_bytes == 0)
		return NEVER;
	if (sampler.rate_bytes == 1)
		return 0;
	uint64_t random = random_next();
	arch_fp_environment before = arch_fp_begin();
	int64_t distance = distance_of(random);
	arch_fp_end(before);
	return distance + 1;
}

static void draw(void)
{
	self.countdown_bytes = draw_distance();
	self.counts = true;
}

/* Behind a filter of system calls no block is sampled: libc does not keep a sampled block for the next malloc, and may
 * make a call to give its memory back. Nobody could be shown it anyway. */
bool sampling_enter(size_t size)
{
	if (!shared_load_acquire(&sampler.started)) {
		self.countdown_bytes = 0;
		return false;
	}
	if (!self.counts) {
		draw();
		if (sampling_skip(size))
			return false;
	}
	if (confined()) {
		draw();
		return false;
	}
	if (!self_hold())
		return false;
	self.samples++;
	self.countdown_bytes = NEVER;
	return true;
}

void sampling_leave(void)
{
	draw();
	self_release();
}

int64_t sampling_shut(void)
{
	int64_t before = self.countdown_bytes;
	self.countdown_bytes = NEVER;
	return before;
}

void sampling_open(int64_t before)
{
	self.countdown_bytes = before;
}

struct sampling_weight sampling_weight(size_t size)
{
	if (sampler.rate_bytes <= 1 || size == 0)
		return (struct sampling_weight){SAMPLING_OBJECT_UNIT, size};
	struct sampling_weight w;
	arch_fp_environment before = arch_fp_begin();
	weigh(size, &w);
	arch_fp_end(before);
	return w;
}
