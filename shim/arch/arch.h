/* arch.h - the machine behind one door: all that the rest of the library asks of a processor.
 *
 * Runs in: everywhere (hooks, signal handlers, the listener, init, fork children).
 * So: instructions and the layout of registers, no system call but arch_call6, no libc, no memory.
 *
 * Nothing outside of this room asks which machine it is (check-layers). A machine is two files: one like x86_64.h, in
 * C, and one like x86_64_entries.h, for what must be assembly as a whole. README.md in this room lists what they
 * define.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_ARCH_H
#define PPROFSHIM_ARCH_H

#if defined(__x86_64__)
#include "shim/arch/x86_64.h"
#elif defined(__aarch64__)
#include "shim/arch/aarch64.h"
#else
#error "arch.h: nobody has written down this machine; see shim/arch/README.md"
#endif

#endif
