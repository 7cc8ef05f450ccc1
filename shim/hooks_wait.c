/* hooks_wait.c - the calls that may block: each says in its thread's record what it waits for (waits.h), and is made
 * again when our own signal, and nothing else, cut it short.
 *
 * Runs in: app's thread, in a signal handler too. Any app lock may be held.
 * So: no lock, no allocation (but for a thread's first wait), errno as the real function left it. The real function is
 * called as it was asked for, so cancellation, EINTR by the program's own signals and return values are its own.
 * Pointers of the program are not looked at before the real function has seen them.
 *
 * A process that did not get the port (a child, mostly) starts its listener here, at its first long wait.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "shim/exports.h"
#include "shim/hooks_wait.h"
#include "shim/real.h"

/* The kernel leaves the processor's stack of return addresses useless (a defence against attacks on its prediction), so every
 * return that follows a system call is mispredicted: the hook's own return would cost 7 to 20 ns, more than all that it
 * does. A jump is predicted in another way: these files are compiled to return by this one (Makefile: RETURNS).
 * Measured on an AMD EPYC: read of a byte from /dev/zero 209 ns, by a hook that only calls and returns 229, by one that
 * returns so 212. */
#if defined(__x86_64__)
__asm__(".text\n"
        ".p2align 4\n"
        ".globl __x86_return_thunk\n"
        ".hidden __x86_return_thunk\n"
        ".type __x86_return_thunk, @function\n"
        "__x86_return_thunk:\n"
        "\t.cfi_startproc\n"
        "\tpop %rcx\n"
        "\t.cfi_adjust_cfa_offset -8\n"
        "\t.cfi_register rip, rcx\n"
        "\tjmp *%rcx\n"
        "\t.cfi_endproc\n"
        ".size __x86_return_thunk, . - __x86_return_thunk\n");
#endif

static bool is_long_ms(int timeout)
{
	return timeout < 0 || timeout >= HOOK_LONG_NS / 1000000;
}

static bool is_long_left(const struct timeval *t)
{
	return !t || (os_readable(t) && (t->tv_sec > 0 || t->tv_usec >= HOOK_LONG_NS / 1000));
}

/* Our signal is none to wait for, should a set name all numbers there are. */
static const sigset_t *without_ours(const sigset_t *set, sigset_t *copy)
{
	const uint64_t ours = (uint64_t)1 << (SIGNALS_OURS - 1);
	uint64_t bits = 0;
	if (os_readable(set))
		memcpy(&bits, set, sizeof bits);
	if (__builtin_expect(!(bits & ours), 1))
		return set;
	bits &= ~ours;
	memset(copy, 0, sizeof *copy); /* the kernel has 64 signals; there may be no more of the program's set */
	memcpy(copy, &bits, sizeof bits);
	return copy;
}

/* The ways of the table. BLOCKS_x: may it block; LONG_x: will it be long; SINCE_x: when it began, where that has to be known;
 * FIRST_x: before the call; FAILED_x: did it fail with EINTR; AGAIN_x: before it is made again. Names are those of the
 * table's parameters. */
#define IN_ERRNO (__builtin_expect(r == -1, 0) && errno == EINTR)

/* The pthread family returns error numbers, EINTR never (and pthread_barrier_wait -1, when all is well). */
#define BLOCKS_PTHREAD true
#define LONG_PTHREAD false
#define SINCE_PTHREAD 0
#define FIRST_PTHREAD
#define FAILED_PTHREAD false
#define AGAIN_PTHREAD

#define BLOCKS_JOIN true
#define LONG_JOIN true
#define SINCE_JOIN 0
#define FIRST_JOIN
#define FAILED_JOIN false
#define AGAIN_JOIN

#define BLOCKS_PLAIN true
#define LONG_PLAIN false
#define SINCE_PLAIN 0
#define FIRST_PLAIN
#define FAILED_PLAIN IN_ERRNO
#define AGAIN_PLAIN

#define BLOCKS_LONG true
#define LONG_LONG true
#define SINCE_LONG 0
#define FIRST_LONG
#define FAILED_LONG IN_ERRNO
#define AGAIN_LONG

/* The first word of a mutex is 0 while it is free, of every kind; that of a rwlock has flags for the writer in its low bits
 * (1: writers' turn, 2: locked for writing, 4: readers wait) and counts readers above (glibc's <bits/struct_mutex.h> and
 * <bits/struct_rwlock.h>). Guessed wrong, the wait is not published, no more. */
#define WORD_OF(lock) __atomic_load_n((const unsigned *)(const void *)(lock), __ATOMIC_RELAXED)
#define BLOCKS_MUTEX (WORD_OF(mutex) != 0)
#define LONG_MUTEX false
#define SINCE_MUTEX clock_ns(CLOCK_MONOTONIC_COARSE)
#define FIRST_MUTEX
#define FAILED_MUTEX false
#define AGAIN_MUTEX

#define BLOCKS_READ_LOCK ((WORD_OF(lock) & 2) != 0)
#define LONG_READ_LOCK false
#define SINCE_READ_LOCK SINCE_MUTEX
#define FIRST_READ_LOCK
#define FAILED_READ_LOCK false
#define AGAIN_READ_LOCK

#define BLOCKS_WRITE_LOCK ((WORD_OF(lock) & ~5u) != 0)
#define LONG_WRITE_LOCK false
#define SINCE_WRITE_LOCK SINCE_MUTEX
#define FIRST_WRITE_LOCK
#define FAILED_WRITE_LOCK false
#define AGAIN_WRITE_LOCK

#define BLOCKS_MILLISECONDS (timeout != 0)
#define LONG_MILLISECONDS is_long_ms(timeout)
#define SINCE_MILLISECONDS (timeout > 0 ? waits_start_ns() : 0)
#define FIRST_MILLISECONDS const int whole = timeout;
#define FAILED_MILLISECONDS IN_ERRNO
#define AGAIN_MILLISECONDS timeout = hook_left_ms(whole);

#define BLOCKS_RELATIVE true
#define LONG_RELATIVE hook_is_long(time)
#define SINCE_RELATIVE (time ? waits_start_ns() : 0)
#define FIRST_RELATIVE \
	struct timespec left; \
	const struct timespec *whole = time;
#define FAILED_RELATIVE IN_ERRNO
#define AGAIN_RELATIVE time = whole ? hook_left(whole, &left) : NULL;

#define BLOCKS_RELATIVE_SET true
#define LONG_RELATIVE_SET hook_is_long(time)
#define SINCE_RELATIVE_SET SINCE_RELATIVE
#define FIRST_RELATIVE_SET FIRST_RELATIVE FIRST_LONG_SET
#define FAILED_RELATIVE_SET IN_ERRNO
#define AGAIN_RELATIVE_SET AGAIN_RELATIVE

/* Linux brings the time-out of select up to date. */
#define BLOCKS_SELECT true
#define LONG_SELECT is_long_left(left)
#define SINCE_SELECT 0
#define FIRST_SELECT
#define FAILED_SELECT IN_ERRNO
#define AGAIN_SELECT

#define BLOCKS_LONG_SET true
#define LONG_LONG_SET true
#define SINCE_LONG_SET 0
#define FIRST_LONG_SET \
	sigset_t without; \
	set = without_ours(set, &without);
#define FAILED_LONG_SET IN_ERRNO
#define AGAIN_LONG_SET

/* Two functions a call, so that one that will not block costs no frame: the hook jumps on, to the real function or to the
 * one that waits. */
#define HOOK_WAITS(symbol, type, params, args, object_kind, object, time_kind) \
	static __attribute__((noinline)) type wait_in_##symbol params \
	{ \
		HOOK_ENTER(symbol, object, LONG_##time_kind, SINCE_##time_kind); \
		FIRST_##time_kind \
		type r = real_##symbol args; \
		while (FAILED_##time_kind && waits_was_cut_short()) { \
			AGAIN_##time_kind \
			r = real_##symbol args; \
		} \
		waits_leave(&scope); \
		return r; \
	} \
	EXPORT type symbol params \
	{ \
		return (BLOCKS_##time_kind) ? wait_in_##symbol args : real_##symbol args; \
	}
#define HOOK_WAITS_OWN(symbol, type, params, args, object_kind)
#define HOOK(symbol, type, params, args)
#define HOOK_NEW(symbol, type, params, args)
#define HOOK_DELETE(symbol, type, params, args)
#define HOOK_VARIADIC(symbol, type, params)
#define HOOK_OWN(symbol, type, params, args)
#include "shim/hooks.def"
