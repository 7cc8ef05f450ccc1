/* stack_places.c - coroutines on stacks that lie where others were, or whose neighbours go away.
 *
 * stack_places
 * Runs in: a test program; what it prints must be the same with the shim and without. By the unwind tables each
 * coroutine was called by a function whose frame reaches past the end of its stack, as those of libcoro, State Threads
 * and GNU Pth do: nobody ever reads there but an unwinder. Truth: `reused 1` (a stack and a guard page in the place of
 * a larger one), `neighbour 1` (a stack in the same mapping as the next one, which is then unmapped), `end 1`.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

enum { PAGE = 4096, SMALL = 8 * PAGE, LARGE = 16 * PAGE, FAR = 3 * PAGE };

/* run_on(top, function): call it with the stack that ends at top. */
void run_on(char *top, void (*function)(void));
__asm__(".text\n"
        ".type reaches_far, @function\n"
        "reaches_far:\n"
        "\t.cfi_startproc\n"
        "\t.cfi_def_cfa_offset 12288\n"
        "\tnop\n"
        "\tnop\n"
        "back:\n"
        "\tmov %rbx, %rsp\n"
        "\tpop %rbx\n"
        "\tret\n"
        "\t.cfi_endproc\n"
        ".size reaches_far, . - reaches_far\n"
        ".globl run_on\n"
        ".type run_on, @function\n"
        "run_on:\n"
        "\tpush %rbx\n"
        "\tmov %rsp, %rbx\n"
        "\tmov %rdi, %rsp\n"
        "\tlea back(%rip), %rax\n"
        "\tpush %rax\n"
        "\tjmp *%rsi\n"
        ".size run_on, . - run_on\n");

static void *volatile keep;

static __attribute__((noinline)) void allocate(void)
{
	for (int i = 0; i < 100; i++) {
		keep = malloc(1000);
		free(keep);
	}
	__asm__ volatile("");
}

static __attribute__((noinline)) void go_deep(int n)
{
	volatile char frame[1024];
	frame[0] = (char)n;
	if (n)
		go_deep(n - 1);
	else
		allocate();
	frame[1] = frame[0]; /* after the call: it is none of the last kind */
}

static void deep(void)
{
	go_deep(40);
}

static char *map_at(char *at, size_t bytes, int protection)
{
	char *p = mmap(at, bytes, protection, MAP_PRIVATE | MAP_ANONYMOUS | (at ? MAP_FIXED : 0), -1, 0);
	if (p == MAP_FAILED)
		abort();
	return p;
}

/* In a range of its own, so that what is unmapped stays free. */
static void reused(char *at)
{
	map_at(at, LARGE, PROT_READ | PROT_WRITE);
	run_on(at + LARGE - 16, deep);
	munmap(at, LARGE);
	map_at(at, SMALL, PROT_READ | PROT_WRITE);
	map_at(at + SMALL, PAGE, PROT_NONE);
	map_at(at + SMALL + PAGE, LARGE - SMALL - PAGE, PROT_READ | PROT_WRITE);
	run_on(at + SMALL - 16, allocate);
	puts("reused 1");
}

static void neighbour(char *at)
{
	map_at(at, 2 * LARGE, PROT_READ | PROT_WRITE);
	run_on(at + LARGE - 128, allocate);
	munmap(at + LARGE, LARGE);
	run_on(at + LARGE - 128, allocate);
	puts("neighbour 1");
}

int main(void)
{
	char *range = map_at(NULL, 64 * LARGE, PROT_NONE);
	reused(range + 8 * LARGE);
	neighbour(range + 32 * LARGE);
	puts("end 1");
	return 0;
}
