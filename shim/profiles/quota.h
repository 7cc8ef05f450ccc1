/* quota.h - the limit of pending signals (RLIMIT_SIGPENDING) is the program's: it reaches it as if we were not there.
 *
 * Runs in: app's thread inside a hook, in a signal handler too; listener (what says so).
 * So: no lock, errno untouched.
 *
 * The kernel takes an entry of that limit for each of our timers. Where the program needs them, our timers go: for a
 * moment, while libc sends its own signals to all threads (setuid & co.: a thread that gets none keeps its old rights),
 * or for good, where a call of the program has failed for want of an entry, or would lose what it sends without saying
 * so.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_QUOTA_H
#define PPROFSHIM_QUOTA_H

#include <stdbool.h>
#include <stdint.h>

#include "shim/threads/timers.h"

/* Do timers of ours take entries now? Hooks ask this first. */
static inline bool quota_is_used(void)
{
	return __builtin_expect(timers_held() != 0, 0);
}

/* All our timers are gone, and none is made until quota_resume: then threads get theirs again. They come in pairs and
 * nest. */
void quota_pause(void);
void quota_resume(void);

/* A call of the program has failed for want of an entry: ours are given back. Returns whether the call is to be made
 * again: there were any, or their signals are still on their way (up to 0.3 s, in steps of 1 ms). */
bool quota_give_back(void);

/* The program is about to send what is lost without a word where no entry is left: if none is, ours are given back. */
void quota_make_room(void);

/* The program is about to make a system call by syscall(): the same, where it takes an entry. hooks/quota.c. */
void quota_before_syscall(long nr, const long args[]);

/* May one timer more be made? At least as many entries as ours are to be left to the program. */
bool quota_has_room(void);

/* Look how many there are, and give ours back where the program has less than half as many left. Listener. */
void quota_look(void);

/* The child has none. */
void quota_fork_child(void);

#endif
