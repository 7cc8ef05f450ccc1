/* state.h - which listener the process has: for the files of this room that start, command and end it.
 *
 * Runs in: as listener.h, which is what other rooms include.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_LISTENER_STATE_H
#define PPROFSHIM_LISTENER_STATE_H

#include <stdbool.h>
#include <stdint.h>

#include "shim/base/exports.h"
#include "shim/base/shared.h"
#include "shim/listener/listener.h"
#include "shim/listener/offspring.h"

enum { LISTENER_STARTING, LISTENER_READY, LISTENER_FAILED };

extern HIDDEN struct listener_state {
	/* immutable after init */
	struct listener_life life;
	shared_int tid;   /* 0: no listener; cleared by the kernel when it ends */
	int pid;          /* of the process whose listener it is */
	shared_int child; /* a process that has to be reaped; 0: none */
	shared_u32 ready;
	int open_error; /* with LISTENER_READY: 0, or a negative errno */
	shared_u32 port;
	shared_u32 faults;
	uint64_t again_ns; /* no other start is tried before this time */
	uint64_t cookie;   /* not 0 */
	enum offspring_kind kind;
	int wake_fd; /* the listener's, both */
	int program_fd;
} listener_state;
extern HIDDEN struct offspring_room listener_room;

/* Returns true if the caller's process has a listener. A vfork child sees our memory, but has none. Nor has a copy of
 * the process that we have not noticed yet: it sees its parent's numbers, which may belong to any process in another
 * pid namespace. */
bool listener_is_running_here(void);

/* Reaps a listener that has ended. Returns false if it has not ended yet. */
bool listener_reap(void);

#endif
