/* syscall.c - functions with more words of arguments than there are registers: syscall(), and __recvfrom_chk.
 *
 * Runs in: app's thread, in a signal handler too. As hooks/wait.c.
 * So: no slot of the caller's frame is written, and only slots that hold arguments of the system call are read: the
 * function has as many arguments as its caller gave, and the words behind them are the caller's own. That is why the
 * entry is in assembly.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <errno.h>

#include "shim/arch/entries.h"
#include "shim/base/confined.h"
#include "shim/base/exports.h"
#include "shim/hooks/exec.h"
#include "shim/hooks/wait.h"
#include "shim/listener/listener.h"
#include "shim/profiles/quota.h"
#include "shim/libc/real.h"
#include "shim/waits/handlers.h"
#include "shim/waits/calls.h"

/* Returns the time-out for making the call again. */
static long time_again(int which, long time, struct timespec *left)
{
	return which & CALLS_MILLISECONDS ? hook_left_ms((int)time) : (long)hook_left((const void *)time, left);
}

/* A futex word may have changed meanwhile: then the kernel reports that, as if the thread had come late. */
static long blocking_call(long nr, long args[6], int which, struct unwind_frame caller)
{
	struct wait_scope scope;
	struct timespec left;
	long *time = which >= 0 ? &args[which & ~CALLS_MILLISECONDS] : NULL, whole = time ? *time : 0, r;
	bool is_futex = nr == SYS_futex;
	waits_enter(&scope, WAIT_syscall, (uintptr_t)args[0], caller,
	            is_futex && hook_is_watched() ? clock_ns(CLOCK_MONOTONIC)
	                                          : hook_since(whole ? waits_start_ns() : 0));
	while ((r = real_syscall(nr, args[0], args[1], args[2], args[3], args[4], args[5])) == -1 && errno == EINTR &&
	       waits_was_cut_short())
		if (whole)
			*time = time_again(which, whole, &left);
	waits_leave(&scope);
	if (!is_futex) {
		if (trace_is_on())
			hook_over_at(WAIT_syscall | HOOK_AS_SYSCALL, (uintptr_t)args[0], scope.since_ns, caller);
	} else if (hook_is_watched() && scope.since_ns) {
		if (r == 0 || errno == ETIMEDOUT || errno == EINTR) /* else the word had changed, and it did not wait */
			hook_over_at(WAIT_syscall | HOOK_OF_THREADS | HOOK_OF_HANDLERS, (uintptr_t)args[0],
			             scope.since_ns, caller);
	}
	return r;
}

/* Does this futex operation end waits of other threads? */
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

static bool has_six(long nr)
{
	const struct system_call *call = calls_find(nr);
	return call && call->words == 6;
}

static long exec_call(long nr, const long a[])
{
	struct exec_scope scope = exec_begins();
	long r = real_syscall(nr, a[0], a[1], a[2], a[3], a[4], 0);
	exec_failed(scope);
	return r;
}

static bool changes_identity(long nr)
{
	switch (nr) {
	case SYS_setuid:
	case SYS_setgid:
	case SYS_setreuid:
	case SYS_setregid:
	case SYS_setresuid:
	case SYS_setresgid:
	case SYS_setgroups:
	case SYS_capset: return true;
	default: return false;
	}
}

/* The kernel changes the calling thread alone. The listener follows it all the same: a program of one thread, or one
 * that changes each of its threads so, has given its rights up, and a listener that waited for the last thread would
 * need to know them all. Where one thread takes on its client's identity for a while, the listener does so with it. */
static long identity_call(long nr, const long a[])
{
	struct listener_hold hold = listener_identity_changes();
	long r = real_syscall(nr, a[0], a[1], a[2], a[3], a[4], 0);
	listener_identity_changed(hold, r == 0);
	return r;
}

/* Does what we have to do before the call or in its place. Returns true if *result is the call's result. */
static bool stand_in(long nr, const long a[], long *result)
{
	if (nr == SYS_execve || nr == SYS_execveat) {
		*result = exec_call(nr, a);
		return true;
	}
	if (nr == SYS_seccomp) {
		*result = confined_by_number(nr, a);
		return true;
	}
	if (changes_identity(nr)) {
		*result = identity_call(nr, a);
		return true;
	}
	if (nr == SYS_prctl)
		return confined_prctl_by_number(a, result);
	if (nr == SYS_rt_sigaction)
		return handlers_set_by_number(a, result);
	if (nr == SYS_chroot)
		listener_start_pending();
	if (nr == SYS_exit_group && listener_was_born)
		listener_ends_with_program();
	if (nr == SYS_wait4 || nr == SYS_waitid)
		listener_gives_way_to_waits(nr == SYS_wait4 ? a[2] : a[3]);
	quota_before_syscall(nr, a);
	return false;
}

static __attribute__((used)) struct arch_answer syscall_watched(const struct arch_caller *c)
{
	const long *a = c->args;
	long result;
	if (stand_in(c->nr, a, &result))
		return (struct arch_answer){result, true};
	/* the rest of a transfer is moved at the interruption: restart.h */
	int which = calls_moves(c->nr) ? CALLS_NEVER : calls_again(c->nr, a[1]);
	struct unwind_frame caller = {.pc = c->pc - 1, .sp = (uintptr_t)&c->sixth, .fp = c->fp};
	if (trace_is_on() && c->nr == SYS_futex && wakes(a[1]))
		trace_wakes((uintptr_t)a[0], waits_function(WAIT_syscall), caller);
	if (which == CALLS_NEVER || !(c->nr == SYS_futex || waits_test(HOOK_WATCHED)))
		return (struct arch_answer){0, false};
	long args[] = {a[0], a[1], a[2], a[3], a[4], has_six(c->nr) ? c->sixth : 0};
	return (struct arch_answer){blocking_call(c->nr, args, which, caller), true};
}

#if ARCH_HAS_ENTRIES
/* Which calls we look at: all while somebody watches, else those whose bit is set. (SYS_futex, as waits for other
 * threads are always profiled; the others change something that the listener or our handlers rely on.) There is a bit
 * for each 16-bit number, so that no number needs to be compared with a highest one first. */
#define BIT_IN(word, nr) ((nr) / 64 == (word) ? (uint64_t)1 << ((nr) % 64) : 0)
#define LOOKED_AT(word) \
	[word] = BIT_IN(word, SYS_futex) | BIT_IN(word, SYS_execve) | BIT_IN(word, SYS_execveat) | \
	         BIT_IN(word, SYS_seccomp) | BIT_IN(word, SYS_prctl) | BIT_IN(word, SYS_rt_sigaction) | \
	         BIT_IN(word, SYS_wait4) | BIT_IN(word, SYS_waitid) | BIT_IN(word, SYS_exit_group) | \
	         BIT_IN(word, SYS_setuid) | BIT_IN(word, SYS_setgid) | BIT_IN(word, SYS_setreuid) | \
	         BIT_IN(word, SYS_setregid) | BIT_IN(word, SYS_setresuid) | BIT_IN(word, SYS_setresgid) | \
	         BIT_IN(word, SYS_setgroups) | BIT_IN(word, SYS_capset) | BIT_IN(word, SYS_chroot)
static __attribute__((used)) const uint64_t looked_at[(1 << 16) / 64] = {
	LOOKED_AT(0), LOOKED_AT(1), LOOKED_AT(2), LOOKED_AT(3), LOOKED_AT(4), LOOKED_AT(5),
};
static_assert(SYS_execveat / 64 == 5, "the highest of them");

/* Other calls are jumped on, with all registers and the stack unchanged. */
ARCH_ENTRY_SYSCALL(syscall, real_syscall, waits_watchers, 12, looked_at, syscall_watched)
static_assert(HOOK_WATCHED == 12, "as the entry has it");
#else
/* All arguments are in registers: none can be a word of the caller's frame. */
EXPORT long syscall_of_seven(long nr, long a, long b, long c, long d, long e, long f) __asm__("syscall");
long syscall_of_seven(long nr, long a, long b, long c, long d, long e, long f)
{
	struct unwind_frame from = UNWIND_CALLER();
	struct arch_caller caller = {nr, {a, b, c, d, e}, from.fp, from.pc + 1, f};
	struct arch_answer answer = syscall_watched(&caller);
	return answer.made ? answer.result : real_syscall(nr, a, b, c, d, e, f);
}
#endif

/* For programs built with _FORTIFY_SOURCE; libc's headers declare it only for them. In C, its last word would be moved
 * on the way. The slow half is recvfrom's; the real function reports a size that is too small. */
EXPORT ssize_t __recvfrom_chk(int fd, void *buf, size_t count, size_t size, int flags, struct sockaddr *addr,
                              socklen_t *len);

static __attribute__((used)) SLOW ssize_t recvfrom_chk_watched(int fd, void *buf, size_t count, size_t size, int flags,
                                                               struct sockaddr *addr, socklen_t *len)
{
	if (count > size)
		return real___recvfrom_chk(fd, buf, count, size, flags, addr, len);
	return recvfrom(fd, buf, count, flags, addr, len);
}

#if ARCH_HAS_ENTRIES
ARCH_ENTRY_WATCHED(__recvfrom_chk, real___recvfrom_chk, waits_watchers, 12, recvfrom_chk_watched)
static_assert(HOOK_WATCHED == 12, "as the hook has it");
#else
EXPORT ssize_t __recvfrom_chk(int fd, void *buf, size_t count, size_t size, int flags, struct sockaddr *addr,
                              socklen_t *len)
{
	return waits_test(HOOK_WATCHED) ? recvfrom_chk_watched(fd, buf, count, size, flags, addr, len)
	                                : real___recvfrom_chk(fd, buf, count, size, flags, addr, len);
}
#endif
