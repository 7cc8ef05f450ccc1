/* stack.h - a call stack, as it is kept once for all that happened there.
 *
 * Runs in: everywhere; a type alone. Stacks are immutable and never freed, but for the links to what other files keep
 * of them.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_BASE_STACK_H
#define PPROFSHIM_BASE_STACK_H

#include <stddef.h>
#include <stdint.h>

#include "shim/base/shared.h"

typedef SHARED(struct stack *) stack_link;

/* A call stack, leaf first. pc[i] is the address to look up: a return address minus one (every frame
 * of a stack taken in a hook is a caller). */
struct stack {
	stack_link child[4];                         /* stacks.c */
	SHARED(struct heap_bucket *) buckets;        /* heap.c: of this stack, one a size class */
	struct thread_site *site;                    /* threads.c: pthread_create called from here */
	SHARED(struct contention_site *) contention; /* delays.c: waits at this stack, and waits that it caused */
	uint32_t hash;
	uint32_t depth;
	uint64_t place; /* which objects lay where when it was taken: modules_place_of */
	uintptr_t pc[];
};

#endif
