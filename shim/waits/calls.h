/* calls.h - what is known of a system call that may block, by its number: calls.def.
 *
 * Runs in: app's thread inside a hook, our signal handler, listener. No lock, no libc.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_CALLS_H
#define PPROFSHIM_CALLS_H

#include <stdbool.h>

struct system_call {
	const char *shown;
	signed char again, left; /* calls_again, calls_left */
	unsigned char object;    /* enum dump_object */
	unsigned char words;
	bool moves;
};

/* Returns what the table says of this call, or NULL. */
const struct system_call *calls_find(long nr);

/* What has to be changed in a call before it is made again. Its second argument is looked at, too.
 * Returns CALLS_NEVER of a call that a signal does not end; CALLS_AS_IT_IS where nothing has to be changed; else the
 * number of the argument that is a relative time-out, with CALLS_MILLISECONDS where it is no struct timespec. */
enum { CALLS_NEVER = -1, CALLS_AS_IT_IS = -2, CALLS_MILLISECONDS = 16 };
int calls_again(long nr, long second);

/* Returns the number of the argument that says where a sleep stores what is left of it, or -1. */
int calls_left(long nr);

/* Does it move bytes of a stream, so that it may come back with a part of them? */
bool calls_moves(long nr);

#endif
