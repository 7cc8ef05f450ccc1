/* exit.c - calls that end the program without exit's handlers: _exit, _Exit, abort.
 *
 * Runs in: app's thread, in a signal handler too; a child of vfork, which shares our memory and has no listener:
 * nothing is done there but the call. So: raw system calls alone, no lock, errno and thread-local variables left alone;
 * a wait that is bounded.
 *
 * The listener has the program's memory. What ended later than the program would hold all that goes with that (the
 * file of the program, its System V memory, its mount namespace) when wait has returned to the program's parent, and
 * would be the child of whoever inherits orphans. So it ends first. By exit(3) it does by init.c's finish, by
 * quick_exit by a handler of init.c; these call libc's own _exit, not this.
 *
 * The real functions are jumped to, so that a debugger finds abort's caller where it looks. They are declared under
 * other names because the compiler takes these for functions that don't return.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "shim/base/exports.h"
#include "shim/libc/real.h"
#include "shim/listener/listener.h"

static inline bool is_first(void)
{
	return __builtin_expect(listener_was_born, false);
}

#define ENDS(symbol, name) \
	EXPORT void name(int status) __asm__(#symbol); \
	static SLOW void name##_with_listener(int status) \
	{ \
		listener_ends_with_program(); \
		real_##symbol(status); \
	} \
	EXPORT void name(int status) \
	{ \
		if (is_first()) \
			name##_with_listener(status); \
		else \
			real_##symbol(status); \
	}

ENDS(_exit, exit_posix)
ENDS(_Exit, exit_c99)

/* A handler of SIGABRT may take the program on: then the listener comes back. */
EXPORT void exit_abort(void) __asm__("abort");

static SLOW void abort_with_listener(void)
{
	listener_ends_for_abort();
	real_abort();
}

EXPORT void exit_abort(void)
{
	if (is_first())
		abort_with_listener();
	else
		real_abort();
}
