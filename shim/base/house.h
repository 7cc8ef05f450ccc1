/* house.h - which process the profiler lives in, and how a copy of that process finds out that it is one.
 *
 * Runs in: everywhere.
 *
 * A copy is a child process that has its own copy of our memory. Libc's fork announces it through fork handlers
 * (start/fork.c). clone(2), _Fork and the like do not. Such a child finds a wiped page (MADV_WIPEONFORK), which holds a
 * mark in every process that the library knows. A child that shares our memory (vfork, posix_spawn, the listener) finds
 * the mark, and is no copy.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_HOUSE_H
#define PPROFSHIM_HOUSE_H

#include <stdbool.h>
#include <stdint.h>

#include "shim/base/exports.h"
#include "shim/base/shared.h"

/* How many generations of copies are told apart. No process has generation 0. */
enum { HOUSE_GENERATIONS = 127 };

enum { HOUSE_WIPED, HOUSE_BEING_MET, HOUSE_MET };

/* The page that copies find wiped. */
struct house_mark {
	shared_u32 state; /* one of the above */
	int pid;          /* of the process that put it there */
};

struct house {
	shared_int pid;        /* the program's */
	shared_u32 generation; /* a copy has another one than the process that it is a copy of */
	bool was_busy;    /* in a copy: made by a handler that had interrupted our code; that code goes on here, too */
	bool on;          /* set once by init */
	int arguments;    /* with which the program was started; 0: not known */
	const char *path; /* that was given to execve: a link's, or a script's; NULL: not known */
	struct house_mark *mark;
};
extern HIDDEN struct house house;

/* Returns the program's pid, in the listener too, which is a process of its own. Returns 0 in a child of a confined
 * program (confined.h), where nobody asks. No system call. */
static inline int house_pid(void)
{
	return shared_load_relaxed(&house.pid);
}

/* Is the profiler at work? It is from the end of init on, unless DISABLE_PPROF forbids it. */
static inline bool house_is_on(void)
{
	return house.on;
}

/* Is the caller a thread of the program? A child of vfork and the listener are not. One system call. */
bool house_is_ours(void);

/* The slow half of house_look. */
bool house_meet(void);

/* Call this before using anything that a copy must not use as it finds it, in a thread that holds no lock of ours.
 * Returns false while another thread, or the code that this handler interrupted, is making the copy fit for use: then
 * do without. */
static inline bool house_look(void)
{
	if (__builtin_expect(shared_load_acquire(&house.mark->state) == HOUSE_MET, 1))
		return true;
	return house_meet();
}

/* Call this when another thread does not do what it should: this process may be a copy, on a kernel that wipes no
 * pages. Then the next house_look looks more closely. */
void house_suspect(void);

/* Init: note the process and make the mark. A thread that is marked busy calls on_copy once in each copy, before
 * anything in the copy is used. */
void house_start(void (*on_copy)(void));

/* on_copy calls this first: it gives the copy its own pid and generation. */
void house_fork_child(void);

/* Libc's fork handler calls this. It calls on_copy, unless a signal handler that came first has met the copy
 * already. */
void house_hear_of_copy(void);

#endif
