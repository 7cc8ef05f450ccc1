/* syscall_slot.c - syscall() with fewer than six arguments, called so that the caller's own variable lies where a
 * seventh word would be, while another thread writes to it.
 *
 * usage: syscall_slot counter ROUNDS   the other thread adds to it: prints "lost N"
 *        syscall_slot flag ROUNDS      the other thread sets it, once a round, for the caller to see: prints "seen N"
 *
 * SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include <linux/futex.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static uint64_t *volatile shared;
static volatile int stop;
static uint64_t added;
static pthread_t thread;

/* Called by the assembly below. */
void publish(uint64_t *word);
void publish(uint64_t *word)
{
	shared = word;
}

void finish(void);
void finish(void)
{
	stop = 1;
	pthread_join(thread, NULL);
}

static void *add(void *unused)
{
	(void)unused;
	while (!shared)
		continue;
	for (; !stop; added++)
		__atomic_fetch_add(shared, 1, __ATOMIC_SEQ_CST);
	return NULL;
}

/* uint64_t word = 0; publish(&word); while (rounds--) syscall(SYS_getpid); finish(); return word; with `word` at the
 * bottom of the frame, where compilers put it. */
uint64_t count_here(long rounds);
__asm__(".text\n"
        ".type count_here, @function\n"
        "count_here:\n"
        "\tpush %rbp\n"
        "\tpush %rbx\n"
        "\tsub $24, %rsp\n"
        "\tmov %rdi, %rbx\n"
        "\tmovq $0, (%rsp)\n"
        "\tmov %rsp, %rdi\n"
        "\tcall publish\n"
        "1:\tmov $39, %edi\n"
        "\txor %eax, %eax\n"
        "\tcall syscall@PLT\n"
        "\tdec %rbx\n"
        "\tjnz 1b\n"
        "\tcall finish\n"
        "\tmov (%rsp), %rax\n"
        "\tadd $24, %rsp\n"
        "\tpop %rbx\n"
        "\tpop %rbp\n"
        "\tret\n"
        ".size count_here, . - count_here\n");

static void *set(void *unused)
{
	(void)unused;
	while (!stop) {
		uint64_t *word = __atomic_exchange_n(&shared, NULL, __ATOMIC_SEQ_CST);
		if (!word)
			continue;
		for (volatile int i = rand() % 400; i > 0; i--)
			continue;
		__atomic_store_n(word, 1, __ATOMIC_SEQ_CST);
		syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
	}
	return NULL;
}

/* The same, waiting for the word to be set. */
uint64_t wait_here(uint64_t unused);
__asm__(".text\n"
        ".type wait_here, @function\n"
        "wait_here:\n"
        "\tpush %rbx\n"
        "\tsub $16, %rsp\n"
        "\tmovq $0, (%rsp)\n"
        "\tmov %rsp, %rdi\n"
        "\tcall publish\n"
        "\tmov $4, %ebx\n"
        "1:\tmov $186, %edi\n"
        "\txor %eax, %eax\n"
        "\tcall syscall@PLT\n"
        "\tdec %ebx\n"
        "\tjnz 1b\n"
        "2:\tmov $202, %edi\n"
        "\tmov %rsp, %rsi\n"
        "\tmov $128, %edx\n"
        "\txor %ecx, %ecx\n"
        "\txor %r8d, %r8d\n"
        "\txor %r9d, %r9d\n"
        "\txor %eax, %eax\n"
        "\tcmpq $0, (%rsp)\n"
        "\tjne 3f\n"
        "\tcall syscall@PLT\n"
        "\tjmp 2b\n"
        "3:\tmov (%rsp), %rax\n"
        "\tadd $16, %rsp\n"
        "\tpop %rbx\n"
        "\tret\n"
        ".size wait_here, . - wait_here\n");

int main(int argc, char **argv)
{
	long rounds = argc > 2 ? atol(argv[2]) : 1000;
	int counts = argc > 1 && strcmp(argv[1], "counter") == 0;
	uint64_t seen = 0;
	pthread_create(&thread, NULL, counts ? add : set, NULL);
	if (counts) {
		uint64_t word = count_here(rounds);
		printf("lost %ld\n", (long)(added - word));
		return 0;
	}
	for (long i = 0; i < rounds; i++)
		seen += wait_here(0);
	finish();
	printf("seen %lu\n", (unsigned long)seen);
	return 0;
}
