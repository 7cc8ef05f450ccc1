/* fake.h - made-up register values, by which a trial step of libunwind tells what it computes.
 *
 * Runs in: app's thread inside a hook, listener: learn.c and tables.c alone. Arithmetic.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_FAKE_H
#define PPROFSHIM_FAKE_H

#include "shim/arch/arch.h"
#include "shim/stack/rules.h"

/* Values that stand for a register's value (FAKE), and for the word at that value plus an offset (FAKE_AT), which is in
 * the upper part so that what is added to the word can be told from it. Tables of hand-written code look up words at
 * sp + offset + 8 * index, too: 8 * FAKE(index) is 0x8 + 0x80 * index in the uppermost bits, and FAKE_AT_INDEX stands
 * for the word there. */
#define FAKE(number) ((uintptr_t)(0x8001 + 0x10 * (number)) << 48)
#define FAKE_AT(number) ((uintptr_t)(0x8002 + 0x10 * (number)) << 48)
#define FAKE_INDEX(base, number) (FAKE(base) + 8 * FAKE(number))
#define FAKE_AT_INDEX(base, number) \
	((uintptr_t)(0x8003 + 0x10 * (number) + ((base) == ARCH_DWARF_SP ? 0 : 0x1000)) << 48)
#define FAKE_WORD ((uintptr_t)0x800f << 48) /* any other */
#define WINDOW ((uintptr_t)1 << 31)
#define WORD_WINDOW ((uintptr_t)1 << 30)
#define ADDEND_BITS 16

/* A value of the trial step in terms of registers: base + offset, or *(base + at) + offset, where base may have 8 *
 * index added. */
struct meaning {
	int base; /* a register; negative: neither */
	uint8_t index;
	bool is_deref;
	int32_t at, offset;
};
static const struct meaning meaningless = {.base = -1};

/* Is the value near that of a register, or of words at it? */
static inline bool is_meant(uintptr_t value, uintptr_t plain, uintptr_t word, struct meaning *m)
{
	uintptr_t from_plain = value - plain, from_word = value - word;
	if (from_plain + WINDOW < 2 * WINDOW) {
		m->is_deref = false;
		m->offset = (int32_t)from_plain;
		return true;
	}
	if (from_word + (WORD_WINDOW << ADDEND_BITS) >= 2 * (WORD_WINDOW << ADDEND_BITS))
		return false;
	int16_t addend = (int16_t)from_word;
	m->is_deref = true;
	m->offset = addend;
	m->at = (int32_t)((intptr_t)(from_word - (uintptr_t)(intptr_t)addend) >> ADDEND_BITS);
	return true;
}

static inline struct meaning meaning_of(uintptr_t value)
{
	static const int bases[] = {ARCH_DWARF_SP, ARCH_DWARF_FP};
	if (!(value >> 63))
		return meaningless;
	for (int i = 0; i < ARCH_DWARF_REGISTERS; i++) {
		struct meaning m = {.base = i, .index = UNWIND_NO_REGISTER};
		if (is_meant(value, FAKE(i), FAKE_AT(i), &m))
			return m;
	}
	for (int i = 0; i < 2 * ARCH_DWARF_REGISTERS; i++) {
		struct meaning m = {.base = bases[i % 2], .index = (uint8_t)(i / 2)};
		if (is_meant(value, FAKE_INDEX(m.base, m.index), FAKE_AT_INDEX(m.base, m.index), &m))
			return m;
	}
	return meaningless;
}

/* The word that lies there. */
static inline uintptr_t word_at(struct meaning m)
{
	uintptr_t word = m.index == UNWIND_NO_REGISTER ? FAKE_AT(m.base) : FAKE_AT_INDEX(m.base, m.index);
	return m.base < 0 || m.is_deref ? FAKE_WORD : word + ((uintptr_t)(intptr_t)m.offset << ADDEND_BITS);
}

#endif
