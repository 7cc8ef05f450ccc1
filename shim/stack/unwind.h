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
#include "shim/base/cut.h"
#include "shim/stack/code.h"
#include "shim/stack/rules.h"

/* The registers at which a walk starts: `pc` is the address to look up (a return address minus one). */
struct unwind_frame {
	uintptr_t pc, sp, fp;
	const ucontext_t *registers; /* all of them, where a signal interrupted; NULL: not known */
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
 * that are left out. known: the calling thread's stack. *cut says why the stack ends before its outermost frame.
 * Returns their number. */
size_t unwind_walk(struct unwind_frame start, const struct stack_bounds *known, uintptr_t *pc, size_t max,
                   enum stack_cut *cut);

/* The same in a signal handler: it takes no lock and learns nothing. Where it needs to know more, `rest` is the frame
 * from which the listener has to go on (it is in pc[] already if it is shown; if rest.registers is not NULL, it is
 * the first). Else rest.pc is 0. */
struct unwind_known {
	struct unwind_frame rest;
	enum stack_cut cut;
};
size_t unwind_walk_known(struct unwind_frame start, const struct stack_bounds *known, uintptr_t *pc, size_t max,
                         struct unwind_known *out);

/* Walk a stack that is another thread's, or a copy. read(memory, address, value) returns false where it can't read.
 * `mark`, if not NULL, is a frame further out whose registers are known; `passed` tells whether the walk met it. The
 * frame pointer need not be known (start.fp may be UNWIND_NO_FP): the walk looks for it on the stack where it first
 * needs it. Listener. */
enum { UNWIND_NO_FP = 1 };
struct unwind_elsewhere {
	bool (*read)(void *memory, uintptr_t at, uintptr_t *value);
	void *memory;
	const struct unwind_frame *mark;
	const uintptr_t *registers; /* of the first frame, by DWARF's numbers; NULL: not known */
	bool is_copy;               /* what can't be read was not copied */
	bool is_leaf;               /* start is where the thread executes: there certainly is code */
	/* what the walk found */
	bool passed;
	enum stack_cut cut;
	struct unwind_frame start;
};
size_t unwind_walk_elsewhere(struct unwind_frame start, struct unwind_elsewhere *e, uintptr_t *pc, size_t max);

/* Go to the caller's frame. Returns false if it can't be found. Listener. */
bool unwind_step_elsewhere(struct unwind_frame *f, struct unwind_elsewhere *e);

/* Do the tables say that this frame has no caller? Listener. */
bool unwind_is_outermost(const struct unwind_frame *f);

/* Init: leave frames with an address in [start, end) out of every stack: hooks that had to stay on the stack
 * (pthread_create, operator new around another allocator's). */
void unwind_leave_out(const void *start, const void *end);

/* Forget every rule: the set of loaded objects changed. */
void unwind_forget(void);

/* Ask libunwind for the rule at `pc`. learn.c. Holds the LEARN lock meanwhile; may change errno. */
struct unwind_rule unwind_learn(uintptr_t pc);

/* Where does the function at pc keep its caller's value of this register?
 * Returns n for cfa - n; 0: still in the register; negative: nobody knows. */
int32_t unwind_learn_saved(uintptr_t pc, int number);

/* code_is_at, with a look at the mappings where that does not know. Takes the LEARN lock. */
enum code_answer unwind_learn_code(uintptr_t pc);

/* code_is_return, with a look at the mappings where that does not know. Takes the LEARN lock. */
enum code_answer unwind_learn_return(uintptr_t return_address);

/* Returns the first address of the function that pc lies in, by the same tables; 0 if they don't say. */
uintptr_t unwind_function_start(uintptr_t pc);

/* Wait until no learner reads an object's tables (dlclose, after modules_closing_begin). */
void unwind_learn_drain(void);

#endif
