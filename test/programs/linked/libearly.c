/* libearly.c - a library whose constructor allocates before main's program has begun.
 *
 * Runs in: a test program that is linked with it.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

void *early_blocks;
int early_count(void);
static int count;

__attribute__((noinline)) void *site_early(size_t n)
{
	void *p = malloc(n);
	__asm__ volatile("" : : "r"(p) : "memory");
	return p;
}

__attribute__((constructor)) static void early(void)
{
	for (int i = 0; i < 50; i++) {
		void **p = site_early(2000);
		*p = early_blocks;
		early_blocks = p;
		count++;
		free(site_early(2000));
	}
}

int early_count(void)
{
	return count;
}
