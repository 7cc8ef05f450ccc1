/* tails.h - frames of functions whose last act was a jump to another function, so that no stack shows them.
 *
 * Runs in: listener. Memory of the request's region.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_TAILS_H
#define PPROFSHIM_TAILS_H

#include "encoder/names/names.h"

/* The function that a stack's leaf may have called. */
enum tails_leaf {
	TAILS_NOTHING, /* pc[0] is where the thread is, or the function that it calls */
	TAILS_ALLOCATOR,
	TAILS_CREATOR, /* pthread_create */
};

struct tails_stack {
	const struct stack *stack; /* or NULL */
	enum tails_leaf leaf;
};

/* Replace each stack that lacks frames which are certain by a copy that has them. Call it before names_prepare: there
 * are new addresses. Without patience (NULL), what is known already must do. n->tails then tells of stacks that may
 * lack more.
 * Returns 0, -ENOMEM or -EAGAIN, as names_prepare does. */
int tails_insert(struct names *n, struct tails_stack *stacks, size_t count, struct patience *p);

#endif
