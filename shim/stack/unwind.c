/* unwind.c - walk a stack by cached rules.
 *
 * Runs in: app's thread inside a hook (any app lock may be held), signal handler, listener.
 * Shared: the rule cache. Each entry is one 64-bit word that holds the tag of its address and the rule, so a reader
 * sees a whole entry or none: relaxed loads and stores, no lock. A lost update costs a second look-up.
 *
 * Memory: the walk reads the stack of the thread directly where that is known to be its stack: from the stack pointer
 * on up to its known end (struct stack_bounds). Other memory (coroutines, beyond a stack's end, alternate stacks) may
 * be unmapped by another thread the next moment, or may have been another stack's guard page. It is read in ways that
 * cannot fault, a piece at a time, and the next walk does not rely on it.
 *
 * A walk takes little of the program's stack itself (a piece of WINDOW_BYTES); learning runs on a stack of our own.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "shim/stack/unwind.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/uio.h>
#include <ucontext.h>

#include "shim/base/confined.h"
#include "shim/base/layout.h"
#include "shim/base/shared.h"
#include "shim/libc/modules.h"
#include "shim/base/os.h"
#include "shim/base/peek.h"

enum {
	PAGE = 4096,
	INDEX_BITS = 14, /* 16 Ki rules, 128 KiB; only pages in use are resident */
	CFA_BITS = 17,   /* signed, in words: frames up to 512 KiB */
	FP_BITS = 11,    /* unsigned, in words: up to 16 KiB below the cfa */
	KIND_BITS = 3,
	RULE_BITS = KIND_BITS + CFA_BITS + FP_BITS,
	TAG_BITS = 64 - RULE_BITS,
	WORD = sizeof(uintptr_t),
	WINDOW_BYTES = 128,
	CHAIN_STEP_MAX = 1 << 20, /* a guessed frame is no larger than this */
};
static_assert(INDEX_BITS + TAG_BITS >= 47, "an entry must identify every user address");

static shared_u64 cache[1 << INDEX_BITS] LARGE;
static shared_bool cache_in_use; /* forgetting an empty cache would make all of it resident */

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

static shared_u32 forgettings; /* how often all rules were forgotten */

static uint32_t count_forgettings(void)
{
	return shared_load_seq_cst(&forgettings);
}

/* Keep a rule that was learned while count_forgettings was `when`. If unwind_forget runs meanwhile, either it clears
 * the rule here, or we see that it ran. */
static void keep(uintptr_t pc, struct unwind_rule r, uint32_t when)
{
	if (r.kind == UNWIND_UNKNOWN || pc >> 47 || !fits(r))
		return;
	shared_u64 *at = &cache[cache_index(pc)];
	uint64_t entry = pack(pc, r);
	shared_store_relaxed(&cache_in_use, true);
	shared_store_seq_cst(at, entry);
	if (count_forgettings() != when)
		shared_cas_relaxed(at, &entry, 0);
}

static bool find_rule(uintptr_t pc, struct unwind_rule *r)
{
	uint64_t e = shared_load_relaxed(&cache[cache_index(pc)]);
	*r = unpack(e);
	return __builtin_expect(e >> RULE_BITS == pc >> INDEX_BITS && r->kind != UNWIND_UNKNOWN, 1);
}

static __attribute__((noinline)) struct unwind_rule learn(uintptr_t pc)
{
	int saved = errno; /* libunwind's start sets it */
	uint32_t when = count_forgettings();
	struct unwind_rule r = unwind_learn(pc);
	errno = saved;
	keep(pc, r, when);
	return r;
}

void unwind_forget(void)
{
	shared_add_seq_cst(&forgettings, 1);
	bool in_use = shared_load_seq_cst(&cache_in_use);
	for (size_t i = 0; in_use && i < sizeof cache / sizeof *cache; i++)
		if (shared_load_relaxed(&cache[i]))
			shared_store_relaxed(&cache[i], 0);
}

static uintptr_t page_after(uintptr_t at)
{
	return (at & ~(uintptr_t)(PAGE - 1)) + PAGE;
}

/* Linux keeps at least 128 MiB free for the main thread's stack, below its end (mmap_base). An emulator that maps its
 * guest's stack maps as much as the limit says. */
struct stack_bounds unwind_main_stack(uintptr_t near_its_end)
{
	enum { MAINS_REACH = 128 << 20 };
	struct {
		uint64_t now, most;
	} limit = {0, 0};
	os_call(SYS_prlimit64, 0, RLIMIT_STACK, NULL, &limit);
	uintptr_t reach = limit.now < MAINS_REACH ? limit.now & ~(uintptr_t)(PAGE - 1) : MAINS_REACH;
	uintptr_t end = page_after(near_its_end);
	return (struct stack_bounds){.lo = end - reach, .hi = end};
}

/* Libc puts a thread's control block at the end of its stack, where the thread pointer points. A thread's stack has at
 * least 16 KiB, which in old versions include a guard page. */
struct stack_bounds unwind_thread_stack(uintptr_t at, size_t bytes)
{
	enum { LEAST = 12 << 10 };
	uintptr_t end = page_after((uintptr_t)__builtin_thread_pointer());
	uintptr_t reach = bytes > LEAST ? bytes : LEAST;
	if (at >= end || end - at > reach) /* another libc puts it elsewhere */
		return (struct stack_bounds){0};
	return (struct stack_bounds){.lo = end - reach, .hi = end};
}

size_t unwind_read_safely(void *to, uintptr_t from, size_t bytes)
{
	static shared_bool refused; /* the kernel has no such call, or a filter that was there before us forbids it */
	struct iovec here = {to, bytes}, there = {(void *)from, bytes};
	if (confined() || from < PAGE)
		return 0;
	if (!shared_load_relaxed(&refused)) {
		long n = os_call(SYS_process_vm_readv, os_pid(), &here, 1, &there, 1, 0);
		if (n >= 0 || n == -EFAULT || n == -ENOMEM)
			return n >= 0 ? (size_t)n : 0;
		shared_store_relaxed(&refused, true);
	}
	/* Ask for each page whether it can be read, and read it at once. */
	size_t done = 0;
	while (done < bytes && os_readable((const void *)((from + done) & ~(uintptr_t)(WORD - 1)))) {
		size_t page = page_after(from + done) - (from + done), n = page < bytes - done ? page : bytes - done;
		memcpy((char *)to + done, (const char *)from + done, n);
		done += n;
	}
	return done;
}

/* How a walk reads memory: this thread's own directly, other memory through the caller's function. The functions below
 * are compiled once for each (always_inline, with a constant `own`). */
struct memory {
	struct stack_bounds known; /* believed to be readable */
	uintptr_t lo;              /* nothing below is read */
	uintptr_t at;              /* of the window */
	size_t bytes;
	char window[WINDOW_BYTES];
	struct unwind_elsewhere *elsewhere;
};
#define FOR_EACH_MEMORY static inline __attribute__((always_inline))

static bool is_in(struct stack_bounds s, uintptr_t at)
{
	return at - s.lo < s.hi - s.lo;
}

/* The known stack is used only if this walk's stack pointer lies in it, and only from there on: the pages below may
 * never have been used. */
static void begin_at(struct memory *m, const struct stack_bounds *known, uintptr_t sp)
{
	m->lo = sp;
	m->bytes = 0;
	m->known = is_in(*known, sp) ? (struct stack_bounds){.lo = sp, .hi = known->hi} : (struct stack_bounds){0};
}

static __attribute__((noinline)) bool read_by_window(struct memory *m, uintptr_t at, uintptr_t *value)
{
	if (at - m->at >= m->bytes || m->bytes - (at - m->at) < sizeof *value) {
		m->at = at;
		m->bytes = unwind_read_safely(m->window, at, sizeof m->window);
		if (m->bytes < sizeof *value)
			return false;
	}
	memcpy(value, m->window + (at - m->at), sizeof *value);
	return true;
}

FOR_EACH_MEMORY bool read_word(struct memory *m, bool own, uintptr_t at, uintptr_t *value)
{
	if (at % WORD)
		return false;
	if (!own)
		return m->elsewhere->read(m->elsewhere->memory, at, value);
	if (at < m->lo)
		return false;
	if (!is_in(m->known, at))
		return read_by_window(m, at, value);
	*value = *(const uintptr_t *)at;
	return true;
}

/* Read the registers that a signal interrupted, from the ucontext that the kernel left at sp. The interrupted code may
 * run on another stack. */
FOR_EACH_MEMORY bool step_signal(struct unwind_frame *f, struct memory *m, bool own)
{
	const ucontext_t *u = ARCH_CONTEXT_AT(f->sp);
	uintptr_t pc, sp, fp;
	if (!read_word(m, own, (uintptr_t)&ARCH_PC(u), &pc) || !read_word(m, own, (uintptr_t)&ARCH_SP(u), &sp) ||
	    !read_word(m, own, (uintptr_t)&ARCH_FP(u), &fp))
		return false;
	*f = (struct unwind_frame){.pc = pc, .sp = sp, .fp = fp};
	if (own && !is_in(m->known, sp))
		begin_at(m, &(struct stack_bounds){0}, sp);
	return pc != 0;
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
		cfa = f->fp + 2 * WORD;
		r.fp_at = 2 * WORD;
		break;
	case UNWIND_SIGNAL: return step_signal(f, m, own);
	default: return false;
	}
	if (cfa <= f->sp || !read_word(m, own, cfa - WORD, &return_address))
		return false;
	if (r.fp_at && cfa - (uintptr_t)r.fp_at >= f->sp && /* below sp it has been popped: the register has it */
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

size_t unwind_walk(struct unwind_frame f, const struct stack_bounds *known, uintptr_t *pc, size_t max)
{
	struct memory m;
	struct unwind_rule r;
	size_t n = 0;
	begin_at(&m, known, f.sp);
	do {
		if (is_shown(f.pc))
			pc[n++] = f.pc;
		if (n < max && !find_rule(f.pc, &r))
			r = learn(f.pc);
	} while (n < max && step(&f, r, &m, true));
	return n;
}

size_t unwind_walk_known(struct unwind_frame f, const struct stack_bounds *known, uintptr_t *pc, size_t max,
                         struct unwind_frame *rest)
{
	struct memory m;
	struct unwind_rule r;
	size_t n = 0;
	begin_at(&m, known, f.sp);
	*rest = (struct unwind_frame){0};
	do {
		if (is_shown(f.pc))
			pc[n++] = f.pc;
		if (n == max)
			break;
		if (!find_rule(f.pc, &r)) {
			if (modules_cover(f.pc)) {
				*rest = f;
				break;
			}
			r = (struct unwind_rule){
				.kind = UNWIND_CHAIN}; /* code made at run time: in no object, so without a table */
		}
	} while (step(&f, r, &m, true));
	return n;
}

/* The kernel does not tell the frame pointer of a blocked thread. It is found by how the stack must look there: it
 * points to the saved frame pointer and, above that, the return address, which must follow a call of this very
 * function. One frame further out there must be such an address again. Leftovers of earlier calls may fit, too. So the
 * walk first looks at how far down the function certainly goes; where that does not help, no second candidate may fit.
 * A call through a register does not tell what it calls. Then the saved frame pointer must lead to another such pair,
 * or be that of the outermost frame. If nothing fits, or more than one candidate, the stack ends. */
enum call_kind { NO_CALL_BEFORE, CALLS_SOMETHING, CALLS_THIS };

/* Does the word at `slot` hold this function's address? */
static enum call_kind by_slot(uintptr_t slot, uintptr_t function)
{
	uintptr_t value;
	return peek(slot, &value, sizeof value) && value == function ? CALLS_THIS : NO_CALL_BEFORE;
}

/* A direct call may call the function, or a stub that jumps there. */
static enum call_kind by_target(uintptr_t target, uintptr_t function)
{
	unsigned char code[ARCH_STUB_BYTES];
	if (target == function)
		return CALLS_THIS;
	if (!peek(target, code, sizeof code))
		return NO_CALL_BEFORE;
	uintptr_t slot = arch_slot_of_stub(target, code);
	return slot ? by_slot(slot, function) : NO_CALL_BEFORE;
}

/* What call comes before this return address? function 0: any function will do. */
static enum call_kind call_before(uintptr_t return_address, uintptr_t function)
{
	unsigned char code[ARCH_BEFORE_BYTES];
	uintptr_t to;
	if (return_address < PAGE || !arch_may_be_code(return_address) || !modules_cover(return_address - 1) ||
	    !peek(return_address - sizeof code, code, sizeof code))
		return NO_CALL_BEFORE;
	switch (arch_callee_before(return_address, code, &to)) {
	case ARCH_CALLS_NOTHING: return NO_CALL_BEFORE;
	case ARCH_CALLS_ADDRESS: return function ? by_target(to, function) : CALLS_SOMETHING;
	case ARCH_CALLS_BY_SLOT: return function ? by_slot(to, function) : CALLS_SOMETHING;
	default: return CALLS_SOMETHING;
	}
}

static struct unwind_rule rule_of(uintptr_t pc)
{
	struct unwind_rule r;
	uint32_t when = count_forgettings();
	if (find_rule(pc, &r))
		return r;
	r = unwind_learn(pc);
	keep(pc, r, when);
	return r;
}

/* Does this frame's caller look like one? */
static bool has_a_caller(struct unwind_frame f, struct memory *m)
{
	struct unwind_rule r = rule_of(f.pc);
	return r.kind == UNWIND_END || (step(&f, r, m, false) && call_before(f.pc + 1, 0) != NO_CALL_BEFORE);
}

/* Does a frame pointer point here? Then these words are the caller's frame pointer and a return address. */
static bool is_link(uintptr_t at, struct memory *m)
{
	uintptr_t saved, return_address, next;
	return read_word(m, false, at, &saved) && saved > at && saved - at <= CHAIN_STEP_MAX &&
	       read_word(m, false, at + WORD, &return_address) && call_before(return_address, 0) != NO_CALL_BEFORE &&
	       read_word(m, false, saved + WORD, &next) && call_before(next, 0) != NO_CALL_BEFORE;
}

/* Is this the frame of `function` (0: of any)? */
static bool is_the_frame(uintptr_t at, uintptr_t function, struct memory *m)
{
	uintptr_t saved, return_address;
	if (!read_word(m, false, at + WORD, &return_address))
		return false;
	enum call_kind kind = call_before(return_address, function);
	if (kind == NO_CALL_BEFORE || !read_word(m, false, at, &saved))
		return false;
	bool is_outermost = saved < PAGE; /* libc's mark */
	if (kind == CALLS_SOMETHING && function && !is_outermost && !is_link(at, m))
		return false;
	return has_a_caller((struct unwind_frame){.pc = return_address - 1, .sp = at + 2 * WORD, .fp = saved}, m);
}

/* May another word further up be the frame, one that this frame does not lead to? */
static bool has_rivals(uintptr_t frame, uintptr_t end, uintptr_t function, struct memory *m)
{
	uintptr_t next = frame;
	for (uintptr_t at = frame + WORD; at < end; at += WORD) {
		while (next < at) {
			uintptr_t up;
			next = read_word(m, false, next, &up) && up > next ? up : UINTPTR_MAX;
		}
		if (next != at && (is_the_frame(at, function, m) || is_link(at, m)))
			return true;
	}
	return false;
}

/* How far below its frame pointer a function's stack pointer is while it calls others; 0: not known. (If the function
 * takes more in between, nothing fits at that distance.) */
static uintptr_t fixed_depth(uintptr_t function)
{
	unsigned char code[ARCH_PROLOGUE_BYTES];
	return peek(function, code, sizeof code) ? arch_fixed_depth(code) : 0;
}

static __attribute__((noinline)) void look_for_fp(struct unwind_frame *f, struct unwind_rule r, struct memory *m)
{
	enum { FAR = 64 << 10 };
	if (r.kind != UNWIND_FP || r.cfa_offset != 2 * WORD || r.fp_at != 2 * WORD)
		return;
	uintptr_t function = unwind_function_start(f->pc), depth = function ? fixed_depth(function) : 0, word;
	if (depth && is_the_frame(f->sp + depth, 0, m)) {
		f->fp = f->sp + depth;
		return;
	}
	for (uintptr_t at = f->sp; function && at - f->sp < FAR && read_word(m, false, at, &word); at += WORD)
		if (is_the_frame(at, function, m)) {
			if (!has_rivals(at, f->sp + FAR, function, m))
				f->fp = at;
			return;
		}
}

size_t unwind_walk_elsewhere(struct unwind_frame f, struct unwind_elsewhere *e, uintptr_t *pc, size_t max)
{
	struct memory m;
	struct unwind_rule r;
	size_t n = 0;
	m.elsewhere = e;
	e->passed = false;
	do {
		if (e->mark && f.sp == e->mark->sp && f.pc == e->mark->pc) {
			f.fp = e->mark->fp;
			e->passed = true;
		}
		if (is_shown(f.pc))
			pc[n++] = f.pc;
		if (n == max)
			break;
		r = rule_of(f.pc);
		if (f.fp == UNWIND_NO_FP)
			look_for_fp(&f, r, &m);
	} while (step(&f, r, &m, false));
	return n;
}
