/* house.h - which process the profiler lives in, and how a copy of that process finds out that it is one.
 *
 * Runs in: everywhere.
 *
 * A copy is a child that has its own copy of our memory. Libc's fork tells us of one by its handlers (fork.c).
 * clone(2), _Fork and the like do not: such a child finds a page wiped (MADV_WIPEONFORK) that holds a mark in every
 * process that we know. A child that shares our memory (vfork, posix_spawn, the listener) finds the mark, and is no
 * copy.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_HOUSE_H
#define PPROFSHIM_HOUSE_H

#include <stdbool.h>
#include <stdint.h>

#include "shim/base/exports.h"

/* How many generations of copies are told apart. No process has generation 0. */
enum { HOUSE_GENERATIONS = 127 };

enum { HOUSE_WIPED, HOUSE_BEING_MET, HOUSE_MET };

/* The page that copies find wiped. */
struct house_mark {
	uint32_t state; /* atomic: one of the above */
	int pid;        /* of the process that put it there */
};

struct house {
	int pid;             /* atomic: the program's */
	uint32_t generation; /* atomic: a copy has another one than the process that it is a copy of */
	bool was_busy; /* in a copy: it was made by a handler that had interrupted our code, which goes on here, too */
	bool on;       /* set once by init */
	struct house_mark *mark;
};
extern HIDDEN struct house house;

/* The program's pid (0 in a child of one that has shut itself in: nobody asks there); in the listener, too, which is
 * a process of its own. No system call. */
static inline int house_pid(void)
{
	return __atomic_load_n(&house.pid, __ATOMIC_RELAXED);
}

/* Is the profiler at work: from the end of init on; never when DISABLE_PPROF says so? */
static inline bool house_is_on(void)
{
	return house.on;
}

/* Is the caller a thread of the program? A child of vfork and the listener are not. One system call. */
bool house_is_ours(void);

/* The slow half of house_look. */
bool house_meet(void);

/* Before anything is used that a copy must not take as it finds it, by a thread that holds no lock of ours. False:
 * another thread, or what this handler interrupted, is making the copy fit for use just now: do without. */
static inline bool house_look(void)
{
	if (__builtin_expect(__atomic_load_n(&house.mark->state, __ATOMIC_ACQUIRE) == HOUSE_MET, 1))
		return true;
	return house_meet();
}

/* Something does not come that another thread should do: this may be a copy, on a kernel that wipes no pages. Then
 * the next look is a closer one. */
void house_suspect(void);

/* Init: note the process, make the mark. on_copy is called once in each copy, before anything of it is used; by a
 * thread that is marked busy. */
void house_start(void (*on_copy)(void));

/* The first thing in on_copy: pid and generation become the copy's own. */
void house_fork_child(void);

/* In libc's fork handler. Calls on_copy, unless a signal handler that came before it has met the copy already. */
void house_hear_of_copy(void);

#endif
