/* rules.c - the cache of rules.
 *
 * Runs in: app's thread inside a hook (any app lock may be held), signal handler, listener.
 * Shared: the cache. Each entry is one 64-bit word that holds the tag of its address and the rule, so a reader sees a
 * whole entry or none: relaxed loads and stores, no lock. A lost update costs a second look-up.
 *
 * A rule that does not fit in a word (large frames, registers other than the stack and frame pointer) is kept in a
 * table of different rules, and the word holds its number there. Such a rule names no address, so it is never taken out
 * again.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "shim/stack/rules.h"

#include <assert.h>

#include "shim/base/layout.h"
#include "shim/base/shared.h"
#include "shim/stack/code.h"
#include "shim/stack/unwind.h"

enum {
	WORD = sizeof(uintptr_t),
	INDEX_BITS = 14, /* 16 Ki rules, 128 KiB; only pages in use are resident */
	CFA_BITS = 17,   /* signed, in words: frames up to 512 KiB; or the number of a wide rule */
	FP_BITS = 10,    /* unsigned, in words: up to 8 KiB below the cfa */
	KIND_BITS = 4,
	RULE_BITS = KIND_BITS + CFA_BITS + FP_BITS,
	TAG_BITS = 64 - RULE_BITS,
	WIDE_MOST = 2048,
};
static_assert(INDEX_BITS + TAG_BITS >= 47, "an entry must identify every user address");
static_assert(UNWIND_NOWHERE < 1 << KIND_BITS, "an entry must hold every kind");

static shared_u64 cache[1 << INDEX_BITS] LARGE;
static shared_bool cache_in_use; /* forgetting an empty cache would make all of it resident */
static shared_u32 forgettings;   /* how often all rules were forgotten */

/* Wide rules. A place is its writer's from the addition to wide_count until is_complete. */
static struct wide {
	struct unwind_rule rule;
	shared_bool is_complete;
} wide[WIDE_MOST] LARGE;
static shared_u32 wide_count;

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
	return r.kind != UNWIND_OTHER && r.cfa_offset % WORD == 0 && r.cfa_offset > -limit && r.cfa_offset < limit &&
	       r.fp_at % WORD == 0 && r.fp_at >= 0 && r.fp_at < (1 << FP_BITS) * (int)WORD;
}

static bool is_equal(const struct unwind_rule *a, const struct unwind_rule *b)
{
	return a->kind == b->kind && a->cfa_offset == b->cfa_offset && a->fp_at == b->fp_at && a->base == b->base &&
	       a->index == b->index && a->is_deref == b->is_deref && a->return_in == b->return_in &&
	       a->deref_at == b->deref_at;
}

/* Returns the number of a wide rule; WIDE_MOST: there is no room. Two threads may enter the same one twice. */
static uint32_t number_wide(const struct unwind_rule *r)
{
	uint32_t count = shared_load_acquire(&wide_count), i;
	for (i = 0; i < count && i < WIDE_MOST; i++)
		if (shared_load_acquire(&wide[i].is_complete) && is_equal(&wide[i].rule, r))
			return i;
	if (count >= WIDE_MOST || (i = shared_add_relaxed(&wide_count, 1)) >= WIDE_MOST)
		return WIDE_MOST;
	wide[i].rule = *r;
	shared_store_release(&wide[i].is_complete, true);
	return i;
}

bool rules_find(uintptr_t pc, struct unwind_rule *r)
{
	uint64_t e = shared_load_relaxed(&cache[cache_index(pc)]);
	*r = unpack(e);
	if (e >> RULE_BITS != pc >> INDEX_BITS || r->kind == UNWIND_UNKNOWN)
		return false;
	if (r->kind == UNWIND_OTHER) { /* an acquire, for the rule behind the number */
		shared_fence_acquire();
		*r = wide[(uint32_t)(r->cfa_offset / (int)WORD) % WIDE_MOST].rule;
	}
	return true;
}

uint32_t rules_forgettings(void)
{
	return shared_load_seq_cst(&forgettings);
}

/* If unwind_forget runs meanwhile, either it clears the rule here, or we see that it ran. */
void rules_keep(uintptr_t pc, struct unwind_rule r, uint32_t when)
{
	if (r.kind == UNWIND_UNKNOWN || r.kind == UNWIND_NOWHERE || pc >> 47)
		return;
	if (!fits(r)) {
		uint32_t number = number_wide(&r);
		if (number == WIDE_MOST)
			return;
		r = (struct unwind_rule){.kind = UNWIND_OTHER, .cfa_offset = (int32_t)(number * WORD)};
	}
	shared_u64 *at = &cache[cache_index(pc)];
	uint64_t entry = pack(pc, r);
	shared_store_relaxed(&cache_in_use, true);
	shared_store_seq_cst(at, entry);
	if (rules_forgettings() != when)
		shared_cas_relaxed(at, &entry, 0);
}

void unwind_forget(void)
{
	shared_add_seq_cst(&forgettings, 1);
	code_forget();
	bool in_use = shared_load_seq_cst(&cache_in_use);
	for (size_t i = 0; in_use && i < sizeof cache / sizeof *cache; i++)
		if (shared_load_relaxed(&cache[i]))
			shared_store_relaxed(&cache[i], 0);
}
