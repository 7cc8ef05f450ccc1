/* own_stack.c - go to a stack of ours and come back.
 *
 * Runs in: app's thread inside a hook, listener.
 * So: no libc, errno untouched.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "shim/stack/own_stack.h"

#include <signal.h>

#include "shim/arch/entries.h"
#include "shim/base/confined.h"
#include "shim/base/os.h"

enum { STACK_BYTES = 32 * 1024, GUARD_BYTES = 4096 };

ARCH_CALL_ON(pprofshim_call_on)

static bool map(struct own_stack *s)
{
	char *p = s->memory ? s->memory : os_map(GUARD_BYTES + STACK_BYTES);
	if (os_failed(p))
		return false;
	if (!s->memory)
		os_call(SYS_mprotect, p, GUARD_BYTES, PROT_NONE);
	s->memory = p;
	return true;
}

bool own_stack_run(struct own_stack *s, void (*fn)(void *arg), void *arg)
{
	static const uint64_t all = UINT64_MAX;
	uint64_t mask;
	if (confined() || !map(s))
		return false;
	os_call(SYS_rt_sigprocmask, SIG_SETMASK, &all, &mask, sizeof all);
	pprofshim_call_on(s->memory + GUARD_BYTES + STACK_BYTES, fn, arg);
	os_call(SYS_rt_sigprocmask, SIG_SETMASK, &mask, NULL, sizeof mask);
	return true;
}
