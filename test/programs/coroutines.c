/* coroutines.c - stacks of the program's own (malloc'ed and mapped), allocating while they switch.
 *
 * Runs in: a test program. Truth: `site_coroutine SIZE ALLOCATED LIVE`; waits for the end of stdin.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <sys/mman.h>
#include <ucontext.h>

#include "truth.h"

enum { COROUTINES = 40, STEPS = 20, STACK = 32 << 10, SIZE = 4000 };
static ucontext_t main_context, contexts[COROUTINES];

SITE static void *site_coroutine(size_t n)
{
	void *p = malloc(n);
	KEEP(p);
	return p;
}

static void run(int self)
{
	for (int i = 0; i < STEPS; i++) {
		void *kept = site_coroutine(SIZE);
		keep_block(kept);
		void *p = site_coroutine(SIZE);
		swapcontext(&contexts[self], &main_context);
		free(p);
	}
}

int main(void)
{
	for (int i = 0; i < COROUTINES; i++) {
		void *stack = i % 2 ? malloc(STACK)
		                    : mmap(NULL, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		getcontext(&contexts[i]);
		contexts[i].uc_stack.ss_sp = stack;
		contexts[i].uc_stack.ss_size = STACK;
		contexts[i].uc_link = &main_context;
		makecontext(&contexts[i], (void (*)(void))run, 1, i);
	}
	for (int step = 0; step <= STEPS; step++)
		for (int i = 0; i < COROUTINES; i++)
			swapcontext(&main_context, &contexts[i]);
	truth_add("site_coroutine", SIZE, COROUTINES * STEPS * 2, COROUTINES * STEPS);
	truth_print();
	ready_and_wait();
	return 0;
}
