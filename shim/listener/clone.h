/* clone.h - the few lines of assembly and the thread block that a bare clone(2) thread needs.
 *
 * Runs in: the thread that starts the listener, and the listener's first instructions.
 * A port adds its architecture here; without one, LISTENER_CLONE is not defined and the listener is
 * an ordinary thread.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_CLONE_H
#define PPROFSHIM_CLONE_H

#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>

#if defined(__x86_64__)
#define LISTENER_CLONE 1

/* The thread block that libc's mem* and compiler-made stack checks may look at through fs: the pointers to
 * itself, and the two guards. Layout: the x86-64 psABI's TLS (fs:0), glibc's tcbhead_t. */
static inline void listener_clone_block(void *block)
{
	uintptr_t guard, pointer_guard;
	__asm__("mov %%fs:0x28, %0" : "=r"(guard));
	__asm__("mov %%fs:0x30, %0" : "=r"(pointer_guard));
	uintptr_t *word = block;
	word[0] = word[2] = (uintptr_t)block;
	word[5] = guard;
	word[6] = pointer_guard;
}

/* The block of the calling thread. */
static inline uintptr_t listener_clone_own_block(void)
{
	uintptr_t block;
	__asm__("mov %%fs:0, %0" : "=r"(block));
	return block;
}

/* clone(flags, stack, tid, tid, block); the new thread calls main(arg) and exits. Returns the tid, or a negative
 * errno. */
static inline long listener_clone(unsigned long flags, void *stack, int *tid, void *block, void (*main)(void *),
                                  void *arg)
{
	register long r10 __asm__("r10") = (long)tid;
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
#endif

#endif
