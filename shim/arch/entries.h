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

/* The words of syscall()'s caller, as its entry hands them to `watched`. */
struct arch_caller {
	long nr, args[5];
	uintptr_t fp, pc;
	long sixth; /* where the kernel call has one; else the caller's own */
};

/* What that returns; made: the call was made there, and this is its result. */
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
