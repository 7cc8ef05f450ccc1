/* creations.h - what threads.c keeps of creations: sites, and starts on their way to a new thread.
 *
 * Runs in: app's thread inside pthread_create, new threads; the forking thread in the child. The caller of …_locked
 * holds the lock THREADS.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_CREATIONS_H
#define PPROFSHIM_CREATIONS_H

#include "shim/base/stack.h"
#include "shim/threads/threads.h"

/* Stores in this order: a fork child may inherit the lists at any time. */
#define SET(where, value) word_store_release(&(where), (value))

/* Returns the site of a stack; never NULL. */
struct thread_site *creations_site_of_locked(struct stack *s);

/* Returns a start with any content, or NULL if there is no memory. */
struct thread_start *creations_take_locked(void);
void creations_give_back_locked(struct thread_start *t);

/* The child has created no thread: its counts begin at 0. */
void creations_fork_child(void);

/* The starts that other threads were handing over are lost. */
void creations_forget_starts(void);

#endif
