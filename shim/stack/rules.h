/* rules.h - the rule of each address: how to get from a frame to its caller's.
 *
 * Runs in: app's thread inside a hook, signal handler (rules_find), listener.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_RULES_H
#define PPROFSHIM_RULES_H

#include <stdbool.h>
#include <stdint.h>

/* cfa is the caller's stack pointer. The numbers of registers are DWARF's. */
enum unwind_kind {
	UNWIND_UNKNOWN,  /* must be 0: an empty place of the cache */
	UNWIND_SP,       /* cfa = sp + cfa_offset; return address at cfa - 8 */
	UNWIND_FP,       /* cfa = fp + cfa_offset */
	UNWIND_FP_DEREF, /* cfa = *(fp + cfa_offset): a frame that aligned its stack; the caller's fp is at fp */
	UNWIND_CHAIN,    /* no unwind table: guess by the frame pointer */
	UNWIND_SIGNAL,   /* a signal frame: registers from the ucontext at sp */
	UNWIND_END,      /* the outermost frame */
	UNWIND_OTHER,    /* as the fields from `base` on say */
	UNWIND_NOWHERE,  /* no code lies there */
};
enum { UNWIND_NO_REGISTER = 0xff };
struct unwind_rule {
	enum unwind_kind kind;
	int32_t cfa_offset;
	int32_t fp_at; /* the caller's frame pointer is at cfa - fp_at; 0: still in the register; negative: not known */
	/* of UNWIND_OTHER: cfa = base + 8 * index + cfa_offset, or *(base + 8 * index + deref_at) + cfa_offset */
	uint8_t base, index; /* registers; index may be UNWIND_NO_REGISTER: 0 */
	bool is_deref;
	uint8_t return_in; /* the register with the return address, or UNWIND_NO_REGISTER: it is at cfa - 8 */
	int32_t deref_at;
};

/* Find the rule that was kept for an address. Takes no lock. */
bool rules_find(uintptr_t pc, struct unwind_rule *r);

/* Returns how often all rules were forgotten. */
uint32_t rules_forgettings(void);

/* Keep a rule that was learned when rules_forgettings was `when`. One that has no room is not kept. */
void rules_keep(uintptr_t pc, struct unwind_rule r, uint32_t when);

#endif
