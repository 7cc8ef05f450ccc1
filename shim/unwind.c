/* unwind.c - walk a stack by cached rules.
 *
 * Runs in: app's thread inside a hook. Any app lock may be held.
 * Shared: the rule cache. Each entry is one 64-bit word that holds the tag of its address and the rule,
 * so a reader sees a whole entry or none: relaxed loads and stores, no lock. A lost update costs a
 * second look-up.
 *
 * Memory: the walk reads only between the start's stack pointer and `hi`, pages that were probed before
 * (os_readable: a system call that fails with EFAULT where a load would fault). What was probed stays
 * valid while the thread runs on that stack; where a rule was guessed (code without unwind tables), the
 * probe is made afresh.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "shim/unwind.h"

#include <assert.h>
#include <ucontext.h>

#include "shim/layout.h"
#include "shim/os.h"

enum {
	PAGE = 4096,
	INDEX_BITS = 14, /* 16 Ki rules, 128 KiB; only pages in use are resident */
	CFA_BITS = 17,   /* signed, in words: frames up to 512 KiB */
	FP_BITS = 11,    /* unsigned, in words: up to 16 KiB below the cfa */
	KIND_BITS = 3,
	RULE_BITS = KIND_BITS + CFA_BITS + FP_BITS,
	TAG_BITS = 64 - RULE_BITS,
	WORD = sizeof(uintptr_t),
	CHAIN_STEP_MAX = 1 << 20, /* a guessed frame is no larger than this */
};
static_assert(INDEX_BITS + TAG_BITS >= 47, "an entry must identify every user address");

static uint64_t cache[1 << INDEX_BITS] LARGE;
static bool cache_in_use; /* atomic: forgetting an empty cache would make all of it resident */

/* Addresses of frames that no stack shows; immutable after init. */
static struct {
	uintptr_t start, size;
} left_out;

void unwind_leave_out(const void *start, const void *end)
{
	left_out.start = (uintptr_t)start;
	left_out.size = (uintptr_t)end - (uintptr_t)start;
}

/* Index and tag together determine the address: tag is its upper part, the index its lower part mixed
 * with the tag. */
static unsigned cache_index(uintptr_t pc)
{
	return (unsigned)(pc ^ pc >> INDEX_BITS ^ pc >> 2 * INDEX_BITS) & ((1u << INDEX_BITS) - 1);
}

static uint64_t pack(uintptr_t pc, struct unwind_rule r)
{
	uint64_t cfa = (uint64_t)(r.cfa_offset / WORD) & ((1u << CFA_BITS) - 1);
	uint64_t fp = (uint64_t)(r.fp_at / WORD);
	return (uint64_t)(pc >> INDEX_BITS) << RULE_BITS | fp << (KIND_BITS + CFA_BITS) | cfa << KIND_BITS | r.kind;
}

static struct unwind_rule unpack(uint64_t e)
{
	int64_t cfa = (int64_t)(e << (64 - KIND_BITS - CFA_BITS)) >> (64 - CFA_BITS);
	return (struct unwind_rule){
	    .kind = (enum unwind_kind)(e & ((1u << KIND_BITS) - 1)),
	    .cfa_offset = (int32_t)(cfa * WORD),
	    .fp_at = (int32_t)((e >> (KIND_BITS + CFA_BITS) & ((1u << FP_BITS) - 1)) * WORD),
	};
}

static bool fits(struct unwind_rule r)
{
	int32_t limit = (1 << (CFA_BITS - 1)) * WORD;
	return r.cfa_offset % WORD == 0 && r.cfa_offset > -limit && r.cfa_offset < limit && r.fp_at % WORD == 0 &&
	       r.fp_at >= 0 && r.fp_at < (1 << FP_BITS) * (int)WORD;
}

/* The learner needs some 6 KiB of this thread's stack; where a guard page is nearer than that (small
 * thread stacks, signal stacks) the stack is cut instead. */
static bool has_room(void)
{
	const char *here = __builtin_frame_address(0);
	return os_readable(here - PAGE) && os_readable(here - 2 * PAGE); /* a guard may be a single page */
}

static __attribute__((noinline)) struct unwind_rule learn(uintptr_t pc)
{
	if (!has_room())
		return (struct unwind_rule){.kind = UNWIND_UNKNOWN};
	struct unwind_rule r = unwind_learn(pc);
	if (r.kind != UNWIND_UNKNOWN && pc >> 47 == 0 && fits(r)) {
		__atomic_store_n(&cache_in_use, true, __ATOMIC_RELAXED);
		__atomic_store_n(&cache[cache_index(pc)], pack(pc, r), __ATOMIC_RELAXED);
	}
	return r;
}

static inline struct unwind_rule rule_at(uintptr_t pc)
{
	uint64_t e = __atomic_load_n(&cache[cache_index(pc)], __ATOMIC_RELAXED);
	if (__builtin_expect(e >> RULE_BITS == pc >> INDEX_BITS && (e & ((1u << KIND_BITS) - 1)) != UNWIND_UNKNOWN, 1))
		return unpack(e);
	return learn(pc);
}

void unwind_forget(void)
{
	bool in_use = __atomic_load_n(&cache_in_use, __ATOMIC_RELAXED);
	for (size_t i = 0; in_use && i < sizeof cache / sizeof *cache; i++)
		if (__atomic_load_n(&cache[i], __ATOMIC_RELAXED))
			__atomic_store_n(&cache[i], 0, __ATOMIC_RELAXED);
}

static uintptr_t page_after(uintptr_t at)
{
	return (at & ~(uintptr_t)(PAGE - 1)) + PAGE;
}

/* Make sure that [at, at + WORD) may be read, at above the current frame: extend hi page by page. */
static bool reach(struct unwind_stack *s, uintptr_t at)
{
	enum { PAGES_MAX = 4096 };
	if (at % WORD || at < s->lo || at > UINTPTR_MAX - WORD)
		return false;
	for (int i = 0; at + WORD > s->hi; i++) {
		if (i == PAGES_MAX || !os_readable((const void *)s->hi))
			return false;
		s->hi += PAGE;
	}
	return true;
}

static uintptr_t load(uintptr_t at)
{
	return *(const uintptr_t *)at;
}

/* The registers that a signal interrupted, from the ucontext that the kernel left at sp. The code below
 * the handler may run on another stack: probe anew. */
static bool step_signal(struct unwind_frame *f, struct unwind_stack *s)
{
#if defined(__x86_64__)
	const ucontext_t *u = (const void *)f->sp;
	if (!reach(s, (uintptr_t)(&u->uc_mcontext.gregs[REG_RIP])))
		return false;
	*f = (struct unwind_frame){
	    .pc = (uintptr_t)u->uc_mcontext.gregs[REG_RIP],
	    .sp = (uintptr_t)u->uc_mcontext.gregs[REG_RSP],
	    .fp = (uintptr_t)u->uc_mcontext.gregs[REG_RBP],
	};
	*s = (struct unwind_stack){.lo = f->sp, .hi = f->sp & ~(uintptr_t)(PAGE - 1)};
	return f->pc != 0;
#else
	(void)f, (void)s;
	return false;
#endif
}

static bool step(struct unwind_frame *f, struct unwind_stack *s)
{
	struct unwind_rule r = rule_at(f->pc);
	uintptr_t cfa;
	switch (r.kind) {
	case UNWIND_SP: cfa = f->sp + (uintptr_t)(intptr_t)r.cfa_offset; break;
	case UNWIND_FP: cfa = f->fp + (uintptr_t)(intptr_t)r.cfa_offset; break;
	case UNWIND_FP_DEREF:
		if (!reach(s, f->fp + (uintptr_t)(intptr_t)r.cfa_offset) || !reach(s, f->fp))
			return false;
		cfa = load(f->fp + (uintptr_t)(intptr_t)r.cfa_offset);
		f->fp = load(f->fp);
		break;
	case UNWIND_CHAIN:
		if (f->fp < f->sp || f->fp - f->sp > CHAIN_STEP_MAX)
			return false;
		if (s->hi > page_after(f->sp))
			s->hi = page_after(f->sp);
		cfa = f->fp + 2 * WORD;
		r.fp_at = 2 * WORD;
		break;
	case UNWIND_SIGNAL: return step_signal(f, s);
	default: return false;
	}
	if (cfa <= f->sp || !reach(s, cfa - WORD))
		return false;
	uintptr_t return_address = load(cfa - WORD);
	if (r.fp_at && cfa - (uintptr_t)r.fp_at >= f->sp) { /* below sp: popped again, the register has it */
		if (!reach(s, cfa - (uintptr_t)r.fp_at))
			return false;
		f->fp = load(cfa - (uintptr_t)r.fp_at);
	}
	f->pc = return_address - 1;
	f->sp = cfa;
	return return_address > PAGE;
}

size_t unwind_walk(struct unwind_frame f, struct unwind_stack *s, uintptr_t *pc, size_t max)
{
	/* The frame of the function that calls us lies just below f.sp, so its page is in use. */
	if (f.sp < s->lo || f.sp > s->hi)
		*s = (struct unwind_stack){.lo = f.sp, .hi = page_after(f.sp - WORD)};
	const uintptr_t start_sp = f.sp;
	struct unwind_stack walked = {.lo = start_sp, .hi = s->hi};
	size_t n = 0;
	do {
		if (f.pc - left_out.start >= left_out.size)
			pc[n++] = f.pc;
	} while (n < max && step(&f, &walked));
	if (walked.lo == start_sp && walked.hi > s->hi) /* else a signal frame led to another stack */
		s->hi = walked.hi;
	return n;
}
