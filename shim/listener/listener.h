/* listener.h - who serves: a bare clone(2) process that shares the program's memory, and nothing else of it.
 *
 * Runs in: init and app's threads (start, commands); the listener itself.
 *
 * It is no thread of the program, which has its own threads alone; it shares no descriptor with it, no signal
 * handler, no folder; wait(2) does not see it, and what ends it does not end the program. Libc does not know of it.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_LISTENER_H
#define PPROFSHIM_LISTENER_H

#include <stdbool.h>
#include <stdint.h>

#include "shim/base/exports.h"

/* What it does. Init. */
struct listener_life {
	/* Open, say so by listener_has_opened, serve until the process ends or it gives up; call listener_obey when one
	 * of the two is readable. -1: none. */
	void (*main)(int wake_fd, int end_fd);
	void (*leave_port)(void); /* off the port, at once, wherever main is: in a signal handler that interrupted it */
	void (*move)(void);       /* what is left of that to do; and serve elsewhere */
	void (*stop)(void);       /* let main return */
};
void listener_configure(const struct listener_life *life);

/* Start it, and wait until it serves, for a second. Returns 0, or a negative errno: what listener_has_opened was
 * told, or why there is none. Init. */
int listener_start(void);
void listener_has_opened(int error);

/* Processes without the port start theirs at the first long wait or sampled event. Cheap to ask. */
extern HIDDEN bool listener_pending;
void listener_set_pending(bool pending);
void listener_start_pending(void);

/* The id of one that is a thread of the program, where the kernel has no such process; 0: it is none. */
int listener_thread_tid(void);
bool listener_is_inside(void);

/* Is the caller the listener, as a process or a bare thread? No system call. */
bool listener_is_me(void);

/* In the listener: is the program still the one that it shares its memory with? It may have ended, or called exec by
 * ways that no hook sees. */
bool listener_has_program(void);

/* In `main`: which TCP port is served, in host byte order; 0 none. */
void listener_serves(uint16_t port);
bool listener_serves_port(uint16_t port);

/* Around a change of the program's identity. The program does not wait: the listener has the same before it does
 * anything else. It takes no entry of the limit of pending signals. */
struct listener_hold {
	bool locked, held;
	uint64_t signals;
};
struct listener_hold listener_identity_changes(void);
void listener_identity_changed(struct listener_hold h, bool changed);

/* Wait until it has, for what it would undo by that: whether the program may dump core. */
void listener_await_identity(void);

/* The program wants the port: on return the listener is off it. */
void listener_make_room(void);

/* End it; true when it has ended, and the process is alone with its own threads and its memory. It starts again at
 * the next long wait or sampled event after listener_resume. */
bool listener_pause(void);
void listener_resume(void);

/* The same for a thread that the kernel had no room for. False: there is no listener that might have taken it. */
bool listener_gives_way_to_thread(void);

/* End it, and it does not come back by itself. why: its last line, where PPROF_LOG asks for such; NULL: none. Returns
 * true if there was one, or was to be one. */
bool listener_stop_for_good(const char *why);

/* Was there ever one that is a process? What is asked before the next two. */
extern HIDDEN bool listener_was_born;

/* The program is about to end by a call that runs none of exit's handlers. The listener ends before it, and is waited
 * for, if not for long. Takes no lock; may be called in handlers, in children that share our memory, and where the
 * program has shut itself in. Signals stay blocked. */
void listener_ends_with_program(void);

/* The same where the program may go on after all: signals are as they were, and the listener comes back at the next
 * long wait. */
void listener_ends_for_abort(void);

/* Is the caller a thread of the program, not a child that shares its memory? A copy that libc was not told of (house.h)
 * is made fit for use before. */
bool listener_is_our_process(void);

/* The listener is a child that ends without a signal: only who waits for such children as well (debuggers do) would
 * meet it, and never be told that all of its own have ended. For them it goes for good, before they look. options: as
 * in waitpid. */
void listener_gives_way_to_waits(long options);

/* The program says who may trace it (PR_SET_PTRACER): we don't. */
void listener_leaves_ptracer_to_program(void);

/* In the listener: do what the program's threads asked for. */
void listener_obey(void);

/* The child has no listener; it starts one when it needs to. */
void listener_fork_child(void);

#endif
