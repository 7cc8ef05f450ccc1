/* x86_64.h - x86-64, as far as it is C with single instructions.
 *
 * Runs in: everywhere. No system call but arch_call6, no libc, no memory of its own.
 *
 * Formats: the psABI for x86-64 (calls, TLS), the kernel's entry_64.S (system calls), Intel's manual (instructions).
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_ARCH_X86_64_H
#define PPROFSHIM_ARCH_X86_64_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <ucontext.h>

#include "shim/arch/x86_64_single.h"

/* ---- system calls ---- */

static inline long arch_call6(long nr, long a, long b, long c, long d, long e, long f)
{
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;
	long ret;
	__asm__ volatile("syscall"
	                 : "=a"(ret)
	                 : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
	                 : "rcx", "r11", "memory");
	return ret;
}

/* The instruction that makes a system call, and as much code before a place as tells of a call there. */
enum { ARCH_CALL_BYTES = 2, ARCH_CODE_BACK = 20 };

/* A copy of the code around a place where a thread executes: `back` bytes before it, and `on` bytes from it on. They
 * are of one page, as others may not be readable: code made at run time may have a page of its own. */
struct arch_code {
	size_t back, on;
	unsigned char bytes[ARCH_CODE_BACK + ARCH_CALL_BYTES];
};

static inline bool arch_calls_at_(const unsigned char *code)
{
	return code[0] == 0x0f && code[1] == 0x05;
}

/* Is there a system call at the place? */
static inline bool arch_is_call(const struct arch_code *c)
{
	return c->on >= ARCH_CALL_BYTES && arch_calls_at_(c->bytes + c->back);
}

/* Is the code before the place a system call? */
static inline bool arch_is_after_call(const struct arch_code *c)
{
	return c->back >= ARCH_CALL_BYTES && arch_calls_at_(c->bytes + c->back - ARCH_CALL_BYTES);
}

/* Returns the number that the code loads right before the call that ends at the place, by "mov $nr,%eax" or "xor
 * %eax,%eax"; -1 if none. */
static inline long arch_number_before(const struct arch_code *c)
{
	enum { BACK_MOST = 16, MOV_BYTES = 5, XOR_BYTES = 2, REX_B = 0x41 };
	const unsigned char *call = c->bytes + c->back - ARCH_CALL_BYTES;
	for (size_t back = XOR_BYTES; back <= BACK_MOST && back + ARCH_CALL_BYTES < c->back; back++) {
		const unsigned char *at = call - back;
		bool is_other = (at[-1] & 0xf1) == REX_B; /* that register is %r8 */
		uint32_t nr;
		if ((at[0] == 0x31 || at[0] == 0x33) && at[1] == 0xc0 && !is_other)
			return 0;
		if (at[0] != 0xb8 || back < MOV_BYTES || is_other)
			continue;
		__builtin_memcpy(&nr, at + 1, sizeof nr);
		return (long)nr;
	}
	return -1;
}

/* ---- what a signal interrupted ---- */

typedef greg_t arch_register;
#define ARCH_PC(u) ((u)->uc_mcontext.gregs[REG_RIP])
#define ARCH_SP(u) ((u)->uc_mcontext.gregs[REG_RSP])
#define ARCH_FP(u) ((u)->uc_mcontext.gregs[REG_RBP])
#define ARCH_RESULT(u) ((u)->uc_mcontext.gregs[REG_RAX]) /* of a system call that came back */
#define ARCH_NUMBER(u) ((u)->uc_mcontext.gregs[REG_RAX]) /* of one that is about to be made */

/* The kernel leaves a signal's context where the stack pointer is when the handler returns. */
#define ARCH_CONTEXT_AT(sp) ((const ucontext_t *)(sp))

/* Returns the register of a system call's argument; the first is 0. */
static inline arch_register *arch_argument(ucontext_t *u, int i)
{
	static const int numbers[] = {REG_RDI, REG_RSI, REG_RDX, REG_R10, REG_R8, REG_R9};
	return &u->uc_mcontext.gregs[numbers[i]];
}

/* Let a system call that is about to be made return this error instead. */
static inline void arch_fail_call(ucontext_t *u, int error)
{
	ARCH_PC(u) += ARCH_CALL_BYTES;
	ARCH_RESULT(u) = -error;
}

/* Let a system call that has returned be made once more. */
static inline void arch_make_again(ucontext_t *u, long nr)
{
	ARCH_PC(u) -= ARCH_CALL_BYTES;
	ARCH_NUMBER(u) = nr;
}

/* System calls leave their return address in %rcx, and undefined: where a handler of the program's comes right behind a
 * call, that is cleared. */
static inline void arch_tell_of_handler(ucontext_t *u)
{
	u->uc_mcontext.gregs[REG_RCX] = 0;
}

/* Has a handler of the program's run in this system call? */
static inline bool arch_call_was_handled(const ucontext_t *u)
{
	return u->uc_mcontext.gregs[REG_RCX] != ARCH_PC(u);
}

/* May the context be right behind a system call, or right before one that the kernel makes again? Only where system
 * calls leave their return address. */
static inline bool arch_may_be_after_call(const ucontext_t *u)
{
	return u->uc_mcontext.gregs[REG_RCX] == ARCH_PC(u);
}
static inline bool arch_may_be_again(const ucontext_t *u)
{
	return u->uc_mcontext.gregs[REG_RCX] == ARCH_PC(u) + ARCH_CALL_BYTES;
}

/* Do system calls leave it there? Not in emulators, nor with FRED. */
static inline bool arch_calls_tell_handlers(void)
{
	uintptr_t left, next;
	long nr = SYS_getpid;
	__asm__ volatile("lea 1f(%%rip), %2\n\tsyscall\n1:" : "=c"(left), "+a"(nr), "=&r"(next) : : "r11", "memory");
	return left == next;
}

/* Go on in `entry` (ARCH_MOVE_REST) after the system call `nr`. System calls leave %rcx and %r11 undefined: they say
 * where to go on afterwards, and what the call returned. All other registers, and the stack, are the program's. */
static inline void arch_go_on_in(ucontext_t *u, void (*entry)(void), long nr)
{
	u->uc_mcontext.gregs[REG_RCX] = ARCH_PC(u);
	u->uc_mcontext.gregs[REG_R11] = ARCH_RESULT(u);
	ARCH_NUMBER(u) = nr;
	ARCH_PC(u) = (greg_t)entry;
}

/* ---- stacks ---- */

/* Some programs call with a stack that is off by 8. That works, because libc's functions do not depend on it. */
#define ARCH_ALIGNED __attribute__((force_align_arg_pointer))

/* The stack pointer of the calling function's caller, as it was before the call. The function must have a frame
 * pointer, which points to { caller's frame pointer, return address }. */
#define ARCH_CALLER_SP() ((uintptr_t)__builtin_frame_address(0) + 2 * sizeof(uintptr_t))

/* Below the stack pointer a function may keep this much. */
enum { ARCH_RED_ZONE_BYTES = 128 };

/* The fields that all CIEs (the records of unwind tables that begin a group) have in common: the units of code and data
 * (-8), and the number of the return address. */
enum { ARCH_CIE_CODE_ALIGN = 1, ARCH_CIE_DATA_ALIGN = 0x78, ARCH_CIE_RETURN = 16 };

/* DWARF's numbers of registers: rax, rdx, rcx, rbx, rsi, rdi, rbp, rsp, r8 to r15. */
enum { ARCH_DWARF_FP = 6, ARCH_DWARF_SP = 7, ARCH_DWARF_REGISTERS = 16 };

static inline arch_register *arch_register_at(ucontext_t *u, int number)
{
	static const signed char numbers[ARCH_DWARF_REGISTERS] = {
		REG_RAX, REG_RDX, REG_RCX, REG_RBX, REG_RSI, REG_RDI, REG_RBP, REG_RSP,
		REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15,
	};
	return &u->uc_mcontext.gregs[numbers[number]];
}

/* Do functions keep this register for their callers? */
static inline bool arch_is_kept(int number)
{
	return number == 3 || number == ARCH_DWARF_FP || number >= 12;
}

/* libunwind's numbers of registers. */
#define ARCH_UNW_PC UNW_X86_64_RIP
#define ARCH_UNW_SP UNW_X86_64_RSP
#define ARCH_UNW_FP UNW_X86_64_RBP

/* What a signal's handler returns to: mov $rt_sigreturn, %rax or %eax; syscall. */
enum { ARCH_RESTORER_BYTES = 9 };
static inline bool arch_is_restorer(const unsigned char *code)
{
	return __builtin_memcmp(code, "\x48\xc7\xc0\x0f\0\0\0\x0f\x05", 9) == 0 ||
	       __builtin_memcmp(code, "\xb8\x0f\0\0\0\x0f\x05", 7) == 0;
}

/* What the code before a return address calls. */
enum arch_callee {
	ARCH_CALLS_NOTHING,  /* it is no call */
	ARCH_CALLS_ADDRESS,  /* *to is called */
	ARCH_CALLS_BY_SLOT,  /* what the word at *to holds is called */
	ARCH_CALLS_SOMETHING /* what a register says */
};
enum { ARCH_BEFORE_BYTES = 7, ARCH_STUB_BYTES = 11, ARCH_PROLOGUE_BYTES = 32 };

static inline uintptr_t arch_signed_at_(const unsigned char *at)
{
	int32_t v;
	__builtin_memcpy(&v, at, sizeof v);
	return (uintptr_t)(intptr_t)v;
}

/* Is this the call of what a register, or the word at an address that registers make, says? `end` is its end: ff /2,
 * with 0, 1 or 4 bytes of offset, and with an index byte or without. */
static inline bool arch_is_indirect_call_(const unsigned char *end)
{
	const unsigned char *m = end - 2; /* the byte behind ff: its upper bits say how the address is made */
	if (m[-1] == 0xff && ((m[0] & 0xf8) == 0x50 && m[0] != 0x54))
		return true;
	if (m[0] == 0xff)
		return (m[1] & 0xf8) == 0xd0 || ((m[1] & 0xf8) == 0x10 && m[1] != 0x14 && m[1] != 0x15);
	if (m[-1] == 0xff && m[0] == 0x14 && (m[1] & 7) != 5)
		return true;
	return (end[-4] == 0xff && end[-3] == 0x54) ||
	       (end[-6] == 0xff && (end[-5] & 0xf8) == 0x90 && end[-5] != 0x94) ||
	       (end[-7] == 0xff && (end[-6] == 0x94 || (end[-6] == 0x14 && (end[-5] & 7) == 5)));
}

/* `code` is a copy of the ARCH_BEFORE_BYTES before the address. */
static inline enum arch_callee arch_callee_before(uintptr_t return_address, const unsigned char *code, uintptr_t *to)
{
	const unsigned char *end = &code[ARCH_BEFORE_BYTES - 1] + 1;
	*to = return_address + arch_signed_at_(end - 4);
	if (end[-5] == 0xe8)
		return ARCH_CALLS_ADDRESS;
	if (end[-6] == 0xff && end[-5] == 0x15)
		return ARCH_CALLS_BY_SLOT;
	return arch_is_indirect_call_(end) ? ARCH_CALLS_SOMETHING : ARCH_CALLS_NOTHING;
}

/* Returns the slot that a linker's stub at `at` jumps through, [endbr64] [bnd] jmp *slot(%rip); 0 if it is none. `code`
 * is a copy of the ARCH_STUB_BYTES there. */
static inline uintptr_t arch_slot_of_stub(uintptr_t at, const unsigned char *code)
{
	int i = __builtin_memcmp(code, "\xf3\x0f\x1e\xfa", 4) == 0 ? 4 : 0;
	i += code[i] == 0xf2;
	return code[i] == 0xff && code[i + 1] == 0x25 && i + 6 <= ARCH_STUB_BYTES
	               ? at + (uintptr_t)i + 6 + arch_signed_at_(code + i + 2)
	               : 0;
}

/* A program's code never lies further up. */
static inline bool arch_may_be_code(uintptr_t at)
{
	return at >> 47 == 0;
}

/* Returns how far below its frame pointer a function's stack pointer is while it calls others. Its first instructions
 * tell: push %rbp; mov %rsp, %rbp; pushes; sub $n, %rsp. Returns 0 if they are others. `code` is a copy of
 * ARCH_PROLOGUE_BYTES. */
static inline uintptr_t arch_fixed_depth(const unsigned char *code)
{
	static const unsigned char begin[] = {0x55, 0x48, 0x89, 0xe5};
	uintptr_t pushed = 0;
	size_t at = __builtin_memcmp(code, "\xf3\x0f\x1e\xfa", 4) == 0 ? 4 : 0;
	if (__builtin_memcmp(code + at, begin, sizeof begin) != 0)
		return 0;
	at += sizeof begin;
	for (; at < 20 && ((code[at] & 0xf8) == 0x50 || (code[at] == 0x41 && (code[at + 1] & 0xf8) == 0x50));
	     pushed += sizeof pushed)
		at += code[at] == 0x41 ? 2 : 1;
	if (code[at] != 0x48 || code[at + 2] != 0xec)
		return 0;
	if (code[at + 1] == 0x83)
		return pushed + code[at + 3];
	int32_t n = (int32_t)arch_signed_at_(code + at + 3);
	return code[at + 1] == 0x81 && n > 0 ? pushed + (uintptr_t)n : 0;
}

/* ---- threads ---- */

/* Asks the kernel: where %fs is not one of a thread's, %fs:0 can't be read. */
static inline uintptr_t arch_thread_pointer(void)
{
	enum { ARCH_GET_FS_ = 0x1003 }; /* asm/prctl.h */
	uintptr_t pointer = 0;
	arch_call6(SYS_arch_prctl, ARCH_GET_FS_, (long)&pointer, 0, 0, 0, 0);
	return pointer;
}

/* Can an instruction read the thread pointer? hwcap2: AT_HWCAP2. */
static inline bool arch_tells_thread_pointer(unsigned long hwcap2)
{
	enum { HAS_FSGSBASE = 2 }; /* asm/hwcap2.h */
	return (hwcap2 & HAS_FSGSBASE) != 0;
}

/* Libc's thread block begins with a pointer to itself, and has another one two words later (the psABI's TLS, and
 * glibc's tcbhead_t). */
#define ARCH_BLOCK_HOLDS_ITSELF 1

#define ARCH_HAS_CLONE 1

/* Fill a thread block with what libc's mem* and compiler-made stack checks may read through %fs: the pointers to
 * itself, and the two guards. */
static inline void arch_fill_block(void *block)
{
	uintptr_t guard, pointer_guard;
	__asm__("mov %%fs:0x28, %0" : "=r"(guard));
	__asm__("mov %%fs:0x30, %0" : "=r"(pointer_guard));
	uintptr_t *word = block;
	word[0] = word[2] = (uintptr_t)block;
	word[5] = guard;
	word[6] = pointer_guard;
}

/* Returns the block of the calling thread, which must have one. */
static inline uintptr_t arch_own_block(void)
{
	uintptr_t block;
	__asm__("mov %%fs:0, %0" : "=r"(block));
	return block;
}

/* clone(flags, stack, tid, cleared, block); the new thread calls main(arg) and exits. Returns the tid, or a negative
 * errno. */
static inline long arch_clone(unsigned long flags, void *stack, int *tid, int *cleared, void *block,
                              void (*main)(void *), void *arg)
{
	register long r10 __asm__("r10") = (long)cleared;
	register long r8 __asm__("r8") = (long)block;
	register void *r12 __asm__("r12") = (void *)main;
	register void *r13 __asm__("r13") = arg;
	long ret;
	__asm__ volatile("syscall\n\t"
	                 "test %%rax, %%rax\n\t"
	                 "jnz 1f\n\t"
	                 "xor %%ebp, %%ebp\n\t" /* the outermost frame */
	                 "mov %%r13, %%rdi\n\t"
	                 "call *%%r12\n\t"
	                 "mov %[exit], %%eax\n\t"
	                 "xor %%edi, %%edi\n\t"
	                 "syscall\n\t"
	                 "hlt\n"
	                 "1:"
	                 : "=a"(ret)
	                 : "a"(SYS_clone), "D"(flags), "S"(stack), "d"(tid), "r"(r10), "r"(r8), "r"(r12),
	                   "r"(r13), [exit] "i"(SYS_exit)
	                 : "rcx", "r11", "memory");
	return ret;
}

/* Is this Valgrind? The question is as its documentation says: these rotations, which do nothing elsewhere. The answer
 * to an unknown request is the preset. */
static inline bool arch_is_valgrind(void)
{
	enum { RUNNING_ON_VALGRIND = 0x1001 };
	volatile unsigned long request[6] = {RUNNING_ON_VALGRIND};
	unsigned long answer = 0;
	__asm__ volatile("rolq $3, %%rdi; rolq $13, %%rdi\n\t"
	                 "rolq $61, %%rdi; rolq $51, %%rdi\n\t"
	                 "xchgq %%rbx, %%rbx"
	                 : "+d"(answer)
	                 : "a"(&request[0])
	                 : "cc", "memory", "rdi");
	return answer != 0;
}

/* ---- floating point ---- */

/* Switch to an environment of our own, with exceptions masked and rounding to nearest; and back to the program's, flags
 * included. */
typedef unsigned arch_fp_environment;

static inline arch_fp_environment arch_fp_begin(void)
{
	unsigned before, ours = 0x1f80;
	__asm__ inline volatile("stmxcsr %0" : "=m"(before));
	__asm__ inline volatile("ldmxcsr %0" : : "m"(ours));
	return before;
}

static inline void arch_fp_end(arch_fp_environment before)
{
	__asm__ inline volatile("ldmxcsr %0" : : "m"(before));
}

/* ---- libc's, where it differs by machine ---- */

/* glibc has functions in versions from before 2.17 here. */
#define ARCH_HAS_OLD_VERSIONS 1
#define ARCH_JUMP(symbol) "jmp " #symbol "\n"

/* The value of glibc's spin lock while it is free. */
enum { ARCH_SPIN_FREE = 1 };

#endif
