/* thread_stack.h - how large is the stack that libc makes for a thread?
 *
 * Runs in: app's thread in pthread_create.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_THREAD_STACK_H
#define PPROFSHIM_THREAD_STACK_H

#include <pthread.h>
#include <stddef.h>

/* Returns how many bytes below its end can be used, at least, of the stack of a thread with these attributes (NULL: the
 * default ones as they are now); 0 if libc does not say. Takes the lock of libc's that pthread_create takes, too. */
size_t thread_stack_bytes(const pthread_attr_t *attr);

#endif
