/* listener.h - the thread that serves: a bare clone(2) thread with a file table of its own.
 *
 * Runs in: init and app's threads (start, commands); the listener itself.
 *
 * Libc does not know of it (DESIGN: the bare clone thread), and it shares no descriptor with the program: the
 * program can't see, close or inherit ours, nor can we take a low number from it.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_LISTENER_H
#define PPROFSHIM_LISTENER_H

#include <stdbool.h>
#include <stdint.h>

#include "shim/exports.h"

/* What the thread does: `main` serves on listen_fd (-1: it has to open its own) until the process ends or it
 * gives up, and calls listener_obey when wake_fd is readable; `move` leaves the port, `stop` lets main return. Init. */
void listener_configure(void (*main)(int listen_fd, int wake_fd), void (*move)(void), void (*stop)(void));

/* Start the thread. listen_fd (or -1) is the caller's: the thread has its own copy on return. 0 or a
 * negative errno. App's thread, in init. */
int listener_start(int listen_fd);

/* Processes without the port start theirs at the first long wait or sampled event. Cheap to ask. */
extern HIDDEN bool listener_pending;
void listener_set_pending(bool pending);
void listener_start_pending(void);

/* The thread's id; 0: there is none. */
int listener_tid(void);

/* In `main`, once it listens: what answers strangers needs no capability. (A program may also shed its own by ways that
 * no hook sees.) */
void listener_serve_unprivileged(void);

/* In `main`: which TCP port is served, in host byte order; 0 none. */
void listener_serves(uint16_t port);
bool listener_serves_port(uint16_t port);

/* The program changed its credentials; on return the listener has the same. */
void listener_follow_credentials(void);

/* The program wants the port: on return the listener is off it. */
void listener_make_room(void);

/* End the thread; true when it has ended, and the process is alone with its own threads. It starts again at the next
 * long wait or sampled event after listener_resume. */
bool listener_pause(void);
void listener_resume(void);

/* The same, and it does not come back by itself. */
void listener_stop_for_good(void);

/* Is the caller a thread of the program, not a child that shares its memory? */
bool listener_is_our_process(void);

/* In the listener: do what the program's threads asked for. */
void listener_obey(int wake_fd);

/* The child has no listener; it starts one when it needs to. */
void listener_fork_child(void);

#endif
