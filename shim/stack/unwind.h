/* unwind.h - call stacks: a walk by cached per-address rules, which libunwind is asked for once each.
 *
 * Runs in: app's thread inside a hook (unwind_walk), signal handler (unwind_walk_known), listener
 * (unwind_walk_elsewhere).
 * So: no allocation, no loader, no errno; memory that is not known to be the thread's stack is read by ways that cannot
 * fault. The worst outcome is a short stack.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_UNWIND_H
#define PPROFSHIM_UNWIND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "shim/arch/arch.h"
#include "shim/base/self.h"

/* The registers at which a walk starts: `pc` is the address to look up (a return address minus one). */
struct unwind_frame {
	uintptr_t pc, sp, fp;
};

/* The frame of the caller of the function that uses this, as it was before the call. The function then has a frame
 * pointer, which points to { caller's frame pointer, return address }. */
#define UNWIND_CALLER() \
	((struct unwind_frame){ \
		.pc = (uintptr_t)__builtin_return_address(0) - 1, \
		.sp = ARCH_CALLER_SP(), \
		.fp = *(uintptr_t *)__builtin_frame_address(0), \
	})

/* The same for a function that was given its caller's __builtin_frame_address(0): returns the caller's caller. */
static inline struct unwind_frame unwind_frame_at(const void *frame_address)
{
	const uintptr_t *at = frame_address;
	return (struct unwind_frame){.pc = at[1] - 1, .sp = (uintptr_t)(at + 2), .fp = at[0]};
}

/* Init: returns the bounds of the main thread's stack, given an address near its end. */
struct stack_bounds unwind_main_stack(uintptr_t near_its_end);

/* Returns the bounds of the calling thread's stack, given an address in it. Libc has just begun the thread.
 * bytes: of it can be used (thread_stack.h); 0: not known. */
struct stack_bounds unwind_thread_stack(uintptr_t at, size_t bytes);

/* Read memory of this process that may be gone, now or the next moment.
 * Returns how many bytes could be read; 0 in a confined program (confined.h). */
size_t unwind_read_safely(void *to, uintptr_t from, size_t bytes);

/* Write the look-up addresses of the stack from `start` outwards to pc[0..max): start's own first, without the frames
 * that are left out. known: the calling thread's stack.
 * Returns their number. */
size_t unwind_walk(struct unwind_frame start, const struct stack_bounds *known, uintptr_t *pc, size_t max);

/* The same in a signal handler: it takes no lock and learns nothing. The walk ends where no rule is known yet: *rest is
 * that frame, which is in pc[] already if it is shown. rest->pc is 0 if the walk came to its end. */
size_t unwind_walk_known(struct unwind_frame start, const struct stack_bounds *known, uintptr_t *pc, size_t max,
                         struct unwind_frame *rest);

/* Walk a stack that is another thread's, or a copy. read(memory, address, value) returns false where it can't read.
 * `mark`, if not NULL, is a frame further out whose registers are known; `passed` tells whether the walk met it. The
 * frame pointer need not be known (start.fp may be UNWIND_NO_FP): the walk looks for it on the stack where it first
 * needs it. Listener. */
enum { UNWIND_NO_FP = 1 };
struct unwind_elsewhere {
	bool (*read)(void *memory, uintptr_t at, uintptr_t *value);
	void *memory;
	const struct unwind_frame *mark;
	bool passed;
};
size_t unwind_walk_elsewhere(struct unwind_frame start, struct unwind_elsewhere *e, uintptr_t *pc, size_t max);

/* Init: leave frames with an address in [start, end) out of every stack, the one that executes included: users look for
 * their own code. What a hook costs is its caller's. */
void unwind_leave_out(const void *start, const void *end);

/* Forget every rule: the set of loaded objects changed. */
void unwind_forget(void);

/* How to get from a frame to its caller's, for one address. cfa is the caller's stack pointer.  */
enum unwind_kind {
	UNWIND_UNKNOWN,  /* must be 0: an empty cache slot */
	UNWIND_SP,       /* cfa = sp + cfa_offset; return address at cfa - 8 */
	UNWIND_FP,       /* cfa = fp + cfa_offset */
	UNWIND_FP_DEREF, /* cfa = *(fp + cfa_offset): a frame that aligned its stack */
	UNWIND_CHAIN,    /* no unwind table: guess by the frame pointer */
	UNWIND_SIGNAL,   /* a signal frame: registers from the ucontext at sp */
	UNWIND_END,      /* the outermost frame */
};
struct unwind_rule {
	enum unwind_kind kind;
	int32_t cfa_offset;
	int32_t fp_at; /* the caller's frame pointer is at cfa - fp_at; 0: still in the register */
};

/* Ask libunwind for the rule at `pc`. learn.c. Holds the LEARN lock meanwhile; may change errno. */
struct unwind_rule unwind_learn(uintptr_t pc);

/* Returns the first address of the function that pc lies in, by the same tables; 0 if they don't say. */
uintptr_t unwind_function_start(uintptr_t pc);

/* Wait until no learner reads an object's tables (dlclose, after modules_closing_begin). */
void unwind_learn_drain(void);

#endif
