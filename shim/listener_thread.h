/* listener_thread.h - how the listener's thread is made.
 *
 * Runs in: init, app's thread inside a hook. All signals are blocked around it, and so in the new thread.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_LISTENER_THREAD_H
#define PPROFSHIM_LISTENER_THREAD_H

#include <stdbool.h>

/* Start a thread that runs run(NULL) and ends. *tid is its id while it lives, then 0. *own_table: it was born with a
 * copy of the program's file table, else it shares it. in_init: an ordinary thread will do where a bare one is
 * refused. 0 or a negative errno. */
long listener_thread_start(void (*run)(void *), int *tid, bool *own_table, bool in_init);

/* The child did not inherit the thread's memory. */
void listener_thread_fork_child(void);

#endif
