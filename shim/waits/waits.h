/* waits.h - a thread that is about to block says so in its record: in which call, for what, at which frame.
 *
 * Runs in: app's thread inside a hook of a call that may block, in a signal handler too (waits_enter, waits_leave); our
 * signal handler (marks); listener (waits_read). No system call, no lock.
 *
 * Who says so: threads that wait for other threads, always (their waits are profiled); all others while a profile, a
 * dump or a trace is taken, and no call that began before (restart.h).
 *
 * What it is for: the thread dump knows what a blocked thread waits for without disturbing it; a call that our own
 * signal interrupted is made again, with the time that is left, so that the program never sees EINTR; and
 * where somebody watches (delays.h, trace_events.h), how long it took.
 *
 * Nothing is left behind by a call that is never returned from (cancellation, longjmp out of a handler, an
 * exception): the next wait overwrites it, and the listener believes a wait only of a thread that the kernel
 * says is blocked, below the frame that the wait names.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_WAITS_H
#define PPROFSHIM_WAITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "shim/arch/arch.h"
#include "shim/libc/clock.h"
#include "shim/base/self.h"
#include "shim/stack/unwind.h"
#include "shim/threads/record.h"
#include "shim/waits/signals.h"

/* The calls, one for each HOOK_WAITS row of hooks.def. */
enum wait_call {
	WAIT_NONE, /* it runs */
#define HOOK_WAITS(symbol, type, params, args, kind, object, view, way, ...) WAIT_##symbol,
#define HOOK_WAITS_OWN(symbol, type, params, args, kind, view) WAIT_##symbol,
#include "shim/hooks.def"
	WAIT_CALLS,
	WAIT_CHANGING = 0xff, /* the fields are being written */
};

/* What an execution trace shows a call as. */
enum wait_view {
	VIEW_SYNC, /* a lock, another thread */
	VIEW_COND,
	VIEW_NET,  /* one socket: what comes in */
	VIEW_SEND, /* what goes out of it: mostly work, not a wait */
	VIEW_READ, /* a descriptor: a socket, or something else */
	VIEW_WRITE,
	VIEW_SELECT, /* many descriptors */
	VIEW_SLEEP,
	VIEW_SYSCALL, /* whatever else */
};

static inline unsigned waits_call(uint64_t state)
{
	return state & 0xff;
}

/* A wait while it lasts, on the thread's stack. */
struct wait_scope {
	uint64_t since_ns; /* as in struct wait */
	bool nested;       /* in a signal handler that interrupted another wait */
	struct wait outer;
};

/* Why a hook would do more than to jump to the real function: who wants to know how long threads wait for each other
 * (the first two, from init on), and what is going on now: an execution trace; a profile or a dump, whose signals may
 * cut calls short; a listener that is to be started by the next call that may wait long. While none of the last three
 * is there, the hooks of reads, writes, polls and sleeps test this word, and that is all. */
enum {
	WAITS_FOR_BLOCK = 1,
	WAITS_FOR_MUTEX = 2,
	WAITS_FOR_TRACE = 4,
	WAITS_FOR_SIGNALS = 8,
	WAITS_FOR_LISTENER = 16,
};
extern HIDDEN uint32_t waits_watchers; /* atomic; of these */
static inline bool waits_are_watched(uint32_t watchers)
{
	return (__atomic_load_n(&waits_watchers, __ATOMIC_RELAXED) & watchers) != 0;
}
void waits_watch(uint32_t watcher, bool on); /* init, listener, fork, app's thread */

/* The same test in two instructions, of bits that are known when this is compiled. */
static inline __attribute__((always_inline)) bool waits_test(uint32_t watchers)
{
	return __builtin_expect(arch_has_low_bits_now(&waits_watchers, watchers), 0);
}

/* Slow ways of waits_enter. */
void waits_nest(struct wait *w, struct wait_scope *s, uintptr_t sp);
void waits_unnest(struct wait *w, const struct wait_scope *s);

/* The record of the calling thread; its wait is its first member. */
static inline struct wait *waits_self(void)
{
	return (struct wait *)(void *)self.thread;
}

static inline __attribute__((always_inline)) void waits_enter(struct wait_scope *s, enum wait_call call,
                                                              uintptr_t object, struct unwind_frame frame,
                                                              uint64_t since_ns)
{
	struct wait *w = waits_self();
	s->since_ns = since_ns;
	s->nested = false;
	if (__builtin_expect(!w, 0))
		return; /* a thread that libc did not make */
	if (__builtin_expect(waits_call(w->state) != WAIT_NONE, 0))
		waits_nest(w, s, frame.sp);
	__atomic_store_n(&w->state, WAIT_CHANGING, __ATOMIC_RELAXED);
	__atomic_thread_fence(__ATOMIC_RELEASE); /* before the fields change; no instruction on x86 */
	uint64_t instance = ++w->instances;
	w->object = object;
	w->frame = frame;
	w->since_ns = since_ns;
	w->handled = self.handled;
	w->cut_short = 0;
	__atomic_store_n(&w->state, instance << 8 | call, __ATOMIC_RELEASE);
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
}

static inline __attribute__((always_inline)) void waits_leave(const struct wait_scope *s)
{
	struct wait *w = waits_self(); /* again: a handler may have forked */
	if (__builtin_expect(!w, 0))
		return;
	if (__builtin_expect(s->nested, 0))
		waits_unnest(w, s);
	else
		__atomic_store_n(&w->state, WAIT_NONE, __ATOMIC_RELEASE);
}

/* After a call that failed with EINTR, or came back with less than was asked for: was it our signal alone, and has no
 * handler of the program's run since it began? Then the program must not know, and the call is made again. Asking takes
 * the mark away. */
bool waits_was_cut_short(void);
static inline bool waits_may_be_cut_short(void)
{
	const struct wait *w = waits_self();
	return w && w->cut_short;
}

/* The time at which a call with a relative time-out begins; 0: it will hardly be made again, and need not know. */
static inline uint64_t waits_start_ns(void)
{
	return __builtin_expect(signals_are_about(), 0) ? clock_ns(CLOCK_MONOTONIC) : 0;
}

/* Of a relative time-out: what is left of it now, at least 0; never less than what is really left. Where its beginning
 * is not known (the signals came later), all of it. */
uint64_t waits_left_ns(uint64_t timeout_ns);

/* Our signal handler, which interrupted this thread at (pc, sp), where the register that system calls return in holds
 * `result`, with this mask: if that was a system call of a wait, mark it. True: the kernel will make it again because
 * of our SA_RESTART, but a signal is due whose handler has none: the call has to fail with EINTR instead. */
bool waits_mark(uintptr_t pc, uintptr_t sp, intptr_t result, uint64_t mask);

/* The same handler: is that, with this stack pointer, in the wait that the thread publishes? */
bool waits_is_at(const struct wait *w, uintptr_t sp);

/* Of these signals, those that are no business of libc's own: it has 32 and 33. */
static inline uint64_t waits_programs(uint64_t signals)
{
	return signals & ~((uint64_t)3 << 31);
}

/* Is one of these signals due, whose handler ends calls that ours does not (without_flag: SA_RESTART), or any (0)?
 * not_counted: the handlers that are counted as they run are none. Our handler blocks all signals, so the kernel tells
 * of all that are pending. */
bool waits_others_are_due(uint64_t signals, unsigned long without_flag, bool not_counted);

/* Does the handler of this signal let calls go on (SA_RESTART)? */
bool waits_signal_restarts(int sig);

/* Listener: what a thread publishes, in one piece. False: it does not wait, or it changed meanwhile. */
bool waits_read(const struct wait *w, struct wait *copy);

/* The name of a call, what the thread dump calls it, what its object is (enum dump_object), and the function that the
 * hook calls. */
const char *waits_name(unsigned call);
const char *waits_shown(unsigned call);
unsigned waits_kind(unsigned call);
enum wait_view waits_view(unsigned call);
uintptr_t waits_function(unsigned call);

void waits_reset(struct wait *w);

#endif
