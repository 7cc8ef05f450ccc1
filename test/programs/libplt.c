/* libplt.c - a function that does nothing but call another one through the procedure linkage table.
 *
 * Runs in: test programs that load it.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#define FAR __attribute__((noinline, noclone, visibility("default")))

long plt_step(long x);
long plt_loop(long n);

/* Interposable, so that the call below goes through its stub. */
FAR long plt_step(long x)
{
	__asm__ volatile("" : "+r"(x));
	return x + 1;
}

FAR long plt_loop(long n)
{
	long x = 0;
	while (x < n)
		x = plt_step(x);
	__asm__ volatile("" : "+r"(x));
	return x;
}
