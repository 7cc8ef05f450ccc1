/* aarch64.h - 64-bit Arm, as far as it is known: it compiles, and was tried in part (heap and dumps in a virtual
 * machine). The library does without the features that are 0 or false here.
 *
 * Runs in: everywhere. No system call but arch_call6, no libc, no memory of its own.
 *
 * Not written yet: system calls that are set back (the first argument is lost in x0, so the listener's note has to be
 * used), trampolines, the bare clone, rules for return addresses in lr (stack/learn.c), callers of code without a frame
 * pointer.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_ARCH_AARCH64_H
#define PPROFSHIM_ARCH_AARCH64_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <ucontext.h>

#define ARCH_INLINE static inline __attribute__((always_inline))

/* ---- system calls ---- */

static inline long arch_call6(long nr, long a, long b, long c, long d, long e, long f)
{
	register long x8 __asm__("x8") = nr;
	register long x0 __asm__("x0") = a;
	register long x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;
	register long x3 __asm__("x3") = d;
	register long x4 __asm__("x4") = e;
	register long x5 __asm__("x5") = f;
	__asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory");
	return x0;
}

enum { ARCH_CALL_BYTES = 4, ARCH_CODE_BACK = 4 };

struct arch_code {
	size_t back, on;
	unsigned char bytes[ARCH_CODE_BACK + ARCH_CALL_BYTES];
};

/* No call is recognised: x0 may hold a first argument, which would look like a result (waits_mark). */
static inline bool arch_is_call(const struct arch_code *c)
{
	(void)c;
	return false;
}

static inline bool arch_is_after_call(const struct arch_code *c)
{
	(void)c;
	return false;
}

/* ---- what a signal interrupted ---- */

typedef unsigned long long arch_register;
#define ARCH_PC(u) ((u)->uc_mcontext.pc)
#define ARCH_SP(u) ((u)->uc_mcontext.sp)
#define ARCH_FP(u) ((u)->uc_mcontext.regs[29])
#define ARCH_RESULT(u) ((u)->uc_mcontext.regs[0])

/* Behind a siginfo_t, in the kernel's struct rt_sigframe. */
#define ARCH_CONTEXT_AT(sp) ((const ucontext_t *)((sp) + 128))

static inline void arch_fail_call(ucontext_t *u, int error)
{
	ARCH_PC(u) += ARCH_CALL_BYTES;
	ARCH_RESULT(u) = (arch_register) - (long)error;
}

/* ---- stacks ---- */

#define ARCH_ALIGNED /* sp is always a multiple of 16: the processor checks it */

#define ARCH_CALLER_SP() ((uintptr_t)__builtin_dwarf_cfa())

enum { ARCH_CIE_CODE_ALIGN = 4, ARCH_CIE_DATA_ALIGN = 0x78, ARCH_CIE_RETURN = 30 };
enum { ARCH_RED_ZONE_BYTES = 0 };
enum { ARCH_DWARF_FP = 29, ARCH_DWARF_SP = 31, ARCH_DWARF_REGISTERS = 32 };

static inline arch_register *arch_register_at(ucontext_t *u, int number)
{
	return number == ARCH_DWARF_SP ? (arch_register *)&u->uc_mcontext.sp
	                               : (arch_register *)&u->uc_mcontext.regs[number];
}

static inline bool arch_is_kept(int number)
{
	return number >= 19 && number <= 29;
}

#define ARCH_UNW_PC UNW_AARCH64_PC
#define ARCH_UNW_SP UNW_AARCH64_SP
#define ARCH_UNW_FP UNW_AARCH64_X29

/* mov x8, #139; svc #0 */
enum { ARCH_RESTORER_BYTES = 8 };
static inline bool arch_is_restorer(const unsigned char *code)
{
	return __builtin_memcmp(code, "\x68\x11\x80\xd2\x01\0\0\xd4", 8) == 0;
}

enum arch_callee { ARCH_CALLS_NOTHING, ARCH_CALLS_ADDRESS, ARCH_CALLS_BY_SLOT, ARCH_CALLS_SOMETHING };
enum { ARCH_BEFORE_BYTES = 4, ARCH_STUB_BYTES = 16, ARCH_PROLOGUE_BYTES = 32 };

/* bl and blr. */
static inline enum arch_callee arch_callee_before(uintptr_t return_address, const unsigned char *code, uintptr_t *to)
{
	uint32_t instruction;
	__builtin_memcpy(&instruction, code, sizeof instruction);
	*to = return_address - 4 + (uintptr_t)(intptr_t)((int32_t)(instruction << 6) >> 4);
	if (instruction >> 26 == 0x25)
		return ARCH_CALLS_ADDRESS;
	return (instruction & 0xfffffc1f) == 0xd63f0000 ? ARCH_CALLS_SOMETHING : ARCH_CALLS_NOTHING;
}

static inline uintptr_t arch_slot_of_stub(uintptr_t at, const unsigned char *code)
{
	(void)at, (void)code;
	return 0;
}

static inline bool arch_may_be_code(uintptr_t at)
{
	return at >> 48 == 0;
}

static inline uintptr_t arch_fixed_depth(const unsigned char *code)
{
	(void)code;
	return 0;
}

/* ---- threads ---- */

static inline uintptr_t arch_thread_pointer(void)
{
	return (uintptr_t)__builtin_thread_pointer();
}

/* Only trampolines ask this, and there are none. */
static inline bool arch_tells_thread_pointer(unsigned long hwcap2)
{
	(void)hwcap2;
	return false;
}

#define ARCH_BLOCK_HOLDS_ITSELF 0
#define ARCH_HAS_CLONE 0 /* the listener is an ordinary thread; no helper program is started */

/* ---- single instructions ---- */

static inline void arch_pause(void)
{
	__asm__ volatile("yield");
}

ARCH_INLINE bool arch_copy(void *to, const void *from, size_t n)
{
	(void)to, (void)from, (void)n;
	return false;
}

ARCH_INLINE bool arch_fill(void *at, int value, size_t n)
{
	(void)at, (void)value, (void)n;
	return false;
}

ARCH_INLINE bool arch_has_bits(const uintptr_t *word, uintptr_t bits)
{
	return (__atomic_load_n(word, __ATOMIC_RELAXED) & bits) != 0;
}

ARCH_INLINE bool arch_has_low_bits(const void *word, unsigned bits)
{
	return (__atomic_load_n((const unsigned *)word, __ATOMIC_RELAXED) & bits) != 0;
}

ARCH_INLINE bool arch_has_low_bits_now(const uint32_t *word, unsigned bits)
{
	return (__atomic_load_n(word, __ATOMIC_RELAXED) & bits) != 0;
}

ARCH_INLINE bool arch_word_is(const void *word, int value)
{
	return __atomic_load_n((const int *)word, __ATOMIC_RELAXED) == value;
}

ARCH_INLINE bool arch_subtract_leaves(int64_t *from, size_t n)
{
	return (*from -= (int64_t)n) > 0;
}

/* ---- floating point ---- */

typedef unsigned long arch_fp_environment;

static inline arch_fp_environment arch_fp_begin(void)
{
	unsigned long control, status;
	__asm__ volatile("mrs %0, fpcr" : "=r"(control));
	__asm__ volatile("mrs %0, fpsr" : "=r"(status));
	__asm__ volatile("msr fpcr, %0" : : "r"(0ul));
	return control << 32 | status;
}

static inline void arch_fp_end(arch_fp_environment before)
{
	__asm__ volatile("msr fpcr, %0" : : "r"(before >> 32));
	__asm__ volatile("msr fpsr, %0" : : "r"(before & 0xffffffffu));
}

/* ---- libc's, where it differs by machine ---- */

#define ARCH_HAS_OLD_VERSIONS 0 /* glibc's first version here is 2.17 */
#define ARCH_JUMP(symbol) "b " #symbol "\n"

enum { ARCH_SPIN_FREE = 0 };

#endif
