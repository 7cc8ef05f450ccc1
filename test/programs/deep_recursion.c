/* deep_recursion.c - allocations at the end of 100 000 frames.
 *
 * Runs in: a test program. Truth: `site_deep SIZE ALLOCATED LIVE`, `frames N`; waits for the end of stdin.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "truth.h"

enum { SIZE = 3000 };
static long depth_reached;

SITE static void *site_deep(size_t n)
{
	void *p = malloc(n);
	KEEP(p);
	return p;
}

SITE static long descend(long depth)
{
	if (depth == 0) {
		for (int i = 0; i < 50; i++) {
			keep_block(site_deep(SIZE));
			free(site_deep(SIZE));
		}
		return 0;
	}
	if (depth % 1000 == 0)
		free(site_deep(SIZE));
	long reached = descend(depth - 1) + 1;
	KEEP(reached);
	return reached;
}

int main(void)
{
	depth_reached = descend(100000);
	truth_add("site_deep", SIZE, 200, 50);
	truth_print();
	printf("frames %ld\n", depth_reached);
	ready_and_wait();
	return 0;
}
