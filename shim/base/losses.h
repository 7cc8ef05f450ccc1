/* losses.h - what the profiler lost or could not do: counters and facts, shown on the index page.
 *
 * Runs in: everywhere. Atomics, relaxed: each is a sum of its own.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_LOSSES_H
#define PPROFSHIM_LOSSES_H

#include <stdint.h>

#include "shim/base/shared.h"

/* LOSS(name, text): shown as "<count> <text>" while the count is not 0. */
#define LOSSES(LOSS) \
	LOSS(heap_no_memory, "heap samples not followed to their free, and not in use in any profile: the profiler's " \
	                     "own memory is used up; raise PPROF_MEMORY_LIMIT") \
	LOSS(stacks_full, "events counted at other_stacks, in place of their own: the table of stacks is full; raise " \
	                  "PPROF_MEMORY_LIMIT") \
	LOSS(heap_off, "heap profile off: no address space for its table; raise the limit of virtual memory") \
	LOSS(free_nested, "frees not seen: a signal handler interrupted the profiler; those blocks look in use") \
	LOSS(lock_not_had, "samples lost: another thread was stopped in the middle of the profiler") \
	LOSS(free_lock_not_had, \
	     "frees not seen: another thread was stopped in the middle of the profiler; those blocks look in use") \
	LOSS(thread_lock_not_had, "thread creations lost: another thread was stopped in the middle of the profiler") \
	LOSS(thread_no_memory, \
	     "thread creations lost: the profiler's own memory is used up; raise PPROF_MEMORY_LIMIT") \
	LOSS(contention_no_memory, \
	     "waits whose holders are not seen: the profiler's own memory is used up; raise PPROF_MEMORY_LIMIT") \
	LOSS(contention_nested, "waits and their holders not seen: a signal handler interrupted the profiler") \
	LOSS(own_malloc, \
	     "allocator not seen: the program has its own malloc inside, which a preloaded library cannot hook; " \
	     "heap and allocs show the libraries' part at most") \
	LOSS(unknown_thread, \
	     "signals of the profiler came to threads that libc does not know (made by a bare clone): not sampled") \
	LOSS(own_code, "CPU samples lost: they met code of the profiler's own whose caller was not found") \
	LOSS(listener_fault, "times that what serves ended by a fault of its own; the program did not notice") \
	LOSS(deep_bind, "libraries opened with RTLD_DEEPBIND: their allocations may not be seen") \
	LOSS(name_spaces, "name space besides the program's, or more (dlmopen): allocations, waits and threads made " \
	                  "there are not seen") \
	LOSS(no_unwinder, "frames not found: the unwinder has no memory; stacks are short; raise PPROF_MEMORY_LIMIT")

struct losses {
#define LOSS(name, text) shared_u64 name;
	LOSSES(LOSS)
#undef LOSS
};
extern struct losses losses;

#define losses_count(name) ((void)shared_add_relaxed(&losses.name, 1))

/* Tell what the profiler lost or could not do, for the index page and profile comments. Calls `tell` with one line for
 * each; with none when all is well. */
void snapshot_losses(void (*tell)(void *arg, const char *line), void *arg);

#endif
