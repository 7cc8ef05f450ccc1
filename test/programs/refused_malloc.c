/* refused_malloc.c - asks malloc for what no machine has, 100 times.
 *
 * Runs in: a test program, under strace, which counts what the kernel refused.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static volatile size_t too_much = 1UL << 55;

int main(void)
{
	for (int i = 0; i < 100; i++) {
		errno = 0;
		void *volatile p = malloc(too_much);
		if (p || errno != ENOMEM)
			puts("wrong");
	}
	return 0;
}
