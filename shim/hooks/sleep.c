/* sleep.c - calls that may block and fail in ways of their own: sleeps, io_getevents and recvmmsg.
 *
 * Runs in: app's thread, in a signal handler too. As hooks/wait.c.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "shim/base/exports.h"
#include "shim/hooks/wait.h"
#include "shim/libc/real.h"

/* Stores what is left of a sleep for the program.
 * Returns false where it can't be stored: the kernel answers EFAULT then. */
static bool give_left(struct timespec *left, const struct timespec *own_left)
{
	self_calls_begin();
	bool can_be_written = os_writable(&left->tv_sec) && os_writable(&left->tv_nsec);
	self_calls_end();
	if (!can_be_written)
		return false;
	*left = *own_left;
	return true;
}

/* Repeats a sleep with what the kernel says is left. *left is set if it was interrupted. */
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

HOOK_WATCHES(int, nanosleep, (const struct timespec *time, struct timespec *left), (time, left))
{
	struct timespec own_left;
	struct wait_scope scope;
	hook_enter(&scope, WAIT_nanosleep, 0, 0);
	int r = sleep_through(time, &own_left);
	hook_leave(&scope, WAIT_nanosleep, 0);
	if (r == -1 && left && errno == EINTR && !give_left(left, &own_left))
		errno = EFAULT;
	return r;
}

HOOK_WATCHES(int, usleep, (useconds_t us), (us))
{
	struct timespec time = {.tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000l}, left;
	struct wait_scope scope;
	hook_enter(&scope, WAIT_usleep, 0, 0);
	int r = sleep_through(&time, &left);
	hook_leave(&scope, WAIT_usleep, 0);
	return r;
}

/* Like libc's: errno is the caller's if the whole time has passed; else returns the whole seconds that are left. */
HOOK_WATCHES(unsigned, sleep, (unsigned seconds), (seconds))
{
	struct timespec time = {.tv_sec = seconds}, left;
	int saved = errno;
	struct wait_scope scope;
	hook_enter(&scope, WAIT_sleep, 0, 0);
	int r = sleep_through(&time, &left);
	hook_leave(&scope, WAIT_sleep, 0);
	if (r == -1)
		return (unsigned)left.tv_sec;
	errno = saved;
	return 0;
}

/* Returns 0, or an error number. An absolute time needs no change. */
HOOK_WATCHES(int, clock_nanosleep, (clockid_t clock, int flags, const struct timespec *time, struct timespec *left),
             (clock, flags, time, left))
{
	struct timespec own_left, again;
	struct wait_scope scope;
	hook_enter(&scope, WAIT_clock_nanosleep, 0, 0);
	int r;
	while ((r = real_clock_nanosleep(clock, flags, time, &own_left)) == EINTR && waits_was_cut_short())
		if (!(flags & TIMER_ABSTIME)) {
			again = own_left;
			time = &again;
		}
	hook_leave(&scope, WAIT_clock_nanosleep, 0);
	if (r == EINTR && left && !(flags & TIMER_ABSTIME) && !give_left(left, &own_left))
		return EFAULT;
	return r;
}

/* Returns 0, -1 if interrupted, another negative number if it failed (C11, 7.26.5.7). */
HOOK_WATCHES(int, thrd_sleep, (const struct timespec *time, struct timespec *left), (time, left))
{
	struct timespec own_left, again;
	struct wait_scope scope;
	hook_enter(&scope, WAIT_thrd_sleep, 0, 0);
	int r;
	while ((r = real_thrd_sleep(time, &own_left)) == -1 && waits_was_cut_short()) {
		again = own_left;
		time = &again;
	}
	hook_leave(&scope, WAIT_thrd_sleep, 0);
	if (r == -1 && left && !give_left(left, &own_left))
		return -2;
	return r;
}

/* From libaio. Returns a count, or a negative error number. */
EXPORT int io_getevents(void *context, long least, long most, void *events, struct timespec *time);
HOOK_WATCHES(int, io_getevents, (void *context, long least, long most, void *events, struct timespec *time),
             (context, least, most, events, time))
{
	enum { EVENT_BYTES = 32 };
	struct wait_scope scope;
	struct timespec left;
	const struct timespec *whole = time;
	hook_enter(&scope, WAIT_io_getevents, 0, time ? waits_start_ns() : 0);
	int r = real_io_getevents(context, least, most, events, time), got = r > 0 ? r : 0;
	while ((r == -EINTR || (r >= 0 && got < least)) && waits_was_cut_short()) {
		if (whole) {
			hook_left(whole, &left);
			time = &left;
		}
		r = real_io_getevents(context, least - got, most - got, (char *)events + (size_t)got * EVENT_BYTES,
		                      time);
		got += r > 0 ? r : 0;
	}
	hook_leave(&scope, WAIT_io_getevents, 0);
	return got ? got : r;
}

/* Messages, not bytes: the program sees how many came. */
HOOK_WATCHES(int, recvmmsg, (int fd, struct mmsghdr *msgs, unsigned count, int flags, struct timespec *time),
             (fd, msgs, count, flags, time))
{
	int r;
	struct wait_scope scope;
	hook_enter(&scope, WAIT_recvmmsg, (uintptr_t)fd, 0);
	do
		r = real_recvmmsg(fd, msgs, count, flags, time);
	while (r == -1 && errno == EINTR && waits_was_cut_short());
	hook_leave(&scope, WAIT_recvmmsg, (uintptr_t)fd);
	return r;
}
