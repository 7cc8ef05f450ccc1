/* own_stack.c - go to a stack of ours and come back.
 *
 * Runs in: app's thread inside a hook, listener.
 * So: no libc, errno untouched.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "shim/stack/own_stack.h"

#include <signal.h>

#include "shim/base/confined.h"
#include "shim/base/exports.h"
#include "shim/base/os.h"

enum { STACK_BYTES = 32 * 1024, GUARD_BYTES = 4096 };

/* fn(arg) with the stack that ends at `top`. Debuggers and unwinders find the way back by the frame pointer. */
#if defined(__x86_64__)
__asm__(".text\n"
        ".p2align 4\n"
        ".type pprofshim_call_on, @function\n"
        "pprofshim_call_on:\n"
        "\t.cfi_startproc\n"
        "\tpush %rbp\n"
        "\t.cfi_def_cfa_offset 16\n"
        "\t.cfi_offset rbp, -16\n"
        "\tmov %rsp, %rbp\n"
        "\t.cfi_def_cfa_register rbp\n"
        "\tmov %rdi, %rsp\n"
        "\tmov %rdx, %rdi\n"
        "\tcall *%rsi\n"
        "\tleave\n"
        "\t.cfi_def_cfa rsp, 8\n"
        "\tret\n"
        "\t.cfi_endproc\n"
        ".size pprofshim_call_on, . - pprofshim_call_on\n");
extern HIDDEN void pprofshim_call_on(void *top, void (*fn)(void *arg), void *arg);
#else
static void pprofshim_call_on(void *top, void (*fn)(void *arg), void *arg)
{
	(void)top; /* no assembly for this architecture: on the program's stack */
	fn(arg);
}
#endif

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
