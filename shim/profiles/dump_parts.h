/* dump_parts.h - a dump under way: for the files that take one.
 *
 * Runs in: listener. Other rooms include dump.h (our handler) and snapshot.h (who asks for a dump).
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_DUMP_PARTS_H
#define PPROFSHIM_DUMP_PARTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "shim/base/arena.h"
#include "shim/profiles/deadlock.h"
#include "shim/snapshot.h"
#include "shim/threads/tasks.h"
#include "shim/threads/threads.h"

enum { DUMP_POLLED_MOST = 5 }; /* descriptors of a poll that are told */

/* A dump under way. */
struct dump {
	struct region *region;
	struct dump_snapshot *out;
	struct task *tasks;      /* one a thread */
	struct lock_wait *waits; /* of the threads that wait for a lock */
	size_t *wait_of;         /* index into threads */
	size_t wait_count;
	uintptr_t *pcs; /* room for one stack */
	struct thread_handles handles;
};

/* Copies the stack that pcs holds. Returns NULL if it is empty, or there is no memory. */
struct stack *dump_keep_stack(struct dump *d, size_t depth, uint64_t place);

/* Looks at a thread without disturbing it.
 * Returns false if it runs and has to be asked. For a running thread we only trust a wait that began while we looked;
 * an older one may be left over from a jump. */
bool dump_take_unasked(struct dump *d, size_t index);

/* The descriptors that a thread waits for in poll or select, read from the program's memory: while it is blocked there
 * they hold still, so the caller looks afterwards whether it was. total is 0 in
 * any other call. dump_keep_polled makes them the thread's object. */
struct polled {
	size_t total, count; /* all, and those of fds */
	int fds[DUMP_POLLED_MOST];
};
void dump_read_polled(const struct task *t, struct polled *p);
void dump_keep_polled(struct dump *d, struct dump_thread *out, const struct polled *p);

/* Asks these threads for their stacks, and waits for that, but not for long. Only one dump at a time uses the places
 * for answers: others wait for their turn. */
void dump_ask_running(struct dump *d, const size_t *running, size_t count);

#endif
