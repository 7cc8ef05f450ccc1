/* hooks_sleep.c - calls that may block and fail in ways of their own: sleeps, the bare system call, io_getevents.
 *
 * Runs in: app's thread, in a signal handler too. As hooks_wait.c.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "shim/exports.h"
#include "shim/hooks_wait.h"
#include "shim/real.h"

/* A sleep, made again with what the kernel says is left. *left is written when it was interrupted. */
static int sleep_through(const struct timespec *time, struct timespec *left)
{
	struct timespec again;
	int r;
	while ((r = real_nanosleep(time, left)) == -1 && errno == EINTR && waits_was_cut_short()) {
		again = *left;
		time = &again;
	}
	return r;
}

EXPORT int nanosleep(const struct timespec *time, struct timespec *left)
{
	struct timespec own_left;
	HOOK_ENTER(nanosleep, 0, hook_is_long(time), 0);
	int r = sleep_through(time, &own_left);
	HOOK_LEAVE(nanosleep, 0);
	if (r == -1 && left && errno == EINTR)
		*left = own_left;
	return r;
}

EXPORT int usleep(useconds_t us)
{
	struct timespec time = {.tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000l}, left;
	HOOK_ENTER(usleep, 0, us >= HOOK_LONG_NS / 1000, 0);
	int r = sleep_through(&time, &left);
	HOOK_LEAVE(usleep, 0);
	return r;
}

/* As libc's: errno is the caller's when the sleep is whole; else whole seconds that are left. */
EXPORT unsigned sleep(unsigned seconds)
{
	struct timespec time = {.tv_sec = seconds}, left;
	int saved = errno;
	HOOK_ENTER(sleep, 0, seconds > 0, 0);
	int r = sleep_through(&time, &left);
	HOOK_LEAVE(sleep, 0);
	if (r == -1)
		return (unsigned)left.tv_sec;
	errno = saved;
	return 0;
}

/* 0, or an error number. A time on the clock needs no change. */
EXPORT int clock_nanosleep(clockid_t clock, int flags, const struct timespec *time, struct timespec *left)
{
	struct timespec own_left, again;
	HOOK_ENTER(clock_nanosleep, 0, flags || hook_is_long(time), 0);
	int r;
	while ((r = real_clock_nanosleep(clock, flags, time, &own_left)) == EINTR && waits_was_cut_short())
		if (!(flags & TIMER_ABSTIME)) {
			again = own_left;
			time = &again;
		}
	HOOK_LEAVE(clock_nanosleep, 0);
	if (r == EINTR && left && !(flags & TIMER_ABSTIME))
		*left = own_left;
	return r;
}

/* 0, -1 when interrupted, another negative number when it failed (C11, 7.26.5.7). */
EXPORT int thrd_sleep(const struct timespec *time, struct timespec *left)
{
	struct timespec own_left, again;
	HOOK_ENTER(thrd_sleep, 0, hook_is_long(time), 0);
	int r;
	while ((r = real_thrd_sleep(time, &own_left)) == -1 && waits_was_cut_short()) {
		again = own_left;
		time = &again;
	}
	HOOK_LEAVE(thrd_sleep, 0);
	if (r == -1 && left)
		*left = own_left;
	return r;
}

/* Of libaio: a count, or a negative error number. */
EXPORT int io_getevents(void *context, long least, long most, void *events, struct timespec *time);
EXPORT int io_getevents(void *context, long least, long most, void *events, struct timespec *time)
{
	enum { EVENT_BYTES = 32 };
	HOOK_ENTER(io_getevents, 0, false, 0);
	int r = real_io_getevents(context, least, most, events, time), got = r > 0 ? r : 0;
	while ((r == -EINTR || (r >= 0 && got < least)) && waits_was_cut_short()) {
		r = real_io_getevents(context, least - got, most - got, (char *)events + (size_t)got * EVENT_BYTES, time);
		got += r > 0 ? r : 0;
	}
	HOOK_LEAVE(io_getevents, 0);
	return got ? got : r;
}

/* Where a system call that may block has a time-out that is relative, and not kept up to date by the kernel: the number of that
 * argument, which is a struct timespec, or one of the two below. */
enum { NOT_BLOCKING = -1, NO_RELATIVE_TIME = -2, MILLISECONDS = 16 };

static int relative_time_of(long nr, long b)
{
	switch (nr) {
	case SYS_futex:
		switch (b & ~(FUTEX_PRIVATE_FLAG | FUTEX_CLOCK_REALTIME)) {
		case FUTEX_WAIT: return 3;
		case FUTEX_WAIT_BITSET:
		case FUTEX_WAIT_REQUEUE_PI:
		case FUTEX_LOCK_PI: return NO_RELATIVE_TIME;
		default: return NOT_BLOCKING;
		}
	case SYS_nanosleep: return 0;
	case SYS_clock_nanosleep: return b & TIMER_ABSTIME ? NO_RELATIVE_TIME : 2;
	case SYS_rt_sigtimedwait: return 2;
	case SYS_semtimedop: return 3;
	case SYS_io_getevents: return 4;
	case SYS_epoll_pwait: return 3 | MILLISECONDS;
#ifdef SYS_epoll_pwait2
	case SYS_epoll_pwait2: return 3;
#endif
#ifdef SYS_poll
	case SYS_poll: return 2 | MILLISECONDS;
	case SYS_epoll_wait: return 3 | MILLISECONDS;
	case SYS_pause:
#endif
#ifdef SYS_io_uring_enter
	case SYS_io_uring_enter:
#endif
#ifdef SYS_futex_waitv
	case SYS_futex_waitv:
#endif
	case SYS_ppoll:
	case SYS_pselect6:
	case SYS_msgrcv:
	case SYS_msgsnd:
	case SYS_recvfrom:
	case SYS_recvmsg:
	case SYS_accept4: return NO_RELATIVE_TIME;
	default: return NOT_BLOCKING;
	}
}

/* The time-out, as it is to be when the call is made again. */
static long time_again(int which, long time, struct timespec *left)
{
	return which & MILLISECONDS ? hook_left_ms((int)time) : (long)hook_left((const void *)time, left);
}

/* A futex word may have changed meanwhile: then the kernel says so, as if the thread had come late. */
static __attribute__((noinline)) long blocking_call(long nr, long args[6], int which, struct unwind_frame caller)
{
	struct wait_scope scope;
	struct timespec left;
	long *time = which >= 0 ? &args[which & ~MILLISECONDS] : NULL, whole = time ? *time : 0, r;
	bool is_futex = nr == SYS_futex;
	waits_enter(&scope, WAIT_syscall, (uintptr_t)args[0], caller,
	            is_futex && hook_is_watched() ? clock_ns(CLOCK_MONOTONIC) : hook_since(whole ? waits_start_ns() : 0));
	while ((r = real_syscall(nr, args[0], args[1], args[2], args[3], args[4], args[5])) == -1 && errno == EINTR &&
	       waits_was_cut_short())
		if (whole)
			*time = time_again(which, whole, &left);
	waits_leave(&scope);
	if (is_futex && hook_is_watched() && scope.since_ns) {
		if (r == 0 || errno == ETIMEDOUT || errno == EINTR) /* else the word had changed, and it did not wait */
			contention_waited(WAIT_syscall, (uintptr_t)args[0], scope.since_ns, caller);
	} else if (trace_is_on() && !is_futex) {
		trace_waited(VIEW_SYSCALL, WAIT_syscall, (uintptr_t)args[0], scope.since_ns, clock_ns(CLOCK_MONOTONIC), caller);
	}
	return r;
}

/* Does this operation of a futex end others' waits? */
static bool wakes(long operation)
{
	switch (operation & ~(FUTEX_PRIVATE_FLAG | FUTEX_CLOCK_REALTIME)) {
	case FUTEX_WAKE:
	case FUTEX_WAKE_BITSET:
	case FUTEX_WAKE_OP:
	case FUTEX_REQUEUE:
	case FUTEX_CMP_REQUEUE:
	case FUTEX_UNLOCK_PI: return true;
	default: return false;
	}
}

/* Libc's is declared with "..."; as a function of seven it passes all on by a jump: the registers, and the stack slot, of
 * those that were not given are as they were. */
EXPORT long syscall_of_seven(long nr, long a, long b, long c, long d, long e, long f) __asm__("syscall");
long syscall_of_seven(long nr, long a, long b, long c, long d, long e, long f)
{
	int which = relative_time_of(nr, b);
	if (trace_is_on() && nr == SYS_futex && wakes(b))
		trace_wakes((uintptr_t)a, waits_function(WAIT_syscall), UNWIND_CALLER());
	if (__builtin_expect(which == NOT_BLOCKING, 1))
		return real_syscall(nr, a, b, c, d, e, f);
	return blocking_call(nr, (long[]){a, b, c, d, e, f}, which, UNWIND_CALLER());
}
