/* random.c - random numbers.
 *
 * Runs in: app's thread inside a hook; init; fork.
 * Shared: the seed (atomic); the rest is thread-local.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "shim/base/random.h"

#include "shim/base/house.h"
#include "shim/base/layout.h"
#include "shim/base/self.h"
#include "shim/base/shared.h"

static shared_u64 next_seed FORKED;
#define SEED_STEP 0x632be59bd9b4e019u

void random_start(uint64_t seed)
{
	shared_set_own(&next_seed, seed);
}

FORKED_CODE void random_fork_child(void)
{
	shared_add_relaxed(&next_seed, (uint64_t)house_pid());
	self.random = 0;
}

/* splitmix64 (Steele, Lea, Flood, 2014). */
static uint64_t step(uint64_t *state)
{
	uint64_t z = (*state += 0x9e3779b97f4a7c15u);
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

uint64_t random_next(void)
{
	if (!self.random) {
		uint64_t n = shared_add_relaxed(&next_seed, SEED_STEP) + SEED_STEP;
		self.random = n ^ (uintptr_t)&self;
		self.random = step(&self.random) | 1;
	}
	return step(&self.random);
}
