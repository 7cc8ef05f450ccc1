/* self.c - what the profiler keeps of the calling thread.
 *
 * Runs in: app's thread inside a hook.
 * So: raw system calls alone.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "shim/base/self.h"

#include <assert.h>
#include <signal.h>

#include "shim/base/confined.h"
#include "shim/base/layout.h"
#include "shim/base/os.h"

__thread struct self self;

struct self_place self_places[SELF_PLACES] FORKED;

static uint32_t count_callers(void)
{
	uint32_t n = 0;
	for (int i = 0; i < SELF_PLACES; i++)
		n += shared_load_acquire(&self_places[i].callers);
	return n;
}

/* Of a handler that interrupted a hook, its own thread is one. */
void self_await_callers(void)
{
	enum { STEP_NS = 100000, MOST_NS = 2000000000 };
	uint64_t until = os_clock_ns(CLOCK_MONOTONIC) + MOST_NS;
	while (count_callers() > self.busy && os_step(until, STEP_NS))
		continue;
}

FORKED_CODE void self_fork_child(void)
{
	for (int i = 0; i < SELF_PLACES; i++)
		if (shared_own(&self_places[i].callers))
			shared_set_own(&self_places[i].callers, 0);
	if (house.was_busy)
		shared_set_own(self_callers(), 1);
}

/* At most 64 bytes of initial-exec TLS in all (ARCHITECTURE.md). */
static_assert(sizeof(struct self) <= 64, "thread-local storage of the library");

bool self_hold_alone(uint64_t *mask)
{
	static const uint64_t all = UINT64_MAX;
	stack_t stack = {.ss_flags = SS_DISABLE};
	if (self.busy)
		return false;
	self_calls_begin();
	if (!confined()) {
		os_call(SYS_rt_sigprocmask, SIG_SETMASK, &all, mask, sizeof all);
		os_call(SYS_sigaltstack, NULL, &stack);
		if (!(stack.ss_flags & SS_ONSTACK) && self_hold())
			return true;
		os_call(SYS_rt_sigprocmask, SIG_SETMASK, mask, NULL, sizeof all);
	}
	self_calls_end();
	return false;
}

void self_release_alone(const uint64_t *mask)
{
	self_release();
	os_call(SYS_rt_sigprocmask, SIG_SETMASK, mask, NULL, sizeof *mask);
	self_calls_end();
}
