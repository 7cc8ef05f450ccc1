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

static uint64_t next_seed FORKED; /* atomic */

void random_start(uint64_t seed)
{
	next_seed = seed;
}

FORKED_CODE void random_fork_child(void)
{
	__atomic_fetch_add(&next_seed, (uint64_t)house_pid(), __ATOMIC_RELAXED);
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
		uint64_t n = __atomic_add_fetch(&next_seed, 0x632be59bd9b4e019u, __ATOMIC_RELAXED);
		self.random = n ^ (uintptr_t)&self;
		self.random = step(&self.random) | 1;
	}
	return step(&self.random);
}
