/* signals.h - the one signal of ours, and its handler.
 *
 * Runs in: listener (signals_begin, signals_end), signal handler.
 *
 * Which signal: 33, one of the two that libc keeps for itself (SIGSETXID). By libc's functions no program can block it,
 * wait for it, handle it or ignore it: sigfillset leaves it out, and sigaction refuses it. So the program keeps
 * SIGPROF, with its handler, its mask and its interval timer, and we need not look at or rewrite any of them. Libc
 * itself sends signal 33 when a program of several threads changes its user (setuid & co.). We tell such a signal by
 * its siginfo, and pass it on to libc's handler.
 *
 * Our signals come from timers (SI_TIMER) and carry one of two marks: take a CPU sample, or show your stack.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_SIGNALS_H
#define PPROFSHIM_SIGNALS_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

#include "shim/base/exports.h"
#include "shim/base/os.h"
#include "shim/base/shared.h"
#include "shim/stack/unwind.h"
#include "shim/threads/timers.h"

enum { SIGNALS_OURS = 33 };

/* The functions that our handler calls, on the thread that was interrupted at this frame. */
struct signals_takers {
	/* A timer expired, and `overrun` times before that (si_overrun). Returns false if it must not expire again. */
	bool (*tick)(struct unwind_frame at, int overrun);
	void (*interval)(struct unwind_frame at); /* the interval timer of the fall-back */
	void (*answer)(uint32_t slot, struct unwind_frame at);
	void (*refuse)(uint32_t slot); /* a thread that libc does not know was asked */
	bool (*is_knock)(const siginfo_t *info);
	void (*knock)(void);
};

/* Init, before any signal of ours. */
void signals_start(const struct signals_takers *takers);

/* Our signals may arrive from now on. Begin and end come in pairs and nest. Once installed, the handler stays
 * (ARCHITECTURE.md). Listener.
 * Returns 0 or a negative errno. */
int signals_begin(void);
void signals_end(void);

/* Returns the set of signals that were ever sent in this process, by timers and the like. Listener. */
uint64_t signals_begun(void);

/* Ends them all: the program confines itself, and the listener that began them is gone. App's thread. */
void signals_end_all(void);

/* Libc installs its own handler when the program makes its first thread: put ours back. */
void signals_keep(void);           /* listener, while a profile is on */
void signals_keep_from_libc(void); /* app's thread that has made a thread; the new thread */

/* Installs our handler for good, so that a listener outside the thread group can knock with our signal (visitor.h).
 * App's thread. */
void signals_get_ready(void);

/* Returns an action for this handler, with our flags and with all signals blocked. */
struct timers_action signals_action_of(void (*handler)(int, siginfo_t *, void *));

extern HIDDEN shared_u32 signals_users;
static inline bool signals_are_about(void)
{
	return shared_load_relaxed(&signals_users) != 0;
}

/* Asks a running thread for its stack. After a little more CPU time of that thread our handler there passes the slot to
 * `answer`; a thread that blocks first does not answer. The caller must take the question back, answered or not;
 * quota.c may take all back earlier. Slots in use at the same time differ in their lowest bits. Listener.
 * Returns 0 or a negative errno. */
enum { SIGNALS_ASKS = 128 };
int signals_ask(int tid, uint32_t slot);
void signals_unask(uint32_t slot);
void signals_unask_all(void);

/* The program sets or asks for the action of a signal by syscall(SYS_rt_sigaction). If it is our signal and our handler
 * is installed, ours stays and passes signals on to the program's: the program sees what it would see without us.
 * Returns false if the call has yet to be made. */
bool signals_set_by_syscall(const long args[], long *result);

/* Returns the mark of a CPU timer's signal, for sigev_value. */
void *signals_timer_mark(void);

/* The fall-back without timers: SIGPROF by an interval timer, if the program uses neither. Listener.
 * Returns 0 or -EBUSY. */
int signals_begin_fallback(uint64_t period_ns);
void signals_end_fallback(void);

/* The program wants SIGPROF for itself: stops the interval timer, if it is ours. */
void signals_give_up_interval(void);
/* Returns true for the handler of that fall-back. It stays installed; the program had none. */
bool signals_is_interval_handler(uintptr_t handler);
/* Returns true if the interval timer was given up since signals_begin_fallback. */
bool signals_interval_given_up(void);

/* Around exec, by the calling thread (hooks/exec.h). The first stops that interval timer; the second starts it again.
 * Returns true if the timer was running. */
bool signals_before_exec(void);
void signals_exec_failed(void);

/* Waits until no handler of ours is running, for at most this time. Listener.
 * Returns false if one still runs. */
bool signals_quiesce(unsigned ms);

/* Waits until each handler of ours that does not know that the program is confined has ended, for at most 2 s. App's
 * thread, after os_confined was set. */
void signals_await_handlers(void);

/* The child has none of the timers, and no listener. */
void signals_fork_child(void);

#endif
