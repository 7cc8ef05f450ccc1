/* realloc_fails.c - a realloc that cannot be served leaves the old block as it was.
 *
 * Runs in: a test program. Truth: `site_block SIZE ALLOCATED LIVE` as in heap_truth.c; then waits for
 * the end of stdin. The failed calls (site_failing) allocated nothing.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include <errno.h>

#include "truth.h"

static volatile size_t too_much = PTRDIFF_MAX - 64;

SITE static void *site_block(size_t n)
{
	void *p = malloc(n);
	KEEP(p);
	return p;
}
SITE static void *site_failing(void *p)
{
	p = realloc(p, too_much);
	KEEP(p);
	return p;
}

int main(void)
{
	for (int i = 0; i < 200; i++) {
		char *p = site_block(20000);
		p[19999] = 9;
		if (site_failing(p) != NULL || errno != ENOMEM || p[19999] != 9)
			puts("wrong 1");
		if (i % 2)
			keep_block(p);
		else
			free(p);
	}
	truth_add("site_block", 20000, 200, 100);
	truth_add("site_failing", 20000, 0, 0);
	truth_print();
	ready_and_wait();
	return 0;
}
