/* offspring.h - makes the listener and the visitor, by a bare clone(2) that libc does not know of.
 *
 * Runs in: init, app's thread inside a hook or our handler. All signals are blocked meanwhile, and stay so in the
 * child.
 *
 *                     listener                                visitor
 *   is                a process that shares the memory        a thread of the program's group
 *   descriptors       a table of its own, with nothing in it  the program's; it opens nothing
 *   signal handlers   its own                                 the program's
 *   there             as long as the program                  while a profile, a trace or a dump is taken
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_OFFSPRING_H
#define PPROFSHIM_OFFSPRING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "shim/base/shared.h"

enum offspring_kind {
	OFFSPRING_PROCESS,
	OFFSPRING_THREAD,  /* if the kernel (or qemu-user or valgrind in its place) has no such process */
	OFFSPRING_SHARING, /* a thread that has the program's descriptors, too */
};

/* Memory for one of them: a guard page, its stack, thread-local storage, a stack for its handlers of faults. Kept and
 * reused. */
struct offspring_room {
	bool has_own_table; /* of descriptors, from birth: a copy of the program's */
	char *memory;
	size_t tls_bytes;
};

/* Starts a listener that runs run(NULL) and ends. *tid is its id while it lives, then 0. in_init: if a bare thread is
 * refused, an ordinary one will do.
 * Returns 0 or a negative errno. */
long offspring_listener(struct offspring_room *r, void (*run)(void *), shared_int *tid, enum offspring_kind *kind,
                        bool in_init);

/* The same for a visitor. */
long offspring_visitor(struct offspring_room *r, void (*run)(void *), shared_int *tid);

/* Returns true if the caller runs in this memory. No system call. */
bool offspring_is_me(const struct offspring_room *r);

/* The stack for handlers of faults. */
void *offspring_alternate_stack(const struct offspring_room *r, size_t *bytes);

#endif
