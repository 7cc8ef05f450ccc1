/* unwind.c - walk a stack by cached rules.
 *
 * Runs in: app's thread inside a hook (any app lock may be held), signal handler, listener.
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
#include <errno.h>
#include <ucontext.h>

#include "shim/layout.h"
#include "shim/modules.h"
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

static uint32_t forgettings; /* atomic: so often all was forgotten */

static uint32_t count_forgettings(void)
{
	return __atomic_load_n(&forgettings, __ATOMIC_SEQ_CST);
}

/* A rule that was learned while count_forgettings was `when`. Either unwind_forget comes to it here, or we see that it was called. */
static void keep(uintptr_t pc, struct unwind_rule r, uint32_t when)
{
	if (r.kind == UNWIND_UNKNOWN || pc >> 47 || !fits(r))
		return;
	uint64_t *at = &cache[cache_index(pc)], entry = pack(pc, r);
	__atomic_store_n(&cache_in_use, true, __ATOMIC_RELAXED);
	__atomic_store_n(at, entry, __ATOMIC_SEQ_CST);
	if (count_forgettings() != when)
		__atomic_compare_exchange_n(at, &entry, 0, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
}

static bool find_rule(uintptr_t pc, struct unwind_rule *r)
{
	uint64_t e = __atomic_load_n(&cache[cache_index(pc)], __ATOMIC_RELAXED);
	*r = unpack(e);
	return __builtin_expect(e >> RULE_BITS == pc >> INDEX_BITS && r->kind != UNWIND_UNKNOWN, 1);
}

static __attribute__((noinline)) struct unwind_rule learn(uintptr_t pc)
{
	if (!has_room())
		return (struct unwind_rule){.kind = UNWIND_UNKNOWN};
	int saved = errno; /* libunwind's start sets it */
	uint32_t when = count_forgettings();
	struct unwind_rule r = unwind_learn(pc);
	errno = saved;
	keep(pc, r, when);
	return r;
}

void unwind_forget(void)
{
	__atomic_add_fetch(&forgettings, 1, __ATOMIC_SEQ_CST);
	bool in_use = __atomic_load_n(&cache_in_use, __ATOMIC_SEQ_CST);
	for (size_t i = 0; in_use && i < sizeof cache / sizeof *cache; i++)
		if (__atomic_load_n(&cache[i], __ATOMIC_RELAXED))
			__atomic_store_n(&cache[i], 0, __ATOMIC_RELAXED);
}

static uintptr_t page_after(uintptr_t at)
{
	return (at & ~(uintptr_t)(PAGE - 1)) + PAGE;
}

static uintptr_t main_stack_end; /* immutable after init */

void unwind_set_main_stack(uintptr_t end)
{
	main_stack_end = end;
}

/* A thread's stack has its control block at its end, where the thread pointer points. Linux leaves at least 128 MiB below the end of
 * the main thread's stack to it (mmap_base). */
uintptr_t unwind_stack_end(uintptr_t at)
{
	enum { THREADS_REACH = 16 << 20, MAINS_REACH = 128 << 20 };
	uintptr_t block = (uintptr_t)__builtin_thread_pointer();
	if (at < block && block - at < THREADS_REACH)
		return page_after(block);
	return at < main_stack_end && main_stack_end - at < MAINS_REACH ? page_after(main_stack_end) : UINTPTR_MAX;
}

/* Make sure that [at, at + WORD) may be read, at above the current frame: extend hi page by page. */
static bool reach(struct unwind_stack *s, uintptr_t at)
{
	enum { PAGES_MAX = 4096 };
	if (at % WORD || at < s->lo || at > UINTPTR_MAX - WORD)
		return false;
	for (int i = 0; at + WORD > s->hi; i++) {
		if (i == PAGES_MAX || s->hi >= unwind_stack_end(s->lo) || !os_readable((const void *)s->hi))
			return false;
		s->hi += PAGE;
	}
	return true;
}

/* How a walk reads memory: this thread's own, or another's through what the caller brings. The functions below are
 * compiled once for each (always_inline, with a constant `own`). */
struct memory {
	struct unwind_stack own;
	struct unwind_elsewhere *elsewhere;
};
#define FOR_EACH_MEMORY static inline __attribute__((always_inline))

FOR_EACH_MEMORY bool read_word(struct memory *m, bool own, uintptr_t at, uintptr_t *value)
{
	if (!own)
		return at % WORD == 0 && m->elsewhere->read(m->elsewhere->memory, at, value);
	if (!reach(&m->own, at))
		return false;
	*value = *(const uintptr_t *)at;
	return true;
}

/* The registers that a signal interrupted, from the ucontext that the kernel left at sp. The code below
 * the handler may run on another stack: probe anew. */
FOR_EACH_MEMORY bool step_signal(struct unwind_frame *f, struct memory *m, bool own)
{
#if defined(__x86_64__)
	const ucontext_t *u = (const void *)f->sp;
	uintptr_t pc, sp, fp;
	if (!read_word(m, own, (uintptr_t)(&u->uc_mcontext.gregs[REG_RIP]), &pc) ||
	    !read_word(m, own, (uintptr_t)(&u->uc_mcontext.gregs[REG_RSP]), &sp) ||
	    !read_word(m, own, (uintptr_t)(&u->uc_mcontext.gregs[REG_RBP]), &fp))
		return false;
	*f = (struct unwind_frame){.pc = pc, .sp = sp, .fp = fp};
	m->own = (struct unwind_stack){.lo = sp, .hi = sp & ~(uintptr_t)(PAGE - 1)};
	return pc != 0;
#else
	(void)f, (void)m, (void)own;
	return false;
#endif
}

FOR_EACH_MEMORY bool step(struct unwind_frame *f, struct unwind_rule r, struct memory *m, bool own)
{
	uintptr_t cfa, return_address;
	switch (r.kind) {
	case UNWIND_SP: cfa = f->sp + (uintptr_t)(intptr_t)r.cfa_offset; break;
	case UNWIND_FP: cfa = f->fp + (uintptr_t)(intptr_t)r.cfa_offset; break;
	case UNWIND_FP_DEREF:
		if (!read_word(m, own, f->fp + (uintptr_t)(intptr_t)r.cfa_offset, &cfa) ||
		    !read_word(m, own, f->fp, &f->fp))
			return false;
		break;
	case UNWIND_CHAIN:
		if (f->fp < f->sp || f->fp - f->sp > CHAIN_STEP_MAX)
			return false;
		if (m->own.hi > page_after(f->sp))
			m->own.hi = page_after(f->sp);
		cfa = f->fp + 2 * WORD;
		r.fp_at = 2 * WORD;
		break;
	case UNWIND_SIGNAL: return step_signal(f, m, own);
	default: return false;
	}
	if (cfa <= f->sp || !read_word(m, own, cfa - WORD, &return_address))
		return false;
	if (r.fp_at && cfa - (uintptr_t)r.fp_at >= f->sp && /* below sp: popped again, the register has it */
	    !read_word(m, own, cfa - (uintptr_t)r.fp_at, &f->fp))
		return false;
	f->pc = return_address - 1;
	f->sp = cfa;
	return return_address > PAGE;
}

static inline bool is_shown(uintptr_t pc)
{
	return pc - left_out.start >= left_out.size;
}

size_t unwind_walk(struct unwind_frame f, struct unwind_stack *s, uintptr_t *pc, size_t max)
{
	/* The frame of the function that calls us lies just below f.sp, so its page is in use. */
	if (f.sp < s->lo || f.sp > s->hi)
		*s = (struct unwind_stack){.lo = f.sp, .hi = page_after(f.sp - WORD)};
	const uintptr_t start_sp = f.sp;
	struct memory m = {.own = {.lo = start_sp, .hi = s->hi}};
	struct unwind_rule r;
	size_t n = 0;
	do {
		if (is_shown(f.pc))
			pc[n++] = f.pc;
		if (n < max && !find_rule(f.pc, &r))
			r = learn(f.pc);
	} while (n < max && step(&f, r, &m, true));
	if (m.own.lo == start_sp && m.own.hi > s->hi) /* else a signal frame led to another stack */
		s->hi = m.own.hi;
	return n;
}

/* The frame that was executing is shown even where it is ours: what we cost is to be seen. */
size_t unwind_walk_known(struct unwind_frame f, uintptr_t *pc, size_t max, struct unwind_frame *rest)
{
	struct memory m = {.own = {.lo = f.sp, .hi = f.sp & ~(uintptr_t)(PAGE - 1)}};
	struct unwind_rule r;
	size_t n = 0;
	*rest = (struct unwind_frame){0};
	do {
		if (n == 0 || is_shown(f.pc))
			pc[n++] = f.pc;
		if (n == max)
			break;
		if (!find_rule(f.pc, &r)) {
			if (modules_cover(f.pc)) {
				*rest = f;
				break;
			}
			r = (struct unwind_rule){.kind = UNWIND_CHAIN}; /* made at run time: in no object, so without a table */
		}
	} while (step(&f, r, &m, true));
	return n;
}

size_t unwind_walk_elsewhere(struct unwind_frame f, struct unwind_elsewhere *e, uintptr_t *pc, size_t max)
{
	struct memory m = {.elsewhere = e};
	struct unwind_rule r;
	size_t n = 0;
	e->passed = false;
	do {
		if (e->mark && f.sp == e->mark->sp && f.pc == e->mark->pc) {
			f.fp = e->mark->fp;
			e->passed = true;
		}
		if ((n == 0 && e->is_leaf) || is_shown(f.pc))
			pc[n++] = f.pc;
		if (n < max && !find_rule(f.pc, &r)) {
			uint32_t when = count_forgettings();
			r = unwind_learn(f.pc);
			keep(f.pc, r, when);
		}
	} while (n < max && step(&f, r, &m, false));
	return n;
}
