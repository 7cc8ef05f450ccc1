/* signals.h - the one signal of ours, and its handler.
 *
 * Runs in: listener (signals_begin, signals_end), signal handler.
 *
 * Which signal: 33, one of the two that libc keeps for itself (SIGSETXID). No program can block it, wait for it, handle
 * it or ignore it by libc's functions: sigfillset leaves it out, sigaction refuses it. So SIGPROF stays the program's,
 * with its handler, its mask and its interval timer, and nothing of the program has to be looked at or rewritten. Libc
 * sends it itself when a program of several threads changes its user (setuid & co.): such a signal is passed on to
 * libc's handler, which is told by siginfo.
 *
 * What ours says: it is a timer's (SI_TIMER) and has one of two marks: take a CPU sample, or show your stack.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_SIGNALS_H
#define PPROFSHIM_SIGNALS_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

#include "shim/base/exports.h"
#include "shim/base/os.h"
#include "shim/stack/unwind.h"
#include "shim/threads/timers.h"

enum { SIGNALS_OURS = 33 };

/* Who takes our signals, in our handler, on the thread that was interrupted at this frame. */
struct signals_takers {
	/* A timer expired, and so often before (si_overrun). Returns false if it is not to expire again. */
	bool (*tick)(struct unwind_frame at, int overrun);
	void (*interval)(struct unwind_frame at); /* the interval timer of the fall-back */
	void (*answer)(uint32_t slot, struct unwind_frame at);
	void (*refuse)(uint32_t slot); /* a thread that libc does not know was asked */
	bool (*is_knock)(const siginfo_t *info);
	void (*knock)(void);
};

/* Init, before any signal of ours. */
void signals_start(const struct signals_takers *takers);

/* Our signals may arrive from now on. Begin and end come in pairs and nest; the handler stays once it was
 * installed (ARCHITECTURE.md). 0, or a negative errno. Listener. */
int signals_begin(void);
void signals_end(void);

/* Libc installs its own handler with the program's first thread: look after ours. */
void signals_keep(void);           /* listener, while a profile is on */
void signals_keep_from_libc(void); /* app's thread that has made a thread, and the new one */

/* Our handler is in place from now on, for a listener that is outside of the thread group to knock with (visitor.h).
 * App's thread. */
void signals_get_ready(void);

/* An action with our flags, and all signals blocked, for this handler. */
struct timers_action signals_action_of(void (*handler)(int, siginfo_t *, void *));

extern HIDDEN uint32_t signals_users; /* atomic */
static inline bool signals_are_about(void)
{
	return __atomic_load_n(&signals_users, __ATOMIC_RELAXED) != 0;
}

/* Ask a running thread for its stack: the handler there gives the slot to `answer`, as soon as it has run a little
 * more; one that blocks meanwhile does not answer. Returns 0, or a negative errno. Listener. The question is to be
 * taken back, answered or not; quota.c may do it before, for all. Slots that are asked at once differ in their lowest
 * bits. */
enum { SIGNALS_ASKS = 128 };
int signals_ask(int tid, uint32_t slot);
void signals_unask(uint32_t slot);
void signals_unask_all(void);

/* The program sets or asks for the action of a signal by syscall(SYS_rt_sigaction). Where that is our signal, and our
 * handler is in place, it stays, and the program's comes after it: it sees what it would see without us. False: the
 * call is to be made. */
bool signals_set_by_syscall(const long args[], long *result);

/* The mark of a timer's signal: sigev_value. */
void *signals_timer_mark(void);

/* For the fall-back without timers: SIGPROF by an interval timer, where the program uses neither. 0, or -EBUSY.
 * Listener. */
int signals_begin_fallback(uint64_t period_ns);
void signals_end_fallback(void);

/* The program wants SIGPROF for itself: the interval timer, if it is ours, stops. */
void signals_give_up_interval(void);
/* Is this handler the one that came with it? It stays, and the program had none. */
bool signals_is_interval_handler(uintptr_t handler);
/* Has it been given up since signals_begin_fallback? */
bool signals_interval_given_up(void);

/* Around exec, by the thread that calls it (hooks/exec.h): is that interval timer running? Then it is off, until exec
 * has failed. */
bool signals_before_exec(void);
void signals_exec_failed(void);

/* Wait until no handler of ours is at work, at most for so long. Listener. False: one still is. */
bool signals_quiesce(unsigned ms);

/* The child has none of the timers, and no listener. */
void signals_fork_child(void);

#endif
