/* odd_frames.c - hand-written functions whose unwind tables find the frame in ways that compilers never use.
 *
 * Runs in: a test program, until stdin ends. main calls `turn`, which calls the functions one after another; each burns
 * CPU itself, but for the last three, which call `burn`. by_<register>: the frame is found by that register; by_word:
 * by a word on the stack; by_red_zone: by one below the stack pointer; by_index: by one at sp + 8 + 8 * r9;
 * without_return: the return address is in a register. through_word and through_rbx make their frames in these ways,
 * and call; through_r11 calls hand-written code that leaves %r11 alone. Prints `ready`.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "truth.h"

enum { STEPS = 200000 };

#if defined(__x86_64__)

#define BEGIN(name) ".text\n.globl " #name "\n.type " #name ", @function\n.p2align 4\n" #name ":\n.cfi_startproc\n"
#define END(name) ".cfi_endproc\n.size " #name ", . - " #name "\n"
#define LOOP "1:\tdec %rdi\n\tjnz 1b\n"
#define ROOM "\tsub $248, %rsp\n\tand $-64, %rsp\n"
#define BACK(reg) "\tmov %" #reg ", %rsp\n\t.cfi_def_cfa %rsp, 8\n\tret\n"
/* DW_CFA_def_cfa_expression: a word is read, 8 is added. */
#define WORD_AT(length, bytes) "\t.cfi_escape 0x0f, " length ", " bytes ", 0x06, 0x23, 0x08\n"

#define BY(reg) \
	void by_##reg(long steps); \
	__asm__(BEGIN(by_##reg) "\tmov %rsp, %" #reg "\n\t.cfi_def_cfa_register %" #reg "\n" ROOM LOOP BACK(reg) \
	                END(by_##reg))
BY(rax);
BY(rdx);
BY(rsi);
BY(r8);
BY(r11);

void by_word(long steps), by_red_zone(long steps), by_index(long steps), without_return(long steps);
void through_word(long steps, void (*f)(long)), through_rbx(long steps, void (*f)(long)), through_r11(long steps);

__asm__(BEGIN(by_word) "\tmov %rsp, %rax\n\t.cfi_def_cfa_register %rax\n" ROOM "\tmov %rax, 152(%rsp)\n" WORD_AT(
	"6", "0x77, 0x98, 0x01") "\txor %eax, %eax\n" LOOP "\tmov 152(%rsp), %rsi\n\t.cfi_def_cfa %rsi, 8\n" BACK(rsi)
                END(by_word));
__asm__(BEGIN(by_red_zone) "\tmov %rsp, %rax\n\t.cfi_def_cfa_register %rax\n" ROOM "\tmov %rax, -8(%rsp)\n" WORD_AT(
	"5", "0x77, 0x78") "\txor %eax, %eax\n" LOOP "\tmov -8(%rsp), %rsi\n\t.cfi_def_cfa %rsi, 8\n" BACK(rsi)
                END(by_red_zone));
__asm__(BEGIN(by_index) "\tmov %rsp, %rax\n\t.cfi_def_cfa_register %rax\n" ROOM
                        "\tmov $3, %r9d\n\tmov %rax, 8(%rsp, %r9, 8)\n" WORD_AT(
				"10",
				"0x77, 0x08, 0x79, 0x00, 0x38, 0x1e, 0x22") "\txor %eax, %eax\n" LOOP
                                                                            "\tmov 32(%rsp), %rsi\n\t.cfi_def_cfa "
                                                                            "%rsi, 8\n" BACK(rsi) END(by_index));
__asm__(BEGIN(without_return) "\tpop %r11\n\t.cfi_adjust_cfa_offset -8\n\t.cfi_register %rip, %r11\n" LOOP
                              "\tjmp *%r11\n" END(without_return));
__asm__(BEGIN(through_word) "\tmov %rsp, %rax\n\t.cfi_def_cfa_register %rax\n" ROOM "\tmov %rax, 152(%rsp)\n" WORD_AT(
	"6", "0x77, 0x98, 0x01") "\tcall *%rsi\n"
                                 "\tmov 152(%rsp), %rsi\n\t.cfi_def_cfa %rsi, 8\n" BACK(rsi) END(through_word));
__asm__(BEGIN(through_rbx) "\tpush %rbx\n\t.cfi_adjust_cfa_offset 8\n\t.cfi_offset %rbx, -16\n"
                           "\tmov %rsp, %rbx\n\t.cfi_def_cfa_register %rbx\n" ROOM "\tcall *%rsi\n"
                           "\tmov %rbx, %rsp\n\t.cfi_def_cfa_register %rsp\n"
                           "\tpop %rbx\n\t.cfi_adjust_cfa_offset -8\n\t.cfi_restore %rbx\n\tret\n" END(through_rbx));
__asm__(BEGIN(burn_by_hand) LOOP "\tret\n" END(burn_by_hand));
__asm__(BEGIN(through_r11) "\tmov %rsp, %r11\n\t.cfi_def_cfa_register %r11\n" ROOM "\tcall burn_by_hand\n" BACK(r11)
                END(through_r11));

/* It uses the registers that it keeps for its caller. */
static __attribute__((noinline)) void burn(long steps)
{
	volatile long sum = 0;
	for (long i = 0; i < steps / 8; i++)
		sum += i;
	__asm__ volatile("" : : : "rbx", "r12", "r13", "r14", "r15", "memory");
}

SITE static void turn(void)
{
	by_rax(STEPS);
	by_rdx(STEPS);
	by_rsi(STEPS);
	by_r8(STEPS);
	by_r11(STEPS);
	by_word(STEPS);
	by_red_zone(STEPS);
	by_index(STEPS);
	without_return(STEPS);
	through_word(STEPS, burn);
	through_rbx(STEPS, burn);
	through_r11(STEPS);
	KEEP(&turn);
}
#else
SITE static void turn(void)
{
	KEEP(&turn);
}
#endif

static void *work(void *arg)
{
	for (;;)
		turn();
	return arg;
}

int main(void)
{
	pthread_t t;
	if (pthread_create(&t, NULL, work, NULL))
		return 1;
	ready_and_wait();
	return 0;
}
