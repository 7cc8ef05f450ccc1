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
#include "shim/base/os.h"

__thread struct self self;

/* At most 64 bytes of initial-exec TLS in all (ARCHITECTURE.md). */
static_assert(sizeof(struct self) <= 64, "thread-local storage of the library");

bool self_hold_alone(uint64_t *mask)
{
	static const uint64_t all = UINT64_MAX;
	stack_t stack = {.ss_flags = SS_DISABLE};
	if (self.busy || confined())
		return false;
	os_call(SYS_rt_sigprocmask, SIG_SETMASK, &all, mask, sizeof all);
	os_call(SYS_sigaltstack, NULL, &stack);
	if (!(stack.ss_flags & SS_ONSTACK) && self_hold())
		return true;
	os_call(SYS_rt_sigprocmask, SIG_SETMASK, mask, NULL, sizeof all);
	return false;
}

void self_release_alone(const uint64_t *mask)
{
	self_release();
	os_call(SYS_rt_sigprocmask, SIG_SETMASK, mask, NULL, sizeof *mask);
}
