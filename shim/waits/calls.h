/* calls.h - what we know of each system call that may block, by its number: calls.def.
 *
 * Runs in: app's thread inside a hook, our signal handler, listener. No lock, no libc.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_CALLS_H
#define PPROFSHIM_CALLS_H

#include <stdbool.h>

struct system_call {
	const char *shown;
	signed char again, left; /* what calls_again and calls_left return */
	unsigned char object;    /* enum dump_object */
	unsigned char words;
	bool moves;
};

/* Returns what the table says of this call, or NULL. */
const struct system_call *calls_find(long nr);

/* Says what has to change in a system call before it is made again. For some calls the second argument decides.
 * Returns CALLS_NEVER if a signal does not end the call, CALLS_AS_IT_IS if nothing has to change, else the number of
 * the argument that is a relative time-out. CALLS_MILLISECONDS is set if that argument is no struct timespec. */
enum { CALLS_NEVER = -1, CALLS_AS_IT_IS = -2, CALLS_MILLISECONDS = 16 };
int calls_again(long nr, long second);

/* Returns the number of the argument that says where a sleep stores what is left of it, or -1. */
int calls_left(long nr);

/* Returns true if the call moves bytes of a stream, so that it may come back after a part of them. */
bool calls_moves(long nr);

#endif
