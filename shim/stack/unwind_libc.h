/* unwind_libc.h - see unwind_libc.c.
 *
 * Runs in: wherever a linked-in library does: app's thread inside a hook (libunwind), listener
 * (protobuf-c, zlib).
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_UNWIND_LIBC_H
#define PPROFSHIM_UNWIND_LIBC_H

#include "shim/base/shared.h"

/* Where a failed assertion of libunwind jumps to, while the thread wrap_escape_tid is in it. */
extern void *wrap_escape[5];
extern shared_int wrap_escape_tid;

#endif
