/* own_stack.h - a stack of ours, for what needs more than a program's stack may have left.
 *
 * Runs in: app's thread inside a hook, listener.
 *
 * A program's stacks may be tiny: coroutines of 4 KiB in the heap, with the program's data below. So a hook takes at
 * most 1 KiB of them more than the real function (Makefile: -Wstack-usage; painted_stack.c checks each). Walks by rules
 * that are known fit into that. What does not, libunwind above all, is run here.
 *
 * Every signal is blocked meanwhile: no handler of the program ever finds itself on our stack. It could not be
 * suspended there by a collector, which scans a thread's stack from the handler's stack pointer on, nor leave it by a
 * jump. That costs two system calls, which is why only what happens once for each address of code is done here.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_OWN_STACK_H
#define PPROFSHIM_OWN_STACK_H

#include <stdbool.h>

/* Zero-initialised; in use by one thread at a time, which is the caller's business. */
struct own_stack {
	char *memory; /* a guard page, then the stack; NULL: not mapped yet. Never unmapped */
};

/* Call fn(arg) there. Returns false, and has called nothing, where there is no memory, or where system calls may not be
 * made any more (confined.h). */
bool own_stack_run(struct own_stack *s, void (*fn)(void *arg), void *arg);

#endif
