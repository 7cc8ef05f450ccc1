/* acquires.h - by which function a thread acquired the lock that it holds, for the mutex profile.
 *
 * Runs in: app's thread inside a hook, marked as busy. No lock of ours, no allocation.
 *
 * A function whose last act is to unlock (a lock_guard's end) ends in a jump at -O2: it is on no stack any more when
 * the lock is let go. It was there when the lock was acquired. A thread that had to wait for a lock notes the innermost
 * frames, and its next unlock of that lock always comes here: libc marks a lock that was waited for.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_ACQUIRES_H
#define PPROFSHIM_ACQUIRES_H

#include "shim/threads/record.h"

/* Note the frames from this one on, which has acquired what *a says. */
void acquires_note(struct acquire *a, const struct wait_frame *from);

/* The caller whose frame is at pc and sp (struct unwind_frame) lets this lock go. Returns the first address of the
 * function that acquired it, jumped to the unlock and so is on the stack no more; 0: none did, or none is known. a: the
 * acquire of this lock; NULL: it did not wait. Then the function counts that did so before, by the same call, if it was
 * always the same. */
uintptr_t acquires_function(uintptr_t lock, const struct acquire *a, uintptr_t pc, uintptr_t sp);

#endif
