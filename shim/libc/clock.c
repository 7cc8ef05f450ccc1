/* clock.c - the kernel's clocks.
 *
 * Runs in: init (clock_start); then everywhere. Immutable after init.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "shim/libc/clock.h"

#include "shim/base/os.h"
#include "shim/libc/real.h"

enum { TICK_PRESET_NS = 4000000, TICK_LEAST_NS = 100000, TICK_MOST_NS = 10000000 };

static int (*vdso_gettime)(int, struct timespec *); /* NULL: none */
static uint64_t tick_ns = TICK_PRESET_NS;

/* The coarse clock moves by ticks, and its resolution tells their length; some sandboxes say 1 ns. */
void clock_start(void)
{
	struct timespec t = {0};
	vdso_gettime = (int (*)(int, struct timespec *))real_find_anywhere("__vdso_clock_gettime").address;
	if (os_call(SYS_clock_getres, CLOCK_MONOTONIC_COARSE, &t) == 0 && t.tv_nsec >= TICK_LEAST_NS &&
	    t.tv_nsec <= TICK_MOST_NS)
		tick_ns = (uint64_t)t.tv_nsec;
}

uint64_t clock_ns(int clock)
{
	struct timespec t;
	if (!vdso_gettime || vdso_gettime(clock, &t) != 0)
		return os_clock_ns(clock);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

uint64_t clock_tick_ns(void)
{
	return tick_ns;
}
