/* stacks.cc - a program with 70 * 70 distinct call stacks, each of which has allocated: what names are looked up for.
 *
 * Runs in: its own process. Prints "ready" and waits for the end of its input.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <cstdio>
#include <cstdlib>

#define TEN(DO, n) DO(n##0) DO(n##1) DO(n##2) DO(n##3) DO(n##4) DO(n##5) DO(n##6) DO(n##7) DO(n##8) DO(n##9)
#define SEVENTY(DO) TEN(DO, 1) TEN(DO, 2) TEN(DO, 3) TEN(DO, 4) TEN(DO, 5) TEN(DO, 6) TEN(DO, 7)

static void *volatile kept;

template <unsigned N> __attribute__((noinline)) static void allocate(void)
{
	kept = malloc(16 + N);
}

/* One call site a callee. */
template <unsigned N> __attribute__((noinline)) static void call_all(void)
{
	static volatile unsigned calls;
#define CALL(n) allocate<n>(), calls = N;
	SEVENTY(CALL)
}

int main(void)
{
#define CALL_ALL(n) call_all<n>();
	SEVENTY(CALL_ALL)
	puts("ready");
	fflush(stdout);
	while (getchar() != EOF)
		;
	return 0;
}
