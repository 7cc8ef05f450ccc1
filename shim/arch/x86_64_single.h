/* x86_64_single.h - single instructions of x86-64 that a compiler would make two of.
 *
 * Runs in: everywhere; the idle way of hooks above all, where each instruction counts. Included by x86_64.h alone.
 *
 * Format: Intel's manual.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_ARCH_X86_64_SINGLE_H
#define PPROFSHIM_ARCH_X86_64_SINGLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ARCH_INLINE static inline __attribute__((always_inline))

/* A spinning thread leaves the core's resources to the other hardware thread. */
static inline void arch_pause(void)
{
	__builtin_ia32_pause();
}

/* The processor's own copy instruction, which is fast once it has started.
 * Returns false, and does nothing, if there is too little to copy. */
ARCH_INLINE bool arch_copy(void *to, const void *from, size_t n)
{
	if (n < 256)
		return false;
	__asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(n) : : "memory");
	return true;
}

ARCH_INLINE bool arch_fill(void *at, int value, size_t n)
{
	__asm__ volatile("rep stosb" : "+D"(at), "+c"(n) : "a"(value) : "memory");
	return true;
}

/* Does the word have one of these bits? */
ARCH_INLINE bool arch_has_bits(const uintptr_t *word, uintptr_t bits)
{
	bool has;
	__asm__("testq %1, %2" : "=@ccnz"(has) : "r"(bits), "m"(*word));
	return has;
}

/* Does the word have one of these bits, which are constants in its first byte? */
ARCH_INLINE bool arch_has_low_bits(const void *word, unsigned bits)
{
	bool has;
	__asm__("testb %2, %1" : "=@ccne"(has) : "m"(*(const unsigned char *)word), "i"(bits));
	return has;
}

/* The same, but the word is read anew at each call. */
ARCH_INLINE bool arch_has_low_bits_now(const uint32_t *word, unsigned bits)
{
	bool has;
	__asm__ volatile("testb %2, %1" : "=@ccne"(has) : "m"(*word), "i"(bits));
	return has;
}

/* Does the word have this value, a constant? */
ARCH_INLINE bool arch_word_is(const void *word, int value)
{
	bool is;
	__asm__("cmpl %2, %1" : "=@cce"(is) : "m"(*(const int *)word), "ri"(value));
	return is;
}

/* Subtract, and say whether more than 0 is left. */
ARCH_INLINE bool arch_subtract_leaves(int64_t *from, size_t n)
{
	bool leaves;
	__asm__("subq %2, %0" : "+m"(*from), "=@ccg"(leaves) : "r"(n));
	return leaves;
}

#endif
