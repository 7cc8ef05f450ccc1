/* x86_64_entries.h - x86-64, what has to be assembly as a whole: the first instructions of hooks that pass every
 * register and the stack on as they were, handlers' entries, switches of the stack.
 *
 * Runs in: app's thread, in a signal handler too; the listener (ARCH_SWITCH). No libc, no lock, no system call of its
 * own.
 *
 * Each macro takes the names of what it defines and of what it calls. All have call frame information: debuggers,
 * unwinders and the profiler itself meet them on stacks.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_ARCH_X86_64_ENTRIES_H
#define PPROFSHIM_ARCH_X86_64_ENTRIES_H

#include <assert.h>
#include <stddef.h>

#define ARCH_HAS_ENTRIES 1     /* ARCH_ENTRY_... */
#define ARCH_HAS_TRAMPOLINES 1 /* ARCH_TRAMPOLINES */
#define ARCH_HAS_RESTART 1     /* ARCH_MOVE_REST, and all that x86_64.h says of calls that are made again */
#define ARCH_HAS_SWITCH 1      /* ARCH_SWITCH */

/* Not formatted: it would move the text of a macro that ends in names. */
/* clang-format off */

/* Save and restore a register, and tell unwinders that the stack has moved. */
#define ARCH_PUSH_(reg) "\tpush %" #reg "\n\t.cfi_adjust_cfa_offset 8\n"
#define ARCH_POP_(reg) "\tpop %" #reg "\n\t.cfi_adjust_cfa_offset -8\n"

/* The beginning of a function: its place, its name, and frame information. */
#define ARCH_FUNCTION_(symbol) ".text\n.p2align 4\n.globl " #symbol "\n.type " #symbol ", @function\n" #symbol ":\n"

/* ---- stacks ---- */

/* void name(void *top, void (*fn)(void *arg), void *arg): call fn(arg) on the stack that ends at `top`. Debuggers and
 * unwinders find the way back by the frame pointer. */
#define ARCH_CALL_ON(name) \
	__asm__(".text\n" \
	        ".p2align 4\n" \
	        ".type " #name ", @function\n" #name ":\n" \
	        "\t.cfi_startproc\n" \
	        "\tpush %rbp\n" \
	        "\t.cfi_def_cfa_offset 16\n" \
	        "\t.cfi_offset rbp, -16\n" \
	        "\tmov %rsp, %rbp\n" \
	        "\t.cfi_def_cfa_register rbp\n" \
	        "\tmov %rdi, %rsp\n" \
	        "\tmov %rdx, %rdi\n" \
	        "\tcall *%rsi\n" \
	        "\tleave\n" \
	        "\t.cfi_def_cfa rsp, 8\n" \
	        "\tret\n" \
	        "\t.cfi_endproc\n" \
	        ".size " #name ", . - " #name "\n"); \
	extern __attribute__((visibility("hidden"))) void name(void *top, void (*fn)(void *arg), void *arg);

/* void name(void **from, void *to): push the registers that a function must keep, store the stack pointer in *from, and
 * go on where `to` was stored. */
#define ARCH_SWITCH(name) \
	__asm__(".pushsection .text\n" \
	        ".globl " #name "\n.hidden " #name "\n.type " #name ", @function\n" #name ":\n" \
	        "\tpushq %rbp\n\tpushq %rbx\n\tpushq %r12\n\tpushq %r13\n\tpushq %r14\n\tpushq %r15\n" \
	        "\tmovq %rsp, (%rdi)\n\tmovq %rsi, %rsp\n" \
	        "\tpopq %r15\n\tpopq %r14\n\tpopq %r13\n\tpopq %r12\n\tpopq %rbx\n\tpopq %rbp\n\tret\n" \
	        ".size " #name ", . - " #name "\n" \
	        ".popsection\n"); \
	__attribute__((visibility("hidden"))) void name(void **from, void *to);

/* Returns a new stack as ARCH_SWITCH expects to find it: six registers, and where to go on. */
static inline void *arch_first_frame(char *end, void (*entry)(void))
{
	uintptr_t *sp = (uintptr_t *)(void *)end;
	*--sp = 0; /* a function is entered 8 bytes below a multiple of 16 */
	*--sp = (uintptr_t)entry;
	return sp - 6;
}

/* ---- hooks ---- */

/* A return that is predicted as a jump is. Compilers know it by this name (-mfunction-return=thunk-extern). */
#define ARCH_RETURN_THUNK \
	__asm__(".text\n" \
	        ".p2align 4\n" \
	        ".globl __x86_return_thunk\n" \
	        ".hidden __x86_return_thunk\n" \
	        ".type __x86_return_thunk, @function\n" \
	        "__x86_return_thunk:\n" \
	        "\t.cfi_startproc\n" \
	        ARCH_POP_(rcx) \
	        "\t.cfi_register rip, rcx\n" \
	        "\tjmp *%rcx\n" \
	        "\t.cfi_endproc\n" \
	        ".size __x86_return_thunk, . - __x86_return_thunk\n");

/* A hook that looks at its first argument, a number: `watched` handles those below 32 whose bit is set in the word
 * `bits`, and `high`. All others go to the function that `next` points to. */
#define ARCH_ENTRY_BY_FIRST(symbol, next, bits, high, watched) \
	__asm__( \
		ARCH_FUNCTION_(symbol) \
		"\t.cfi_startproc\n" \
		"\tcmp $31, %edi\n" \
		"\tja 1f\n" \
		"\tbtl %edi, " #bits "(%rip)\n" \
		"\tjc " #watched "\n" \
		"\tjmp *" #next "(%rip)\n" \
		"1:\tcmp $" #high ", %edi\n" \
		"\tje " #watched "\n" \
		"\tjmp *" #next "(%rip)\n" \
		"\t.cfi_endproc\n" \
		".size " #symbol ", . - " #symbol "\n");

/* A hook that jumps to `watched` while the byte at `watchers` has one of these bits, and else to where `next` points.
 */
#define ARCH_ENTRY_WATCHED(symbol, next, watchers, bits, watched) \
	__asm__(ARCH_FUNCTION_(symbol) \
	        "\t.cfi_startproc\n" \
	        "\ttestb $" #bits ", " #watchers "(%rip)\n" \
	        "\tjne " #watched "\n" \
	        "\tjmp *" #next "(%rip)\n" \
	        "\t.cfi_endproc\n" \
	        ".size " #symbol ", . - " #symbol "\n");

/* syscall(): `watched` is asked first while the byte at `watchers` has one of these bits, and always for numbers whose
 * bit is set in the table `looked_at` (one bit for each 16-bit number). Its type is struct arch_answer (const struct
 * arch_caller *). Everything else, and calls that it did not make, jump on to where `next` points, with all registers
 * and the stack as they were. */
#define ARCH_ENTRY_SYSCALL(symbol, next, watchers, bits, looked_at, watched) \
	__asm__(ARCH_FUNCTION_(symbol) \
	        "\t.cfi_startproc\n" \
	        "\ttestb $" #bits ", " #watchers "(%rip)\n" \
	        "\tjne 1f\n" \
	        "\tmovzwl %di, %eax\n" \
	        "\tbtl %eax, " #looked_at "(%rip)\n" \
	        "\tjc 1f\n" \
	        "\tjmp *" #next "(%rip)\n" \
	        "1:\tpush %rbp\n" \
	        "\t.cfi_def_cfa_offset 16\n" \
	        "\t.cfi_offset rbp, -16\n" \
	        "\tmov %rsp, %rbp\n" \
	        "\t.cfi_def_cfa_register rbp\n" \
	        "\tpush %r9\n" \
	        "\tpush %r8\n" \
	        "\tpush %rcx\n" \
	        "\tpush %rdx\n" \
	        "\tpush %rsi\n" \
	        "\tpush %rdi\n" \
	        "\tmov %rsp, %rdi\n" \
	        "\tand $-16, %rsp\n" \
	        "\tcall " #watched "\n" \
	        "\ttest %rdx, %rdx\n" \
	        "\tlea -48(%rbp), %rsp\n" \
	        "\tpop %rdi\n" \
	        "\tpop %rsi\n" \
	        "\tpop %rdx\n" \
	        "\tpop %rcx\n" \
	        "\tpop %r8\n" \
	        "\tpop %r9\n" \
	        "\tpop %rbp\n" \
	        "\t.cfi_remember_state\n" \
	        "\t.cfi_def_cfa rsp, 8\n" \
	        "\t.cfi_restore rbp\n" \
	        "\tje 2f\n" \
	        ARCH_POP_(rcx) \
	        "\t.cfi_register rip, rcx\n" \
	        "\tjmp *%rcx\n" \
	        "\t.cfi_adjust_cfa_offset 8\n" \
	        "\t.cfi_restore rip\n" \
	        "2:\tjmp *" #next "(%rip)\n" \
	        "\t.cfi_endproc\n" \
	        ".size " #symbol ", . - " #symbol "\n");

/* ---- signals ---- */

enum { ARCH_SA_RESTORER = 0x04000000 };

/* The code that a handler returns to. Unwinders know it by these very instructions. */
#define ARCH_RESTORER(name) \
	__asm__(".text\n" \
	        ".p2align 4\n" \
	        "nop\n" \
	        ".type " #name ", @function\n" #name ":\n" \
	        "\tmov $15, %rax\n" \
	        "\tsyscall\n" \
	        ".size " #name ", . - " #name "\n"); \
	extern __attribute__((visibility("hidden"))) void name(void);

/* The entry that the kernel calls: it calls the handler on an aligned stack. */
#define ARCH_ALIGNED_ENTRY(entry, handler) \
	__asm__(".text\n" \
	        ".p2align 4\n" \
	        ".type " #entry ", @function\n" #entry ":\n" \
	        "\t.cfi_startproc\n" \
	        "\tpush %rbp\n" \
	        "\t.cfi_def_cfa_offset 16\n" \
	        "\t.cfi_offset rbp, -16\n" \
	        "\tmov %rsp, %rbp\n" \
	        "\t.cfi_def_cfa_register rbp\n" \
	        "\tand $-16, %rsp\n" \
	        "\tcall " #handler "\n" \
	        "\tleave\n" \
	        "\t.cfi_def_cfa rsp, 8\n" \
	        "\tret\n" \
	        "\t.cfi_endproc\n" \
	        ".size " #entry ", . - " #entry "\n"); \
	extern __attribute__((visibility("hidden"))) void entry(int sig, siginfo_t *info, void *context);

/* Where the trampolines find our data: offsets in struct self, and in the record that its `thread` points to. */
#define ARCH_SELF_THREAD 32
#define ARCH_SELF_HANDLED 40
#define ARCH_RECORD_HANDLED_PC 64
#define ARCH_RECORD_HANDLED_SP 72
#define ARCH_RECORD_AGAIN_PC 80
#define ARCH_RECORD_HANDLED 96
static_assert(offsetof(ucontext_t, uc_mcontext.gregs[REG_RCX]) == 152, "as the trampolines have it, all of these");
static_assert(offsetof(ucontext_t, uc_mcontext.gregs[REG_RSP]) == 160, "");
static_assert(offsetof(ucontext_t, uc_mcontext.gregs[REG_RIP]) == 168, "");

/* 256 trampolines of 16 bytes each. The i-th counts a handler and jumps to handlers[i]. The kernel gives every handler
 * its context in %rdx.
 *
 *   tells, met, meet   libc_thread.h: may thread-local storage be touched here?
 *   self               the thread-local struct self
 *   give_up            (signal, context): right before a call that was set back, it fails; right behind a call, that
 *                      is marked
 *   watchers, bits     the second matters only while the byte at `watchers` has one of these bits */
#define ARCH_TRAMPOLINES(trampolines, handlers, tells, met, meet, self, give_up, watchers, bits) \
	__asm__(".text\n" \
	        ".p2align 4\n" \
	        ".globl " #trampolines "\n" \
	        ".hidden " #trampolines "\n" \
	        ".type " #trampolines ", @function\n" #trampolines ":\n" \
	        ".cfi_startproc\n" \
	        ".set signal_number, 0\n" \
	        ".rept 256\n" \
	        ".p2align 4\n" \
	        "\tendbr64\n" \
	        "\tmov $signal_number, %eax\n" \
	        "\tjmp signal_arrived\n" \
	        ".set signal_number, signal_number + 1\n" \
	        ".endr\n" \
	        ".p2align 4\n" \
	        "signal_arrived:\n" \
	        "\tlea " #handlers "(%rip), %rcx\n" \
	        "\tmov (%rcx,%rax,8), %rax\n" \
	        "\ttestb $1, " #tells "(%rip)\n" \
	        "\tje 5f\n" \
	        "\trdfsbase %rcx\n" \
	        "\ttest %rcx, %rcx\n" \
	        "\tje 1f\n" \
	        "\tmov %rcx, %r8\n" \
	        "\tshr $6, %r8\n" \
	        "\timul $0x9e3779b1, %r8d, %r8d\n" \
	        "\tshr $22, %r8d\n" \
	        "\tlea " #met "(%rip), %r9\n" \
	        "\tcmp (%r9,%r8,8), %rcx\n" \
	        "\tjne 6f\n" \
	        "5:\tmov " #self "@gottpoff(%rip), %rcx\n" \
	        "\tincl %fs:" ARCH_TEXT_OF(ARCH_SELF_HANDLED) "(%rcx)\n" \
	        "\tmov %fs:" ARCH_TEXT_OF(ARCH_SELF_THREAD) "(%rcx), %rcx\n" \
	        "\ttest %rcx, %rcx\n" \
	        "\tje 1f\n" \
	        "\tincl " ARCH_TEXT_OF(ARCH_RECORD_HANDLED) "(%rcx)\n" \
	        "\tmov 160(%rdx), %r8\n" \
	        "\tmov %r8, " ARCH_TEXT_OF(ARCH_RECORD_HANDLED_SP) "(%rcx)\n" \
	        "\tmov 168(%rdx), %r8\n" \
	        "\tmov %r8, " ARCH_TEXT_OF(ARCH_RECORD_HANDLED_PC) "(%rcx)\n" \
	        "\tcmp %r8, 152(%rdx)\n" \
	        "\tje 3f\n" \
	        "4:" \
	        "\tcmp %r8, " ARCH_TEXT_OF(ARCH_RECORD_AGAIN_PC) "(%rcx)\n" \
	        "\tje 2f\n" \
	        "1:\tjmp *%rax\n" \
	        "3:\ttestb $" #bits ", " #watchers "(%rip)\n" /* maybe right behind a system call */ \
	        "\tje 4b\n" \
	        "\tjmp 2f\n" \
	        "6:\tpush %rbp\n" /* met for the first time, or none of libc's */ \
	        "\t.cfi_remember_state\n" \
	        "\t.cfi_adjust_cfa_offset 8\n" \
	        "\t.cfi_offset rbp, -16\n" \
	        "\tmov %rsp, %rbp\n" \
	        "\t.cfi_def_cfa_register rbp\n" \
	        "\tpush %rdi\n" \
	        "\tpush %rsi\n" \
	        "\tpush %rdx\n" \
	        "\tpush %rax\n" \
	        "\tand $-16, %rsp\n" \
	        "\tcall " #meet "\n" \
	        "\tmov %eax, %ecx\n" \
	        "\tmov -8(%rbp), %rdi\n" \
	        "\tmov -16(%rbp), %rsi\n" \
	        "\tmov -24(%rbp), %rdx\n" \
	        "\tmov -32(%rbp), %rax\n" \
	        "\tleave\n" \
	        "\t.cfi_restore_state\n" \
	        "\ttest %cl, %cl\n" \
	        "\tjne 5b\n" \
	        "\tjmp *%rax\n" \
	        "2:\tpush %rbp\n" \
	        "\t.cfi_adjust_cfa_offset 8\n" \
	        "\t.cfi_offset rbp, -16\n" \
	        "\tmov %rsp, %rbp\n" \
	        "\t.cfi_def_cfa_register rbp\n" \
	        "\tpush %rdi\n" \
	        "\tpush %rsi\n" \
	        "\tpush %rdx\n" \
	        "\tpush %rax\n" \
	        "\tand $-16, %rsp\n" \
	        "\tmov %rdx, %rsi\n" \
	        "\tcall " #give_up "\n" \
	        "\tmov -8(%rbp), %rdi\n" \
	        "\tmov -16(%rbp), %rsi\n" \
	        "\tmov -24(%rbp), %rdx\n" \
	        "\tmov -32(%rbp), %rax\n" \
	        "\tleave\n" \
	        "\t.cfi_def_cfa rsp, 8\n" \
	        "\t.cfi_restore rbp\n" \
	        "\tjmp *%rax\n" \
	        ".cfi_endproc\n" \
	        ".size " #trampolines ", . - " #trampolines "\n");

/* What ARCH_MOVE_REST passes on: a system call that moved `done` bytes. */
struct arch_moved {
	long backwards[6]; /* its arguments, the last one first */
	long fp, nr;
	uint64_t done;
};
static_assert(offsetof(struct arch_moved, done) == 64, "as the entry saves them");

static inline long arch_moved_argument(const struct arch_moved *m, int i)
{
	return m->backwards[5 - i];
}

/* void name(void): our handler sends the thread here (arch_go_on_in); no call does. It calls `rest`, uint64_t (const
 * struct arch_moved *), and goes on with what that returns as the call's result. The 128 bytes below the stack pointer
 * may be in use. */
#define ARCH_MOVE_REST(name, rest) \
	__asm__(".text\n" \
	        ".p2align 4\n" \
	        ".type " #name ", @function\n" \
	        ".globl " #name "\n" \
	        ".hidden " #name "\n" #name ":\n" \
	        "\t.cfi_startproc simple\n" \
	        "\t.cfi_signal_frame\n" \
	        "\t.cfi_def_cfa rsp, 0\n" \
	        "\t.cfi_register rip, rcx\n" \
	        "\tlea -128(%rsp), %rsp\n" \
	        "\t.cfi_adjust_cfa_offset 128\n" \
	        ARCH_PUSH_(rcx) \
	        "\t.cfi_offset rip, -136\n" \
	        ARCH_PUSH_(r11) \
	        ARCH_PUSH_(rax) \
	        ARCH_PUSH_(rbp) \
	        "\t.cfi_offset rbp, -160\n" \
	        ARCH_PUSH_(rdi) \
	        ARCH_PUSH_(rsi) \
	        ARCH_PUSH_(rdx) \
	        ARCH_PUSH_(r10) \
	        ARCH_PUSH_(r8) \
	        ARCH_PUSH_(r9) \
	        "\tmov %rsp, %rdi\n" \
	        "\tmov %rsp, %rbp\n" \
	        "\t.cfi_def_cfa_register rbp\n" \
	        "\tand $-16, %rsp\n" \
	        "\tcld\n" \
	        "\tcall " #rest "\n" \
	        "\tmov %rbp, %rsp\n" \
	        "\t.cfi_def_cfa_register rsp\n" \
	        ARCH_POP_(r9) \
	        ARCH_POP_(r8) \
	        ARCH_POP_(r10) \
	        ARCH_POP_(rdx) \
	        ARCH_POP_(rsi) \
	        ARCH_POP_(rdi) \
	        ARCH_POP_(rbp) \
	        "\t.cfi_restore rbp\n" \
	        ARCH_POP_(rcx) \
	        ARCH_POP_(rcx) \
	        ARCH_POP_(rcx) \
	        "\t.cfi_register rip, rcx\n" \
	        "\tlea 128(%rsp), %rsp\n" \
	        "\t.cfi_adjust_cfa_offset -128\n" \
	        "\tjmp *%rcx\n" \
	        "\t.cfi_endproc\n" \
	        ".size " #name ", . - " #name "\n"); \
	extern __attribute__((visibility("hidden"))) void name(void);

/* clang-format on */

#endif
