/* waits.h - before a thread blocks, it publishes in its record which call it makes, for what object, at which frame.
 *
 * Runs in: app's thread inside a hook of a call that may block, in a signal handler too (waits_enter, waits_leave); our
 * signal handler (marks); listener (waits_read). No system call, no lock.
 *
 * Which waits. Waits for other threads are published at all times, as they are profiled. All others are published only
 * while a profile, a dump or a trace is taken, and not if the call began before that (restart.h).
 *
 * Purpose. The thread dump learns what a blocked thread waits for without disturbing it. A call that our own signal
 * interrupted is made again with the time that is left, so that the program never sees EINTR. Profiles and traces learn
 * how long the wait took (delays.h, trace_events.h).
 *
 * A call may never return (cancellation, longjmp out of a handler, an exception). That leaves nothing to clean up: the
 * next wait overwrites the old one, and the listener trusts a published wait only if the kernel says that the thread is
 * blocked, below the frame that the wait names.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_WAITS_H
#define PPROFSHIM_WAITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "shim/arch/arch.h"
#include "shim/base/shared.h"
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

/* How an execution trace shows a call. */
enum wait_view {
	VIEW_SYNC, /* a lock, another thread */
	VIEW_COND,
	VIEW_NET,  /* one socket: what comes in */
	VIEW_SEND, /* what goes out of it: mostly work, not a wait */
	VIEW_READ, /* a descriptor: a socket, or something else */
	VIEW_WRITE,
	VIEW_SELECT, /* many descriptors */
	VIEW_SLEEP,
	VIEW_SYSCALL, /* anything else */
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

/* Reasons for a hook to do more than jump to the real function. The first two are set from init on: profiles of how
 * long threads wait for each other. The others come and go: an execution trace; a profile or a dump, whose signals may
 * cut calls short; a listener that the next long wait has to start. While none of these three is set, the hooks of
 * reads, writes, polls and sleeps only test this word. */
enum {
	WAITS_FOR_BLOCK = 1,
	WAITS_FOR_MUTEX = 2,
	WAITS_FOR_TRACE = 4,
	WAITS_FOR_SIGNALS = 8,
	WAITS_FOR_LISTENER = 16,
};
extern HIDDEN shared_u32 waits_watchers; /* of these */
static inline bool waits_are_watched(uint32_t watchers)
{
	return (shared_load_relaxed(&waits_watchers) & watchers) != 0;
}
void waits_watch(uint32_t watcher, bool on); /* init, listener, fork, app's thread */

/* The same test in two instructions, for bits that are known at compile time. */
static inline __attribute__((always_inline)) bool waits_test(uint32_t watchers)
{
	return __builtin_expect(arch_has_low_bits_now(shared_word(&waits_watchers), watchers), 0);
}

/* Slow ways of waits_enter. */
void waits_nest(struct wait *w, struct wait_scope *s, uintptr_t sp);
void waits_unnest(struct wait *w, const struct wait_scope *s);

/* Returns the wait of the calling thread: the first member of its record. */
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
	if (__builtin_expect(waits_call(shared_own(&w->state)) != WAIT_NONE, 0))
		waits_nest(w, s, frame.sp);
	shared_store_relaxed(&w->state, WAIT_CHANGING);
	shared_fence_release(); /* before the fields change; no instruction on x86 */
	uint64_t instance = ++w->instances;
	w->object = object;
	w->frame = (struct wait_frame){frame.pc, frame.sp, frame.fp};
	w->since_ns = since_ns;
	w->handled = self.handled;
	shared_set_own(&w->cut_short, 0);
	shared_store_release(&w->state, instance << 8 | call);
	shared_fence_compiler();
}

static inline __attribute__((always_inline)) void waits_leave(const struct wait_scope *s)
{
	struct wait *w = waits_self(); /* again: a handler may have forked */
	if (__builtin_expect(!w, 0))
		return;
	if (__builtin_expect(s->nested, 0))
		waits_unnest(w, s);
	else
		shared_store_release(&w->state, WAIT_NONE);
}

/* Called after a call failed with EINTR or moved less than was asked for. Clears the mark.
 * Returns true if only our signal interrupted it, and no handler of the program has run since it began: then the hook
 * makes the call again, so that the program does not notice. */
bool waits_was_cut_short(void);
static inline bool waits_may_be_cut_short(void)
{
	const struct wait *w = waits_self();
	return w && shared_glance(&w->cut_short);
}

/* Returns when a call with a relative time-out begins; 0 if our signals are not in use, as it will hardly be made
 * again. */
static inline uint64_t waits_start_ns(void)
{
	return __builtin_expect(signals_are_about(), 0) ? clock_ns(CLOCK_MONOTONIC) : 0;
}

/* Returns what is left of a relative time-out: at least 0, never less than what is really left. If the beginning is not
 * known (our signals came into use later), all of it. */
uint64_t waits_left_ns(uint64_t timeout_ns);

/* Called by our signal handler, which interrupted this thread at (pc, sp) with this signal mask; `result` is the
 * register in which system calls return. Marks the wait if that was its system call.
 * Returns true if the kernel would make the call again (our SA_RESTART) although a pending signal's handler lacks
 * SA_RESTART: then the call has to fail with EINTR. */
bool waits_mark(uintptr_t pc, uintptr_t sp, intptr_t result, uint64_t mask);

/* Copies the code around a place where the calling thread executes. It may not be readable for us: execute-only memory,
 * or protection keys, of which the kernel lets a handler use the first alone.
 * Returns false then. */
bool waits_code_at(uintptr_t pc, struct arch_code *code);

/* The same handler asks: is this stack pointer in the wait that the thread publishes? */
bool waits_is_at(const struct wait *w, uintptr_t sp);

/* Returns these signals without the two that libc keeps for itself (32 and 33). */
static inline uint64_t waits_programs(uint64_t signals)
{
	return signals & ~((uint64_t)3 << 31);
}

/* Returns true if one of these signals is pending and has a handler. without_flag: SA_RESTART considers only handlers
 * without that flag, which end calls that our handler does not end; 0 considers all. not_counted: leave out handlers
 * that are counted as they run. Our handler blocks all signals, so the kernel shows all that are pending. */
bool waits_others_are_due(uint64_t signals, unsigned long without_flag, bool not_counted);

/* Returns true if the handler of this signal lets calls go on (SA_RESTART). */
bool waits_signal_restarts(int sig);

/* Copies what a thread publishes, consistently. Listener.
 * Returns false if the thread publishes no wait, or changed it meanwhile. */
bool waits_read(const struct wait *w, struct wait *copy);

/* Return the name of a call, its name in the thread dump, the kind of its object (enum dump_object), how a trace shows
 * it, and the function that the hook calls. */
const char *waits_name(unsigned call);
const char *waits_shown(unsigned call);
unsigned waits_kind(unsigned call);
enum wait_view waits_view(unsigned call);
uintptr_t waits_function(unsigned call);

/* The lock that a call waits for. */
struct waits_lock {
	uint8_t owner_at; /* where it keeps its owner's tid; 0: it is no lock that has an owner */
	bool for_ever;    /* the wait has no time-out */
};
struct waits_lock waits_lock(unsigned call);

void waits_reset(struct wait *w);

#endif
