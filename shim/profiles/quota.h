/* quota.h - leave the limit of pending signals (RLIMIT_SIGPENDING) to the program, as if we were not there.
 *
 * Runs in: app's thread inside a hook, in a signal handler too; listener (what says so).
 * So: no lock, errno untouched.
 *
 * Each of our timers uses one entry of that limit. When the program needs entries, our timers go. They go for a moment
 * while libc sends its own signals to all threads (setuid & co.: a thread that gets no signal keeps its old rights).
 * They go for good if a call of the program has failed for want of an entry, or if a signal that it sends would be lost
 * silently.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_QUOTA_H
#define PPROFSHIM_QUOTA_H

#include <stdbool.h>
#include <stdint.h>

#include "shim/threads/timers.h"

/* Returns true if timers of ours use entries now. Hooks ask this first. */
static inline bool quota_is_used(void)
{
	return __builtin_expect(timers_held() != 0, 0);
}

/* Removes all our timers; none is made until quota_resume, which gives threads theirs again. The calls come in pairs
 * and nest. */
void quota_pause(void);
void quota_resume(void);

/* A call of the program has failed for want of an entry: gives ours back.
 * Returns true if the call should be made again: there were timers, or their signals are still on their way (up to 0.3
 * s, in steps of 1 ms). */
bool quota_give_back(void);

/* The program is about to send a signal that would be lost silently for want of an entry: if none is left, gives ours
 * back. */
void quota_make_room(void);

/* The same for a system call that the program is about to make by syscall(), if it needs an entry. In hooks/quota.c. */
void quota_before_syscall(long nr, const long args[]);

/* Returns true if one more timer may be made: at least as many entries as we use must be left to the program. */
bool quota_has_room(void);

/* Reads how many entries are in use, and gives ours back if fewer than half as many are left to the program.
 * Listener. */
void quota_look(void);

/* The child has no timers. */
void quota_fork_child(void);

#endif
