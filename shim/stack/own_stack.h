/* own_stack.h - a stack of ours, for what needs more than a program's stack may have left.
 *
 * Runs in: app's thread inside a hook, listener.
 *
 * A program's stacks may be tiny: coroutines of 4 KiB in the heap, with the program's data below. So a hook takes at
 * most 1 KiB of them more than the real function (Makefile: -Wstack-usage; painted_stack.c checks each). Walks by known
 * rules fit into that. Code that needs more, above all libunwind, runs here.
 *
 * Every signal is blocked meanwhile, so that no handler of the program ever runs on our stack. A collector could not
 * suspend the thread there, because it scans from the handler's stack pointer on; nor could a handler leave by a jump.
 * Blocking costs two system calls, so only what happens once for each address of code is done here.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_OWN_STACK_H
#define PPROFSHIM_OWN_STACK_H

#include <stdbool.h>

/* Zero-initialise it. The caller ensures that one thread uses it at a time. */
struct own_stack {
	char *memory; /* a guard page, then the stack; NULL: not mapped yet. Never unmapped */
};

/* Call fn(arg) on that stack.
 * Returns false, without the call, if there is no memory or the program is confined (confined.h). */
bool own_stack_run(struct own_stack *s, void (*fn)(void *arg), void *arg);

#endif
