/* entries.h - what has to be assembly as a whole, behind the same door as arch.h.
 *
 * Runs in: app's thread, at the first instructions of hooks and of handlers; the listener.
 * So: macros that take the names of the room that uses them. Each is used in one file.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_ARCH_ENTRIES_H
#define PPROFSHIM_ARCH_ENTRIES_H

#include <stdint.h>

#include "shim/arch/arch.h"

/* The arguments of a syscall(), and where its caller is, as the entry passes them to `watched`. */
struct arch_caller {
	long nr, args[5];
	uintptr_t fp, pc;
	long sixth; /* the sixth argument, if the call has one; else a word of the caller's stack */
};

/* What `watched` returns. made: it made the call, and this is the result. */
struct arch_answer {
	long result, made;
};

#define ARCH_TEXT_OF(x) ARCH_TEXT_OF_(x)
#define ARCH_TEXT_OF_(x) #x

#if defined(__x86_64__)
#include "shim/arch/x86_64_entries.h"
#else
#include "shim/arch/aarch64_entries.h"
#endif

#endif
