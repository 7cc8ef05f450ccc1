/* peek.h - read memory of this process that may be gone the next moment, by ways that cannot fault.
 *
 * Runs in: app's thread inside a hook, listener; peek_in_use in our signal handler, too.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_PEEK_H
#define PPROFSHIM_PEEK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Copy `bytes` from `at`. Two system calls. Where the first way is closed the listener reads by a file of its own, and
 * a thread of the program, in whose table no descriptor of ours may be, asks for each page and then reads it.
 * Returns false if not all of it can be read, or the program is confined (confined.h). */
bool peek(uintptr_t at, void *to, size_t bytes);

/* Copy bytes of one page that the calling thread uses right now: its code, what it has just handed to the kernel. Opens
 * no file, so that a signal handler may use it too. (Where the first way is closed the page is asked for and then read:
 * it must not be unmapped meanwhile.)
 * Returns false if they can't be read, or the program is confined. */
bool peek_in_use(uintptr_t at, void *to, size_t bytes);

/* Copy a string and the NUL that ends it.
 * Returns false if it can't be read or does not fit. */
bool peek_text(uintptr_t at, char *to, size_t cap);

#endif
