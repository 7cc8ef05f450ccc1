/* calls.c - the table of calls.def.
 *
 * Runs in: app's thread inside a hook, our signal handler, listener. No lock, no libc.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "shim/waits/calls.h"

#include <stddef.h>
#include <time.h>

#include "shim/base/os.h"
#include "shim/waits/object.h"

/* The values of the columns `again` and `left`. calls_again handles those that depend on the second argument. */
enum { NEVER = CALLS_NEVER, AS_IT_IS = CALLS_AS_IT_IS, BY_OPERATION = -3, NOWHERE = -1, MOVES_NONE = 0, MOVES = 1 };
enum { IF_RELATIVE = 32 };
#define TIMESPEC(argument) (argument)
#define MILLISECONDS(argument) ((argument) | CALLS_MILLISECONDS)
#define UNLESS_ABSOLUTE(argument) ((argument) | IF_RELATIVE)
#define ARGUMENT(argument) (argument)

enum {
#define SYSTEM_CALL(name, shown, object, words, again, left, moves) PLACE_##name,
#include "shim/waits/calls.def"
};

static const struct system_call calls[] = {
#define SYSTEM_CALL(name, shown, object, words, again, left, moves) \
	[PLACE_##name] = {shown, again, left, DUMP_##object, words, moves},
#include "shim/waits/calls.def"
};

/* By system call number: the place in the table plus one, or 0. */
static const unsigned char places[] = {
#define SYSTEM_CALL(name, shown, object, words, again, left, moves) [SYS_##name] = PLACE_##name + 1,
#include "shim/waits/calls.def"
};

const struct system_call *calls_find(long nr)
{
	return nr >= 0 && nr < (long)sizeof places && places[nr] ? &calls[places[nr] - 1] : NULL;
}

static int futex_again(long operation)
{
	switch (operation & ~(FUTEX_PRIVATE_FLAG | FUTEX_CLOCK_REALTIME)) {
	case FUTEX_WAIT: return 3;
	case FUTEX_WAIT_BITSET:
	case FUTEX_WAIT_REQUEUE_PI:
	case FUTEX_LOCK_PI: return CALLS_AS_IT_IS;
	default: return CALLS_NEVER;
	}
}

int calls_again(long nr, long second)
{
	const struct system_call *c = calls_find(nr);
	int again = c ? c->again : CALLS_NEVER;
	if (again == BY_OPERATION)
		return futex_again(second);
	if (again < 0 || !(again & IF_RELATIVE))
		return again;
	return second & TIMER_ABSTIME ? CALLS_AS_IT_IS : again & ~IF_RELATIVE;
}

int calls_left(long nr)
{
	const struct system_call *c = calls_find(nr);
	return c ? c->left : NOWHERE;
}

bool calls_moves(long nr)
{
	const struct system_call *c = calls_find(nr);
	return c && c->moves;
}
