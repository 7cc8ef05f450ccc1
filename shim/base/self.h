/* self.h - what the profiler keeps of the calling thread in thread-local storage, and the guard against itself.
 *
 * Runs in: app's thread inside a hook or in our signal handler; listener; fork.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_SELF_H
#define PPROFSHIM_SELF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "shim/base/exports.h"
#include "shim/base/house.h"
#include "shim/base/shared.h"

/* The known part of a thread's own stack. If the stack pointer lies in [lo, hi), all memory from there to hi is
 * readable as long as the thread runs. All zeros: nothing is known. */
struct stack_bounds {
	uintptr_t lo, hi;
};

/* All that the library keeps in thread-local storage. Zero at a thread's birth. */
struct self {
	int64_t countdown_bytes;   /* sampling.c: bytes until the next sampled block */
	uint64_t random;           /* random.c: state of the generator; 0: not set up */
	struct stack_bounds stack; /* of the thread, where its end is known */
	struct thread *thread;     /* threads.h; NULL: not known yet */
	uint32_t handled;          /* waits/handlers.c: signals that the program's handlers got here, modulo 2^32 */
	uint32_t samples;          /* blocks sampled so far, modulo 2^32 */
	uint32_t cpu_phase;        /* cpu.c: where the thread is in the period of a CPU profile */
	uint32_t cpu_age_us;       /* cpu.c: CPU time seen while profiled, as far as it matters */
	uint32_t stamp;            /* sync.h: written into the locks that it takes; 0: not known yet */
	uint8_t closing;           /* modules.c: dlclose calls that this thread is in */
	bool counts;               /* sampling.c: countdown_bytes was drawn */
	bool blocked;              /* start/fork.c: our signal is blocked while this thread forks */
	bool busy;                 /* this thread may hold locks of ours: what it calls meanwhile is not recorded */
};
extern HIDDEN __thread struct self self;

/* Threads of the program that may be making system calls of ours. Places are shared by threads whose thread-local
 * storage lies alike. */
enum { SELF_PLACES = 16 };
struct self_place {
	shared_u32 callers;
} __attribute__((aligned(64)));
extern HIDDEN struct self_place self_places[SELF_PLACES];

static inline shared_u32 *self_callers(void)
{
	return &self_places[(uintptr_t)&self >> 12 & (SELF_PLACES - 1)].callers;
}

/* A hook makes system calls of its own only between these two (or self_hold and self_release), and only if confined()
 * says no in between. They nest. A thread that confines the program waits for threads that may not have seen it. No
 * wait for the program lies in between. */
static inline void self_calls_begin(void)
{
	shared_add_seq_cst(self_callers(), 1);
	shared_fence_seq_cst();
}

static inline void self_calls_end(void)
{
	shared_sub_release(self_callers(), 1);
}

/* Waits until no other thread is between the two, for at most 2 s: a thread that jumped out of there, or was ended, is
 * counted for good. The caller has set os_confined. */
void self_await_callers(void);

/* In a fork child: only the forking thread lives on, and may have been interrupted in our code (house.was_busy). */
void self_fork_child(void);

/* Call this before taking locks of ours.
 * Returns false if this thread holds some already (this is a handler that interrupted it), or house_look does: then
 * record nothing. */
static inline bool self_hold(void)
{
	if (self.busy || !house_look())
		return false;
	word_store_relaxed(&self.busy, true);
	self_calls_begin();
	return true;
}

static inline void self_release(void)
{
	self_calls_end();
	word_store_relaxed(&self.busy, false);
}

/* The same for calls that a signal handler may make, or leave by a jump (siglongjmp, asynchronous cancellation). All
 * signals are blocked meanwhile, so that no lock is left behind. It takes three system calls: for rare events.
 * Returns false on an alternate signal stack, too, which has no room for us. */
bool self_hold_alone(uint64_t *mask);
void self_release_alone(const uint64_t *mask);

#endif
