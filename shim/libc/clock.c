/* clock.c - the kernel's clocks.
 *
 * Runs in: init (clock_start); then everywhere. Immutable after init, but for counter_is_denied.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "shim/libc/clock.h"

#include <stdbool.h>

#include "shim/base/confined.h"
#include "shim/base/os.h"
#include "shim/base/shared.h"
#include "shim/libc/real.h"

enum { TICK_PRESET_NS = 4000000, TICK_LEAST_NS = 100000, TICK_MOST_NS = 10000000 };

static int (*vdso_gettime)(int, struct timespec *); /* NULL: none */
static uint64_t tick_ns = TICK_PRESET_NS;
static shared_bool counter_is_denied;

/* The coarse clock moves by ticks, and its resolution tells their length; some sandboxes say 1 ns. */
void clock_start(void)
{
	struct timespec t = {0};
	vdso_gettime = (int (*)(int, struct timespec *))real_find_anywhere("__vdso_clock_gettime").address;
	if (os_call(SYS_clock_getres, CLOCK_MONOTONIC_COARSE, &t) == 0 && t.tv_nsec >= TICK_LEAST_NS &&
	    t.tv_nsec <= TICK_MOST_NS)
		tick_ns = (uint64_t)t.tv_nsec;
}

void clock_do_without_counter(void)
{
	shared_store_relaxed(&counter_is_denied, true);
}

/* The coarse clock is a word in memory for the vDSO. For others it reads the processor's counter, which the program may
 * have denied itself, or makes a system call, which a filter may forbid. */
uint64_t clock_ns(int clock)
{
	struct timespec t;
	bool no_call = confined(), no_counter = shared_load_relaxed(&counter_is_denied);
	if (no_call)
		clock = CLOCK_MONOTONIC_COARSE;
	bool by_vdso = vdso_gettime && (!no_counter || clock == CLOCK_MONOTONIC_COARSE);
	if (!by_vdso || vdso_gettime(clock, &t) != 0)
		return no_call ? 0 : os_clock_ns(clock);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

uint64_t clock_tick_ns(void)
{
	return tick_ns;
}
