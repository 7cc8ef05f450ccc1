/* listener.h - the process that serves: a bare clone(2) process that shares the program's memory, and nothing else.
 *
 * Runs in: init and app's threads (start, commands); the listener itself.
 *
 * It is no thread of the program. It shares no descriptors, signal handlers or working directory with it; wait(2) does
 * not see it, and its death does not end the program. Libc does not know of it.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_LISTENER_H
#define PPROFSHIM_LISTENER_H

#include <stdbool.h>
#include <stdint.h>

#include "shim/base/exports.h"
#include "shim/base/shared.h"

/* The functions that the listener runs. Set by init. */
struct listener_life {
	/* Opens the address, reports that by listener_has_opened, and serves until the process ends or gives the
	 * listener up. Calls listener_obey when one of the two descriptors is readable. -1: none. */
	void (*main)(int wake_fd, int end_fd);
	void (*leave_port)(void); /* leaves the port at once: in a signal handler, wherever main is */
	void (*move)(void);       /* does the rest of that later, and serves elsewhere */
	void (*stop)(void);       /* makes main return */
};
void listener_configure(const struct listener_life *life);

/* Starts the listener and waits until it serves, for at most a second. Init.
 * Returns 0 (also if it takes longer), or a negative errno: what listener_has_opened was told, or why there is none. */
int listener_start(void);
void listener_has_opened(int error);

/* A process without the port starts its listener at its first long wait or sampled event, or, if it has neither, at a
 * call that may block and comes more than a second after the first one. Cheap to test. */
extern HIDDEN shared_bool listener_pending;
void listener_set_pending(bool pending);
void listener_start_pending(void);
void listener_start_lasting(void);

/* Returns the listener's id if it is a thread of the program (where the kernel has no such process), else 0. */
int listener_thread_tid(void);
bool listener_is_inside(void);

/* Returns true if the caller is the listener, as a process or a bare thread. No system call. */
bool listener_is_me(void);

/* In the listener: returns true if it still shares its memory with the program. The program may have ended, or called
 * exec in a way that no hook sees. */
bool listener_has_program(void);

/* In `main`: the TCP port that is served, in host byte order; 0 if none. */
void listener_serves(uint16_t port);
bool listener_serves_port(uint16_t port);

/* Around a change of the program's identity, of all threads or of the calling one. The program does not wait: the
 * listener takes on the identity that the caller has then before it does anything else. No lock is held in between.
 * Uses no entry of the limit of pending signals. */
struct listener_hold {
	bool begun, counted;
	uint32_t births;
};
struct listener_hold listener_identity_changes(void);
void listener_identity_changed(struct listener_hold h, bool changed);
bool listener_identity_is_changing(void);

/* After a change of groups alone, which takes the program no right to signal the listener. The listener serves while
 * libc asks its name services for them. */
void listener_groups_changed(void);

/* Waits until the listener has the new identity. For PR_SET_DUMPABLE: the listener's change would undo it. */
void listener_await_identity(void);

/* The program wants the port: when this returns, the listener has left it. */
void listener_make_room(void);

/* Ends the listener and the visitor. After listener_resume the listener starts again at the next long wait or sampled
 * event.
 * Returns true if there was one and it has ended: then the process has only its own threads and its memory for
 * itself. */
bool listener_pause(void);
void listener_resume(void);

/* The calling thread has left its mount namespace. If that was the program's main thread, the listener comes along: it
 * ends, and is born again at the next long wait or sampled event. Otherwise it would keep what is mounted there. */
void listener_leaves_mounts(void);

/* The same, when the kernel had no room for a new thread.
 * Returns false if there was no listener that might have taken that room. */
bool listener_gives_way_to_thread(void);

/* Ends the listener; it does not come back by itself. why: its last line, if PPROF_LOG asks for such lines; NULL: none.
 * Returns true if there was a listener, or one was to be started. */
bool listener_stop_for_good(const char *why);

/* The same, before a filter of system calls holds: the listener first waits until no thread is about to return from our
 * handler, by a call that the filter may forbid. */
bool listener_stop_before_filter(const char *why);

/* Ends what a thread that was in the middle of it has started since. os_confined is set. */
void listener_end_late(void);

/* True once there was a listener that is a process. Test this before the next two. */
extern HIDDEN bool listener_was_born;

/* The program is about to end by a call that runs none of exit's handlers. Ends the listener first and waits for that,
 * but not for long. Takes no lock; may be called in handlers, in children that share our memory, and after the program
 * has confined itself. Signals stay blocked. */
void listener_ends_with_program(void);

/* The same if the program may go on after all: restores the signal mask, and the listener comes back at the next long
 * wait. */
void listener_ends_for_abort(void);

/* Returns true if the caller is a thread of the program, not a child that shares its memory. First makes a copy fit for
 * use if libc was not told of it (house.h). */
bool listener_is_our_process(void);

/* The listener is a child without an exit signal. Only a caller that waits for such children as well (debuggers do)
 * would find it, and would never be told that it has no children left. For such callers the listener ends for good
 * before they wait. options: as in waitpid. */
void listener_gives_way_to_waits(long options);

/* The program chooses who may trace it (PR_SET_PTRACER): we don't choose any more. */
void listener_leaves_ptracer_to_program(void);

/* In the listener, before anything is done for a client: obeys a thread that could not send the signal. */
void listener_look(void);

/* In the listener: do what the program's threads asked for. */
void listener_obey(void);

/* The child has no listener; it starts one when it needs it. */
void listener_fork_child(void);

#endif
