/* libc_thread.h - is a thread one of libc's? Only those have the thread-local storage that a library's code relies on.
 *
 * Runs in: signal handler (libc_thread_is_here, before anything else), listener (libc_thread_is), init.
 *
 * A program may make threads by clone(2) alone, with a thread pointer of its own or none: a handler of ours that lands
 * there must touch nothing that lies relative to that register: not self, not errno, not the compiler's stack
 * guard. How they are told apart: libc gives the kernel each thread's list of robust mutexes, which lies in its thread
 * block at a fixed distance from the thread pointer. Both are asked of the kernel; no memory is read on suspicion.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_LIBC_THREAD_H
#define PPROFSHIM_LIBC_THREAD_H

#include <stdbool.h>
#include <stdint.h>

#include "shim/base/exports.h"

/* Init: learn the distance from the main thread. hwcap2: AT_HWCAP2. */
void libc_thread_start(unsigned long hwcap2);

/* The calling thread. Uses no thread-local storage, and is compiled without a stack guard. */
bool libc_thread_is_here(void);

/* Another one. Returns false where it is certain that libc does not know it. Listener. */
bool libc_thread_may_be(int tid);

/* Where the processor tells the thread pointer to anybody (rdfsbase), handlers of the program that run in a thread of
 * libc's are counted: hooks/signal.c looks for the pointer here, by a hash of it. */
enum { LIBC_THREAD_SLOTS = 1024 };
extern HIDDEN bool libc_thread_tells_pointer;               /* immutable after init */
extern HIDDEN uintptr_t libc_thread_met[LIBC_THREAD_SLOTS]; /* atomic */

/* In a handler, of a pointer that is not there: is the thread libc's? Then it is there from now on. */
HIDDEN bool libc_thread_meet(void);

#endif
