/* exit.c - calls that end the program without exit's handlers: _exit, _Exit, abort.
 *
 * Runs in: app's thread, in a signal handler too; a child of vfork, which shares our memory and has no listener: there
 * the hook only makes the call. So: only raw system calls, no lock, errno and thread-local variables untouched; waits
 * are bounded.
 *
 * The listener has the program's memory. If it ended later than the program, it would keep all that goes with that (the
 * file of the program, its System V memory, its mount namespace) after wait has returned to the program's parent, and
 * would become the child of whatever process inherits orphans. So it ends first: for exit(3) in init.c's finish, for
 * quick_exit in a handler of init.c; these call libc's own _exit, not this.
 *
 * We jump to the real functions, so that a debugger finds abort's caller where it looks. They are declared under other
 * names because the compiler assumes that these don't return.
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

/* A handler of SIGABRT may let the program go on: then the listener comes back. */
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
