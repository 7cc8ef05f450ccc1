/* libc_thread.h - is a thread one of libc's? Only those have the thread-local storage that a library's code relies on.
 *
 * Runs in: signal handler (libc_thread_is_here, before anything else), listener (libc_thread_is), init.
 *
 * A program may make threads by clone(2) alone, with a thread pointer of its own or none: a handler of ours that lands
 * there must touch nothing that lies relative to that register: not self, not errno, not the compiler's stack guard.
 * How: libc tells the kernel where each thread's list of robust mutexes is. It lies in the thread block, at a fixed
 * distance from the thread pointer. The library asks the kernel for both addresses. It reads the block itself only if
 * the distance is not known and the block is readable.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_LIBC_THREAD_H
#define PPROFSHIM_LIBC_THREAD_H

#include <stdbool.h>
#include <stdint.h>

#include "shim/base/exports.h"
#include "shim/base/shared.h"

/* Init: learn the distance from the main thread. hwcap2: AT_HWCAP2. */
void libc_thread_start(unsigned long hwcap2);

/* Is the calling thread one of libc's? Uses no thread-local storage, and is compiled without a stack guard. */
bool libc_thread_is_here(void);

/* The same for another thread. Listener.
 * Returns false only where it is certain that libc does not know it. */
bool libc_thread_may_be(int tid);

/* Where any code can read the thread pointer (rdfsbase), the program's handlers are counted only in threads of libc's.
 * The trampolines of waits/handlers.c look for the pointer in this table, by a hash of it. */
enum { LIBC_THREAD_SLOTS = 1024 };
extern HIDDEN bool libc_thread_tells_pointer; /* immutable after init */
extern HIDDEN shared_address libc_thread_met[LIBC_THREAD_SLOTS];

/* In a handler whose thread pointer is not in the table: is the thread libc's? If so, enter the pointer. */
HIDDEN bool libc_thread_meet(void);

#endif
